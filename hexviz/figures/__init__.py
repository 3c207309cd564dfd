"""How a run looks: frames in, a plotly figure out. plotly is loaded when the first figure is asked for.

Each ``plot_*`` has an ``*_info`` beside it in its file, which returns the frame that it draws.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hexviz.figures.calls import plot_calls
    from hexviz.figures.comparison import plot_comparison
    from hexviz.figures.concurrency import plot_concurrency
    from hexviz.figures.critical_path import plot_critical_path
    from hexviz.figures.decisions import plot_decisions
    from hexviz.figures.durations import plot_durations
    from hexviz.figures.graph import plot_graph
    from hexviz.figures.timeline import plot_timeline
    from hexviz.figures.waits import plot_waits
    from hexviz.figures.what_if import plot_what_if

__all__ = [
    "plot_calls",
    "plot_comparison",
    "plot_concurrency",
    "plot_critical_path",
    "plot_decisions",
    "plot_durations",
    "plot_graph",
    "plot_timeline",
    "plot_waits",
    "plot_what_if",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(importlib.import_module(f"{__name__}.{name.removeprefix('plot_')}"), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
