"""What hexviz asks of a Dask scheduler that runs its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

if TYPE_CHECKING:
    from distributed import Scheduler

PREFIX = "hexviz-run-"


def is_ours(key: Any) -> bool:
    """Whether a task is an attempt of a node."""
    return type(key) is tuple and len(key) == 2 and str(key[1]).startswith(PREFIX)  # noqa: PLR2004 - a pair


class HexvizTasks(SchedulerPlugin):
    """Lets a task fail with the first worker that dies under it, and keeps no message that was passed on."""

    name = "hexviz"
    idempotent = True

    def __init__(self) -> None:
        self._scheduler: Any = None

    async def start(self, scheduler: Scheduler) -> None:
        """Know the scheduler."""
        self._scheduler = scheduler

    def update_graph(self, scheduler: Scheduler, *, keys: set[Any], **_: Any) -> None:
        """Our tasks count as if they had taken down as many workers as one may: the next one is reported."""
        for key in keys:
            if is_ours(key) and (task := scheduler.tasks.get(key)) is not None:
                task.suspicious = max(task.suspicious, scheduler.allowed_failures)

    def log_event(self, topic: str, msg: Any) -> None:  # noqa: ARG002 - the interface of Dask
        """A message is passed on to its subscriber before this; the scheduler would keep it for later readers."""
        broker = getattr(self._scheduler, "_broker", None)
        if topic.startswith(PREFIX) and broker is not None:
            broker.truncate(topic)
