"""One run of one graph: the loop that starts nodes, asks control, and tells observers.

Ready nodes wait in a deque. A *worker* is a task that takes one node after the other, and so runs on with the child
that its last node made ready. Whenever more is ready than one worker can do, one spare worker is put on the loop; it
only gets to run when a node really waits, so nodes that never wait cost no task. Each node's coroutine is stepped in
a context of its own, inside its worker's task: context variables stay with the node, and ``asyncio.timeout`` and task
groups work.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections import Counter, deque
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hexviz.dag.binding import MISSING
from hexviz.dag.current import CURRENT, CurrentNode
from hexviz.dag.errors import NodeExecutionError, NodeTimeoutError, NodeVetoedError
from hexviz.dag.signals import decider, delay_of, mapping_of, veto
from hexviz.events.events import (
    ControlDecided,
    Event,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeFellBack,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    WaveCompleted,
    WaveStarted,
)
from hexviz.events.models import ControlSignal, ExecutionContext
from hexviz.events.stepping import AbandonedError, Continued

if TYPE_CHECKING:
    from datetime import datetime

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.plan import Plan
    from hexviz.dag.runners.local import ThreadRunner
    from hexviz.events.control_manager import ControlManager, Decision
    from hexviz.events.observer_manager import ObserverManager

PENDING, RUNNING, WAITING, SUCCEEDED, FAILED, SKIPPED, FELL_BACK, CANCELLED = range(8)
_COUNTED = {
    SUCCEEDED: "succeeded",
    FAILED: "failed",
    SKIPPED: "skipped",
    FELL_BACK: "fell_back",
    CANCELLED: "cancelled",
}
_RETRY, _SKIP, _FALLBACK, _FAIL = (
    ControlSignal.RETRY,
    ControlSignal.SKIP,
    ControlSignal.FALLBACK,
    ControlSignal.FAIL,
)


class Run:
    """The state of one run, and what moves it on. Lives on one event loop; :meth:`emit` is for any thread."""

    def __init__(
        self,
        plan: Plan,
        initial_input: Any,
        *,
        run_id: str,
        observers: ObserverManager,
        control: ControlManager,
        settings: Settings,
        threads: ThreadRunner,
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.initial_input = initial_input
        self.observers = observers
        self.control = control
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.context = ExecutionContext(plan.name, run_id=run_id)
        self.started_ns = monotonic_ns()
        self.results: list[Any] = [MISSING] * len(plan)
        self.status = bytearray(len(plan))
        self.failures: list[Exception] = []
        self.fatal: BaseException | None = None
        self.stopped = ""
        self._threads = threads
        self._seq = itertools.count(1)
        self._lock = threading.RLock()
        self._attempts = [1] * len(plan)
        self._ready_at: dict[int, tuple[datetime | None, int]] = {}
        self._held_starts: dict[int, tuple[NodeStarted, int]] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._unmet = [len(parents) for parents in plan.parents]
        self._lost = [0] * len(plan)
        self._left = len(plan)
        self._wave_left = [len(names) for names in plan.wave_names]
        self._wave_status: list[Counter[str]] = [Counter() for _ in plan.wave_names]
        self._wave_started_ns = [0] * len(plan.wave_names)
        self._wave_state: list[Any] = [None] * len(plan.wave_names)
        self._barrier = settings.schedule == "wave"
        self._released = (0, 0)
        self._ready: deque[int] = deque()
        self._timers: set[asyncio.TimerHandle] = set()
        self._workers: dict[asyncio.Task[None], _Place] = {}
        self._spare = False
        self._held = False
        self._finished: asyncio.Future[None] = self.loop.create_future()

    # --- telling and asking

    def emit(self, event_class: type[Event], *args: Any, **fields: Any) -> Any:
        """Make an event of this run, give it its number, and tell the observers; from any thread, always in order."""
        with self._lock:
            event = event_class(*args, **fields, run_id=self.run_id, seq=next(self._seq), pipeline=self.plan.name)
            self.observers.notify_nowait(event)
        return event

    async def ask(self, event: Any, context: ExecutionContext) -> Decision | None:
        """What control decides about ``event``; None where it does not object. Tells the decision where that is due."""
        decision = await self.control.decide(event, context)
        if decision.noteworthy or self.settings.decisions == "all":
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
            reason=response.reason or (response.data if isinstance(response.data, str) else ""),
            votes=decision.votes,
            shadow=entry is None and any(vote.shadow and vote.signal != "proceed" for vote in decision.votes),
        )

    def elapsed_ms(self) -> float:
        """Milliseconds since the run began."""
        return (monotonic_ns() - self.started_ns) / 1e6

    # --- the life of a run

    async def execute(self) -> None:
        """Run every node that can run; ``failures``, ``fatal``, ``stopped`` and ``results`` say what came of it."""
        if not self._left:
            return
        self._ready.extend(i for i, parents in enumerate(self.plan.parents) if not parents)
        self._add_worker()
        try:
            await self._finished
        except asyncio.CancelledError:
            self.stop("cancelled from outside")
            await self._wind_down()
            raise
        await self._wind_down()

    def stop(self, reason: str) -> None:
        """Start nothing more and cancel what runs; on the run's own loop."""
        if self.stopped:
            return
        self.stopped = reason
        self._ready.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        current = asyncio.current_task(self.loop)
        for task in self._workers:
            if task is current:  # it may be about to end by itself
                self.loop.call_soon(task.cancel)
            else:
                task.cancel()
        self._check_finished()

    def fail(self, error: Exception) -> None:
        """Fail the whole run; on its own loop."""
        self.failures.append(error)
        self.stop(str(error))

    async def _wind_down(self) -> None:
        """Wait for cancelled nodes for the grace time, then let go of those that do not end."""
        deadline = self.loop.time() + self.settings.cancel_grace_s
        while self._workers:
            patience = max(0.0, deadline - self.loop.time())
            try:
                await asyncio.wait(self._workers, timeout=patience)
            except asyncio.CancelledError:
                deadline = self.loop.time()  # asked twice: no more patience
            if self.loop.time() >= deadline:
                for task, place in tuple(self._workers.items()):
                    place.abandon(task)
                await asyncio.sleep(0)
        for index, status in enumerate(self.status):
            if status == WAITING:
                self._cancelled(index, 0.0)
        for wave in range(len(self._wave_left)):
            if self._wave_started_ns[wave] and self._wave_left[wave]:
                self._complete_wave(wave)

    def hold(self, held: bool) -> None:  # noqa: FBT001 - a switch
        """Start no new node while ``held``; what runs goes on."""
        self._held = held
        if not held:
            self._add_worker()

    def _check_finished(self) -> None:
        if not self._finished.done() and (not self._left or (self.stopped and not self._workers)):
            self._finished.set_result(None)

    # --- workers

    def _add_worker(self) -> None:
        if self._spare or self._held or len(self._workers) >= self.settings.max_concurrent_nodes:
            return
        self._spare = True
        place = _Place()
        task = self.loop.create_task(
            self._work(place), name=f"hexviz-{self.plan.name}", context=contextvars.copy_context()
        )
        self._workers[task] = place
        task.add_done_callback(self._worker_done)

    def _worker_done(self, task: asyncio.Task[None]) -> None:
        place = self._workers.pop(task)
        if not place.began:
            self._spare = False
        error = None if task.cancelled() else task.exception()
        if error is not None and self.fatal is None:
            self.fatal = error
            self.stop("internal error")
        if self._ready and not self.stopped:
            self._add_worker()
        self._check_finished()

    # The hot loop: written once, kept whole.
    async def _work(self, place: _Place) -> None:
        self._spare = False
        place.began = True
        ready = self._ready
        catch_up = self.observers.catch_up
        while ready and not self._held:
            index = ready.popleft()
            if ready and not self._spare:
                self._add_worker()
            await self._advance(index, place)
            catch_up()
        if not self._left:
            self._check_finished()

    async def _advance(self, index: int, place: _Place) -> None:
        """One attempt of one node, from the wave's permission to what control makes of its end."""
        plan = self.plan
        wave = plan.waves[index]
        place.index = index
        if self._wave_state[wave - 1] is not True and not await self._enter_wave(wave, index):
            return
        started_ns = 0
        try:
            held = self._held_starts.pop(index, None) if self._held_starts else None
            started = held[0] if held else self._tell_started(index, wave)
            self.status[index] = RUNNING
            if self.control.asks(NodeStarted):
                decision = await self.ask(started, self._context_of(index))
                if decision is not None:
                    self._at_start(index, started, held[1] + 1 if held else 1, decision)
                    return
            started_ns = monotonic_ns()
            result = await self._call(index, place)
        except BaseException as error:
            if place.closed:
                raise  # the loop is gone
            duration_ms = (monotonic_ns() - started_ns) / 1e6 if started_ns else 0.0
            await self._raised(index, error, duration_ms, place)
        else:
            await self._returned(index, result, (monotonic_ns() - started_ns) / 1e6)

    def _tell_started(self, index: int, wave: int) -> NodeStarted:
        ready_at, ready_ns = self._ready_at.pop(index, (None, 0))
        return self.emit(  # type: ignore[no-any-return]
            NodeStarted,
            self.plan.names[index],
            wave,
            self.plan.deps[index],
            self._attempts[index],
            ready_at,
            (monotonic_ns() - ready_ns) / 1e6 if ready_ns else 0.0,
            "" if self.plan.asynchronous[index] else "thread",
        )

    async def _call(self, index: int, place: _Place) -> Any:
        """Run the node's code: its own time, in a context of its own."""
        plan = self.plan
        spec = plan.specs[index]
        args, kwargs = plan.bindings[index].arguments(self.initial_input, self.results)
        context = contextvars.copy_context()
        here = CurrentNode(self, spec.name, plan.waves[index], self._attempts[index])
        if plan.asynchronous[index]:
            coroutine = spec.fn(*args, **kwargs)
        else:
            context.run(CURRENT.set, here)
            coroutine = self._in_thread(context, partial(spec.fn, *args, **kwargs))
        try:
            waiting_on = context.run(_first_step, here, coroutine)
        except StopIteration as done:
            return done.value
        place.continued = Continued(coroutine, waiting_on, context)
        timer = self.loop.call_later(spec.timeout_s, place.overrun, self) if spec.timeout_s else None
        try:
            return await place.continued
        finally:
            place.closed, place.continued = place.continued.closed, None
            if timer is not None:
                timer.cancel()
            place.cancel_grace()

    async def _in_thread(self, context: contextvars.Context, fn: Any) -> Any:
        result = await self._threads.run(context.copy(), fn)
        return await result if hasattr(result, "__await__") else result

    # --- what came of an attempt

    async def _returned(self, index: int, result: Any, duration_ms: float) -> None:
        spec = self.plan.specs[index]
        if spec.out_model is not None:
            try:
                result = self.settings.check_result(spec, result)
            except Exception as error:  # noqa: BLE001 - a model's own check may raise anything
                await self._fail_attempt(index, error, duration_ms)
                return
        completed = self.emit(
            NodeCompleted,
            self.plan.names[index],
            self.plan.waves[index],
            detached(result),
            duration_ms,
            self._attempts[index],
        )
        if self.control.asks(NodeCompleted):
            decision = await self._ask_after(index, completed)
            if decision is not None:
                await self._at_end(index, decision, duration_ms)
                return
        self.results[index] = result
        self._settle(index, SUCCEEDED, completed)

    async def _raised(self, index: int, error: BaseException, duration_ms: float, place: _Place) -> None:
        task = asyncio.current_task()
        timed_out = place.forgive(task)
        if timed_out and isinstance(error, (asyncio.CancelledError, AbandonedError)):
            spec = self.plan.specs[index]
            error = NodeTimeoutError(f"node {spec.name!r} took longer than its timeout_s of {spec.timeout_s:g} s")
        elif self.stopped and isinstance(error, (asyncio.CancelledError, AbandonedError)):
            self._cancelled(index, duration_ms)
            return
        elif isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            task.uncancel()  # the node cancelled itself, or somebody cancelled every task
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.emit(NodeFailed, *self._facts(index), error, self._attempts[index], duration_ms, will_retry=False)
            self._end(index, FAILED)
            self.fatal = error
            self.stop(f"node {self.plan.names[index]!r} raised {type(error).__name__}")
            return
        await self._fail_attempt(index, error, duration_ms)

    def _cancelled(self, index: int, duration_ms: float) -> None:
        self.emit(
            NodeCancelled, *self._facts(index), self._attempts[index], reason=self.stopped, duration_ms=duration_ms
        )
        self._end(index, CANCELLED)

    async def _fail_attempt(self, index: int, error: BaseException, duration_ms: float) -> None:
        """An attempt failed of itself: control may retry it, replace it, or skip it."""
        asked = bool(self.control.asks(NodeFailed))
        failed = self.emit(
            NodeFailed,
            *self._facts(index),
            error,
            self._attempts[index],
            duration_ms,
            will_retry=None if asked else False,
        )
        decision = await self._ask_after(index, failed) if asked else None
        if decision is None:
            self._fail(index, error)
        else:
            await self._at_end(index, decision, duration_ms, error)

    async def _ask_after(self, index: int, event: Event) -> Decision | None:
        try:
            return await self.ask(event, self._context_of(index))
        except asyncio.CancelledError:
            if not self.stopped:
                raise
            return None

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

    async def _at_end(
        self, index: int, decision: Decision, duration_ms: float, error: BaseException | None = None
    ) -> None:
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
            self._end_run(index, decision, duration_ms)

    def _retry(self, index: int, decision: Decision, error: BaseException | None) -> None:
        attempt = self._attempts[index]
        if attempt >= self.settings.max_attempts:
            self._fail(index, error or veto(decision, f"node {self.plan.names[index]!r}"))
            return
        delay_s = self._delay(index, decision, error)
        if delay_s is None:
            return
        self._attempts[index] = attempt + 1
        self.emit(NodeRetrying, *self._facts(index), attempt, delay_s, decider(decision), decision.response.reason)
        self._again(index, delay_s)

    def _delay(self, index: int, decision: Decision, error: BaseException | None = None) -> float | None:
        try:
            return delay_of(decision)
        except NodeVetoedError as refused:
            refused.__cause__ = error
            self.emit(NodeFailed, *self._facts(index), refused, self._attempts[index], will_retry=False)
            self._fail(index, refused)
            return None

    def _again(self, index: int, delay_s: float) -> None:
        """Put the node back when its time has come; the wait holds no worker."""
        if self.stopped:
            self._cancelled(index, 0.0)
            return
        self.status[index] = WAITING

        def due() -> None:
            self._timers.discard(timer)
            self._ready_at[index] = (None, monotonic_ns())
            self._ready.append(index)
            self._add_worker()

        timer = self.loop.call_later(delay_s, due)
        self._timers.add(timer)

    def _skip(self, index: int, decision: Decision, data: Any, duration_ms: float = 0.0) -> None:
        event = self.emit(
            NodeSkipped,
            *self._facts(index),
            self._attempts[index],
            decision.response.reason,
            decider(decision),
            duration_ms,
            detached(data),
        )
        if data is not None:
            self.results[index] = data
        self._settle(index, SKIPPED, event)

    def _fall_back(self, index: int, decision: Decision, value: Any, duration_ms: float = 0.0) -> None:
        spec = self.plan.specs[index]
        if spec.out_model is not None:
            try:
                value = self.settings.check_result(spec, value)
            except Exception as error:  # noqa: BLE001 - a model's own check may raise anything
                self.emit(NodeFailed, *self._facts(index), error, self._attempts[index], will_retry=False)
                self._fail(index, error)
                return
        event = self.emit(
            NodeFellBack,
            *self._facts(index),
            self._attempts[index],
            decision.response.reason,
            decider(decision),
            duration_ms,
            detached(value),
        )
        self.results[index] = value
        self._settle(index, FELL_BACK, event)

    def _veto(self, index: int, decision: Decision, duration_ms: float) -> None:
        """A policy's own FAIL: the node fails, and nobody is asked to retry it."""
        error = veto(decision, f"node {self.plan.names[index]!r}")
        self.emit(NodeFailed, *self._facts(index), error, self._attempts[index], duration_ms, will_retry=False)
        self._fail(index, error)

    def _end_run(self, index: int, decision: Decision, duration_ms: float) -> None:
        """ERROR: the node fails and the run with it, whatever ``on_error`` says."""
        self._veto(index, decision, duration_ms)
        self.stop(f"control handler {decider(decision)!r} answered ERROR")

    def _fail(self, index: int, error: BaseException) -> None:
        name = self.plan.names[index]
        self.failures.append(NodeExecutionError(name, error, self._attempts[index]))
        self._settle(index, FAILED, None)
        if self.settings.on_error == "fail_fast":
            self.stop(f"node {name!r} failed")

    # --- moving on

    def _settle(self, index: int, status: int, event: Event | None) -> None:
        """A node has its final status: free its children, and skip those that cannot run any more. No recursion."""
        settled = [(index, status, event)]
        unmet, lost, results, children = self._unmet, self._lost, self.results, self.plan.children
        while settled:
            index, status, event = settled.pop()
            self._end(index, status)
            missing = results[index] is MISSING
            for child in children[index]:
                unmet[child] -= 1
                lost[child] += missing
                if not unmet[child] and not self.status[child]:
                    if lost[child] and not self._may_run(child):
                        settled.append((child, SKIPPED, self._tell_unreachable(child, index)))
                    elif not self._barrier:
                        self._make_ready(child, event)
        if self._barrier:
            self._release_waves()

    def _may_run(self, index: int) -> bool:
        run_if = self.plan.specs[index].run_if
        return run_if == "always" or (run_if == "any" and self._lost[index] < len(self.plan.parents[index]))

    def _tell_unreachable(self, index: int, parent: int) -> Event:
        how = _COUNTED[self.status[parent]].replace("_", " ")
        reason = f"parent {self.plan.names[parent]!r} {'was ' if how == 'skipped' else ''}{how}"
        return self.emit(NodeSkipped, *self._facts(index), reason=reason)  # type: ignore[no-any-return]

    def _make_ready(self, index: int, event: Event | None) -> None:
        if not self.stopped:
            self._ready_at[index] = (event.timestamp, event.monotonic_ns) if event else (None, monotonic_ns())
            self._ready.append(index)

    def _end(self, index: int, status: int) -> None:
        self.status[index] = status
        self._left -= 1
        wave = self.plan.waves[index] - 1
        self._wave_status[wave][_COUNTED[status]] += 1
        self._wave_left[wave] -= 1
        if not self._wave_left[wave] and self._wave_started_ns[wave]:
            self._complete_wave(wave)

    def _release_waves(self) -> None:
        """With ``schedule="wave"``: once a wave has ended, its successor may start."""
        wave, first = self._released
        while wave < len(self._wave_left) and not self._wave_left[wave]:
            first += len(self.plan.wave_names[wave])
            wave += 1
        if wave > self._released[0] and wave < len(self._wave_left):
            for index in range(first, first + len(self.plan.wave_names[wave])):
                if not self.status[index]:
                    self._make_ready(index, None)
        self._released = wave, first

    # --- waves

    async def _enter_wave(self, wave: int, index: int) -> bool:
        """Whether the node may go on: the first of a wave tells and asks for all, the others wait for the answer."""
        state = self._wave_state[wave - 1]
        if state is not None:
            if isinstance(state, list):
                state.append(index)
                return False
            return self._apply_wave(state, index)
        started = self._start_wave(wave)
        if not self.control.asks(WaveStarted):
            self._wave_state[wave - 1] = True
            return True
        waiting = self._wave_state[wave - 1] = [index]
        await self._ask_for_wave(wave, started, waiting)
        return False

    def _start_wave(self, wave: int) -> WaveStarted:
        self._wave_started_ns[wave - 1] = monotonic_ns()
        return self.emit(WaveStarted, wave, self.plan.wave_names[wave - 1])  # type: ignore[no-any-return]

    async def _ask_for_wave(self, wave: int, started: WaveStarted, waiting: list[int]) -> None:
        context = ExecutionContext(self.plan.name, None, wave, 1, self.context.metadata, self.run_id)
        for _ in range(self.settings.max_attempts):
            try:
                decision = await self.ask(started, context)
                if decision is None or decision.response.signal is not _RETRY:
                    break
                await asyncio.sleep(delay_of(decision))
            except asyncio.CancelledError:
                if self.stopped:
                    return
                raise
            except NodeVetoedError as refused:
                self.failures.append(refused)
                self.stop(f"wave {wave} could not start")
                return
        self._wave_state[wave - 1] = True if decision is None else decision
        if decision is not None and decision.response.signal not in (_SKIP, _FALLBACK):
            error = veto(decision, f"wave {wave}")
            self.failures.append(error)
            self.stop(f"wave {wave} was vetoed")
            return
        self._ready.extendleft(reversed(waiting))

    def _apply_wave(self, decision: Decision, index: int) -> bool:
        """A whole wave was skipped or replaced: give this node its part of that."""
        data = mapping_of(decision.response.data)
        name = self.plan.names[index]
        if decision.response.signal is _FALLBACK and name in data:
            self._fall_back(index, decision, data[name])
        else:
            self._skip(index, decision, data.get(name))
        return False

    def _complete_wave(self, wave: int) -> None:
        counts = self._wave_status[wave]
        duration_ms = (monotonic_ns() - self._wave_started_ns[wave]) / 1e6
        self._wave_started_ns[wave] = 0
        self.emit(WaveCompleted, wave + 1, duration_ms, **counts)

    def close(self) -> None:
        """Send the threads of this run home; on the run's own loop or after it."""
        self._threads.close()
        self.observers.catch_up()

    # --- facts

    def _facts(self, index: int) -> tuple[str, int]:
        return self.plan.names[index], self.plan.waves[index]

    def _context_of(self, index: int) -> ExecutionContext:
        metadata = self._metadata.get(index)
        if metadata is None:
            metadata = self._metadata[index] = {}
        plan = self.plan
        return ExecutionContext(
            plan.name, plan.names[index], plan.waves[index], self._attempts[index], metadata, self.run_id
        )

    def results_by_name(self) -> dict[str, Any]:
        """The results so far; nodes without one are left out."""
        return {
            name: result for name, result in zip(self.plan.names, self.results, strict=True) if result is not MISSING
        }


