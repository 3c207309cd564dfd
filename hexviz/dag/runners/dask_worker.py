"""What runs on a Dask worker: one attempt of a node as a task, and what comes for it from home."""

from __future__ import annotations

import asyncio
import secrets
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dask.sizeof import sizeof
from distributed import get_worker

from hexviz.dag.errors import NodeTransferError, WorkerLostError
from hexviz.dag.runners.away import Ended, perform_packed
from hexviz.dag.runners.dask_begins import Begins
from hexviz.dag.runners.names import FACTS, refuse_other_version, topic_of
from hexviz.dag.runners.packing import packed_error, packed_result, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 2**16
"""Results up to this size come home with the message of the end."""

_tickets: dict[str, Future[bytes]] = {}
_running: dict[str, _Line] = {}
_here = threading.local()


class EscapedError(Exception):
    """What a node raised and Dask must not take for its own: SystemExit, KeyboardInterrupt and the like."""


class RefusedError(Exception):
    """The code of a node was to begin once more; the argument is the worker that had begun it."""


class Head(NamedTuple):
    """What a worker must know of a task before it loads the call itself."""

    key: tuple[str, ...]
    keep: bool
    apart: bool
    """Whether it runs in a thread of its own."""


class _Line:
    """The way home from a Dask worker: the topic of the run, by way of the scheduler."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.node, self._token = head.key[:2]
        self._topic = topic_of(self._token)
        self._worker = get_worker()
        self._lock = threading.Lock()
        self.over = threading.Event()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def begin(self) -> None:
        """Tell that the code begins, and wait until that is on its way: this process may not live to send it later."""
        begins = self._worker.plugins.get(Begins.name)
        if isinstance(begins, Begins) and begins.take(self._token):
            return
        loop = self._worker.loop.asyncio_loop  # type: ignore[attr-defined]
        asyncio.run_coroutine_threadsafe(self._begin(), loop).result()

    async def _begin(self) -> None:
        if Begins.name not in self._worker.plugins:  # the next ones are told without this thread
            await self._worker.plugin_add(Begins(_performs))
        self.send("start", self._worker.address, self._head.key)
        line: Any = self._worker.batched_stream
        line.next_deadline = None  # it would wait for more to send
        line.waker.set()
        while line.buffer and not line.closed():  # noqa: ASYNC110 - one or two turns; nothing tells of it
            await asyncio.sleep(0)
        if line.closed():
            raise WorkerLostError("this worker has no scheduler any more", self._worker.address)
        line.next_deadline = None  # nor is the end to wait for that

    def send(self, *message: Any) -> None:
        with self._lock:
            self._worker.log_event(self._topic, [self._token, *message])

    def leave(self, *facts: Any) -> None:
        """What there is to say of a good end goes home with Dask's own message of it."""
        task = self._worker.state.tasks.get(self._head.key)
        if task is not None:
            task.metadata[FACTS] = facts

    def ask(self, number: int) -> Future[bytes]:
        ticket, answer = secrets.token_hex(8), Future[bytes]()
        _tickets[ticket] = answer
        self.send("ask", number, ticket)
        return answer

    def entered(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """An async node runs in this loop: there it can be cancelled."""
        self._task = loop, task

    def cancel(self) -> None:
        """Nobody waits for the node any more."""
        self.over.set()
        if self._task is not None:
            loop, task = self._task
            loop.call_soon_threadsafe(task.cancel)


def perform_task(head: bytes, call: bytes, parents: list[Any]) -> Any:
    """The task: the node's result, or what it raised. ``parents`` are the results that were on the cluster."""
    version, *facts_of_task = unpacked(head)
    refuse_other_version(f"the Dask worker {get_worker().address}", version)
    facts = Head(*facts_of_task)
    token = facts.key[1]
    line = _running[token] = _Line(facts)
    try:
        line.begin()
        begin = partial(_called, call, parents, line)
        ended = _in_own_thread(begin, line) if facts.apart else begin()
        payload: bytes | None = None
        error = ended.error
        if error is None and not facts.keep:
            try:
                payload = packed_result(line.node, ended.value) if sizeof(ended.value) <= MOST_BYTES else None
            except NodeTransferError as refused:
                error = refused
        if error is not None:
            line.send("end", ended.events, ended.duration_ms, False, packed_error(error))  # noqa: FBT003 - a message
            raise error if isinstance(error, Exception) else EscapedError(repr(error))
        line.leave(ended.events, ended.duration_ms, True, payload)  # noqa: FBT003 - a message
        return ended.value
    finally:
        _running.pop(token, None)


def _performs(function: Any) -> bool:
    return function is perform_task


def _called(call: bytes, parents: list[Any], line: _Line) -> Ended:
    _here.parents = parents
    try:
        return perform_packed(line.node, call, line)
    finally:
        del _here.parents


def parent(number: int) -> Any:
    """The result of a parent that was on the cluster, while a call is loaded."""
    return _here.parents[number]


def refuse(worker: str) -> None:
    """Stands for a node whose code has begun: it must not begin once more because Dask lost what came of it."""
    raise RefusedError(worker)


def _in_own_thread(call: Callable[[], Ended], line: _Line) -> Ended:
    """What ``call`` gives; without it, as soon as nobody waits for it: its thread may go on, its place is free."""
    found: list[Ended] = []

    def work() -> None:
        try:
            found.append(call())
        finally:
            line.over.set()

    threading.Thread(target=work, name="hexviz-node", daemon=True).start()
    line.over.wait()
    return found[0] if found else Ended(None, NodeTransferError("nobody waits for this node any more"), 0.0, 0)


def deliver(ticket: str, payload: bytes) -> None:
    """Control's answer to a call of a node on this worker."""
    asked = _tickets.pop(ticket, None)
    if asked is not None:
        asked.set_result(payload)


def cancel_task(token: str) -> None:
    """Cancel an async node that runs on this worker."""
    line = _running.get(token)
    if line is not None:
        line.cancel()
