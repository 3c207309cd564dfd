"""What hexviz asks of a Dask scheduler that runs its nodes."""

from __future__ import annotations

import inspect
import logging
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any

from dask.task_spec import List, Task, TaskRef
from distributed import Scheduler
from distributed.core import error_message
from distributed.diagnostics.plugin import SchedulerPlugin

from hexviz import __version__
from hexviz.dag.runners.dask_worker import perform_task, refuse
from hexviz.dag.runners.names import FACTS, NEW_TASKS, PREFIX, is_kept, is_ours, refuse_other_version, topic_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("hexviz.dag")
_NO_SPAN = {"collections": [{"type": "Future"}]}
_FIFO_S = 0.1
"""Tasks that come within this time after others are as urgent as they, as with ``Client.map``."""


def takes_tasks() -> bool:
    """Whether a scheduler of this release of ``distributed`` can be given tasks without a graph around them."""
    taking = getattr(Scheduler, "_create_taskstate_from_graph", None)
    if taking is None:
        return False
    needed = {name for name, one in inspect.signature(taking).parameters.items() if one.default is one.empty}
    return needed == {
        "self", "start", "dsk", "keys", "ordered", "client", "annotations_by_type", "global_annotations",
        "stimulus_id", "submitting_task", "span_metadata",
    }  # fmt: skip


class HexvizTasks(SchedulerPlugin):
    """Sees to it that the code of an attempt begins once, and tells when its result is there.

    A worker says that a node begins before it does; the message is in the hands of its operating system by then. From
    there on the task fails with the first worker that dies under it, and whatever else makes Dask run it again (a
    worker that is retired, a result that is lost) runs :func:`~hexviz.dag.runners.dask_worker.refuse` in its place. A
    task that has not begun is Dask's to give to another worker.
    """

    idempotent = True

    def __init__(self) -> None:
        self.version = __version__
        self.name = f"hexviz-{self.version}"  # of another version than the one that is there, it is looked at
        self._scheduler: Any = None
        self._codes: dict[Any, Any] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Know the scheduler, and be known as the one who takes tasks."""
        refuse_other_version(f"the Dask scheduler {scheduler.address}", self.version)
        self._scheduler = scheduler
        scheduler.stream_handlers[NEW_TASKS] = self.new_tasks

    def new_tasks(self, client: str, rows: Sequence[tuple[Any, ...]], submitting_task: Any) -> None:
        """Tasks from a client: each with its key, its two packed arguments, and the keys of its parents.

        They come without a graph around them, which would have to be pickled, unpickled and looked through in a thread:
        a millisecond at each link of a chain.
        """
        scheduler = self._scheduler
        tasks = {}
        for key, head, call, parents in rows:
            if all(parent in scheduler.tasks for parent in parents):
                tasks[key] = Task(key, perform_task, head, call, List(*map(TaskRef, parents)))
            else:
                lost = {"op": "cancelled-keys", "keys": [key], "reason": "lost dependencies"}
                scheduler.report(lost, client=client)
        try:
            self._take(client, tasks, submitting_task)
        except Exception as error:  # noqa: BLE001 - the line of the client must not break
            _log.exception("the scheduler does not take nodes")
            facts = error_message(error)
            for key in tasks:
                erred = {"op": "task-erred", "key": key}
                scheduler.report({**erred, **{name: facts[name] for name in ("exception", "traceback")}}, client=client)

    def _take(self, client: str, tasks: dict[Any, Task], submitting_task: Any) -> None:
        now = time()
        self._scheduler._create_taskstate_from_graph(  # noqa: SLF001 - see takes_tasks
            start=now, dsk=tasks, keys=set(tasks), ordered={key: number for number, key in enumerate(tasks)},
            client=client, annotations_by_type={}, global_annotations=None, stimulus_id=f"{NEW_TASKS}-{now}",
            submitting_task=submitting_task, span_metadata=_NO_SPAN, fifo_timeout=_FIFO_S,
        )  # fmt: skip

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
