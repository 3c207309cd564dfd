"""Any Dask computation as a run of hexviz: ``with record(client, observers): x.compute()``.

With a ``distributed`` client a plugin of the scheduler tells every task (``hexviz[dask]``); without one the callbacks
of Dask's local schedulers do. Nodes are tasks, named after what they do: ``sum[0, 1]`` for ``('sum-7f…', 0, 1)``.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import secrets
import threading
from contextlib import contextmanager, suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hexviz.bridges.told_run import ToldRun
from hexviz.closing import held_weakly
from hexviz.errors import MissingExtraError, SourceError
from hexviz.events.events import EventsDropped, RecordedError
from hexviz.events.secrets import masked_head
from hexviz.events.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.events.observer_manager import ObserverManager

MAX_TASKS = 100_000
"""No more tasks than this are told of one recording; the others are counted."""

_GATHER_S = 0.1
_MOST_GATHER_S = 1.0
_END_S = 10.0
_WORDED = re.compile(r"^([A-Za-z_][\w.]*)\((.*)\)$", re.DOTALL)


@contextmanager
def record(
    client: Any, observers: ObserverManager, *, name: str = "dask", max_tasks: int = MAX_TASKS
) -> Iterator[DaskRecording]:
    """Tell ``observers`` what Dask computes until the end of the block.

    ``client`` is a ``distributed.Client`` (all tasks of its cluster are told, whoever sent them), or None for the local
    schedulers of this process. Graphs that arrive within a tenth of a second of each other are one run, called
    ``name``. What has not ended with the block counts as cancelled.

    A task is started when it is given to a worker; ``duration_ms`` is what it computed there, without transfers, so
    ``attempts.queued_ms`` holds the waiting in between. All times are the scheduler's. A task that Dask tries again has
    several attempts. Yields an object with the ``run_ids``. Raises :class:`~hexviz.errors.SourceError` for an
    asynchronous client, and where the scheduler does not take the plugin.
    """
    told = DaskRecording(observers, name)
    if client is None:
        with _local(told):
            yield told
        return
    with _on_cluster(client, told, max_tasks):
        yield told


class DaskRecording:
    """What was told so far: one run for each computation."""

    def __init__(self, observers: ObserverManager, name: str) -> None:
        self.runs: list[ToldRun] = []
        self.left_out = 0
        self._observers = observers
        self._name = name
        self._lock = threading.RLock()
        self._names = _Names()
        self._where: dict[str, tuple[ToldRun, str]] = {}
        self._rows: dict[str, tuple[str, list[str]]] = {}
        self._waiting: list[list[Any]] = []
        self._first_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._latest_s = 0.0
        self.marks = threading.Semaphore(0)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs that began."""
        return tuple(run.run_id for run in self.runs)

    def hear(self, event: tuple[float, Any]) -> None:
        """Changes of tasks, in order, on the loop of the client."""
        with self._lock:
            for change in event[1]:
                self.take(change)
            if self._rows:
                self._begin_soon()

    def take(self, change: Any) -> None:
        """One change of one task."""
        kind, at_ns, *facts = change
        if kind == "graph":
            for key, group, prefix, place, parents in facts[0]:
                self._rows[key] = self._names.of(group, prefix, place), list(parents)
            self._first_ns = self._first_ns or at_ns
        elif kind == "mark":
            self.left_out = facts[1]
            self.marks.release()
        elif facts[0] in self._rows:
            self._waiting.append(change)
        elif facts[0] in self._where:
            run, node = self._where[facts[0]]
            getattr(self, f"_{kind}")(run, node, at_ns, *facts[1:])

    def _begin_soon(self) -> None:
        """Wait for more of the same computation, but not for long."""
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._latest_s = loop.time() + _MOST_GATHER_S
        else:
            self._timer.cancel()
        self._timer = loop.call_at(min(loop.time() + _GATHER_S, self._latest_s), self.begin)

    def begin(self) -> None:
        """Begin a run with the tasks that are known and in none."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            rows, self._rows = self._rows, {}
            waiting, self._waiting = self._waiting, []
            first_ns, self._first_ns = self._first_ns, 0
            if not rows:
                return
            graph = {node: [rows[parent][0] for parent in parents if parent in rows] for node, parents in rows.values()}
            run = ToldRun(self._observers, self._name, graph, first_ns, ("dask",))
            self.runs.append(run)
            self._where.update((key, (run, node)) for key, (node, _) in rows.items())
            for change in waiting:
                self.take(change)

    def end(self) -> None:
        """Nothing more will be heard."""
        self.begin()
        with self._lock:
            if self.left_out and self.runs:
                text = "tasks beyond the limit of the recording"
                self.runs[-1].report(EventsDropped, "dask", text, self.left_out)
            for run in self.runs:
                run.close("the recording ended before the computation")

    # --- one method for each kind of change

    def _ready(self, run: ToldRun, node: str, at_ns: int) -> None:
        run.ready(node, at_ns)

    def _started(self, run: ToldRun, node: str, at_ns: int, worker: str) -> None:
        run.started(node, worker, at_ns)

    def _completed(
        self, run: ToldRun, node: str, at_ns: int, worker: str, spent_s: float, nbytes: int | None, kind: str | None
    ) -> None:
        result = Summary(kind or "object", size_bytes=nbytes)
        run.completed(node, worker, spent_s * 1e3, result, at_ns)

    def _failed(self, run: ToldRun, node: str, at_ns: int, worker: str, spent_s: float, error: str, trace: str) -> None:
        run.failed(node, worker, _error(error, trace), spent_s * 1e3, at_ns)

    def _lost(self, run: ToldRun, node: str, at_ns: int, why: str) -> None:
        run.lost(node, RecordedError("TaskReleased", f"Dask took it back: {why}"), at_ns)

    def _skipped(self, run: ToldRun, node: str, at_ns: int, blamed: str) -> None:
        found = self._where.get(blamed)
        run.skipped(node, f"{found[1] if found else blamed} failed", at_ns)

    def _gone(self, run: ToldRun, node: str, at_ns: int) -> None:
        run.cancelled(node, "nobody wants it any more", at_ns)


class _Names:
    """Short names of tasks: what they do and their place, without the hashes; unique within a recording."""

    def __init__(self) -> None:
        self._groups: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def of(self, group: str, prefix: str, place: str) -> str:
        """The name of a task of ``group``."""
        base = self._groups.get(group)
        if base is None:
            base = self._groups[group] = self._unique(prefix)
            if not place:
                return base
        return self._unique(f"{base}[{place}]" if place else base)

    def _unique(self, name: str) -> str:
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"


def _error(text: str, trace: str) -> RecordedError:
    """The error of a task as Dask words it: ``ValueError('no such row')``."""
    found = _WORDED.match(text)
    kind, message = found.groups() if found else ("Exception" if text else "UnknownError", text)
    return RecordedError(kind, masked_head(message.strip("'\""), 4096), masked_head(trace, 4096))


@contextmanager
def _on_cluster(client: Any, told: DaskRecording, max_tasks: int) -> Iterator[None]:
    if getattr(client, "asynchronous", False):
        raise SourceError("record(...) takes a synchronous distributed.Client, not an asynchronous one")
    plugins = _dask("hexviz.bridges.dask_plugin")
    topic = f"hexviz-tasks-{secrets.token_hex(8)}"
    try:
        client.register_plugin(plugins.TellingPlugin(topic, client.id, max_tasks))
    except Exception as error:
        raise SourceError(f"the Dask scheduler does not take the plugin: {type(error).__name__}: {error}") from error
    client.subscribe_topic(topic, held_weakly(told.hear))
    try:
        yield
    finally:
        with suppress(Exception):  # a cluster that is gone tells nothing more
            client.run_on_scheduler(_mark, name=topic)
            told.marks.acquire(timeout=_END_S)
        with suppress(Exception):
            client.unregister_scheduler_plugin(topic)
            client.unsubscribe_topic(topic)
        told.end()


def _mark(name: str, dask_scheduler: Any = None) -> None:
    dask_scheduler.plugins[name].mark(1)


@contextmanager
def _local(told: DaskRecording) -> Iterator[None]:
    """Dask's local schedulers, by their callbacks: each ``compute`` one run."""
    callbacks, key_split = _dask("dask.callbacks"), _dask("dask.utils").key_split
    began: dict[Any, int] = {}

    def row(key: Any, parents: Any) -> list[Any]:
        place = ", ".join(map(str, key[1:])) if type(key) is tuple else ""
        return [str(key), str(key[0] if type(key) is tuple else key), key_split(key), place, list(map(str, parents))]

    def start_state(_: Any, state: Any) -> None:
        waits = state["dependencies"]
        known = [key for key in waits if key not in state["cache"]]
        rows = [row(key, waits[key]) for key in known]
        told.take(["graph", monotonic_ns(), rows])
        told.begin()

    def pretask(key: Any, _: Any, __: Any) -> None:
        began[key] = monotonic_ns()
        told.take(["started", began[key], str(key), "thread"])

    def posttask(key: Any, result: Any, _: Any, __: Any, ___: Any) -> None:
        now = monotonic_ns()
        spent_s = (now - began.pop(key, now)) / 1e9
        told.take(["completed", now, str(key), "", spent_s, None, type(result).__qualname__])

    def finish(_: Any, __: Any, errored: bool) -> None:  # noqa: FBT001 - as Dask calls it
        if errored and len(began) == 1:
            (key,) = began
            told.take(["failed", monotonic_ns(), str(key), "", 0.0, "", ""])
        began.clear()
        for run in told.runs:
            run.close("it or a task beside it failed: a local scheduler does not say which", failed=bool(errored))

    with callbacks.Callback(start_state=start_state, pretask=pretask, posttask=posttask, finish=finish):
        yield
    told.end()


def _dask(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("distributed", "dask", purpose="hexviz.bridges.dask") from error
