"""What hexviz asks of a Dask scheduler that runs its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from hexviz.dag.runners.names import KEPT, PREFIX, is_ours, topic_of

if TYPE_CHECKING:
    from distributed import Scheduler


class HexvizTasks(SchedulerPlugin):
    """Lets a task fail with the first worker that dies under it, and tells when a result is there that stays."""

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

    def transition(self, key: Any, start: str, finish: str, *args: Any, **_: Any) -> None:  # noqa: ARG002 - as Dask calls it
        """Tell when a result that is to stay is there."""
        if finish == "memory" and type(key) is tuple and key[-1] == KEPT and is_ours(key):
            self._scheduler.log_event(topic_of(key[1]), [key[1], "memory"])

    def log_event(self, topic: str, msg: Any) -> None:  # noqa: ARG002 - the interface of Dask
        """A message is passed on to its subscriber before this; the scheduler would keep it for later readers."""
        broker = getattr(self._scheduler, "_broker", None)
        if topic.startswith(PREFIX) and broker is not None:
            broker.truncate(topic)
