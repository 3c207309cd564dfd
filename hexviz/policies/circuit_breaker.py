"""CircuitBreaker: after too many failures in a row, stop calling for a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hexviz.events.events import Event, NodeCompleted, NodeFailed, NodeStarted
from hexviz.events.forking import free_in_children
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import ErrorTypes, Policy, count, error_types, node_of, number, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CircuitState = Literal["closed", "open", "half_open"]


class _Circuit:
    """The state of one key. Times are seconds of the monotonic clock that stamps the events."""

    __slots__ = ("failures", "opened_at", "probe_at", "state")

    def __init__(self) -> None:
        self.state: CircuitState = "closed"
        self.failures = 0
        self.opened_at = 0.0
        self.probe_at: float | None = None


class CircuitBreaker(Policy):
    """Closed, it lets nodes start; after ``failure_threshold`` failures in a row it opens and answers for them.

    Open for ``recovery_s`` seconds, then half open: one attempt is let through as a probe. If it succeeds, the circuit
    closes; if it fails, it opens again; if it never ends, another probe is let through after ``recovery_s``.
    While open, NodeStarted is answered as ``when_open`` says: ``"fail"`` (the node fails and is not retried),
    ``"skip"``, or ``"fallback"`` with ``value``.

    ``key`` tells what shares one circuit: None, one per node; a string, one for all nodes of the policy; or a function
    of the context. Circuits outlive runs (what they guard, a service or a disk, does too), at most ``max_circuits`` of
    them. Time is the event's own monotonic time, so that a backtest decides the same. The machine is three states and
    a counter: a library would bring its own clock and its own way to wrap calls.
    """

    priority: ClassVar[int] = 60
    event_types = (NodeStarted, NodeCompleted, NodeFailed)

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_s: float = 30.0,
        *,
        when_open: str = "fail",
        value: Any = None,
        key: str | Callable[[ExecutionContext], str] | None = None,
        on: ErrorTypes = (Exception,),
        not_on: ErrorTypes = (),
        nodes: str | Iterable[str] | None = None,
        max_circuits: int = 10_000,
    ) -> None:
        super().__init__(nodes)
        self.failure_threshold = count(self, "failure_threshold", failure_threshold)
        self.recovery_s = number(self, "recovery_s", recovery_s)
        self.when_open = one_of(self, "when_open", when_open, ("fail", "skip", "fallback"))
        self.value = value
        self.key = key
        self.on = error_types(self, "on", on)
        self.not_on = error_types(self, "not_on", not_on)
        self.max_circuits = count(self, "max_circuits", max_circuits)
        self._circuits: dict[str, _Circuit] = {}
        self._lock = free_in_children(threading.Lock())

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """Answer for NodeStarted while open; take note of how nodes end."""
        if not isinstance(event, self.event_types) or not self.is_about(event, context):
            return PROCEED
        key = self._key(event, context)
        now = event.monotonic_ns / 1e9
        with self._lock:
            if isinstance(event, NodeStarted):
                circuit = self._circuits.get(key)
                if circuit is None or self._lets_through(circuit, now):
                    return PROCEED
                return self._answer(key, circuit, now)
            if isinstance(event, NodeCompleted):
                self._circuits.pop(key, None)
            elif isinstance(event, NodeFailed) and self._counts(event.error):
                self._count_failure(key, now)
        return PROCEED

    def state_of(self, key: str) -> CircuitState:
        """The state of one circuit: ``closed``, ``open`` or ``half_open``."""
        with self._lock:
            circuit = self._circuits.get(key)
            return "closed" if circuit is None else circuit.state

    def reset(self) -> None:
        """Close every circuit and forget every failure."""
        with self._lock:
            self._circuits.clear()

    def _key(self, event: Event, context: ExecutionContext) -> str:
        if self.key is None:
            return node_of(event, context)
        return self.key if isinstance(self.key, str) else self.key(context)

    def _counts(self, error: BaseException) -> bool:
        return isinstance(error, self.on) and not isinstance(error, self.not_on)

    def _lets_through(self, circuit: _Circuit, now: float) -> bool:
        if circuit.state == "closed":
            return True
        since = circuit.opened_at if circuit.probe_at is None else circuit.probe_at
        if now - since < self.recovery_s:
            return False
        circuit.state, circuit.probe_at = "half_open", now
        return True

    def _count_failure(self, key: str, now: float) -> None:
        while len(self._circuits) >= self.max_circuits and key not in self._circuits:
            del self._circuits[next(iter(self._circuits))]
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures += 1
        if circuit.state == "half_open" or (circuit.state == "closed" and circuit.failures >= self.failure_threshold):
            circuit.state, circuit.opened_at, circuit.probe_at = "open", now, None

    def _answer(self, key: str, circuit: _Circuit, now: float) -> ControlResponse:
        left = self.recovery_s - (now - circuit.opened_at)
        doing = f"open for another {left:.3g} s" if circuit.state == "open" else "half open, its probe has not ended"
        reason = f"circuit {key!r} is {doing} after {circuit.failures} failures"
        if self.when_open == "fail":
            return ControlResponse(ControlSignal.FAIL, reason, reason)
        signal = ControlSignal.SKIP if self.when_open == "skip" else ControlSignal.FALLBACK
        return ControlResponse(signal, self.value, reason)
