"""What becomes of a node: the state of a run, and every way in which a node can end."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.dag.binding import MISSING
from hexviz.dag.detach import detached
from hexviz.dag.errors import NodeExecutionError, NodeVetoedError
from hexviz.dag.signals import decider, delay_of, veto
from hexviz.dag.waves import FAILED, FELL_BACK, SKIPPED, STATUSES, Waves
from hexviz.events.events import ControlDecided, Event, NodeFailed, NodeFellBack, NodeRetrying, NodeSkipped
from hexviz.events.models import ControlResponse, ControlSignal, ExecutionContext

if TYPE_CHECKING:
    from datetime import datetime

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.plan import Plan
    from hexviz.events.asking import Decision
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.events import NodeStarted
    from hexviz.events.observer_manager import ObserverManager

_RETRY, _SKIP, _FALLBACK, _FAIL = (
    ControlSignal.RETRY,
    ControlSignal.SKIP,
    ControlSignal.FALLBACK,
    ControlSignal.FAIL,
)


def _says_why(response: ControlResponse) -> bool:
    """Whether the text in ``data`` is a message. With SKIP and FALLBACK it is a result, which is nobody's reason."""
    return isinstance(response.data, str) and response.signal in {ControlSignal.FAIL, ControlSignal.ERROR}


class Freed(NamedTuple):
    """When a node became ready to start, where no event tells it. The timestamp is None where no parent freed it."""

    timestamp: datetime | None
    monotonic_ns: int


