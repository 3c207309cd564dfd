"""Sends attempts to a Dask cluster: what becomes ready together goes in one graph.

Each graph costs the client and the scheduler about half a millisecond, as much as ten tasks in it. So attempts wait
until the run has no more of them at this moment, which it shows by one turn of its loop that brought none.
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from hexviz import __version__
from hexviz.dag.runners.names import NEW_TASKS, key_of
from hexviz.dag.runners.packing import packed, packed_call

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hexviz.dag.runners.attempt import Attempt

_MOST_TASKS = 50
_MOST_BYTES = 2**20
_MOST_TURNS = 20
_FLUSH_S = 0.002
_hurried: WeakKeyDictionary[Any, tuple[int, float]] = WeakKeyDictionary()
_lock = threading.Lock()


def hurry(line: Any) -> None:
    """Let a client send what it has every so often: a chain of nodes waits for that at each of its links."""
    with _lock:
        runs, before_s = _hurried.get(line, (0, line.interval))
        _hurried[line] = (runs + 1, before_s)
        line.interval = _FLUSH_S


def relax(line: Any) -> None:
    """A run has ended: after the last one that goes on beside it the client sends as often as before."""
    with _lock:
        runs, before_s = _hurried.pop(line)
        if runs > 1:
            _hurried[line] = (runs - 1, before_s)
        else:
            line.interval = before_s


class Task:
    """An attempt on its way through the cluster; its future is None as long as it waits to be sent."""

    __slots__ = ("attempt", "future", "token")

    def __init__(self, attempt: Attempt, token: str) -> None:
        self.attempt = attempt
        self.token = token
        self.future: Any = None


class _Packed(NamedTuple):
    task: Task
    key: tuple[str, ...]
    head: bytes
    call: bytes
    parents: list[Any]


class Sender:
    """Packs tasks and sends them; ``failed(task, error)`` is told of those that could not be sent. On a run's loop."""

    def __init__(
        self, client: Any, loop: asyncio.AbstractEventLoop, failed: Callable[[Task, Exception], None], *, keep: bool
    ) -> None:
        worker = importlib.import_module("hexviz.dag.runners.dask_worker")
        self._client, self._loop, self._failed, self._keep = client, loop, failed, keep
        self._perform, self._head, self._parent = worker.perform_task, worker.Head, worker.parent
        self._future_class = importlib.import_module("distributed").Future
        self._quick = importlib.import_module("hexviz.dag.runners.dask_plugin").takes_tasks()
        self._annotations = importlib.import_module("dask").get_annotations
        self._thread_state = importlib.import_module("distributed.utils").thread_state
        self._waiting: list[_Packed] = []
        self._bytes = self._turns = self._seen = 0

    def send(self, task: Task) -> None:
        """Send ``task`` soon. Raises :class:`~hexviz.dag.errors.NodeTransferError` where it cannot be packed."""
        attempt = task.attempt
        key = key_of(attempt.node, task.token, kept=self._keep)
        parents: dict[Any, tuple[int, Any]] = {}  # a function of a notebook is packed twice, its parents go once

        def brought(future: Any) -> tuple[Any, tuple[int]]:
            number, _ = parents.setdefault(future.key, (len(parents), future))
            return self._parent, (number,)

        call = packed_call(attempt, attempt.out_model if self._keep else None, {self._future_class: brought})
        head = packed((__version__, *self._head(key, self._keep, attempt.timeout_s is not None)), "a task")
        if not self._waiting:
            self._bytes = self._turns = self._seen = 0
            self._loop.call_soon(self._turn)
        self._waiting.append(_Packed(task, key, head, call, [future for _, future in parents.values()]))
        parents.clear()  # where functions go by value, a class knows of ``brought`` until it is collected
        self._bytes += len(call)
        if len(self._waiting) >= _MOST_TASKS or self._bytes >= _MOST_BYTES:
            self._flush()

    def _turn(self) -> None:
        """The loop has turned once: wait for another turn if that brought more, but not for ever."""
        self._turns += 1
        if len(self._waiting) > self._seen and self._turns < _MOST_TURNS:
            self._seen = len(self._waiting)
            self._loop.call_soon(self._turn)
        else:
            self._flush()

    def drop(self, task: Task) -> bool:
        """Nobody waits for it any more; whether it was not sent yet."""
        waiting = [packed for packed in self._waiting if packed.task is not task]
        found = len(waiting) < len(self._waiting)
        self._waiting = waiting
        return found

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        as_graph = self._annotations() or not self._quick or self._bytes > 2 * _MOST_BYTES
        try:
            futures = self._mapped(waiting) if as_graph else self._given(waiting)
        except Exception as error:  # noqa: BLE001 - whatever the client raises
            for one in waiting:
                self._failed(one.task, error)
            return
        for one, future in zip(waiting, futures, strict=True):
            one.task.future = future

    def _mapped(self, waiting: list[_Packed]) -> list[Any]:
        """As anybody sends tasks: with annotations of the user, too."""
        _, keys, heads, calls, parents = zip(*waiting, strict=True)
        found: list[Any] = self._client.map(self._perform, heads, calls, parents, key=list(keys), retries=0, pure=False)
        return found

    def _given(self, waiting: list[_Packed]) -> list[Any]:
        """To hexviz's plugin of the scheduler, which needs no graph around them."""
        client = self._client
        futures = [self._future_class(one.key, client) for one in waiting]
        rows = [(one.key, one.head, one.call, [parent.key for parent in one.parents]) for one in waiting]
        asking = getattr(self._thread_state, "key", None)
        client._send_to_scheduler({"op": NEW_TASKS, "rows": rows, "submitting_task": asking})  # noqa: SLF001 - as map
        return futures
