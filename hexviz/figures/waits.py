"""Waits: what the nodes that waited longest spent their time on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.waits import waits
from hexviz.figures.layout import (
    all_harmless,
    duration_text,
    name_rows,
    new_figure,
    run_title,
    say_nothing_to_show,
    unit_for,
)
from hexviz.palette import WAIT_COLORS

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import FramesLike

_PARTS = (
    ("queued_ms", "in the queue", "queued"),
    ("backoff_ms", "backing off", "backoff"),
    ("running_ms", "running", "running"),
)


def waits_info(frames: FramesLike, *, most: int = 30, run_id: str | None = None) -> pd.DataFrame:
    """The first ``most`` rows of :func:`hexviz.analysis.waits`: the nodes that waited longest."""
    return waits(frames, run_id=run_id).head(most)


def plot_waits(frames: FramesLike, *, most: int = 30, run_id: str | None = None, title: str | None = None) -> go.Figure:
    """Draw one bar per node, the longest wait on top: time in the queue, in back-off, and running."""
    info = waits_info(frames, most=most, run_id=run_id)
    total = info[[column for column, *_ in _PARTS]].sum(axis=1)
    unit = unit_for(float(total.max()) if len(info) else 0.0)
    figure = new_figure(
        title or run_title("What nodes waited for", frames, run_id), x=f"time ({unit.name})", y="", rows=len(info)
    )
    if not len(info):
        return say_nothing_to_show(figure, "a graph without nodes")
    names = np.array(all_harmless(info["node"]), dtype=object)
    for column, name, kind in _PARTS:
        told = [f"{name} {duration_text(ms)}" for ms in info[column]]
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                x=(info[column] / unit.ms).to_numpy(),
                y=np.arange(len(info)),
                marker={"color": WAIT_COLORS[kind], "line": {"width": 0}},
                customdata=np.column_stack([names, np.array(told, dtype=object)]),
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack")
    name_rows(figure, info["node"])
    return figure