class Outcomes(ABC):
    """The state of one run, and how a node's end moves it on: tell, free the children, skip those that cannot run."""

    def __init__(
        self, plan: Plan, *, run_id: str, observers: ObserverManager, control: ControlManager, settings: Settings
    ) -> None:
        size = len(plan)
        self.plan = plan
        self.run_id = run_id
        self.observers = observers
        self.control = control
        self.settings = settings
        self.started_ns = monotonic_ns()
        self.results: list[Any] = [MISSING] * size
        self.status = bytearray(size)
        self.attempts = [1] * size
        self.ready: deque[int] = deque()
        self.waves = Waves(plan)
        self.failures: list[Exception] = []
        self.fatal: BaseException | None = None
        self.stopped = ""
        self._seq = itertools.count(1)
        self._lock = threading.RLock()
        self._unmet = plan.unmet.copy()
        self._lost = [0] * size
        self._freed_by: list[Event | Freed | None] = [None] * size
        self._held_starts: dict[int, tuple[NodeStarted, int]] = {}
        self._contexts: list[ExecutionContext | None] = [None] * size
        self._barrier = settings.schedule == "wave"
        self._ended = False
        self._all_votes = settings.decisions == "all"

    @abstractmethod
    def stop(self, reason: str) -> None:
        """Start nothing more and cancel what runs."""

    @abstractmethod
    def _again(self, index: int, delay_s: float) -> None:
        """Put the node back after a while."""

    @abstractmethod
    def _start_without(self, index: int) -> None:
        """The node is going to run although results of its parents are missing."""

    @abstractmethod
    def _complete_wave(self, wave: int) -> None:
        """Tell that a wave has ended."""

    # --- telling and asking

    def emit(self, event_class: type[Event], *args: Any, **fields: Any) -> Any:
        """Make an event of this run, give it its number, and tell the observers; from any thread, always in order."""
        lock = self._lock
        lock.acquire()  # half the price of a with statement
        try:
            if self._ended:  # a node that was let go of still has something to say; its run is over
                return event_class(*args, **fields, run_id=self.run_id, pipeline=self.plan.name)
            event = event_class(*args, **fields, run_id=self.run_id, seq=next(self._seq), pipeline=self.plan.name)
            self.observers.notify_nowait(event)
        finally:
            lock.release()
        return event

    def emit_last(self, event_class: type[Event], *args: Any) -> None:
        """Tell how the run ended; nothing is told of this run after that.

        What goes wrong when observers are told of it is news of the manager, without a number of this run.
        """
        with self._lock:
            self.observers.number_events_of(self.run_id, None)
            self.emit(event_class, *args)
            self._ended = True

    async def ask(self, event: Event, context: ExecutionContext) -> Decision | None:
        """What control decides about ``event``; None where it does not object. Tells the decision where that is due."""
        return self.note(event, context, await self.control.decide(event, context, all_votes=self._all_votes))

    def note(self, event: Event, context: ExecutionContext, decision: Decision) -> Decision | None:
        """Tell ``decision`` where that is due; None where it changes nothing."""
        if decision.noteworthy or self._all_votes:
            self._tell_decision(event, context, decision)
        return decision if decision.decided_by is not None else None

    def _tell_decision(self, event: Event, context: ExecutionContext, decision: Decision) -> None:
        entry, response = decision.decided_by, decision.response
        self.emit(
            ControlDecided,
            type(event).__name__,
            event.seq,
            response.signal.value,
            node_name=context.node_id or "",
            wave_index=context.wave_index,
            attempt=context.attempt,
            decided_by=entry.name if entry else "",
            priority=entry.priority if entry else None,
            reason=response.reason or (response.data if _says_why(response) else ""),
            votes=decision.votes,
            shadow=entry is None and any(vote.shadow and vote.signal != "proceed" for vote in decision.votes),
        )

    def elapsed_ms(self) -> float:
        """Milliseconds since the run began."""
        return (monotonic_ns() - self.started_ns) / 1e6

    def facts(self, index: int) -> tuple[str, int]:
        """The name and the wave of a node."""
        return self.plan.names[index], self.plan.waves[index]

    def context_of(self, index: int) -> ExecutionContext:
        """What a handler gets to know; the metadata is the node's own and lasts over its attempts."""
        context = self._contexts[index]
        attempt = self.attempts[index]
        if context is None or context.attempt != attempt:
            metadata = {} if context is None else context.metadata
            plan = self.plan
            context = self._contexts[index] = ExecutionContext(
                plan.name, plan.names[index], plan.waves[index], attempt, metadata, self.run_id
            )
        return context

    # --- what control made of a node

    def _at_start(self, index: int, started: NodeStarted, times: int, decision: Decision) -> None:
        signal, data = decision.response.signal, decision.response.data
        if signal is _RETRY and times < self.settings.max_attempts:
            delay_s = self._delay(index, decision)
            if delay_s is not None:
                self._held_starts[index] = (started, times)
                self._again(index, delay_s)
        elif signal is _SKIP:
            self._skip(index, decision, data)
        elif signal is _FALLBACK:
            self._fall_back(index, decision, data)
        elif signal in (_FAIL, _RETRY):
            self._veto(index, decision, 0.0)
        else:
            self._end_run(index, decision, 0.0)

    def _at_end(self, index: int, decision: Decision, duration_ms: float, error: BaseException | None = None) -> None:
        signal, data = decision.response.signal, decision.response.data
        if signal is _RETRY:
            self._retry(index, decision, error)
        elif signal is _SKIP:
            self._skip(index, decision, data, duration_ms)
        elif signal is _FALLBACK:
            self._fall_back(index, decision, data, duration_ms)
        elif signal is _FAIL and error is not None:
            self._fail(index, error)
        elif signal is _FAIL:
            self._veto(index, decision, duration_ms)
        else:
            self._end_run(index, decision, duration_ms, error)

    def _retry(self, index: int, decision: Decision, error: BaseException | None) -> None:
        attempt = self.attempts[index]
        if attempt >= self.settings.max_attempts:
            if error is None:
                self._veto(index, decision, 0.0)
            else:
                self._fail(index, error)
            return
        delay_s = self._delay(index, decision, error)
        if delay_s is None:
            return
        by = decider(decision)
        self.emit(NodeRetrying, *self.facts(index), attempt, delay_s, by, decision.response.reason)
        self.attempts[index] = attempt + 1
        self._again(index, delay_s)

    def _delay(self, index: int, decision: Decision, error: BaseException | None = None) -> float | None:
        try:
            return delay_of(decision)
        except NodeVetoedError as refused:
            refused.__cause__ = error
            self._fail_told(index, refused)
            return None

    def _skip(self, index: int, decision: Decision, data: Any, duration_ms: float = 0.0) -> None:
        self._tell_settled(NodeSkipped, index, decision, data, duration_ms)
        if data is not None:
            self.results[index] = data
        self._settle(index, SKIPPED, None)

    def _fall_back(self, index: int, decision: Decision, value: Any, duration_ms: float = 0.0) -> None:
        spec = self.plan.specs[index]
        if spec.out_model is not None:
            try:
                value = self.settings.check_result(spec, value)
            except Exception as error:  # noqa: BLE001 - a model's own check may raise anything
                self._fail_told(index, error)
                return
        self._tell_settled(NodeFellBack, index, decision, value, duration_ms)
        self.results[index] = value
        self._settle(index, FELL_BACK, None)

    def _tell_settled(self, kind: type[Event], index: int, decision: Decision, value: Any, duration_ms: float) -> None:
        reason, by = decision.response.reason, decider(decision)
        self.emit(kind, *self.facts(index), self.attempts[index], reason, by, duration_ms, detached(value))

    def _veto(self, index: int, decision: Decision, duration_ms: float) -> None:
        """A policy's own FAIL: the node fails, and nobody is asked to retry it."""
        self._fail_told(index, veto(decision, f"node {self.plan.names[index]!r}"), duration_ms)

    def _end_run(self, index: int, decision: Decision, duration_ms: float, error: BaseException | None = None) -> None:
        """ERROR: the node fails and the run with it, whatever ``on_error`` says. ``error`` was told already."""
        if error is None:
            self._veto(index, decision, duration_ms)
        else:
            vetoed = veto(decision, f"node {self.plan.names[index]!r}")
            vetoed.__context__ = error
            self._fail(index, vetoed)
        self.stop(f"control handler {decider(decision)!r} answered ERROR")

    def _fail_told(self, index: int, error: Exception, duration_ms: float = 0.0) -> None:
        self.emit(NodeFailed, *self.facts(index), error, self.attempts[index], duration_ms, will_retry=False)
        self._fail(index, error)

    def _fail(self, index: int, error: BaseException) -> None:
        name = self.plan.names[index]
        self.failures.append(NodeExecutionError(name, error, self.attempts[index]))
        self._settle(index, FAILED, None)
        if self.settings.on_error == "fail_fast":
            self.stop(f"node {name!r} failed")

    # --- moving on

    def _settle(self, index: int, status: int, event: Event | None) -> None:
        """A node has its final status: free its children, and skip those that cannot run any more. No recursion."""
        self._end(index, status)
        freed_by = event if event is not None or not self.observers.active else Freed(None, monotonic_ns())
        self._free_children(index, freed_by)
        if self._barrier and not self.stopped:
            self._release_waves(freed_by)

    def _free_children(self, index: int, freed_by: Event | Freed | None) -> None:
        settled = [index]
        for parent in settled:
            missing = self.results[parent] is MISSING
            for child in self.plan.children[parent]:
                self._unmet[child] -= 1
                if missing:
                    self._lost[child] += 1
                if not self._unmet[child] and self._skipped_or_ready(child, parent, freed_by):
                    settled.append(child)

    def _free(self, child: int, parent: int, freed_by: Event | Freed | None) -> None:
        """The last parent of ``child`` succeeded, others did not."""
        if self._skipped_or_ready(child, parent, freed_by):
            self._free_children(child, freed_by)

    def _skipped_or_ready(self, child: int, parent: int, freed_by: Event | Freed | None) -> bool:
        """Every parent of ``child`` has ended: whether it had to be skipped for that; otherwise it may start."""
        if self.status[child]:
            return False
        if self._lost[child] and not self._may_run(child):
            self._skip_unreachable(child, parent)
            return True
        if self._lost[child]:
            self._start_without(child)
        if not self._barrier and not self.stopped:
            self._freed_by[child] = freed_by
            self.ready.append(child)
        return False

    def _release_waves(self, freed_by: Event | Freed | None) -> None:
        for index in self.waves.release():
            if not self.status[index]:
                self._freed_by[index] = freed_by
                self.ready.append(index)

    def _may_run(self, index: int) -> bool:
        run_if = self.plan.specs[index].run_if
        return run_if == "always" or (run_if == "any" and self._lost[index] < len(self.plan.parents[index]))

    def _skip_unreachable(self, index: int, parent: int) -> None:
        how = STATUSES[self.status[parent]].replace("_", " ")
        reason = f"parent {self.plan.names[parent]!r} {'was ' if how == 'skipped' else ''}{how}"
        self.emit(NodeSkipped, *self.facts(index), reason=reason)
        self._end(index, SKIPPED)

    def _end(self, index: int, status: int) -> None:
        self.status[index] = status
        wave = self.plan.waves[index]
        self.waves.left[wave] -= 1
        if not self.waves.left[wave]:
            self._wave_done(wave)

    def _wave_done(self, wave: int) -> None:
        self.waves.unfinished -= 1
        if self.waves.started(wave):
            self._complete_wave(wave)
