"""Comparison: which nodes became slower or faster from one run to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.compare import compare
from hexviz.analysis.palette import STATUS_COLORS
from hexviz.figures.layout import (
    all_harmless,
    duration_text,
    harmless,
    name_rows,
    new_figure,
    say_nothing_to_show,
    unit_for,
)

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import FramesLike


def comparison_info(
    before: FramesLike,
    after: FramesLike,
    *,
    most: int = 30,
    run_before: str | None = None,
    run_after: str | None = None,
) -> pd.DataFrame:
    """The ``most`` rows of :func:`hexviz.analysis.compare` that changed most; nodes of one run only are left out."""
    rows = compare(before, after, run_before=run_before, run_after=run_after)
    return rows[rows["delta_ms"].fillna(0.0) != 0.0].head(most).reset_index(drop=True)


def plot_comparison(
    before: FramesLike,
    after: FramesLike,
    *,
    most: int = 30,
    run_before: str | None = None,
    run_after: str | None = None,
    title: str | None = None,
) -> go.Figure:
    """Draw the change of duration per node, the largest on top: slower to the right, faster to the left."""
    info = comparison_info(before, after, most=most, run_before=run_before, run_after=run_after)
    facts = info.attrs
    unit = unit_for(float(info["delta_ms"].abs().max()) if len(info) else 0.0)
    told = (
        f"{harmless(facts['run_before'], 40)}: {duration_text(facts['run_ms_before'])} → "
        f"{harmless(facts['run_after'], 40)}: {duration_text(facts['run_ms_after'])}"
    )
    figure = new_figure(
        title or f"Change of durations<br><sub>{told}</sub>", x=f"change ({unit.name})", y="", rows=len(info)
    )
    if not len(info):
        return say_nothing_to_show(figure, "no node took longer or shorter")
    slower = info["delta_ms"] > 0
    for name, chosen, color in (("slower", slower, "failed"), ("faster", ~slower, "succeeded")):
        rows = info[chosen]
        texts = [
            f"{duration_text(b)} → {duration_text(a)}"
            for b, a in zip(rows["duration_ms_before"], rows["duration_ms_after"], strict=True)
        ]
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                x=(rows["delta_ms"] / unit.ms).to_numpy(),
                y=rows.index.to_numpy(),
                marker={"color": STATUS_COLORS[color], "line": {"width": 0}},
                customdata=np.column_stack(
                    [np.array(all_harmless(rows["node"]), dtype=object), np.array(texts, dtype=object)]
                ),
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            )
        )
    name_rows(figure, info["node"])
    return figure
