"""Durations: how long attempts took, by wave, status or node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from hexviz.analysis.source import table
from hexviz.errors import SettingError
from hexviz.figures.layout import all_harmless, new_figure, run_title, say_nothing_to_show, unit_for
from hexviz.palette import STATUS_COLORS

if TYPE_CHECKING:
    from hexviz.analysis.source import FramesLike

_GROUPS = ("wave", "status", "node")
_MOST_GROUPS = 60


def durations_info(frames: FramesLike, *, by: str = "wave", run_id: str | None = None) -> pd.DataFrame:
    """One row per attempt that ended: ``group`` (str), ``node``, ``attempt``, ``duration_ms``.

    Groups stand in their own order; nodes by their longest attempt, and only the 60 longest of them.
    """
    if by not in _GROUPS:
        raise SettingError(f"by must be one of {', '.join(_GROUPS)}, not {by!r}")
    attempts = table(frames, "attempts", ("node", "wave", "attempt", "status", "duration_ms", "end_ms"), run_id)
    ended = attempts[attempts["duration_ms"].notna() & attempts["end_ms"].notna()]
    if by == "node":
        longest = (
            ended.groupby("node", observed=True)["duration_ms"].max().sort_values(ascending=False).head(_MOST_GROUPS)
        )
        ended = ended[ended["node"].isin(longest.index)]
        rank = ended["node"].map({name: i for i, name in enumerate(longest.index)})
    else:
        rank = ended["wave"] if by == "wave" else ended["status"].cat.codes
    info = pd.DataFrame(
        {
            "group": ended[by].astype(object).map(str),
            "node": ended["node"],
            "attempt": ended["attempt"],
            "duration_ms": ended["duration_ms"].astype("float64"),
        }
    )
    info = info.assign(rank=rank.astype("float64")).sort_values(["rank"], kind="stable").drop(columns="rank")
    return info.reset_index(drop=True)


def plot_durations(
    frames: FramesLike, *, by: str = "wave", log: bool = False, run_id: str | None = None, title: str | None = None
) -> go.Figure:
    """Draw a box per ``by`` (``"wave"``, ``"status"`` or ``"node"``) over the durations of its attempts."""
    info = durations_info(frames, by=by, run_id=run_id)
    unit = unit_for(float(info["duration_ms"].max()) if len(info) else 0.0)
    figure = new_figure(title or run_title("Durations of attempts", frames, run_id), x=by, y=f"duration ({unit.name})")
    if not len(info):
        return say_nothing_to_show(figure, "no attempt has ended")
    names = all_harmless(info["group"], 40)
    figure.add_trace(
        go.Box(
            x=names,
            y=(info["duration_ms"] / unit.ms).to_numpy(),
            text=all_harmless(info["node"]),
            boxpoints="outliers",
            marker={"color": STATUS_COLORS["running"], "size": 4},
            line={"width": 1.5},
            hovertemplate=f"<b>%{{text}}</b><br>%{{y:.4~g}} {unit.name}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=list(dict.fromkeys(names)))
    figure.update_yaxes(type="log" if log else "linear", rangemode="tozero")
    return figure
