"""Runs nodes in processes of this machine: one process for each node under way, kept for the next one."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from hexviz.closing import Closing
from hexviz.dag.errors import OrchestratorError, RunnerSettingError
from hexviz.dag.runners.process_keeper import ENDING_S, Job, Keeper

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from hexviz.dag.run import Run
    from hexviz.dag.runners.attempt import Attempt


class ProcessRunner(Closing):
    """``Orchestrator(runner=ProcessRunner(4))``: node code runs in processes of this machine.

    There are at most ``max_workers`` of them (default: one for each processor). Functions, arguments and results are
    pickled; functions of a notebook and inner functions need cloudpickle (``hexviz[processes]``). Processes are started
    by ``spawn`` when they are first needed, so a script must guard what it runs by ``if __name__ == "__main__":``. A
    process that dies is a failed attempt (:class:`~hexviz.dag.errors.WorkerLostError`), and another one takes its
    place. A timeout or a cancellation kills the process of its node. ``worker`` of an attempt is ``process PID``.

    May serve several runs, also at once. Close it, or use it in a ``with`` statement, to end its processes.
    """

    label = "process"
    keeps_results = False

    def __init__(self, max_workers: int | None = None) -> None:
        most = os.cpu_count() or 1 if max_workers is None else max_workers
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise RunnerSettingError(f"max_workers must be a whole number of at least 1, not {max_workers!r}")
        self.max_workers = most
        self._context = multiprocessing.get_context("spawn")
        self._closed = False
        self.begin_anew()
        _open.add(self)

    def begin_anew(self) -> None:
        """Know of no process."""
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._keepers: list[Keeper] = []
        self._busy = 0

    def forget(self) -> None:
        """Leave every process to the parent of this one."""
        for keeper in self._keepers:
            keeper.forget()
        self.begin_anew()

    async def open(self, run: Run) -> ProcessSession:
        """Get ready for a run."""
        self.check_open()
        return ProcessSession(self, run)

    def check_open(self) -> None:
        """Raise where no process may be started any more."""
        if self._closed:
            raise OrchestratorError("this ProcessRunner is closed: make another one for this run")

    def take(self, job: Job) -> None:
        """Do ``job`` in a process that is free, or as soon as one is."""
        with self._lock:
            self.check_open()
            self._busy += 1
            if self._busy > len(self._keepers) and len(self._keepers) < self.max_workers:
                self._keepers.append(Keeper(self))
            self._waiting.put(job)

    def next_job(self) -> Job | None:
        """What a keeper is to do next; None: go home."""
        return self._waiting.get()

    def done(self) -> None:
        """A keeper has finished a job."""
        with self._lock:
            self._busy -= 1

    def new_process(self) -> tuple[Any, Connection]:
        """A process that waits for calls, and the way to it."""
        from hexviz.dag.runners.child import serve  # noqa: PLC0415 - what the child imports, here only for its name

        here, there = self._context.Pipe()
        process = self._context.Process(target=serve, args=(there,), name="hexviz-node")
        try:
            process.start()
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        return process, here

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that are alive."""
        return tuple(keeper.pid for keeper in self._keepers if keeper.pid is not None)

    def close(self) -> None:
        """End every process: nodes in one have lost their worker, those that waited for one fail. Twice is fine."""
        with self._lock:
            self._closed = True
            keepers, self._keepers = self._keepers, []
        for _ in keepers:
            self._waiting.put(None)
        for keeper in keepers:
            keeper.end()
        for keeper in keepers:
            keeper.thread.join(ENDING_S)
        _open.discard(self)


_open: weakref.WeakSet[ProcessRunner] = weakref.WeakSet()


@atexit.register  # later than that of multiprocessing.util, so it runs before that one, which waits for processes
def _close_all() -> None:
    for runner in tuple(_open):
        runner.close()


def _forked() -> None:
    """A forked child has no part in the processes of its parent: it must neither end them nor wait for them."""
    for runner in tuple(_open):
        runner.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class ProcessSession:
    """One run's use of a :class:`ProcessRunner`."""

    def __init__(self, runner: ProcessRunner, run: Run) -> None:
        self._runner = runner
        self._run = run

    async def execute(self, attempt: Attempt) -> Any:
        """Run the attempt's function in a process."""
        job = Job(attempt)
        attempt.answer = job.answer
        self._runner.take(job)
        try:
            return await attempt.ended()
        finally:
            job.give_up()

    async def close(self) -> None:
        """Nothing is held for a run: its jobs have ended, or were killed."""
