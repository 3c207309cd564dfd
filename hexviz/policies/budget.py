"""Budget: a run may spend so much, and no more."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from hexviz.events.events import Event, LLMPromptSent, LLMResponseReceived, NodeStarted, PipelineStarted, ToolCalled
from hexviz.events.forking import free_in_children
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import PerRun, Policy, count, number, one_of, run_of, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Spent:
    """What one run has spent so far; ``attempts`` are counted where they are limited."""

    __slots__ = ("attempts", "cost", "last_answer_seq", "started_ns", "starts", "tokens")

    def __init__(self) -> None:
        self.attempts = 0
        self.tokens = 0
        self.cost = 0.0
        self.started_ns: int | None = None
        self.last_answer_seq = 0
        self.starts: set[tuple[object, ...]] = set()


class Budget(Policy):
    """Limits per run: ``attempts`` of nodes, ``wall_time_s``, ``tokens`` of language models, and ``cost``.

    The limit itself may be reached; what would start beyond it is answered as ``when_spent`` says: ``"fail"`` or
    ``"skip"``. NodeStarted is answered for attempts and wall time, NodeStarted, ToolCalled and LLMPromptSent for tokens
    and cost. What is under way is not interrupted, so tokens and cost may overshoot by what was already asked for.

    Tokens and cost are known from LLMResponseReceived. Control is not asked about answers, so :meth:`observe` must
    hear them: ``hexviz.run`` sees to that; by hand, add ``observers.register(budget.observe, lossless=True,
    event_types=budget.observed_types)``. ``cost_of`` gives the cost of one answer, in the unit of ``cost``. With
    ``nodes`` only those nodes are counted and answered for.
    """

    priority: ClassVar[int] = 30
    event_types = (PipelineStarted, NodeStarted, ToolCalled, LLMPromptSent)
    observed_types: ClassVar[tuple[type[Event], ...]] = (LLMResponseReceived,)

    def __init__(
        self,
        *,
        attempts: int | None = None,
        wall_time_s: float | None = None,
        tokens: int | None = None,
        cost: float | None = None,
        cost_of: Callable[[LLMResponseReceived], float] | None = None,
        when_spent: str = "fail",
        nodes: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(nodes)
        self.attempts = None if attempts is None else count(self, "attempts", attempts)
        self.wall_time_s = None if wall_time_s is None else number(self, "wall_time_s", wall_time_s, positive=True)
        self.tokens = None if tokens is None else count(self, "tokens", tokens)
        self.cost = None if cost is None else number(self, "cost", cost, positive=True)
        self.cost_of = cost_of
        self.when_spent = one_of(self, "when_spent", when_spent, ("fail", "skip"))
        if self.attempts is self.wall_time_s is self.tokens is self.cost is None:
            raise wrong(self, "give at least one limit: attempts, wall_time_s, tokens or cost")
        if (cost is None) != (cost_of is None):
            raise wrong(self, "cost and cost_of go together: the limit, and what one answer costs")
        self._spent: PerRun[Spent] = PerRun(Spent)
        self._lock = free_in_children(threading.Lock())

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """FAIL or SKIP for what would start beyond the budget, else PROCEED."""
        if isinstance(event, LLMResponseReceived):
            self.observe(event)
            return PROCEED
        if not isinstance(event, self.event_types):
            return PROCEED
        spent = self._spent.of(run_of(event, context))
        with self._lock:
            if spent.started_ns is None or isinstance(event, PipelineStarted):
                spent.started_ns = event.monotonic_ns
            if isinstance(event, PipelineStarted) or not self.is_about(event, context):
                return PROCEED
            reason = self._beyond(event, spent)
            if not reason and isinstance(event, NodeStarted):
                self._count_attempt(event, spent)
        if not reason:
            return PROCEED
        if self.when_spent == "skip":
            return ControlResponse(ControlSignal.SKIP, None, reason)
        return ControlResponse(ControlSignal.FAIL, reason, reason)

    def observe(self, event: Event) -> None:
        """Count the tokens and the cost of one LLMResponseReceived; hearing of it twice counts it once."""
        if not isinstance(event, LLMResponseReceived) or not self.is_about(event, ExecutionContext(event.pipeline)):
            return
        spent = self._spent.of(event.run_id)
        cost = number(self, "what cost_of returns", self.cost_of(event)) if self.cost_of else 0.0
        with self._lock:
            if event.seq and event.seq <= spent.last_answer_seq:
                return
            spent.last_answer_seq = event.seq
            spent.tokens += (event.input_tokens or 0) + (event.output_tokens or 0)
            spent.cost += cost

    def spent(self, run_id: str = "") -> Spent:
        """What the run has spent so far: ``attempts``, ``tokens``, ``cost``."""
        return self._spent.of(run_id)

    def _beyond(self, event: Event, spent: Spent) -> str:
        """The limit that the step would break, in words; empty where there is none."""
        if self.tokens is not None and spent.tokens >= self.tokens:
            return f"token budget: {spent.tokens} of {self.tokens} are spent"
        if self.cost is not None and spent.cost >= self.cost:
            return f"cost budget: {spent.cost:g} of {self.cost:g} is spent"
        if not isinstance(event, NodeStarted):
            return ""
        if self.attempts is not None and spent.attempts >= self.attempts and _start(event) not in spent.starts:
            return f"attempt budget: {spent.attempts} of {self.attempts} are made"
        lasted = (event.monotonic_ns - (spent.started_ns or event.monotonic_ns)) / 1e9
        if self.wall_time_s is not None and lasted >= self.wall_time_s:
            return f"time budget: {lasted:.3g} s of {self.wall_time_s:g} s are over"
        return ""

    def _count_attempt(self, event: NodeStarted, spent: Spent) -> None:
        """Count a start once, however often control is asked about it. Without a limit there is nothing to remember."""
        if self.attempts is not None and _start(event) not in spent.starts:
            spent.starts.add(_start(event))
            spent.attempts += 1


def _start(event: NodeStarted) -> tuple[object, ...]:
    """Which start this is, the same when control is asked about it once more."""
    return (event.seq, event.name, event.attempt, event.monotonic_ns)
