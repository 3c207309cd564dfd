"""What can be wrong with a graph, and how a run fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from hexviz.display import let_kernel_show_groups
from hexviz.errors import HexvizError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hexviz.recording.recording import Recording


class GraphError(HexvizError, ValueError):
    """The graph cannot be run as it is."""


class CycleDetectedError(GraphError):
    """Nodes wait for each other; ``path`` names them in order, the first one again at the end."""

    def __init__(self, graph: str, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(
            f"graph {graph!r} has a cycle: {' -> '.join(self.path)}. Take one of these names out of an after=[...]"
        )


class MissingDependencyError(GraphError):
    """A node comes after one that is not in the graph."""

    def __init__(self, graph: str, node: str, missing: str, known: Iterable[str]) -> None:
        self.node, self.missing = node, missing
        super().__init__(
            f"node {node!r} of graph {graph!r} comes after {missing!r}, which is not in the graph. "
            f"Add that node, or correct the name; there are: {_listed(known)}"
        )


class DuplicateNodeError(GraphError):
    """Two nodes of one graph have the same name."""

    def __init__(self, graph: str, node: str) -> None:
        self.node = node
        super().__init__(f"graph {graph!r} has a node {node!r} already; give this one another name=")


class NodeSignatureError(GraphError):
    """A node's function takes an argument that nothing provides."""


class SchemaCompatibilityError(GraphError, TypeError):
    """A node hands on another type than its child takes."""


class OrchestratorError(HexvizError, RuntimeError):
    """A run could not go on."""


class NodeExecutionError(OrchestratorError):
    """A node failed for good; ``original_error`` is what it raised, ``attempts`` how often it was tried."""

    def __init__(self, node_name: str, original_error: BaseException, attempts: int = 1) -> None:
        self.node_name = node_name
        self.original_error = original_error
        self.attempts = attempts
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        super().__init__(f"node {node_name!r} failed{tried}: {type(original_error).__name__}: {_text(original_error)}")
        self.__cause__ = original_error


class NodeTimeoutError(OrchestratorError, TimeoutError):
    """A node took longer than its ``timeout_s``."""


class NodeVetoedError(OrchestratorError):
    """Control answered FAIL (or ERROR) for a node; ``decided_by`` names the handler."""

    def __init__(self, message: str, decided_by: str = "") -> None:
        super().__init__(message)
        self.decided_by = decided_by


class RunnerSettingError(HexvizError, ValueError):
    """A runner was given something that it cannot use."""


class NodeTransferError(OrchestratorError, TypeError):
    """Something of a node cannot be sent to another process: its function, an argument, its result."""


class RemoteNodeError(OrchestratorError):
    """Stands for an exception that could not be sent home from a worker: its type and its message, as text."""

    def __init__(self, type_name: str, message: str = "") -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class WorkerLostError(OrchestratorError, ConnectionError):
    """The worker of an attempt died, or went away; ``worker`` names it."""

    def __init__(self, message: str, worker: str = "") -> None:
        super().__init__(message)
        self.worker = worker


class SchedulerLostError(OrchestratorError, ConnectionError):
    """The cluster that runs the nodes cannot be reached any more."""


class VersionMismatchError(OrchestratorError):
    """A cluster has another version of hexviz than the process that starts the run."""


class NoWorkersError(OrchestratorError, TimeoutError):
    """A cluster had no worker for a node for too long."""


class NotRecordedError(OrchestratorError, LookupError):
    """Nobody recorded the run, so it has no recording."""


class OfRun:
    """What a run ends with, a result or an error: it knows the recording of its run, where there is one."""

    run_id: str
    _recording: Recording | None = None

    @property
    def recording(self) -> Recording:
        """What was recorded of the run; :class:`NotRecordedError` where nothing was."""
        if self._recording is None:
            raise NotRecordedError(
                f"nothing recorded run {self.run_id}: use hexviz.run, or hexviz.Recorder().attach(observers) before an "
                "Orchestrator(observers=observers) runs, and read recorder.recording"
            )
        return self._recording

    @recording.setter
    def recording(self, recording: Recording) -> None:
        self._recording = recording


class PipelineError(OfRun, ExceptionGroup, OrchestratorError):
    """A run failed: holds every failure, the run's id, and the results of the nodes that ended well.

    ``results`` is a dict of node -> result, ``run_id`` names the run in the store.
    """

    run_id: str = ""
    results: Mapping[str, Any]

    def __new__(cls, message: str, failures: Sequence[Exception], **facts: Any) -> Self:  # noqa: ARG004 - for __init__
        """Make the group; the facts are kept by ``__init__``."""
        return super().__new__(cls, message, failures)

    def __init__(
        self, message: str, failures: Sequence[Exception], *, run_id: str = "", results: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, failures)
        let_kernel_show_groups()
        self.run_id = run_id
        self.results = dict(results or {})

    def derive(self, excs: Sequence[Exception]) -> PipelineError:  # type: ignore[override]
        """The same run with some of its failures, as ``except*`` and ``split`` ask for."""
        part = PipelineError(self.message, excs, run_id=self.run_id, results=self.results)
        part._recording = self._recording
        return part


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "<its message cannot be shown>"


def _listed(names: Iterable[str], limit: int = 10) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(repr(name) for name in shown[:limit]) + more or "no nodes"
