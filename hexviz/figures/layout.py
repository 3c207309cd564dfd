"""How every figure looks: neutral colours that read on light and on dark, one unit of time, names made harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from hexviz.analysis.source import chosen_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.analysis.source import FramesLike

_LONGEST = 80
_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("$"): "&#36;"}
_TEXT |= dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "�")
_TEXT |= dict.fromkeys(range(55296, 57344), "�")
INK = "#757d89"
"""Text: as readable on white as on a dark page (4.2 and 4.4 to 1)."""
_GRID = "rgba(127, 135, 147, 0.25)"
_CLEAR = "rgba(0, 0, 0, 0)"
_HIGHEST = 1200
_MOST_NAMES = 80


class Unit(NamedTuple):
    """The unit of a time axis: milliseconds are divided by ``ms``."""

    name: str
    ms: float


def unit_for(longest_ms: float) -> Unit:
    """The unit in which ``longest_ms`` is easiest to read: ms, s, min or h."""
    for unit in (Unit("ms", 1.0), Unit("s", 1e3), Unit("min", 6e4)):
        if not longest_ms >= unit.ms * (2000 if unit.ms == 1.0 else 600):
            return unit
    return Unit("h", 3.6e6)


def harmless(text: object, longest: int = _LONGEST) -> str:
    """``text`` for a figure: plotly reads some HTML and TeX in every string, so none of the data's gets through."""
    plain = "" if text is None or text is pd.NA or text != text else str(text)  # noqa: PLR0124 - NaN is not itself
    return (plain if len(plain) <= longest else plain[: longest - 1] + "…").translate(_TEXT)


def all_harmless(texts: Iterable[object], longest: int = _LONGEST) -> list[str]:
    """:func:`harmless` for a column; each distinct text is worked on once."""
    known: dict[object, str] = {}
    result = []
    for text in texts:
        if text not in known:
            known[text] = harmless(text, longest)
        result.append(known[text])
    return result


def duration_text(duration_ms: float) -> str:
    """A duration in words, such as ``12.3 ms``, ``4.56 s`` or ``2 min 05 s``; empty for NaN."""
    if duration_ms != duration_ms:  # noqa: PLR0124 - NaN is not itself
        return ""
    if duration_ms < 1e3:  # noqa: PLR2004 - a second
        return f"{duration_ms:.3g} ms"
    if duration_ms < 6e4:  # noqa: PLR2004 - a minute
        return f"{duration_ms / 1e3:.3g} s"
    minutes, seconds = divmod(round(duration_ms / 1e3), 60)
    return f"{minutes} min {seconds:02d} s"


def run_title(what: str, frames: FramesLike, run_id: str | None) -> str:
    """The title of a figure: what it shows, then pipeline, run and status where they are known.

    A run whose end was not recorded is called unfinished.
    """
    run = chosen_run(frames, run_id)
    parts = [run]
    runs: pd.DataFrame | None = getattr(frames, "runs", None)
    if runs is not None and len(runs) and {"run_id", "pipeline", "status"} <= set(runs.columns):
        row = runs[runs["run_id"] == run]
        if len(row):
            status = row["status"].iloc[0]
            parts = [row["pipeline"].iloc[0], run, "unfinished" if status == "running" else status]
    told = " · ".join(harmless(part, 40) for part in parts if part)
    return f"{what}<br><sub>{told}</sub>" if told else what


def new_figure(title: str, *, x: str, y: str, rows: int | None = None) -> go.Figure:
    """An empty figure with its titles; ``rows`` makes it tall enough for that many lines of text."""
    axis: dict[str, Any] = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    figure = go.Figure()
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 16},
            "x": 0.0,
            "xref": "container",
            "xanchor": "left",
            "y": 1.0,
            "yref": "paper",
            "yanchor": "bottom",
            "pad": {"l": 16, "b": 62},
        },
        xaxis=axis | {"title": {"text": x}},
        yaxis=axis | {"title": {"text": y}},
        height=None if rows is None else height_of(rows),
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"color": INK, "size": 12},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.0,
            "xanchor": "left",
            "x": 0.0,
            "traceorder": "normal",
        },
        margin={"l": 20, "r": 20, "t": 100, "b": 20},
        hoverlabel={"align": "left"},
        barmode="overlay",
        bargap=0.2,
    )
    return figure


def name_rows(figure: go.Figure, names: Iterable[object], *, most: int = _MOST_NAMES) -> None:
    """Write ``names`` at the rows 0, 1, 2, ... of the y axis, first on top; none where there are more than ``most``."""
    labels = all_harmless(names, 40)
    shown = len(labels) <= most
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(labels))) if shown else [],
        ticktext=labels if shown else [],
        range=[max(len(labels), 1) - 0.5, -0.5],
        showgrid=False,
    )


def height_of(rows: int) -> int:
    """Pixels for that many rows: 18 each where they can be named, fewer where they cannot."""
    return min(_HIGHEST, max(320, 150 + (18 if rows <= _MOST_NAMES else 6) * rows))


def say_nothing_to_show(figure: go.Figure, what: str) -> go.Figure:
    """Write ``what`` in the middle of an empty figure, which then needs no axes."""
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=what, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 14})
    return figure
