"""What if: how long the run would take with more or fewer workers, with and without waves as barriers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from hexviz.analysis.what_if import scaling
from hexviz.figures.layout import duration_text, new_figure, run_title, say_nothing_to_show, unit_for
from hexviz.palette import ACCENT, NEUTRAL, STATUS_COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hexviz.analysis.source import FramesLike

_WORKERS = (1, 2, 4, 8, 16, 32)


def what_if_info(frames: FramesLike, *, workers: Sequence[int] = _WORKERS, run_id: str | None = None) -> pd.DataFrame:
    """The rows of :func:`hexviz.analysis.scaling`: the makespan by schedule and number of workers."""
    return scaling(frames, workers=workers, run_id=run_id)


def plot_what_if(
    frames: FramesLike, *, workers: Sequence[int] = _WORKERS, run_id: str | None = None, title: str | None = None
) -> go.Figure:
    """Draw the simulated time of the run by number of workers, beside its critical path and what it really took."""
    info = what_if_info(frames, workers=workers, run_id=run_id)
    unit = unit_for(float(info["makespan_ms"].max()) if len(info) else 0.0)
    figure = new_figure(
        title or run_title("What if: time by number of workers", frames, run_id), x="workers", y=f"time ({unit.name})"
    )
    if not info["makespan_ms"].any():
        return say_nothing_to_show(figure, "no node has taken any time")
    for schedule, name, color in (
        ("ready", "starts when its parents have ended", STATUS_COLORS["succeeded"]),
        ("wave", "waits for the whole wave before", STATUS_COLORS["retrying"]),
    ):
        rows = info[info["schedule"] == schedule]
        figure.add_trace(
            go.Scatter(
                name=name,
                mode="lines+markers",
                x=rows["workers"].to_numpy(),
                y=(rows["makespan_ms"] / unit.ms).to_numpy(),
                line={"color": color, "width": 2},
                customdata=rows["speedup"].to_numpy(),
                hovertemplate=f"%{{x}} workers: %{{y:.4~g}} {unit.name}<br>speed-up %{{customdata:.2f}}<extra></extra>",
            )
        )
    for key, name, color, dash in (
        ("critical_path_ms", "critical path", ACCENT, "dash"),
        ("recorded_ms", "this run", NEUTRAL, "dot"),
    ):
        level = info.attrs[key]
        figure.add_hline(
            y=level / unit.ms,
            line={"color": color, "dash": dash, "width": 2},
            name=f"{name}: {duration_text(level)}",
            showlegend=True,
        )
    figure.update_xaxes(
        type="log", tickmode="array", tickvals=list(workers), ticktext=[str(number) for number in workers]
    )
    figure.update_yaxes(rangemode="tozero")
    return figure
