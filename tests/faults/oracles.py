"""What every hostile case is measured by. O1 (what was acknowledged can be read) is where the stores are tested."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time


def balance(statistics):
    """O2: what became of the events of one observer; equals what was told to it."""
    ended = statistics["delivered"] + statistics["failed"] + statistics["timed_out"]
    return ended + sum(statistics["dropped"].values()) + statistics["queued"]


def same_run(plain, observed, recording):
    """O3: the run has the results, and the nodes, of the same run without any observer."""
    assert dict(observed) == dict(plain), (observed, plain)
    assert list(observed) == list(plain)
    assert [type(event).__name__ for event in recording].count("PipelineCompleted") == 1


def peak_mb():
    """O4: the most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208


def threads_but_daemons():
    return sum(not thread.daemon for thread in threading.enumerate())


async def nothing_left(files_before):
    """O5: after close() no task is left, no thread that would hold up the exit, and no file."""
    deadline = time.monotonic() + 3
    while asyncio.all_tasks() != {asyncio.current_task()} and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()
    assert threads_but_daemons() == 1
    assert open_files() <= files_before + 1


class Log:
    """O6: what was logged of failures; a handler for the logger of the observers."""

    def __init__(self):
        import logging

        self.lines = []
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())
        logger = logging.getLogger("hexviz.observers")
        logger.addHandler(handler)
        logger.propagate = False

    def names(self, observer, event_type="Node"):
        """The lines that name the observer and the type of event."""
        return [line for line in self.lines if observer in line and event_type in line]
