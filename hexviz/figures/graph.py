"""The graph: nodes in columns by wave, coloured by status, the critical path in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hexviz.analysis.critical_path import slack
from hexviz.analysis.shape import shape_of
from hexviz.analysis.source import table
from hexviz.figures.layout import all_harmless, duration_text, new_figure, run_title, say_nothing_to_show
from hexviz.palette import ACCENT, NEUTRAL, STATUS_COLORS, status_color

if TYPE_CHECKING:
    from hexviz.analysis.source import FramesLike

_COLUMNS = ("wave", "status", "attempts", "duration_ms", "total_ms", "start_ms", "end_ms")
_MOST_NAMES = 40
_MOST_SVG = 2000
_SWEEPS = 6
_HOVER = (
    "<b>%{customdata[0]}</b><br>wave %{customdata[1]}: %{customdata[2]}, attempts: %{customdata[3]}<br>"
    "%{customdata[4]}, slack %{customdata[5]}<extra></extra>"
)


def graph_info(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Where :func:`plot_graph` draws each node, in the order of ``frames.nodes``.

    Columns: ``node``, ``wave``, ``status``, ``attempts``, ``duration_ms``, ``slack_ms``, ``on_path`` (bool), ``x`` (the
    wave), ``y`` (place within the wave, around 0: near the middle of its parents and children).
    """
    shape = shape_of(frames, _COLUMNS, run_id)
    info = shape.nodes[["node", "wave", "status", "attempts", "duration_ms"]].copy()
    spare = slack(frames, run_id=run_id)
    info["slack_ms"], info["on_path"] = spare["slack_ms"], spare["on_path"]
    info["x"] = pd.to_numeric(info["wave"]).fillna(0).astype("float64")
    info["y"] = _places(info["x"].to_numpy(), _links(shape.children))
    info.attrs = {"hexviz_frame": "graph_info"}
    return info


def plot_graph(frames: FramesLike, *, run_id: str | None = None, title: str | None = None) -> go.Figure:
    """Draw the graph of the run; names are written up to 40 nodes, above that they show under the pointer."""
    info = graph_info(frames, run_id=run_id)
    rows = int(info.groupby("x").size().max()) if len(info) else 1
    figure = new_figure(title or run_title("Graph", frames, run_id), x="wave", y="", rows=min(rows, 40))
    if not len(info):
        return say_nothing_to_show(figure, "a graph without nodes")
    scatter = go.Scattergl if len(info) > _MOST_SVG else go.Scatter
    edges, path = _edge_traces(frames, info, run_id, scatter)
    figure.add_trace(edges)
    if scatter is go.Scatter:
        figure.add_trace(path)
    widest = 400.0 / rows
    named = len(info) <= _MOST_NAMES
    for status in STATUS_COLORS:
        chosen = info[info["status"].astype(object) == status]
        if len(chosen):
            figure.add_trace(_node_trace(chosen, status, scatter, widest, named=named))
    if scatter is go.Scattergl:
        figure.add_trace(path)
    reach = float(info["y"].abs().max()) + 0.6
    figure.update_yaxes(visible=False, range=[-reach, reach])
    waves = int(info["x"].max())
    figure.update_xaxes(showgrid=False, tick0=1, dtick=max(1, waves // 25), range=[0.4, waves + 0.6])
    return figure


def _links(children: list[list[int]]) -> np.ndarray[Any, Any]:
    sources = np.repeat(np.arange(len(children)), [len(row) for row in children])
    targets = np.array([child for row in children for child in row], dtype="int64")
    return np.column_stack([sources, targets]).astype("int64")


def _places(x: np.ndarray[Any, Any], links: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Order each wave by the mean place of its neighbours (the barycentre heuristic of Sugiyama), a few times over."""
    size = len(x)
    y = _spread(x, np.arange(size, dtype="float64"))
    for sweep in range(_SWEEPS):
        source, target = (links[:, 0], links[:, 1]) if sweep % 2 == 0 else (links[:, 1], links[:, 0])
        total = np.bincount(target, weights=y[source], minlength=size)
        count = np.bincount(target, minlength=size)
        wanted = np.where(count > 0, total / np.maximum(count, 1), y)
        y = _spread(x, wanted)
    return y


def _spread(x: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whole steps within each wave, in the order of ``wanted``, centred around 0."""
    order = np.lexsort((wanted, x))
    _, first, size = np.unique(x[order], return_index=True, return_counts=True)
    place = np.arange(len(x)) - np.repeat(first, size)
    y = np.empty(len(x))
    y[order] = place - (np.repeat(size, size) - 1) / 2
    return y


def _edge_traces(frames: FramesLike, info: pd.DataFrame, run_id: str | None, scatter: Any) -> list[Any]:
    edges = table(frames, "edges", ("source", "target"), run_id)
    index = pd.Index(info["node"].astype(object))
    source = index.get_indexer(pd.Index(edges["source"].astype(object)))
    target = index.get_indexer(pd.Index(edges["target"].astype(object)))
    path = info.index[info["on_path"]].to_numpy()
    path = path[info["x"].to_numpy()[path].argsort(kind="stable")]
    faint = min(0.4, max(0.06, 400 / max(1, len(edges))))
    lines = [("edges", source, target, NEUTRAL, 1.0, faint), ("critical path", path[:-1], path[1:], ACCENT, 3.0, 0.9)]
    return [
        scatter(
            name=name,
            mode="lines",
            x=_segments(info["x"].to_numpy(), a, b),
            y=_segments(info["y"].to_numpy(), a, b),
            line={"color": color, "width": width},
            opacity=opacity,
            hoverinfo="skip",
            showlegend=name != "edges",
        )
        for name, a, b, color, width, opacity in lines
    ]


def _segments(values: np.ndarray[Any, Any], a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack([values[a], values[b], np.full(len(a), np.nan)]).ravel()


def _node_trace(chosen: pd.DataFrame, status: str, scatter: Any, widest: float, *, named: bool) -> Any:
    names = all_harmless(chosen["node"])
    hover = np.column_stack(
        [
            np.array(names, dtype=object),
            np.array(all_harmless(chosen["wave"]), dtype=object),
            np.array([status.replace("_", " ")] * len(chosen), dtype=object),
            np.array(all_harmless(chosen["attempts"]), dtype=object),
            np.array([duration_text(ms) for ms in chosen["duration_ms"]], dtype=object),
            np.array([duration_text(ms) for ms in chosen["slack_ms"]], dtype=object),
        ]
    )
    took = chosen["duration_ms"].fillna(0.0).clip(lower=0.0).to_numpy()
    return scatter(
        name=status.replace("_", " "),
        mode="markers+text" if named else "markers",
        x=chosen["x"].to_numpy(),
        y=chosen["y"].to_numpy(),
        text=all_harmless(chosen["node"], 24) if named else None,
        textposition=np.where(chosen["y"] >= 0, "top center", "bottom center") if named else None,
        marker={
            "color": status_color(status),
            "size": np.minimum(7 + 3 * np.log10(1 + took), max(widest, 2.0)),
            "line": {"width": 0},
            "opacity": 1.0,
        },
        customdata=hover,
        hovertemplate=_HOVER,
    )
