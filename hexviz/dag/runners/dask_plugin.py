"""What hexviz asks of a Dask scheduler that runs its nodes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask.task_spec import Task
from distributed.diagnostics.plugin import SchedulerPlugin

from hexviz.dag.runners.dask_worker import refuse
from hexviz.dag.runners.names import FACTS, PREFIX, is_kept, is_ours, topic_of

if TYPE_CHECKING:
    from distributed import Scheduler


class HexvizTasks(SchedulerPlugin):
    """Sees to it that the code of an attempt begins once, and tells when its result is there.

    A worker says that a node begins before it does; the message is in the hands of its operating system by then. From
    there on the task fails with the first worker that dies under it, and whatever else makes Dask run it again (a
    worker that is retired, a result that is lost) runs :func:`~hexviz.dag.runners.dask_worker.refuse` in its place. A
    task that has not begun is Dask's to give to another worker.
    """

    name = "hexviz"
    idempotent = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._codes: dict[Any, Any] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Know the scheduler."""
        self._scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *args: Any, **facts: Any) -> None:  # noqa: ARG002 - as Dask calls it
        """Tell when a result is there. One that stays may be computed again, should it be lost."""
        if finish not in ("memory", "erred", "forgotten") or not is_ours(key):
            return
        code = self._codes.pop(key, None)
        if finish != "memory":
            return
        if code is not None and is_kept(key):
            self._scheduler.tasks[key].run_spec = code
        told = (facts.get("metadata") or {}).get(FACTS)
        if told is not None:
            self._scheduler.log_event(topic_of(key[1]), [key[1], "end", *told])

    def log_event(self, topic: str, msg: Any) -> None:
        """A message is passed on to its subscriber before this; the scheduler would keep it for later readers."""
        if not topic.startswith(PREFIX):
            return
        with suppress(AttributeError):  # of a scheduler of another version, which forgets by itself
            self._scheduler._broker.truncate(topic)  # noqa: SLF001 - there is no other way
        if msg[1] == "start":
            self._begun(tuple(msg[3]), msg[2])

    def _begun(self, key: Any, worker: str) -> None:
        """The code of a task begins: for the first and the last time."""
        task = self._scheduler.tasks.get(key)
        if task is not None and task.state == "processing":
            task.suspicious = max(task.suspicious, self._scheduler.allowed_failures)
            self._codes[key] = task.run_spec
            task.run_spec = Task(key, refuse, worker)
