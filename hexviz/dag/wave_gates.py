"""How the waves of a run begin and end: told, and control asked for all nodes of a wave at once."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.dag.errors import NodeVetoedError
from hexviz.dag.outcomes import Outcomes
from hexviz.dag.place import abandonable
from hexviz.dag.signals import delay_of, mapping_of, veto
from hexviz.dag.waves import OPEN
from hexviz.events.asking import NO_OBJECTION, Begun, Decision
from hexviz.events.events import Event, WaveCompleted, WaveStarted, utc_now
from hexviz.events.models import ControlSignal, ExecutionContext
from hexviz.events.stepping import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.place import Place
    from hexviz.dag.plan import Plan
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager

_FRESH_NS = 25_000
"""For so long a reading of the wall clock is good for the next event too: it costs as much as the event itself."""


class _Question(NamedTuple):
    """What was asked about the start of a wave, and what came of it so far."""

    started: WaveStarted
    context: ExecutionContext
    begun: Begun


class WaveGates(Outcomes):
    """Opens each wave when its first node may start, and closes it after its last."""

    def __init__(
        self, plan: Plan, *, run_id: str, observers: ObserverManager, control: ControlManager, settings: Settings
    ) -> None:
        super().__init__(plan, run_id=run_id, observers=observers, control=control, settings=settings)
        self.context = ExecutionContext(plan.name, run_id=run_id)
        self._timestamp = utc_now()
        self._fresh_until = 0

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Fail the whole run."""

    def _look_at_clock(self, now: int) -> None:
        self._timestamp, self._fresh_until = utc_now(), now + _FRESH_NS

    # Events of waves are written out like those of nodes: there may be as many.
    def _open(self, wave: int) -> Any:
        """The first node of ``wave`` may start, so tell, and ask for all: OPEN, or the question that was begun."""
        now, run_id, pipeline = monotonic_ns(), self.run_id, self.plan.name
        names = self.waves.start(wave, now)
        if self.observers.active or self.control.active:
            if now > self._fresh_until:
                self._look_at_clock(now)
            self._lock.acquire()
            try:
                seq = next(self._seq)
                started = WaveStarted(
                    wave, names,
                    timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=now, pipeline=pipeline,
                )  # fmt: skip
                self.observers.notify_nowait(started)
            finally:
                self._lock.release()
            if self.control.active:
                context = ExecutionContext(pipeline, None, wave, 1, self.context.metadata, run_id)
                begun = self.control.rows[WaveStarted].begin(started, context, all_votes=self._all_votes)
                if begun is not NO_OBJECTION:
                    return _Question(started, context, begun)
        self.waves.gates[wave] = OPEN
        return OPEN

    def _complete_wave(self, wave: int) -> None:
        now, run_id, pipeline = monotonic_ns(), self.run_id, self.plan.name
        duration_ms = self.waves.end(wave, now)
        if not self.observers.active:
            return
        succeeded, failed, skipped, fell_back, cancelled = self.waves.counts(wave, self.status)
        if now > self._fresh_until:
            self._look_at_clock(now)
        self._lock.acquire()
        try:
            seq = next(self._seq)
            completed = WaveCompleted(
                wave, duration_ms, succeeded, failed, skipped, fell_back, cancelled,
                timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=now, pipeline=pipeline,
            )  # fmt: skip
            self.observers.notify_nowait(completed)
        finally:
            self._lock.release()

    async def _pass_gate(self, index: int, gate: Any, place: Place) -> None:
        """A node of a wave that is not simply open: the first one asks for all, the others wait for the answer."""
        if isinstance(gate, list):
            gate.append(index)
        elif isinstance(gate, _Question):
            wave = self.plan.waves[index]
            self.waves.gates[wave] = [index]
            await self._open_later(wave, place, self._ask_for_wave(*gate))
        else:
            self._apply_wave(gate, index)

    async def _open_later(self, wave: int, place: Place, asking: Coroutine[Any, Any, Decision | None]) -> None:
        waiting = self.waves.gates[wave]
        try:
            decision = await abandonable(asking, place)
        except (asyncio.CancelledError, AbandonedError):
            if self.stopped:
                return
            raise
        except NodeVetoedError as refused:
            self.fail(refused)
            return
        if decision is not None and decision.response.signal not in (ControlSignal.SKIP, ControlSignal.FALLBACK):
            self.fail(veto(decision, f"wave {wave}"))
            return
        self.waves.gates[wave] = OPEN if decision is None else decision
        self.ready.extendleft(reversed(waiting))

    async def _ask_for_wave(self, started: WaveStarted, context: ExecutionContext, begun: Begun) -> Decision | None:
        """What became of a first question that is under way; a RETRY waits, and asks again."""
        decision = self.note(started, context, begun if isinstance(begun, Decision) else await begun)
        if decision is None or decision.response.signal is not ControlSignal.RETRY:
            return decision
        delay_s = delay_of(decision)
        if self.settings.max_attempts == 1:
            return decision
        await asyncio.sleep(delay_s)
        return await self.ask_until_answered(started, context, self.settings.max_attempts - 1)

    async def ask_until_answered(
        self, event: Event, context: ExecutionContext, times: int | None = None
    ) -> Decision | None:
        """Ask about a start; a RETRY waits and asks again, as often as attempts are allowed."""
        for _ in range(self.settings.max_attempts if times is None else times):
            decision = await self.ask(event, context)
            if decision is None or decision.response.signal is not ControlSignal.RETRY:
                return decision
            await asyncio.sleep(delay_of(decision))
        return decision

    def _apply_wave(self, decision: Decision, index: int) -> None:
        """A whole wave was skipped or replaced: give this node its part of that."""
        data = mapping_of(decision.response.data)
        name = self.plan.names[index]
        if decision.response.signal is ControlSignal.FALLBACK and name in data:
            self._fall_back(index, decision, data[name])
        else:
            self._skip(index, decision, data.get(name))
