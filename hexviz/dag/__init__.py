"""Run it: graphs of nodes, the orchestrator that runs them, and the calls that nodes make."""

from hexviz.dag.calls import llm_call, tool_call
from hexviz.dag.errors import (
    CycleDetectedError,
    DuplicateNodeError,
    GraphError,
    MissingDependencyError,
    NodeExecutionError,
    NodeSignatureError,
    NodeTimeoutError,
    NodeVetoedError,
    OrchestratorError,
    PipelineError,
    SchemaCompatibilityError,
)
from hexviz.dag.graph import DirectedGraph, Graph, NodeSpec
from hexviz.dag.orchestrator import Orchestrator, new_run_id
from hexviz.dag.result import RunResult

__all__ = [
    "CycleDetectedError",
    "DirectedGraph",
    "DuplicateNodeError",
    "Graph",
    "GraphError",
    "MissingDependencyError",
    "NodeExecutionError",
    "NodeSignatureError",
    "NodeSpec",
    "NodeTimeoutError",
    "NodeVetoedError",
    "Orchestrator",
    "OrchestratorError",
    "PipelineError",
    "RunResult",
    "SchemaCompatibilityError",
    "llm_call",
    "new_run_id",
    "tool_call",
]
