"""Runs nodes on the workers of a Dask cluster (``hexviz[dask]``)."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import RunnerSettingError
from hexviz.dag.runners.dask_session import DaskSession
from hexviz.errors import MissingExtraError

if TYPE_CHECKING:
    from hexviz.dag.run import Run


class DaskRunner:
    """``Orchestrator(runner=DaskRunner(client))``: each attempt of a node is a task of the cluster of ``client``.

    Waves, policies, attempts, timeouts and events are those of any run; Dask chooses the worker, whose address stands
    with the attempt. hexviz must be installed on scheduler and workers, in the same version. The code of an attempt
    begins at most once: a worker that dies, or leaves, is a failed attempt
    (:class:`~hexviz.dag.errors.WorkerLostError`) that control is asked about; what had only waited on that worker runs
    elsewhere. A scheduler that is lost fails the run (:class:`~hexviz.dag.errors.SchedulerLostError`), also one that
    has not answered for ``lost_after_s`` seconds; a node that finds no worker at all for that long fails
    (:class:`~hexviz.dag.errors.NoWorkersError`).

    ``keep_remote=True`` leaves every result on the cluster: futures travel between nodes, and the run's results are
    futures (``client.gather(dict(result))``). Control is then shown futures as well. A result that dies with its worker
    is computed again by Dask when a child needs it; that is logged, and counted in :attr:`recomputed`.

    A cancelled or timed out async node is cancelled on its worker; a sync one cannot be ended from outside: its thread
    there goes on, and what it returns is dropped. One that has a ``timeout_s`` gets a thread of its own, so that its
    place on the worker is free again when its time is up (``distributed.worker_client`` does not work in such a node).
    A runner that is made within a node, for a run on the same cluster, gives up the node's place on its worker, as
    ``worker_client`` does: the nodes of that run may need it.
    The clock of a worker is never used for more than a duration.
    """

    label = "dask"

    def __init__(self, client: Any, keep_remote: bool = False, *, lost_after_s: float = 25.0) -> None:  # noqa: FBT001, FBT002 - a switch
        _distributed()
        if not hasattr(client, "subscribe_topic"):
            raise RunnerSettingError(f"DaskRunner takes a distributed.Client, not {type(client).__name__}")
        self.client = client
        self.keeps_results = keep_remote
        self.lost_after_s = lost_after_s
        self.recomputed = 0
        _leave_pool()

    async def open(self, run: Run) -> DaskSession:
        """Get the scheduler ready for a run; :class:`SchedulerLostError` where it does not answer."""
        session = DaskSession(self, run)
        await session.open()
        return session


def _leave_pool() -> None:
    """Who makes a runner within a task of a worker waits for other tasks, which may need the place of that task."""
    if hasattr(importlib.import_module("distributed.utils").thread_state, "start_time"):  # this is a task's thread
        with suppress(KeyError):  # it has given up its place before
            _distributed().secede()


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("distributed", "dask", purpose="hexviz.dag.DaskRunner") from error
