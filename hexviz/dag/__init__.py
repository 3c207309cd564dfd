"""Run it: graphs of nodes, the orchestrator that runs them, and the calls that nodes make."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hexviz.dag.calls import llm_call, tool_call
from hexviz.dag.errors import (
    CycleDetectedError,
    DuplicateNodeError,
    GraphError,
    MissingDependencyError,
    NodeExecutionError,
    NodeSignatureError,
    NodeTimeoutError,
    NodeTransferError,
    NodeVetoedError,
    NotRecordedError,
    NoWorkersError,
    OrchestratorError,
    PipelineError,
    RemoteNodeError,
    RunnerSettingError,
    SchedulerLostError,
    SchemaCompatibilityError,
    VersionMismatchError,
    WorkerLostError,
)
from hexviz.dag.graph import DirectedGraph, Graph, NodeSpec
from hexviz.dag.orchestrator import Orchestrator, new_run_id
from hexviz.dag.result import NoResultError, RunResult
from hexviz.dag.runners.runner import Runner

if TYPE_CHECKING:
    from hexviz.dag.runners.dask import DaskRunner
    from hexviz.dag.runners.processes import ProcessRunner

__all__ = [
    "CycleDetectedError",
    "DaskRunner",
    "DirectedGraph",
    "DuplicateNodeError",
    "Graph",
    "GraphError",
    "MissingDependencyError",
    "NoResultError",
    "NoWorkersError",
    "NodeExecutionError",
    "NodeSignatureError",
    "NodeSpec",
    "NodeTimeoutError",
    "NodeTransferError",
    "NodeVetoedError",
    "NotRecordedError",
    "Orchestrator",
    "OrchestratorError",
    "PipelineError",
    "ProcessRunner",
    "RemoteNodeError",
    "RunResult",
    "Runner",
    "RunnerSettingError",
    "SchedulerLostError",
    "SchemaCompatibilityError",
    "VersionMismatchError",
    "WorkerLostError",
    "llm_call",
    "new_run_id",
    "tool_call",
]

_HOME = {"DaskRunner": "hexviz.dag.runners.dask", "ProcessRunner": "hexviz.dag.runners.processes"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'hexviz.dag' has no attribute {name!r}")
