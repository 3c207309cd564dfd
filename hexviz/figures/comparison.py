"""Comparison: which nodes became slower or faster from one run to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.compare import compare
from hexviz.figures.layout import (
    all_harmless,
    duration_text,
    harmless,
    name_rows,
    new_figure,
    say_nothing_to_show,
    unit_for,
)
from hexviz.palette import NEUTRAL, STATUS_COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hexviz.analysis.source import FramesLike


def comparison_info(
    before: FramesLike,
    after: FramesLike,
    *,
    most: int = 30,
    run_before: str | Sequence[str] | None = None,
    run_after: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """The durations in :func:`hexviz.analysis.compare` that changed most, at most ``most`` of them, by node."""
    rows = compare(before, after, run_before=run_before, run_after=run_after)
    durations = rows[(rows["kind"] == "timing") & (rows["measure"] == "duration_ms") & (rows["node"] != "")]
    return durations[durations["delta"].fillna(0.0) != 0.0].head(most).reset_index(drop=True)


def plot_comparison(
    before: FramesLike,
    after: FramesLike,
    *,
    most: int = 30,
    run_before: str | Sequence[str] | None = None,
    run_after: str | Sequence[str] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Draw the change of duration per node, the largest on top: slower to the right, faster to the left.

    Grey bars are within the noise.
    """
    info = comparison_info(before, after, most=most, run_before=run_before, run_after=run_after)
    facts = info.attrs
    unit = unit_for(float(info["delta"].abs().max()) if len(info) else 0.0)
    told = (
        f"{harmless(facts['run_before'], 40)}: {duration_text(facts['run_ms_before'])} → "
        f"{harmless(facts['run_after'], 40)}: {duration_text(facts['run_ms_after'])}"
    )
    figure = new_figure(
        title or f"Change of durations<br><sub>{told}</sub>", x=f"change ({unit.name})", y="", rows=len(info)
    )
    if not len(info):
        return say_nothing_to_show(figure, "no node took longer or shorter")
    for name, color in (
        ("slower", STATUS_COLORS["failed"]),
        ("faster", STATUS_COLORS["succeeded"]),
        ("noise", NEUTRAL),
    ):
        rows = info[info["verdict"] == name]
        if not len(rows) and name == "noise":
            continue
        texts = [f"{duration_text(b)} → {duration_text(a)}" for b, a in zip(rows["before"], rows["after"], strict=True)]
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                x=(rows["delta"] / unit.ms).to_numpy(),
                y=rows.index.to_numpy(),
                width=0.8,
                marker={"color": color, "line": {"width": 0}},
                customdata=np.column_stack(
                    [np.array(all_harmless(rows["node"]), dtype=object), np.array(texts, dtype=object)]
                ),
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            )
        )
    name_rows(figure, info["node"])
    return figure
