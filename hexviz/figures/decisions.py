"""The decisions: when control interfered, and who."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.decisions import decisions
from hexviz.figures.layout import all_harmless, name_rows, new_figure, run_title, say_nothing_to_show, unit_for
from hexviz.palette import SIGNAL_COLORS, signal_color

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import FramesLike

_SYMBOLS = {
    "proceed": "circle",
    "retry": "triangle-right",
    "skip": "diamond",
    "fallback": "square",
    "fail": "x",
    "error": "star",
}
_NOBODY = "(nobody)"
_HOVER = (
    "<b>%{customdata[0]}</b> on %{customdata[1]}<br>%{customdata[2]}, attempt %{customdata[3]}<br>"
    "%{customdata[4]}<extra></extra>"
)


def decisions_info(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """The rows of :func:`hexviz.analysis.decisions`, each with its ``row`` on the y axis and ``by``, its label.

    ``by`` is the deciding handler, or ``(nobody)`` where only a shadow handler would have interfered or one failed.
    """
    info = decisions(frames, run_id=run_id)
    by = info["decided_by"].astype(object).fillna("")
    info["by"] = by.where(by != "", _NOBODY)
    info["row"] = info["by"].map({name: i for i, name in enumerate(sorted(info["by"].unique()))}).astype("int64")
    return info


def plot_decisions(frames: FramesLike, *, run_id: str | None = None, title: str | None = None) -> go.Figure:
    """Draw one mark per decision: time from left to right, one row per handler, colour and shape by signal.

    Decisions that only a shadow handler would have taken are hollow.
    """
    info = decisions_info(frames, run_id=run_id)
    rows = int(info["row"].max()) + 1 if len(info) else 1
    unit = unit_for(float(info["offset_ms"].max()) if len(info) else 0.0)
    figure = new_figure(
        title or run_title("Decisions", frames, run_id),
        x=f"since the start ({unit.name})",
        y="decided by",
        rows=2 * rows,
    )
    if not len(info):
        return say_nothing_to_show(figure, "control never interfered")
    for signal in SIGNAL_COLORS:
        chosen = info[info["signal"].astype(object) == signal]
        if len(chosen):
            symbol = _SYMBOLS[signal]
            shapes = np.where(chosen["by"] == _NOBODY, f"{symbol}-open", symbol)
            hover = [
                chosen["signal"],
                chosen["event_type"],
                chosen["node"],
                chosen["attempt"],
                chosen["reason"],
            ]
            figure.add_trace(
                go.Scatter(
                    name=signal,
                    mode="markers",
                    x=(chosen["offset_ms"] / unit.ms).to_numpy(),
                    y=chosen["row"].to_numpy(),
                    marker={"color": signal_color(signal), "symbol": shapes, "size": 11},
                    customdata=np.column_stack([np.array(all_harmless(c, 200), dtype=object) for c in hover]),
                    hovertemplate=_HOVER,
                )
            )
    figure.update_xaxes(rangemode="tozero")
    name_rows(figure, info.sort_values("row").drop_duplicates("row")["by"])
    return figure
