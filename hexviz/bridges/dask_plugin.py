"""What a Dask scheduler tells of its tasks while a computation is recorded (see :mod:`hexviz.bridges.dask`)."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

if TYPE_CHECKING:
    from distributed import Scheduler

_MOST = 500
_EVERY_S = 0.05
_TEXT = 4096


class TellingPlugin(SchedulerPlugin):
    """Sends every change of a task to a topic, many at a time.

    A change is a list: its kind, the moment by this process's monotonic clock in nanoseconds, the key as text, and what
    there is to say.
    """

    def __init__(self, topic: str, client: str, max_tasks: int) -> None:
        self.name = topic
        self._client = client
        self._room = max_tasks
        self._left_out = 0
        self._open: set[str] = set()
        self._known: set[str] = set()
        self._told: list[list[Any]] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._scheduler: Any = None

    async def start(self, scheduler: Scheduler) -> None:
        """Know the scheduler."""
        self._scheduler = scheduler

    def _tell(self, kind: str, *facts: Any) -> None:
        self._told.append([kind, monotonic_ns(), *facts])
        if len(self._told) >= _MOST:
            self.flush()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_EVERY_S, self.flush)

    def flush(self) -> None:
        """Send what was told; the scheduler keeps no copy of it."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        told, self._told = self._told, []
        if told:
            self._scheduler.log_event(self.name, told)
            broker = getattr(self._scheduler, "_broker", None)
            if broker is not None:
                broker.truncate(self.name)

    def mark(self, number: int) -> None:
        """Say that everything until now was told."""
        self._tell("mark", number, self._left_out)
        self.flush()

    def update_graph(self, scheduler: Scheduler, *, tasks: list[Any], **_: Any) -> None:
        """New tasks: each with its group, its prefix, its place in the group, and the tasks that it waits for."""
        rows: list[list[Any]] = []
        for key in tasks:
            task = scheduler.tasks.get(key)
            text = str(key)
            if task is None or text in self._known or task.state in ("memory", "erred") or task.run_spec is None:
                continue
            if len(rows) >= self._room:
                self._left_out += 1
                continue
            self._known.add(text)
            self._open.add(text)
            place = ", ".join(map(str, key[1:])) if type(key) is tuple else ""
            rows.append(
                [text, task.group.name, task.prefix.name, place, [str(parent.key) for parent in task.dependencies]]
            )
        self._room -= len(rows)
        for at in range(0, len(rows), _MOST):
            self._tell("graph", rows[at : at + _MOST])

    def transition(self, key: Any, start: str, finish: str, *args: Any, **facts: Any) -> None:  # noqa: ARG002 - as Dask calls it
        """A task goes from one state to another."""
        text = str(key)
        if text not in self._known:
            return
        if finish in ("queued", "no-worker"):
            self._tell("ready", text)
        elif finish == "processing":
            self._tell("started", text, self._worker_of(key))
        elif finish == "memory":
            self._open.discard(text)
            spent_s = _compute_s(facts.get("startstops"))
            self._tell(
                "completed", text, facts.get("worker") or "", spent_s, facts.get("nbytes"), facts.get("typename")
            )
        elif finish == "erred":
            self._open.discard(text)
            self._erred(key, text, facts)
        elif start == "processing":
            self._tell("lost", text, f"{facts.get('stimulus_id', '')}"[:_TEXT])
        if finish == "forgotten":
            self._known.discard(text)
            if text in self._open:
                self._open.discard(text)
                self._tell("gone", text)

    def _worker_of(self, key: Any) -> str:
        on = self._scheduler.tasks[key].processing_on
        return on.address if on is not None else ""

    def _erred(self, key: Any, text: str, facts: dict[str, Any]) -> None:
        task = self._scheduler.tasks[key]
        blamed = task.exception_blame
        if blamed is not None and blamed is not task:
            self._tell("skipped", text, str(blamed.key))
            return
        error, trace = (
            str(facts.get(name) or getattr(task, name, "") or "") for name in ("exception_text", "traceback_text")
        )
        worker = str(facts.get("worker") or "")
        if not error:  # the scheduler itself gave up on it
            error = f"KilledWorker({worker} died while it ran this task, as others did before)"
        self._tell("failed", text, worker, _compute_s(facts.get("startstops")), error[:_TEXT], trace[-_TEXT:])

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Whoever listened has gone."""
        if client == self._client:
            asyncio.get_running_loop().call_soon(lambda: scheduler.plugins.pop(self.name, None))


def _compute_s(startstops: Any) -> float:
    """The seconds that a task computed, without transfers."""
    return float(
        sum(max(0.0, part["stop"] - part["start"]) for part in startstops or () if part["action"] == "compute")
    )
