"""Runs sync nodes in daemon threads: one for each node under way, kept for the next, never in the way of an exit."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable


class _Worker:
    """One thread and the way to give it work."""

    def __init__(self, runner: ThreadRunner) -> None:
        self._runner = runner
        self.jobs: SimpleQueue[Any] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="hexviz-node", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()
            job = None
            self._runner.give_back(self)


class ThreadRunner:
    """Threads for sync nodes: as many as run at once, so the limit of the orchestrator is the only limit."""

    def __init__(self) -> None:
        self._idle: deque[_Worker] = deque()
        self._closed = False

    async def run(self, context: contextvars.Context, fn: Callable[[], Any]) -> Any:
        """Call ``fn`` in a thread, within ``context``; raises what it raises. Cancelled, the thread is forgotten."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def job() -> None:
            try:
                result = context.run(fn)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the node
                _hand_back(loop, future, None, error)
            else:
                _hand_back(loop, future, result, None)

        self._worker().jobs.put(job)
        result, error = await future
        if error is not None:
            try:
                raise error
            finally:
                del error, future  # a failure must not keep its own frames alive
        return result

    def _worker(self) -> _Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return _Worker(self)

    def give_back(self, worker: _Worker) -> None:
        """The worker has nothing to do."""
        if self._closed:
            worker.jobs.put(None)
        else:
            self._idle.append(worker)

    def close(self) -> None:
        """Send idle threads home; a busy one goes when its node returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().jobs.put(None)


def _hand_back(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if not future.done():
            future.set_result((result, error))

    with suppress(RuntimeError):  # the loop is closed: nobody waits for this node any more
        loop.call_soon_threadsafe(settle)
