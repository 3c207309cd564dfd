"""What went wrong on a Dask cluster, as an error that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import NodeTransferError, SchedulerLostError, VersionMismatchError, WorkerLostError

if TYPE_CHECKING:
    from hexviz.dag.runners.dask_sending import Task

_USELESS = {
    "closed": "the Dask client of this run is closed: make another one",
    "closing": "the Dask client of this run is closed: make another one",
    "newly-created": "the Dask client of this run has no connection yet: "
    "write client = await Client(..., asynchronous=True)",
}


def refuse_unusable(client: Any) -> None:
    """Raise :class:`~hexviz.dag.errors.SchedulerLostError` for a client that cannot serve a run."""
    if (status := getattr(client, "status", "")) in _USELESS:
        raise SchedulerLostError(_USELESS[status])


def address_of(client: Any) -> str:
    """Where the scheduler is."""
    address: str = getattr(getattr(client, "scheduler", None), "address", "")
    return address


def scheduler_lost(client: Any, address: str, how: str = "") -> SchedulerLostError:
    """The error of a run whose scheduler is gone; a closed client no longer knows the ``address``."""
    closed = getattr(client, "status", "closed") in ("closing", "closed")
    how = how or f"is lost: {'its client is closed' if closed else 'there is no connection to it'}"
    return SchedulerLostError(f"the Dask scheduler {address} {how}")


def error_of(task: Task) -> Any:
    """What Dask keeps as the error of a task, or None."""
    return getattr(getattr(task.future, "_state", None), "exception", None)


def failed_outside(task: Task) -> BaseException:
    """The error of a task that failed outside the node's own code."""
    attempt, error = task.attempt, error_of(task)
    kind = type(error).__name__
    if kind == "RefusedError":
        (worker,) = error.args
        attempt.gone = True
        return WorkerLostError(f"worker {worker} left the cluster with node {attempt.node!r}", worker)
    if kind == "KilledWorker":
        worker = getattr(getattr(error, "last_worker", None), "address", "") or attempt.worker
        attempt.gone = True
        if attempt.worker:
            return WorkerLostError(f"worker {worker} died while it ran node {attempt.node!r}", worker)
        attempt.place(worker)
        text = f"worker {worker} died with node {attempt.node!r} before that began, and so did others before it"
        return WorkerLostError(text, worker)
    if isinstance(error, VersionMismatchError):
        return error
    text = f"the task of node {attempt.node!r} failed on the cluster: {kind}: {error}"
    found = NodeTransferError(text)
    found.__cause__ = error if isinstance(error, BaseException) else None
    return found
