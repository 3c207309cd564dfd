"""The timeline: one bar per attempt, waits drawn apart."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hexviz.analysis.source import table
from hexviz.errors import SettingError
from hexviz.figures.layout import (
    Unit,
    all_harmless,
    duration_text,
    height_of,
    name_rows,
    new_figure,
    run_title,
    say_nothing_to_show,
    unit_for,
)
from hexviz.palette import STATUS_COLORS, WAIT_COLORS, status_color

if TYPE_CHECKING:
    from hexviz.analysis.source import FramesLike

_COLUMNS = (
    *("node", "wave", "attempt", "status", "ready_ms", "start_ms", "end_ms", "backoff_ms"),
    *("error_type", "error_message"),
)
_MOST_NAMES = 80
_MOST_ROWS = 400
_MOST_BARS = 4000
_LINE_PX = 14
_FRAME_PX = 150
_HOVER = (
    "<b>%{customdata[0]}</b><br>attempt %{customdata[1]}, wave %{customdata[2]}%{customdata[6]}: %{customdata[3]}<br>"
    "%{customdata[4]}%{customdata[5]}<extra></extra>"
)


Lanes = Literal["node", "worker"]


def timeline_info(frames: FramesLike, *, run_id: str | None = None, lanes: Lanes = "node") -> pd.DataFrame:
    """What :func:`plot_timeline` draws: one row per attempt that started, with its row on the y axis.

    Columns: ``row`` (int64, from 0 on top: one per node by wave and first start, or, above 400 nodes, one per lane in
    which attempts do not overlap; with ``lanes="worker"`` one per such lane of each worker, by their first attempts),
    ``node``, ``wave``, ``attempt``, ``status``, ``start_ms``, ``width_ms`` (an attempt without an end reaches to the
    last known moment), ``queued_ms`` (before the start), ``backoff_ms`` (before that), ``error``, ``worker`` (empty
    where none is known). With ``lanes="worker"`` an attempt begins when its code did, ``duration_ms`` before its end.
    ``attrs["packed"]`` tells whether rows are lanes. Raises :class:`~hexviz.errors.SettingError` for other ``lanes``.
    """
    if lanes not in get_args(Lanes):
        raise SettingError(f"lanes must be one of {', '.join(map(repr, get_args(Lanes)))}, not {lanes!r}")
    wanted = (*_COLUMNS, "duration_ms", "worker") if lanes == "worker" else _COLUMNS
    attempts = table(frames, "attempts", wanted, run_id)
    attempts = attempts[attempts["start_ms"].notna()].reset_index(drop=True)
    last = attempts[["start_ms", "end_ms"]].max().max()
    end = attempts["end_ms"].fillna(last)
    info = attempts[["node", "wave", "attempt", "status", "start_ms"]].copy()
    info["width_ms"] = (end - attempts["start_ms"]).clip(lower=0.0)
    info["queued_ms"] = (attempts["start_ms"] - attempts["ready_ms"]).fillna(0.0).clip(lower=0.0)
    info["backoff_ms"] = attempts["backoff_ms"].fillna(0.0).clip(lower=0.0)
    error = attempts["error_type"].astype(object).fillna("")
    info["error"] = error.where(error == "", error + ": " + attempts["error_message"].astype(object).fillna(""))
    info["worker"] = attempts["worker"].astype(object).fillna("") if "worker" in attempts else ""
    packed = lanes == "worker" or info["node"].nunique() > _MOST_ROWS
    if lanes == "worker":
        _begin_with_code(info, attempts["duration_ms"])
    info.insert(0, "row", _worker_rows(info) if lanes == "worker" else _lanes(info) if packed else _node_rows(info))
    info.attrs = {"hexviz_frame": "timeline_info", "packed": packed}
    return info


def plot_timeline(
    frames: FramesLike, *, run_id: str | None = None, title: str | None = None, lanes: Lanes = "node"
) -> go.Figure:
    """Draw one bar per attempt, coloured by status, time from left to right; waits (queue, back-off) are thin bars.

    Above 400 nodes rows are lanes, not nodes; above 4000 attempts bars become WebGL lines: the browser keeps up.
    With ``lanes="worker"`` each worker has lanes of its own, and waits are left out: nothing waits on a worker.
    """
    info = timeline_info(frames, run_id=run_id, lanes=lanes)
    rows = int(info["row"].max()) + 1 if len(info) else 1
    longest = float((info["start_ms"] + info["width_ms"]).max()) if len(info) else 0.0
    unit = unit_for(longest)
    what = "worker" if lanes == "worker" else "lane" if info.attrs["packed"] else ""
    figure = new_figure(
        title or run_title("Timeline", frames, run_id), x=f"since the start ({unit.name})", y=what, rows=rows
    )
    if not len(info):
        return say_nothing_to_show(figure, "no node has started")
    draw = _lines if len(info) > _MOST_BARS else _bars
    if lanes == "node":
        _add_waits(figure, info, unit, draw)
    for status in STATUS_COLORS:
        chosen = info[info["status"].astype(object) == status]
        if len(chosen):
            figure.add_trace(draw(chosen, unit, status.replace("_", " "), status_color(status), _hover_of(chosen), 0.8))
    if lanes == "worker":
        _name_workers(figure, info.sort_values("row").drop_duplicates("row")["worker"])
    elif info.attrs["packed"]:
        figure.update_yaxes(range=[rows - 0.5, -0.5])
    else:
        _name_nodes(figure, info.sort_values("row").drop_duplicates("row"))
    return figure


def _begin_with_code(info: pd.DataFrame, duration_ms: pd.Series[float]) -> None:
    """Let attempts begin when their code did: what came before was a wait for the worker."""
    waited = (info["width_ms"] - duration_ms.clip(lower=0.0)).clip(lower=0.0).fillna(0.0)
    info["start_ms"] += waited
    info["width_ms"] -= waited
    info["queued_ms"] += waited


def _worker_rows(info: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The lanes of each worker, one worker after the other in the order of their first attempts."""
    row = np.zeros(len(info), dtype="int64")
    taken = 0
    for _, mine in info.sort_values("start_ms", kind="stable").groupby("worker", sort=False):
        places = mine.index.to_numpy()
        row[places] = taken + _lanes(mine)
        taken = int(row[places].max()) + 1
    return row


