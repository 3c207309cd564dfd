"""A user's redactors, called where they can do no harm: off the run's thread, and for an agreed time at most."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

from hexviz.events.forking import free_in_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT_S = 1.0
"""How long all redactors together may take for one value."""
MOST_STUCK = 3
"""After so many that never came back no content is kept any more: each of them holds a thread."""


class RedactionError(Exception):
    """The content could not be redacted, so it is not kept."""


class Redaction:
    """Calls ``functions``, each on what the one before returned, in a thread of its own.

    Raises :class:`RedactionError` where one of them raises anything, or takes more than ``limit_s`` seconds: then its
    thread is left behind and the next value gets a new one, ``MOST_STUCK`` times.
    """

    def __init__(self, functions: Iterable[Callable[[Any], Any]], limit_s: float = LIMIT_S) -> None:
        self.functions = tuple(functions)
        self.limit_s = limit_s
        self.stuck = 0
        self._lock = free_in_children(threading.Lock())
        self._worker: _Worker | None = None

    def __call__(self, value: Any) -> Any:
        """``value`` as it may be kept."""
        if not self.functions:
            return value
        with self._lock:
            if self.stuck >= MOST_STUCK:
                raise RedactionError("the redactors hang")
            if self._worker is None or self._worker.pid != os.getpid():
                self._worker = _Worker()
            job = _Job(self.functions, value)
            self._worker.jobs.put(job)
            if not job.done.wait(self.limit_s):
                self._worker.jobs.put(None)
                self._worker = None
                self.stuck += 1
                raise RedactionError(f"the redactors took more than {self.limit_s:g} s")
        if job.error is not None:
            raise RedactionError("a redactor failed") from None
        return job.value

    def __del__(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.jobs.put(None)


class _Job:
    def __init__(self, functions: tuple[Callable[[Any], Any], ...], value: Any) -> None:
        self.functions = functions
        self.value = value
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.context = contextvars.copy_context()

    def work(self) -> None:
        try:
            for function in self.functions:
                self.value = self.context.run(function, self.value)
        except BaseException as error:  # noqa: BLE001 - whatever a redactor raises costs the content only
            self.error = error
        self.done.set()


class _Worker:
    """A daemon thread that takes jobs until it is told None."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self.jobs,), name="hexviz redactors", daemon=True).start()


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.work()
