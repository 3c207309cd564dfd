"""The critical path: what the run had to wait for, and the gaps between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.critical_path import critical_path
from hexviz.figures.layout import (
    all_harmless,
    duration_text,
    name_rows,
    new_figure,
    run_title,
    say_nothing_to_show,
    unit_for,
)
from hexviz.palette import ACCENT, NEUTRAL

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import FramesLike


def critical_path_info(frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms") -> pd.DataFrame:
    """The rows of :func:`hexviz.analysis.critical_path` with ``bar_start_ms`` and ``wait_ms``.

    The bar of a node ends where the node ended and is as long as its weight; ``wait_ms`` is from the end of the node
    before to the start of the bar: queue, back-off, earlier attempts, and the orchestrator itself. A node that never
    ran stands where the node before it ended.
    """
    info = critical_path(frames, run_id=run_id, weight=weight)
    end = info["end_ms"].ffill().fillna(0.0)
    info["bar_start_ms"] = end - info["duration_ms"]
    before = end.shift(1).fillna(0.0)
    info["wait_ms"] = (info["bar_start_ms"] - before).clip(lower=0.0)
    return info


def plot_critical_path(
    frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms", title: str | None = None
) -> go.Figure:
    """Draw the nodes of the critical path when they ran, one row each, with the waits before them."""
    info = critical_path_info(frames, run_id=run_id, weight=weight)
    unit = unit_for(float(info["end_ms"].max()) if len(info) else 0.0)
    what = f"Critical path: {duration_text(info.attrs['total_ms'])} in {len(info)} nodes"
    figure = new_figure(
        title or run_title(what, frames, run_id), x=f"since the start ({unit.name})", y="", rows=min(len(info), 80)
    )
    if not len(info):
        return say_nothing_to_show(figure, "a graph without nodes")
    names = np.array(all_harmless(info["node"]), dtype=object)
    bars = (
        ("waiting", info["bar_start_ms"] - info["wait_ms"], info["wait_ms"], NEUTRAL, 0.25),
        ("running", info["bar_start_ms"], info["duration_ms"], ACCENT, 0.8),
    )
    for name, start, width, color, height in bars:
        told = [f"{name} {duration_text(ms)}" for ms in width]
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                base=(start / unit.ms).to_numpy(),
                x=(width / unit.ms).to_numpy(),
                y=np.arange(len(info)),
                width=height,
                marker={"color": color, "line": {"color": color, "width": 1}},
                customdata=np.column_stack(
                    [names, np.array(all_harmless(info["wave"]), dtype=object), np.array(told, dtype=object)]
                ),
                hovertemplate="<b>%{customdata[0]}</b>, wave %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            )
        )
    name_rows(figure, info["node"])
    return figure
