"""hexviz: see, steer, keep and replay the runs of a DAG, from a notebook or from code.

``await hexviz.run(graph, ...)`` runs a :class:`Graph`; ``hexviz.start`` does so in the background,
``hexviz.run_sync`` in scripts. Everything that a first user needs stands here; rooms that load pandas, plotly or
ipywidgets are imported when they are first touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hexviz.loading import at_once
from hexviz.wiring import WITH_FRAMES

__version__ = "0.1.0"

_HOME = {
    "Graph": "hexviz.dag",
    "Orchestrator": "hexviz.dag",
    "PipelineError": "hexviz.dag",
    "llm_call": "hexviz.dag",
    "tool_call": "hexviz.dag",
    "HexvizError": "hexviz.errors",
    "ControlManager": "hexviz.events",
    "ControlResponse": "hexviz.events",
    "ControlSignal": "hexviz.events",
    "ObserverManager": "hexviz.events",
    "RunHandle": "hexviz.run_handle",
    "backtest": "hexviz.face",
    "compare_view": "hexviz.face",
    "dashboard": "hexviz.face",
    "export": "hexviz.face",
    "load": "hexviz.face",
    "open_store": "hexviz.opening",
    "record_dask": "hexviz.face",
    "report": "hexviz.face",
    "run": "hexviz.face",
    "run_sync": "hexviz.face",
    "serve": "hexviz.face",
    "start": "hexviz.face",
    "watch": "hexviz.face",
    "load_ipython_extension": "hexviz.notebook",
    "unload_ipython_extension": "hexviz.notebook",
    "Recorder": "hexviz.recording.recorder",
    "Recording": "hexviz.recording.recording",
    "Replay": "hexviz.recording.replay",
}
_ROOMS = frozenset(
    {"analysis", "dag", "events", "figures", "policies", "recording", "stores", "streams", "testing", "widgets"}
)

__all__ = [
    "ControlManager",
    "ControlResponse",
    "ControlSignal",
    "Graph",
    "HexvizError",
    "ObserverManager",
    "Orchestrator",
    "PipelineError",
    "Recorder",
    "Recording",
    "Replay",
    "RunHandle",
    "analysis",
    "backtest",
    "compare_view",
    "dag",
    "dashboard",
    "events",
    "export",
    "figures",
    "llm_call",
    "load",
    "open_store",
    "policies",
    "record_dask",
    "recording",
    "report",
    "run",
    "run_sync",
    "serve",
    "start",
    "stores",
    "streams",
    "testing",
    "tool_call",
    "watch",
    "widgets",
]

if TYPE_CHECKING:
    from hexviz import analysis, dag, events, figures, policies, recording, stores, streams, testing, widgets
    from hexviz.dag import Graph, Orchestrator, PipelineError, llm_call, tool_call
    from hexviz.errors import HexvizError
    from hexviz.events import ControlManager, ControlResponse, ControlSignal, ObserverManager
    from hexviz.face import (
        backtest,
        compare_view,
        dashboard,
        export,
        load,
        record_dask,
        report,
        run,
        run_sync,
        serve,
        start,
        watch,
    )
    from hexviz.opening import open_store
    from hexviz.recording.recorder import Recorder
    from hexviz.recording.recording import Recording
    from hexviz.recording.replay import Replay
    from hexviz.run_handle import RunHandle


def _bring_accessor() -> None:
    """Whoever has a frame of ours has ``df.hexviz`` too: ``recording``, which makes it, must not know ``analysis``."""
    importlib.import_module("hexviz.analysis")


WITH_FRAMES.append(_bring_accessor)


def __getattr__(name: str) -> Any:
    if name not in _HOME and name not in _ROOMS:
        raise AttributeError(f"module 'hexviz' has no attribute {name!r}")
    with at_once():
        if name in _HOME:
            value = getattr(importlib.import_module(_HOME[name]), name)
        else:
            value = importlib.import_module(f"hexviz.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