def _node_rows(info: pd.DataFrame) -> pd.Series[int]:
    first = (
        info.groupby("node", sort=False, observed=True)[["wave", "start_ms"]]
        .min()
        .sort_values(["wave", "start_ms"], kind="stable")
    )
    return info["node"].map(pd.Series(np.arange(len(first)), index=first.index)).astype("int64")


def _lanes(info: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The first free lane for each attempt, by start: lanes that are free are kept in a heap-like order of number."""
    from_start = info["start_ms"].to_numpy().argsort(kind="stable")
    starts, ends = info["start_ms"].to_numpy(), (info["start_ms"] + info["width_ms"]).to_numpy()
    lane = np.zeros(len(info), dtype="int64")
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for i in from_start.tolist():
        while busy and busy[0][0] <= starts[i]:
            heappush(free, heappop(busy)[1])
        lane[i] = heappop(free) if free else len(busy)
        heappush(busy, (float(ends[i]), int(lane[i])))
    return lane


def _name_nodes(figure: go.Figure, nodes: pd.DataFrame) -> None:
    """Write the names of the nodes; where there are too many, the wave in the middle of its rows, if there is room."""
    name_rows(figure, nodes["node"], most=_MOST_NAMES)
    if len(nodes) > _MOST_NAMES:
        apart = _LINE_PX * len(nodes) / (height_of(len(nodes)) - _FRAME_PX)
        middles = nodes.groupby("wave", sort=False)["row"].mean()
        named = _apart(middles.tolist(), apart)
        waves = [str(wave) for wave, middle in middles.items() if middle in named]
        figure.update_yaxes(title={"text": "wave"}, tickvals=named, ticktext=waves)


def _apart(places: list[float], least: float) -> list[float]:
    """Those of the rising ``places`` that lie at least so far apart, the last one among them."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= least:
            kept.append(place)
    if kept[-1] != places[-1]:
        kept[-1] = places[-1]  # further on than the one that stood there, so as far as that from those before
    return kept


def _name_workers(figure: go.Figure, workers: pd.Series[Any]) -> None:
    """Write each worker's name at the first of its lanes."""
    names = workers.where(workers != "", "none known").where(workers != workers.shift(), "")
    name_rows(figure, names, most=_MOST_NAMES)


def _add_waits(figure: go.Figure, info: pd.DataFrame, unit: Unit, draw: Any) -> None:
    queued = info[info["queued_ms"] > 0]
    backoff = info[info["backoff_ms"] > 0]
    waits = (
        ("in the queue", "queued", queued, _ready(queued), queued["queued_ms"]),
        ("backing off", "backoff", backoff, _ready(backoff) - backoff["backoff_ms"], backoff["backoff_ms"]),
    )
    for name, kind, chosen, start, width in waits:
        if len(chosen):
            told = [f"{name} for {duration_text(ms)}" for ms in width]
            moved = chosen.assign(start_ms=start, width_ms=width, error="")
            figure.add_trace(draw(moved, unit, name, WAIT_COLORS[kind], _hover_of(moved, told), 0.3))


def _ready(info: pd.DataFrame) -> pd.Series[float]:
    return info["start_ms"] - info["queued_ms"]


def _hover_of(chosen: pd.DataFrame, told: list[str] | None = None) -> np.ndarray[Any, Any]:
    error = all_harmless(chosen["error"], 200)
    return np.column_stack(
        [
            np.array(all_harmless(chosen["node"]), dtype=object),
            np.array(all_harmless(chosen["attempt"]), dtype=object),
            np.array(all_harmless(chosen["wave"]), dtype=object),
            np.array(all_harmless(chosen["status"]), dtype=object),
            np.array(told or [duration_text(ms) for ms in chosen["width_ms"]], dtype=object),
            np.array([f"<br>{text}" if text else "" for text in error], dtype=object),
            np.array([f", on {text}" if text else "" for text in all_harmless(chosen["worker"])], dtype=object),
        ]
    )


def _bars(
    chosen: pd.DataFrame, unit: Unit, name: str, color: str, hover: np.ndarray[Any, Any], height: float
) -> go.Bar:
    return go.Bar(
        name=name,
        orientation="h",
        base=(chosen["start_ms"] / unit.ms).to_numpy(),
        x=(chosen["width_ms"] / unit.ms).to_numpy(),
        y=chosen["row"].to_numpy(),
        width=height,
        marker={"color": color, "line": {"color": color, "width": 1}},
        customdata=hover,
        hovertemplate=_HOVER,
    )


def _lines(
    chosen: pd.DataFrame, unit: Unit, name: str, color: str, hover: np.ndarray[Any, Any], height: float
) -> go.Scattergl:
    start = (chosen["start_ms"] / unit.ms).to_numpy()
    gap = np.full(len(chosen), np.nan)
    ends = np.column_stack([start, start + (chosen["width_ms"] / unit.ms).to_numpy(), gap])
    return go.Scattergl(
        name=name,
        mode="lines",
        x=ends.ravel(),
        y=np.repeat(chosen["row"].to_numpy(), 3),
        line={"color": color, "width": 5 * height},
        customdata=np.repeat(hover, 3, axis=0),
        hovertemplate=_HOVER,
    )
