"""One process of a :class:`~hexviz.dag.runners.processes.ProcessRunner`, the thread that keeps it, and its jobs."""

from __future__ import annotations

import multiprocessing.process
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import NodeTransferError, OrchestratorError, WorkerLostError
from hexviz.dag.runners.packing import packed, packed_call, unpacked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from hexviz.dag.runners.attempt import Attempt
    from hexviz.dag.runners.processes import ProcessRunner

ENDING_S = 5.0
"""How long a process, and its thread, may take to end."""


class Job:
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


class Keeper:
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

    def _do(self, job: Job) -> None:
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
            process.join(ENDING_S)


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
