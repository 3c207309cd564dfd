"""One run of one graph: the loop that starts nodes, asks control, and tells observers.

Ready nodes wait in a deque. A *worker* is a task that takes one node after the other, and so runs on with the child
that its last node made ready. Whenever more is ready than one worker can do, one spare worker is put on the loop; it
only gets to run when a node really waits, so nodes that never wait cost no task. Each node's coroutine is stepped in a
context of its own, inside its worker's task: context variables stay with the node, and ``asyncio.timeout`` and task
groups work in it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextvars import copy_context
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.dag.binding import MISSING
from hexviz.dag.current import current_node
from hexviz.dag.detach import CONTAINERS, detached
from hexviz.dag.errors import NodeTimeoutError, NodeVetoedError, OrchestratorError
from hexviz.dag.outcomes import Freed, Outcomes
from hexviz.dag.place import DONE, Place
from hexviz.dag.runners.attempt import Attempt
from hexviz.dag.signals import delay_of, mapping_of, veto
from hexviz.dag.waves import CANCELLED, FAILED, OPEN, RUNNING, SUCCEEDED, WAITING
from hexviz.events.asking import NO_OBJECTION, Begun, Decision
from hexviz.events.events import (
    Event,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    WaveCompleted,
    WaveStarted,
    utc_now,
)
from hexviz.events.models import ControlSignal, ExecutionContext
from hexviz.events.stepping import AbandonedError, Continued

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.plan import Plan
    from hexviz.dag.runners.local import ThreadRunner
    from hexviz.dag.runners.runner import Runner, Session
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager


_log = logging.getLogger("hexviz.dag")
_CATCH_UP_EVERY = 31
_LAG_NS = 100_000_000
_FRESH_NS = 25_000
"""For so long a reading of the wall clock is good for the next event too: it costs as much as the event itself."""
_PAUSE_S = 0.01
_BEAT_S = 0.2


class Run(Outcomes):
    """The workers of one run. Lives on one event loop; :meth:`emit` is for any thread."""

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
        runner: Runner | None = None,
    ) -> None:
        super().__init__(plan, run_id=run_id, observers=observers, control=control, settings=settings)
        self.initial_input = initial_input
        self.loop = asyncio.get_running_loop()
        self.context = ExecutionContext(plan.name, run_id=run_id)
        self._threads = threads
        self._runner = runner
        self._session: Session | None = None
        self._away: dict[int, Attempt] = {}
        self._facts, self._launchers, self._out_models = plan.facts, plan.launchers.copy(), plan.out_models
        for index in plan.sync:
            self._launchers[index] = self._in_thread
        if runner is not None:
            self._facts = [(*facts[:3], runner.label) for facts in plan.facts]
            self._launchers = [self._elsewhere] * len(plan)
            if runner.keeps_results:  # what is here only stands for them: the worker checks them
                self._out_models = [None] * len(plan)
        self._timers: set[asyncio.TimerHandle] = set()
        self._workers: dict[asyncio.Task[None], Place] = {}
        self._spare = False
        self._held = False
        self._burst = 2 * settings.max_concurrent_nodes + 2  # events that nodes under way may yet tell
        self._asking: Place | None = None
        self._timestamp = utc_now()
        self._fresh_until = 0
        self._finished: asyncio.Future[None] = self.loop.create_future()
        self._beating: asyncio.TimerHandle | None = None
        if "ipykernel" in sys.modules:
            self._beat()

    # --- the life of a run

    async def execute(self) -> None:
        """Run every node that can run; ``failures``, ``fatal``, ``stopped`` and ``results`` say what came of it."""
        if not self.waves.unfinished or self.stopped:
            return
        if self._runner is None:
            await self._run_nodes()
            return
        try:
            self._session = await self._runner.open(self)
        except OrchestratorError as error:
            self.fail(error)
            return
        try:
            await self._run_nodes()
        finally:
            await self._session.close()

    async def _run_nodes(self) -> None:
        self.ready.extend(self.plan.roots)
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
        self.ready.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        current = asyncio.current_task(self.loop)
        for task in self._workers:
            if task is current:  # it may be about to end by itself
                self.loop.call_soon(task.cancel)
            else:
                task.cancel()
        if self._asking is not None:
            self._stop_asking(self._asking)
        self._check_finished()

    async def ask_to_start(self, started: Event) -> Decision | None:
        """What control makes of the start of the whole run; :meth:`stop` ends the question as well."""
        if not self.control.asks(type(started)):
            return None
        place = self._asking = Place(self.settings.cancel_grace_s)
        asking = _abandonable(self.ask_until_answered(started, self.context), place)
        place.task = asyncio.Task(asking, loop=self.loop)
        try:
            return await asyncio.shield(place.task)
        except AbandonedError:
            raise asyncio.CancelledError(self.stopped) from None
        except asyncio.CancelledError:
            self._stop_asking(place)
            raise
        finally:
            self._asking = None

    def _stop_asking(self, place: Place) -> None:
        """Cancel the question, and let go of a handler that ignores that."""
        if place.task is not None and not place.task.done():
            place.task.cancel()
            self.loop.call_later(self.settings.cancel_grace_s, place.abandon)

    def fail(self, error: Exception) -> None:
        """Fail the whole run; on its own loop."""
        self.failures.append(error)
        self.stop(str(error))

    def fail_soon(self, error: Exception) -> None:
        """Fail the whole run; from any thread."""
        self.loop.call_soon_threadsafe(self.fail, error)

    def wait_for(self, asking: Coroutine[Any, Any, None]) -> None:
        """Ask control from a thread: the handlers run on the run's own loop."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            asking.close()
            msg = "in async code write 'async with tool_call(...)': a plain 'with' would block the loop of control"
            raise OrchestratorError(msg)
        asyncio.run_coroutine_threadsafe(asking, self.loop).result()

    async def _wind_down(self) -> None:
        """Wait for cancelled nodes for the grace time, then let go of those that do not end."""
        deadline = self.loop.time() + self.settings.cancel_grace_s
        while self._workers:
            try:
                await asyncio.wait(self._workers, timeout=max(0.0, deadline - self.loop.time()))
            except asyncio.CancelledError:
                deadline = self.loop.time()  # asked twice: no more patience
            if self.loop.time() >= deadline:
                for place in tuple(self._workers.values()):
                    place.abandon()
                await asyncio.sleep(_PAUSE_S)
        if RUNNING in self.status or WAITING in self.status:
            for index, status in enumerate(self.status):
                if status in (RUNNING, WAITING):
                    self._cancelled(index, 0.0)
        for wave in self.waves.unended():
            self._complete_wave(wave)

    def hold(self, held: bool) -> None:  # noqa: FBT001 - a switch
        """Start no new node while ``held``; what runs goes on."""
        self._held = held
        if not held:
            self._add_worker()

    def close(self) -> None:
        """Send the threads of this run home."""
        self._threads.close()
        if self._beating is not None:
            self._beating.cancel()

    def _beat(self) -> None:
        """Turn the loop over: in a loop that sleeps, ipykernel 7 does not notice that the cell was interrupted."""
        self._beating = self.loop.call_later(_BEAT_S, self._beat)

    def _check_finished(self) -> None:
        if not self._finished.done() and (self.stopped or not (self.waves.unfinished or self._workers)):
            self._finished.set_result(None)

    # --- workers

    def _add_worker(self) -> None:
        if self._spare or self._held or len(self._workers) >= self.settings.max_concurrent_nodes:
            return
        self._spare = True
        place = Place(self.settings.cancel_grace_s)
        task = place.task = asyncio.Task(self._work(place), loop=self.loop, name=f"hexviz-{self.plan.name}")
        self._workers[task] = place
        task.add_done_callback(self._worker_done)

    def _worker_done(self, task: asyncio.Task[None]) -> None:
        if not self._workers.pop(task).began:
            self._spare = False
        error = None if task.cancelled() else task.exception()
        if error is not None and self.fatal is None:
            self.fatal = error
            self.stop("internal error")
        if task.cancelled() and not self.stopped:
            self.fail(OrchestratorError("a control handler cancelled the task of its run; let it answer FAIL instead"))
        if self.ready and not self.stopped:
            self._add_worker()
        self._check_finished()

    # The life of every node passes here, from its start to its end, in one line: written once, kept whole. What is
    # seldom (somebody waits, objects or fails) stands below.
    async def _work(self, place: Place) -> None:  # noqa: C901, PLR0912, PLR0915 - see above
        self._spare = False
        place.began = True
        plan, ready, results, status, attempts = self.plan, self.ready, self.results, self.status, self.attempts
        facts, launchers, out_models = self._facts, self._launchers, self._out_models
        observers, control, held_starts, freed_by = self.observers, self.control, self._held_starts, self._freed_by
        gates, lost, seqs = self.waves.gates, self._lost, self._seq
        left, unmet, children, barrier = self.waves.left, self._unmet, plan.children, self._barrier
        run_id, pipeline, contexts = self.run_id, plan.name, self._contexts
        take_turn, end_turn = self._lock.acquire, self._lock.release
        away = self._away
        tellers: Any = None
        rows: Any = None
        step = place.new_step(self.initial_input, results)
        while ready and not self._held:
            index = ready.popleft()
            if ready and not self._spare:
                self._add_worker()
            if not index & _CATCH_UP_EVERY:
                observers.catch_up()
            if observers.blocking:
                await observers.make_room(self._burst)
            name, wave, parents, worker = facts[index]
            gate = gates[wave]
            if gate is not OPEN:
                gate = gate or self._open(wave)
                if gate is not OPEN:
                    await self._pass_gate(index, gate, place)
                    continue
            status[index] = RUNNING
            attempt = attempts[index]
            where = None

            # It starts: tell, and ask control.
            if observers.tellers is not tellers or control.rows is not rows:  # somebody came, or left
                (tellers, tell_start, tell_end), (rows, check_start, check_end) = self._listeners(), self._checks()
            if tell_start is not None or check_start is not None:
                times = 0
                if held_starts and index in held_starts:
                    started, times = held_starts.pop(index)
                else:
                    freed, now, ready_at, queued_ms = freed_by[index], monotonic_ns(), None, 0.0
                    if freed is not None:
                        ready_at, queued_ms = freed.timestamp, (now - freed.monotonic_ns) / 1e6
                        freed_by[index] = None
                    if now > self._fresh_until:
                        self._look_at_clock(now)
                    take_turn()  # half the price of a with statement
                    try:
                        seq = next(seqs)
                        started = NodeStarted(
                            name, wave, parents, attempt, ready_at, queued_ms, worker,
                            timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=now, pipeline=pipeline,
                        )  # fmt: skip
                        if tell_start is not None:
                            tell_start(started)
                    finally:
                        end_turn()
                if check_start is not None:
                    where = contexts[index]
                    if where is None:
                        where = contexts[index] = ExecutionContext(pipeline, name, wave, attempt, {}, run_id)
                    elif where.attempt != attempt:
                        where = self.context_of(index)
                    outcome = check_start.ask((started, where))
                    if outcome is not NO_OBJECTION:
                        decision, rows = check_start.begun(outcome), None
                        if not await self._may_start(index, place, started, times, decision):
                            continue

            # Its code runs up to its first wait, in a context of its own; where it waits, so does this worker.
            context = copy_context()
            here = (self, index, attempt)
            started_ns = monotonic_ns()
            try:
                waiting_on = context.run(step, (here, launchers[index]))
                ended_ns = monotonic_ns()
                took_ns = ended_ns - started_ns
                if took_ns > _LAG_NS and not away:
                    _warn_of_lag(name, pipeline, took_ns)
                if waiting_on is not DONE:
                    timeout_s = None if away else plan.specs[index].timeout_s  # elsewhere it begins with the code
                    place.stay(Continued(place.stepper, waiting_on, context), timeout_s)
                    await place.continued  # type: ignore[misc]
                    ended_ns = monotonic_ns()
                    took_ns = ended_ns - started_ns
                    place.leave()
                    place.forgive()
                    step = place.new_step(self.initial_input, results)
            except BaseException as error:
                place.leave()
                if place.closed:
                    raise  # the loop is gone
                await self._raised(index, error, (monotonic_ns() - started_ns) / 1e6, place)
                step = place.new_step(self.initial_input, results)
                continue
            result = place.result
            duration_ms = took_ns / 1e6
            if away:
                duration_ms = away.pop(index).duration_ms
            if out_models[index] is not None:
                try:
                    result = self.settings.check_result(plan.specs[index], result)
                except Exception as error:  # noqa: BLE001 - a model's own check may raise anything
                    await self._fail_attempt(index, error, duration_ms, place)
                    continue

            # It ended well: tell, ask control, and free its children.
            completed = None
            if observers.tellers is not tellers or control.rows is not rows:
                (tellers, tell_start, tell_end), (rows, check_start, check_end) = self._listeners(), self._checks()
            if tell_end is not None or check_end is not None:
                if ended_ns > self._fresh_until:
                    self._look_at_clock(ended_ns)
                shown = result if type(result) not in CONTAINERS else detached(result)
                take_turn()
                try:
                    seq = next(seqs)
                    completed = NodeCompleted(
                        name, wave, shown, duration_ms, attempt,
                        timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=ended_ns, pipeline=pipeline,
                    )  # fmt: skip
                    if tell_end is not None:
                        tell_end(completed)
                finally:
                    end_turn()
                if check_end is not None:
                    outcome = check_end.ask((completed, where or self.context_of(index)))
                    if outcome is not NO_OBJECTION:
                        decision, rows = check_end.begun(outcome), None
                        if not await self._may_stand(index, place, completed, decision):
                            continue
                    contexts[index] = None
            results[index] = result
            if barrier or self.stopped:
                self._settle(index, SUCCEEDED, completed)
                continue
            status[index] = SUCCEEDED
            left[wave] = others = left[wave] - 1
            if not others:
                self._wave_done(wave)
            for child in children[index]:
                unmet[child] = others = unmet[child] - 1
                if others:
                    continue
                if lost[child] or status[child]:
                    self._free(child, index, completed)
                else:
                    freed_by[child] = completed
                    ready.append(child)

    def _listeners(self) -> tuple[Any, Any, Any]:
        """What tells observers that a node started, and that it ended; None where nobody is registered."""
        tellers = self.observers.tellers
        if not self.observers.active:
            return tellers, None, None
        return tellers, tellers[NodeStarted], tellers[NodeCompleted]

    def _checks(self) -> tuple[Any, Any, Any]:
        """Who is asked, and checks of them about nodes for one worker to hold; None where nobody is registered."""
        rows, all_votes = self.control.rows, self._all_votes
        if not self.control.active:
            return rows, None, None
        return rows, rows[NodeStarted].check(all_votes=all_votes), rows[NodeCompleted].check(all_votes=all_votes)

    def _look_at_clock(self, now: int) -> None:
        self._timestamp, self._fresh_until = utc_now(), now + _FRESH_NS

    def _start_without(self, index: int) -> None:
        if self._runner is None and self.plan.asynchronous[index]:
            self._launchers[index] = self.plan.launcher(index)

    async def _in_thread(self, initial_input: Any, results: list[Any]) -> Any:
        inside, here = copy_context(), current_node()
        assert here is not None  # noqa: S101 - the first step has set it
        result = await self._threads.run(inside, partial(self.plan.launcher(here.index), initial_input, results))
        return await result if hasattr(result, "__await__") else result

    async def _elsewhere(self, initial_input: Any, results: list[Any]) -> Any:
        here = current_node()
        assert here is not None  # noqa: S101 - the first step has set it
        assert self._session is not None  # noqa: S101 - nothing starts before it is open
        args, kwargs = self.plan.bindings[here.index].arguments(initial_input, results)
        attempt = self._away[here.index] = Attempt(self, here.index, args, kwargs)
        return await self._session.execute(attempt)

    async def _may_start(self, index: int, place: Place, started: NodeStarted, times: int, decision: Any) -> bool:
        """Control waits, or something is noteworthy about the start of a node: whether its code is to run."""
        try:
            decision = decision if type(decision) is Decision else await _abandonable(decision, place)
            decided = self.note(started, self.context_of(index), decision)
        except (asyncio.CancelledError, AbandonedError) as error:
            await self._raised(index, error, 0.0, place)
            return False
        if self.stopped:
            self._cancelled(index, 0.0)
        elif decided is not None:
            self._at_start(index, started, times + 1, decided)
        else:
            return True
        return False

    async def _may_stand(self, index: int, place: Place, completed: NodeCompleted, decision: Any) -> bool:
        """Control waits, or something is noteworthy about a result: whether the node succeeded with it."""
        decided = await self._noted(completed, index, place, decision)
        if decided is not None:
            self._at_end(index, decided, completed.duration_ms)
        return decided is None

    async def _noted(self, event: Event, index: int, place: Place, decision: Any) -> Decision | None:
        try:
            decision = decision if type(decision) is Decision else await _abandonable(decision, place)
        except (asyncio.CancelledError, AbandonedError):
            if not self.stopped:
                raise
            return None
        return self.note(event, self.context_of(index), decision)

    async def _raised(self, index: int, error: BaseException, duration_ms: float, place: Place) -> None:
        error = _as_raised(error)
        if self._away:
            attempt = self._away.pop(index, None)
            duration_ms = duration_ms if attempt is None else attempt.duration_ms
        left_to_us = isinstance(error, (asyncio.CancelledError, AbandonedError))
        if place.forgive() and left_to_us:
            spec = self.plan.specs[index]
            error = NodeTimeoutError(f"node {spec.name!r} took longer than its timeout_s of {spec.timeout_s:g} s")
        elif self.stopped and left_to_us:
            self._cancelled(index, duration_ms)
            return
        elif left_to_us:
            place.cancelled_itself()
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.emit(NodeFailed, *self.facts(index), error, self.attempts[index], duration_ms, will_retry=False)
            self._end(index, FAILED)
            self.fatal = error
            self.stop(f"node {self.plan.names[index]!r} raised {type(error).__name__}")
            return
        await self._fail_attempt(index, error, duration_ms, place)

    def _cancelled(self, index: int, duration_ms: float) -> None:
        facts = {"reason": self.stopped, "duration_ms": duration_ms}
        self.emit(NodeCancelled, *self.facts(index), self.attempts[index], **facts)
        self._end(index, CANCELLED)

    async def _fail_attempt(self, index: int, error: BaseException, duration_ms: float, place: Place) -> None:
        """An attempt failed of itself: control may retry it, replace it, or skip it."""
        asked = bool(self.control.asks(NodeFailed))
        will_retry = None if asked else False
        failed = self.emit(
            NodeFailed, *self.facts(index), error, self.attempts[index], duration_ms, will_retry=will_retry
        )
        decided = None
        if asked:
            decision = self.control.begin(failed, self.context_of(index), all_votes=self._all_votes)
            decided = await self._noted(failed, index, place, decision)
        if decided is None:
            self._fail(index, error)
        else:
            self._at_end(index, decided, duration_ms, error)

    def _again(self, index: int, delay_s: float) -> None:
        """Put the node back when its time has come; the wait holds no worker."""
        if self.stopped:
            self._cancelled(index, 0.0)
            return
        self.status[index] = WAITING

        def due() -> None:
            self._timers.discard(timer)
            self._freed_by[index] = Freed(None, monotonic_ns())
            self.ready.append(index)
            self._add_worker()

        timer = self.loop.call_later(delay_s, due)
        self._timers.add(timer)

    # --- waves

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
            decision = await _abandonable(asking, place)
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

    def results_by_name(self) -> dict[str, Any]:
        """The results so far; nodes without one are left out."""
        pairs = zip(self.plan.names, self.results, strict=True)
        if self.status.count(SUCCEEDED) == len(self.status):
            return dict(pairs)
        return {name: result for name, result in pairs if result is not MISSING}


class _Question(NamedTuple):
    """What was asked about the start of a wave, and what came of it so far."""

    started: WaveStarted
    context: ExecutionContext
    begun: Begun


def _warn_of_lag(node: str, pipeline: str, held_ns: int) -> None:
    _log.warning(
        "async node %r of %r held up the event loop for %.1f s: nothing else ran meanwhile. Make it a plain function "
        "(it gets a thread), or let it await",
        node, pipeline, held_ns / 1e9,
    )  # fmt: skip


def _as_raised(error: BaseException) -> BaseException:
    """What the node's own code raised: Python wraps a StopIteration that leaves a coroutine."""
    wrapped = type(error) is RuntimeError and error.args == ("coroutine raised StopIteration",)
    return error.__cause__ if wrapped and error.__cause__ is not None else error


async def _abandonable(coroutine: Coroutine[Any, Any, Any], place: Place) -> Any:
    """Await ``coroutine`` in such a way that the end of the run can let go of it: AbandonedError."""
    try:
        waiting_on = coroutine.send(None)
    except StopIteration as done:
        return done.value
    place.stay(Continued(coroutine, waiting_on), None)
    try:
        return await place.continued  # type: ignore[misc]
    finally:
        place.leave()
