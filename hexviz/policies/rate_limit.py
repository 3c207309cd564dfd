"""RateLimit: no more than so many starts a second."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from hexviz.events.events import Event, LLMPromptSent, NodeStarted, ToolCalled
from hexviz.events.forking import free_in_children
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import Policy, attempt_of, count, node_of, number, one_of, run_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLACES: dict[str, type[Event]] = {"node": NodeStarted, "tool": ToolCalled, "llm": LLMPromptSent}
_REMEMBERED = 65_536


class RateLimit(Policy):
    """At most ``rate`` starts per ``per_s`` seconds, ``burst`` of them at once; each attempt of a node is one start.

    ``on_limit="wait"`` gives each comer the next free place and answers RETRY with the wait until then; asked again it
    lets the same attempt pass, so nobody waits twice and the order is that of asking. A wait over ``max_wait_s``, and
    any wait under ``"skip"`` or ``"fail"``, is answered with SKIP or FAIL and takes no place.
    ``at`` says what is limited: ``"node"`` starts, ``"tool"`` calls or ``"llm"`` prompts.

    The limit holds over all runs that share the policy. The algorithm is the generic cell rate algorithm (the token
    bucket kept as one number); time is the event's own monotonic time, so that a backtest decides the same.
    """

    priority: ClassVar[int] = 40

    def __init__(
        self,
        rate: float,
        per_s: float = 1.0,
        *,
        burst: int = 1,
        on_limit: str = "wait",
        max_wait_s: float = 60.0,
        at: str = "node",
        nodes: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(nodes)
        self.rate = number(self, "rate", rate, positive=True)
        self.per_s = number(self, "per_s", per_s, positive=True)
        self.burst = count(self, "burst", burst)
        self.on_limit = one_of(self, "on_limit", on_limit, ("wait", "skip", "fail"))
        self.max_wait_s = number(self, "max_wait_s", max_wait_s)
        self.at = one_of(self, "at", at, _PLACES)
        self.event_types = (_PLACES[self.at],)
        self._interval = self.per_s / self.rate
        self._next_at = float("-inf")
        self._granted: dict[object, None] = {}
        self._lock = free_in_children(threading.Lock())

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """PROCEED within the rate, else RETRY with the wait, SKIP or FAIL."""
        if not isinstance(event, self.event_types) or not self.is_about(event, context):
            return PROCEED
        comer = _comer(event, context)
        with self._lock:
            if comer in self._granted:
                return PROCEED
            now = event.monotonic_ns / 1e9
            due = max(self._next_at, now)
            wait = max(0.0, due - (self.burst - 1) * self._interval - now)
            if wait == 0.0 or (self.on_limit == "wait" and wait <= self.max_wait_s):
                self._next_at = due + self._interval
                self._remember(comer)
        return PROCEED if wait == 0.0 else self._answer(wait)

    def _answer(self, wait: float) -> ControlResponse:
        limit = f"limit of {self.rate:g} per {self.per_s:g} s"
        if self.on_limit == "wait" and wait <= self.max_wait_s:
            return ControlResponse(ControlSignal.RETRY, {"delay": wait}, f"{limit}: waits {wait:.3g} s")
        reason = f"{limit}: the next free place is {wait:.3g} s away"
        if self.on_limit == "skip":
            return ControlResponse(ControlSignal.SKIP, None, reason)
        return ControlResponse(ControlSignal.FAIL, reason, reason)

    def _remember(self, comer: object) -> None:
        while len(self._granted) >= _REMEMBERED:
            del self._granted[next(iter(self._granted))]
        self._granted[comer] = None


def _comer(event: Event, context: ExecutionContext) -> object:
    """Who asks, the same when it asks again after its wait."""
    run_id = run_of(event, context)
    if not run_id:
        return (event.timestamp, event.monotonic_ns, id(event))
    return (run_id, node_of(event, context), attempt_of(event, context), getattr(event, "call_id", ""))
