"""Concurrency: how many attempts ran and waited at each moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hexviz.analysis.concurrency import concurrency
from hexviz.figures.layout import new_figure, run_title, say_nothing_to_show, unit_for
from hexviz.palette import STATUS_COLORS

if TYPE_CHECKING:
    from hexviz.analysis.source import FramesLike

_MOST_STEPS = 5000


def concurrency_info(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """The steps of :func:`hexviz.analysis.concurrency`; above 5000, the highest count in each of 2500 spans of time."""
    steps = concurrency(frames, run_id=run_id)[["offset_ms", "running", "queued"]]
    if len(steps) <= _MOST_STEPS:
        return steps
    edges = np.linspace(steps["offset_ms"].iloc[0], steps["offset_ms"].iloc[-1], _MOST_STEPS // 2 + 1)
    span = np.searchsorted(edges, steps["offset_ms"], side="right") - 1
    kept = steps.groupby(span)[["running", "queued"]].max().reindex(range(len(edges))).ffill().astype("int64")
    info = pd.DataFrame({"offset_ms": edges, "running": kept["running"], "queued": kept["queued"]})
    info.iloc[-1, 1:] = steps.iloc[-1, 1:]
    info.attrs = steps.attrs
    return info


def plot_concurrency(frames: FramesLike, *, run_id: str | None = None, title: str | None = None) -> go.Figure:
    """Draw the number of running attempts over time, and of those that were ready and waited for a place."""
    info = concurrency_info(frames, run_id=run_id)
    unit = unit_for(float(info["offset_ms"].max()) if len(info) else 0.0)
    what = f"Concurrency: {info.attrs['peak']} at most, {info.attrs['mean']:.1f} on average"
    figure = new_figure(title or run_title(what, frames, run_id), x=f"since the start ({unit.name})", y="attempts")
    if not len(info):
        return say_nothing_to_show(figure, "no node has started")
    for column, name, color, fill in (
        ("running", "running", STATUS_COLORS["running"], "tozeroy"),
        ("queued", "in the queue", STATUS_COLORS["retrying"], None),
    ):
        figure.add_trace(
            go.Scatter(
                name=name,
                mode="lines",
                x=(info["offset_ms"] / unit.ms).to_numpy(),
                y=info[column].to_numpy(),
                line={"shape": "hv", "color": color, "width": 1.5},
                fill=fill,
                hovertemplate=f"%{{y}} {name} at %{{x:.4~g}} {unit.name}<extra></extra>",
            )
        )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(rangemode="tozero")
    return figure
