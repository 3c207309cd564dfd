"""Calls: which tools and models were called, how often, for how long and for how many tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from hexviz.analysis.calls import calls
from hexviz.figures.layout import (
    Unit,
    all_harmless,
    duration_text,
    name_rows,
    new_figure,
    run_title,
    say_nothing_to_show,
    unit_for,
)
from hexviz.palette import CALL_COLORS

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import FramesLike

_ROOM = 1.4
"""The axis is that much longer than the longest bar, for the words behind it."""
_KINDS = {"tool": "tool", "llm": "language model"}


def calls_info(frames: FramesLike, *, most: int = 30, run_id: str | None = None) -> pd.DataFrame:
    """The first ``most`` rows of :func:`hexviz.analysis.calls`, the longest total first, with ``succeeded`` (int64).

    A call that has not ended counts as neither ``failed`` nor ``succeeded``, and has no time.
    """
    info = calls(frames, run_id=run_id).head(most).reset_index(drop=True)
    info["succeeded"] = info["calls"] - info["failed"] - info["unfinished"]
    return info


def plot_calls(frames: FramesLike, *, most: int = 30, run_id: str | None = None, title: str | None = None) -> go.Figure:
    """Draw one bar per tool or model, the longest total on top; beside it how often it was called and what failed."""
    info = calls_info(frames, most=most, run_id=run_id)
    unit = unit_for(float(info["total_ms"].max()) if len(info) else 0.0)
    what = f"Calls: {int(info['calls'].sum())}, of which {int(info['failed'].sum())} failed"
    figure = new_figure(
        title or run_title(what, frames, run_id), x=f"time in calls ({unit.name})", y="", rows=len(info)
    )
    if not len(info):
        return say_nothing_to_show(figure, "no node called a tool or a model")
    for kind, name in _KINDS.items():
        chosen = info[info["kind"].astype(object) == kind]
        if len(chosen):
            figure.add_trace(_bars(chosen, name, CALL_COLORS[kind], unit))
    name_rows(figure, info["name"].astype(object).where(info["name"] != "", "(no name)"))
    longest = float(info["total_ms"].max()) / unit.ms
    figure.update_xaxes(range=[0.0, _ROOM * (longest if longest > 0 else 1.0)])
    return figure


def _bars(chosen: pd.DataFrame, name: str, color: str, unit: Unit) -> go.Bar:
    tokens = chosen["input_tokens"] + chosen["output_tokens"]
    told = [
        f"{row.calls} calls in {row.nodes} nodes, {row.failed} failed, {row.unfinished} without an end"
        f"<br>{_times(row)}<br>{row.input_tokens} tokens sent, {row.output_tokens} received"
        for row in chosen.itertuples()
    ]
    labels = [_label(*counts) for counts in zip(chosen["calls"], chosen["failed"], tokens, strict=True)]
    return go.Bar(
        name=name,
        orientation="h",
        x=(chosen["total_ms"].fillna(0.0) / unit.ms).to_numpy(),
        y=chosen.index.to_numpy(),
        width=0.7,
        text=labels,
        textposition="outside",
        cliponaxis=False,
        marker={"color": color, "line": {"width": 0}},
        customdata=np.column_stack(
            [np.array(all_harmless(chosen["name"]), dtype=object), np.array(told, dtype=object)]
        ),
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
    )


def _times(row: Any) -> str:
    total, median, p95, longest = map(duration_text, (row.total_ms, row.p50_ms, row.p95_ms, row.max_ms))
    return f"{total} in all, median {median}, p95 {p95}, longest {longest}" if median else "none has ended"


def _label(count: int, failed: int, tokens: int) -> str:
    parts = [f" {count} call" if count == 1 else f" {count} calls"]
    parts += [f"{failed} failed"] if failed else []
    return ", ".join([*parts, f"{tokens:,} tokens"] if tokens else parts)
