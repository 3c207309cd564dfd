"""Runs nodes in processes of this machine: one process for each node under way, kept for the next one."""

from __future__ import annotations

import atexit
import multiprocessing.process
import multiprocessing.util
import os
import threading
import weakref
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from hexviz.closing import Closing
from hexviz.dag.errors import NodeTransferError, OrchestratorError, RunnerSettingError, WorkerLostError
from hexviz.dag.runners.packing import packed, packed_call, unpacked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from hexviz.dag.run import Run
    from hexviz.dag.runners.attempt import Attempt

_ENDING_S = 5.0


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
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._keepers: list[_Keeper] = []
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

    def take(self, job: _Job) -> None:
        """Do ``job`` in a process that is free, or as soon as one is."""
        with self._lock:
            self.check_open()
            self._busy += 1
            if self._busy > len(self._keepers) and len(self._keepers) < self.max_workers:
                self._keepers.append(_Keeper(self))
            self._waiting.put(job)

    def next_job(self) -> _Job | None:
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
            keeper.thread.join(_ENDING_S)
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
        job = _Job(attempt)
        attempt.answer = job.answer
        self._runner.take(job)
        try:
            return await attempt.ended()
        finally:
            job.give_up()

    async def close(self) -> None:
        """Nothing is held for a run: its jobs have ended, or were killed."""


class _Job:
    """One attempt on its way through a process: waiting, in a process, or over."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.over = self.killed = False
        self._lock = threading.Lock()
        self._process: Any = None
        self._line: Connection | None = None

    def begin(self, process: Any, line: Connection) -> bool:
        """It is this process's turn; False where nobody waits for it any more."""
        with self._lock:
            if self.over:
                return False
            self._process, self._line = process, line
            return True

    def finish(self) -> None:
        """The process is done with it."""
        with self._lock:
            self.over = True
            self._process = self._line = None

    def give_up(self) -> None:
        """Nobody waits for it: kill the process that is at it."""
        with self._lock:
            if self.over:
                return
            self.over = True
            if self._process is not None:
                self.killed = True
                self._process.kill()

    def answer(self, ticket: str, payload: bytes) -> None:
        """Control's answer, to the process that asked."""
        with self._lock, suppress(OSError):
            if self._line is not None:
                self._line.send_bytes(packed((ticket, payload), "an answer"))


class _Keeper:
    """A thread that keeps one process: gives it jobs, hears it, and starts another where it died."""

    def __init__(self, runner: ProcessRunner) -> None:
        self._runner = runner
        self._process: Any = None
        self._line: Connection | None = None
        self.thread = threading.Thread(target=self._work, name="hexviz-process", daemon=True)
        self.thread.start()

    @property
    def pid(self) -> int | None:
        """The id of its process, if there is one."""
        process = self._process
        return process.pid if process is not None and process.exitcode is None else None

    def end(self) -> None:
        """Kill the process."""
        process = self._process
        if process is not None:
            process.kill()

    def forget(self) -> None:
        """This is another process, forked from the one that started it."""
        with suppress(AttributeError):  # of another Python: it will complain when this process ends
            multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]  # noqa: SLF001

    def _work(self) -> None:
        runner = self._runner
        while (job := runner.next_job()) is not None:
            try:
                if not job.over:
                    self._do(job)
            finally:
                job.finish()
                runner.done()
            del job
        self._let_go()

    def _do(self, job: _Job) -> None:
        attempt = job.attempt
        try:
            self._runner.check_open()
            call = packed_call(attempt)
            if self._process is None:
                self._process, self._line = self._runner.new_process()
                self._runner.check_open()  # who closes it has seen no process here
        except (OrchestratorError, OSError) as error:
            attempt.post("end", 0, 0.0, None, error)
            return
        except Exception as error:  # noqa: BLE001 - a script without its guard, say, or what a fork left behind
            refused = OrchestratorError(f"no process can be started for node {attempt.node!r}: {error}")
            refused.__cause__ = error
            attempt.post("end", 0, 0.0, None, refused)
            return
        process, line = self._process, self._line
        assert line is not None  # noqa: S101 - it comes with the process
        if not job.begin(process, line):
            return
        try:
            line.send_bytes(packed((None, (attempt.node, call)), "a call"))
            while True:
                message = line.recv()
                if message[0] == "end":
                    job.finish()  # first of all: whoever hears of the end must not kill the process
                    if job.killed:
                        self._let_go()
                    attempt.post(*_opened(message, attempt.node))
                    return
                attempt.post(*message)
        except (EOFError, OSError):
            job.finish()
            self._let_go()
            text = f"process {process.pid} died while it ran node {attempt.node!r} ({_how(process.exitcode)})"
            attempt.post("end", 0, None, None, WorkerLostError(text, f"process {process.pid}"))

    def _let_go(self) -> None:
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is not None:
            process.kill()
            process.join(_ENDING_S)


def _opened(message: Any, node: str) -> tuple[Any, ...]:
    """The end of a call with its value or its error, which come packed."""
    kind, count, duration_ms, good, payload = message
    try:
        found = unpacked(payload)
    except Exception as error:  # noqa: BLE001 - whatever the value's own code raises
        what = "result" if good else "error"
        refused = NodeTransferError(f"the {what} of node {node!r} cannot be read here: {type(error).__name__}: {error}")
        refused.__cause__ = error
        return kind, count, duration_ms, None, refused
    return (kind, count, duration_ms, found, None) if good else (kind, count, duration_ms, None, found)


def _how(exitcode: int | None) -> str:
    return f"killed by signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"