class _Place:
    """Where one worker stands: its node, the coroutine that waits, and the timer that bounds it."""

    __slots__ = ("_fired", "_grace", "began", "closed", "continued", "index")

    def __init__(self) -> None:
        self.index = -1
        self.began = False
        self.closed = False
        self.continued: Continued | None = None
        self._fired = 0
        self._grace: asyncio.TimerHandle | None = None

    def overrun(self, run: Run) -> None:
        """The node's time is up: cancel it, and let go of it where it does not end within the grace time."""
        task = next((t for t, place in run._workers.items() if place is self), None)  # noqa: SLF001 - two halves of one thing
        if task is None or self.continued is None:
            return
        if self._fired:
            self.continued.abandoned = True
        self._fired += 1
        task.cancel()
        self._grace = run.loop.call_later(run.settings.cancel_grace_s, self.overrun, run)

    def forgive(self, task: asyncio.Task[Any] | None) -> bool:
        """Take back our own cancellations; whether there were any."""
        fired, self._fired = self._fired, 0
        for _ in range(fired):
            if task is not None:
                task.uncancel()
        return fired > 0

    def cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def abandon(self, task: asyncio.Task[None]) -> None:
        """Let go of a node that ignores its cancellation."""
        if self.continued is not None:
            self.continued.abandoned = True
        task.cancel()


def _first_step(here: CurrentNode, coroutine: Any) -> Any:
    CURRENT.set(here)
    return coroutine.send(None)


_PLAIN = (dict, list, set)


def detached(value: Any, budget: int = 1000) -> Any:
    """``value`` for observers: small plain containers are copied, so that no observer changes what the run uses."""
    if type(value) not in _PLAIN or len(value) > budget:
        return value
    return _copied(value, [budget])


def _copied(value: Any, budget: list[int], depth: int = 0) -> Any:
    kind = type(value)
    if kind not in _PLAIN or depth > 50:  # noqa: PLR2004 - deeper than any sensible result
        return value
    budget[0] -= len(value)
    if budget[0] < 0:
        return value
    if kind is dict:
        return {key: _copied(item, budget, depth + 1) for key, item in value.items()}
    if kind is list:
        return [_copied(item, budget, depth + 1) for item in value]
    return set(value)
