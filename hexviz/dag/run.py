"""One run of one graph: its life, from its first event to its last.

Ready nodes wait in a deque. A *worker* is a task that takes one node after the other, and so runs on with the child
that its last node made ready (:mod:`hexviz.dag.work`). Whenever more is ready than one worker can do, one spare worker
is put on the loop; it only gets to run when a node really waits, so nodes that never wait cost no task.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hexviz.dag.binding import MISSING
from hexviz.dag.errors import OrchestratorError
from hexviz.dag.outcomes import Freed
from hexviz.dag.place import Place, abandonable
from hexviz.dag.waves import RUNNING, SUCCEEDED, WAITING
from hexviz.dag.work import Work
from hexviz.events.stepping import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.plan import Plan
    from hexviz.dag.runners.local import ThreadRunner
    from hexviz.dag.runners.runner import Runner
    from hexviz.events.asking import Decision
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.events import Event
    from hexviz.events.observer_manager import ObserverManager

_PAUSE_S = 0.01
_BEAT_S = 0.2


class Run(Work):
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
        super().__init__(
            plan,
            run_id=run_id,
            observers=observers,
            control=control,
            settings=settings,
            threads=threads,
            runner=runner,
        )
        self.initial_input = initial_input
        self.loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._workers: dict[asyncio.Task[None], Place] = {}
        self._spare = False
        self._held = False
        self._burst = 2 * settings.max_concurrent_nodes + 2
        self._asking: Place | None = None
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
            self._session = session = await self._runner.open(self)
        except OrchestratorError as error:
            self.fail(error)
            return
        try:
            await self._run_nodes()
        finally:
            self._session = None
            await session.close()

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
        asking = abandonable(self.ask_until_answered(started, self.context), place)
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
        self._launchers.clear()  # they may be methods of this run: without them it goes, and its results, at once
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
        place = self._workers.pop(task)
        place.stepper = None  # the two hold each other, and the results
        if not place.began:
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

    def results_by_name(self) -> dict[str, Any]:
        """The results so far; nodes without one are left out."""
        pairs = zip(self.plan.names, self.results, strict=True)
        if self.status.count(SUCCEEDED) == len(self.status):
            return dict(pairs)
        return {name: result for name, result in pairs if result is not MISSING}
