"""What runs on a Dask worker: one attempt of a node as a task, and what comes for it from home."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.sizeof import sizeof
from distributed import get_worker

from hexviz.dag.errors import NodeTransferError
from hexviz.dag.runners.away import Ended, Errand, perform
from hexviz.dag.runners.packing import packed_error, packed_result

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MOST_BYTES = 2**16
"""Results up to this size come home with the message of the end."""

_tickets: dict[str, Future[bytes]] = {}
_running: dict[str, _Topic] = {}


class EscapedError(Exception):
    """What a node raised and Dask must not take for its own: SystemExit, KeyboardInterrupt and the like."""


class _Topic:
    """The way home from a Dask worker: the topic of the run, by way of the scheduler."""

    def __init__(self, topic: str, token: str) -> None:
        self._topic, self._token = topic, token
        self._worker = get_worker()
        self._lock = threading.Lock()
        self.over = threading.Event()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def send(self, *message: Any) -> None:
        with self._lock:
            self._worker.log_event(self._topic, [self._token, *message])

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


def perform_task(place: tuple[str, str, bool, bool], facts: tuple[Any, ...], fn: Any, args: Any, kwargs: Any) -> Any:
    """The task: the node's result, or what it raised."""
    topic, token, keep, apart = place
    errand = Errand(*facts)
    channel = _running[token] = _Topic(topic, token)
    try:
        channel.send("start", get_worker().address)
        call = partial(perform, errand, fn, tuple(args), dict(kwargs), channel)
        ended = _in_own_thread(call, channel) if apart else call()
        payload: bytes | None = None
        error = ended.error
        if error is None and not keep:
            try:
                payload = packed_result(errand.node, ended.value) if sizeof(ended.value) <= MOST_BYTES else None
            except NodeTransferError as refused:
                error = refused
        good = error is None
        channel.send("end", ended.events, ended.duration_ms, good, payload if error is None else packed_error(error))
        if error is not None:
            raise error if isinstance(error, Exception) else EscapedError(repr(error))
        return ended.value
    finally:
        _running.pop(token, None)


def _in_own_thread(call: Callable[[], Ended], channel: _Topic) -> Ended:
    """What ``call`` gives; without it, as soon as nobody waits for it: its thread may go on, its place is free."""
    found: list[Ended] = []

    def work() -> None:
        try:
            found.append(call())
        finally:
            channel.over.set()

    threading.Thread(target=work, name="hexviz-node", daemon=True).start()
    channel.over.wait()
    return found[0] if found else Ended(None, NodeTransferError("nobody waits for this node any more"), 0.0, 0)


def deliver(ticket: str, payload: bytes) -> None:
    """Control's answer to a call of a node on this worker."""
    asked = _tickets.pop(ticket, None)
    if asked is not None:
        asked.set_result(payload)


def cancel_task(token: str) -> None:
    """Cancel an async node that runs on this worker."""
    channel = _running.get(token)
    if channel is not None:
        channel.cancel()
