"""Two runs on one time axis, with their differences listed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd

from hexviz.analysis.compare import compare
from hexviz.display import wanted
from hexviz.recording.state import RunState
from hexviz.widgets import front_end
from hexviz.widgets.cells import adopt
from hexviz.widgets.recorded import RecordedView
from hexviz.widgets.snapshot import format_ms, frozen_html, plain_text, shown_ms
from hexviz.widgets.text import xml_text

if TYPE_CHECKING:
    from hexviz.recording.recording import Recording

_PANELS = ("progress", "timeline")
_CELL = "text-align:left;padding:2px 14px 2px 0;border-bottom:1px solid rgba(128,138,150,.3);white-space:nowrap"
_HEADS = ("what", "node", "measure", "before", "after", "change", "verdict")


class CompareView:
    """Two recorded runs above each other: they zoom, play and move in time together. ``differences`` is the frame.

    Without a front end for widgets it is two pictures; the table of the ``most`` largest differences comes always.
    """

    def __init__(self, before: Recording, after: Recording, *, most: int = 30) -> None:
        self.differences = compare(before.frames, after.frames)
        self._most = most
        self._around: list[Any] = []
        self._states = [RunState.from_events(recording.events()) for recording in (before, after)]
        axis_ms = max(1.0, *(state.end_ms * 1.01 for state in self._states))
        group = uuid.uuid4().hex
        self.views = [
            RecordedView(state, title=title, panels=_PANELS, group=group, axis_ms=axis_ms, player=last)
            for state, title, last in zip(self._states, self._titles(), (False, True), strict=True)
        ]

    def _titles(self) -> list[str]:
        names = [state.pipeline or "run" for state in self._states]
        return [f"{word}: {name}" for word, name in zip(("before", "after"), names, strict=True)]

    def differences_html(self) -> str:
        """The table of what differs most, escaped, with inline styles only."""
        facts = self.differences
        shown = facts[~facts["verdict"].isin(["same", "noise"])].head(self._most)
        rows = [{**row, **self._took()} if row["measure"] == "run_ms" else row for row in shown.to_dict("records")]
        head = "".join(f'<th style="{_CELL};font-weight:600">{word}</th>' for word in _HEADS)
        body = "".join(
            "<tr>" + "".join(f'<td style="{_CELL}">{xml_text(cell, 80)}</td>' for cell in _cells(row)) + "</tr>"
            for row in rows
        )
        return (
            f'<div style="margin:10px 0 4px"><b>{xml_text(self._headline(), 300)}</b></div>'
            f'<div style="overflow:auto;max-height:340px">'
            '<table style="border-collapse:collapse;font-size:12px;margin:0">'
            f"<tr>{head}</tr>{body}</table></div>"
        )

    def _headline(self) -> str:
        frame, took = self.differences, self._took()
        structure = frame[frame["kind"] == "structure"]
        kinds = [(int((structure["verdict"] == word).sum()), word) for word in ("added", "removed", "rewired")]
        counts = [f"{count} nodes {word}" for count, word in kinds if count]
        changed = int(((frame["kind"] == "status") & ~frame["verdict"].isin(["same", "noise"])).sum())
        counts += [f"{changed} with another status"] if changed else []
        rest = f"; {', '.join(counts)}" if counts else ""
        before, after = took["before"], took["after"]
        return f"{format_ms(before)} before, {format_ms(after)} after ({_change(before, after)}){rest}"

    def _took(self) -> dict[Any, Any]:
        """How long the runs took, as the heads of their views say: first and last words of the run included."""
        before, after = (state.end_ms for state in self._states)
        return {"before": before, "after": after}

    def close(self) -> None:
        """Let go of the widgets; closing twice is fine."""
        for view in self.views:
            view.close()
        around, self._around = self._around, []
        for widget in around:
            for part in (getattr(widget, "layout", None), widget):
                if part is not None:
                    part.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if not wanted():
            return {"text/plain": repr(self)}
        pictures = '<div style="height:8px"></div>'.join(
            frozen_html(state, title=title) for state, title in zip(self._states, self._titles(), strict=True)
        )
        bundle: dict[str, Any] = {"text/html": pictures + self.differences_html(), "text/plain": repr(self)}
        if not front_end.can_display():
            return bundle
        widget = self._together()._repr_mimebundle_(**options)
        data, metadata = widget if isinstance(widget, tuple) else (widget or {}, {})
        return {**data, **bundle}, metadata

    def _together(self) -> Any:
        table = ipywidgets.HTML(self.differences_html())
        box = ipywidgets.VBox([*(view.shown() for view in self.views), table])
        self._around += [box, table, table.style]
        adopt(self.close)
        return box

    def __repr__(self) -> str:
        lines = [plain_text(state, title=title) for state, title in zip(self._states, self._titles(), strict=True)]
        return "\n".join([*lines, self._headline()])


def _cells(row: dict[Any, Any]) -> tuple[str, ...]:
    timed = row["kind"] == "timing"
    compared = timed and not pd.isna(row["delta"])
    return (
        str(row["kind"]),
        str(row["node"]) or "the run",
        str(row["measure"]),
        *(row[f"{side}_words"] or _number(row[side], timed=timed) for side in ("before", "after")),
        _change(row["before"], row["after"]) if compared else "",
        str(row["verdict"]),
    )


def _number(value: float, *, timed: bool) -> str:
    return "-" if pd.isna(value) else format_ms(value) if timed else f"{value:.4g}"


def _change(before_ms: float, after_ms: float) -> str:
    """What lies between two times as they are shown, so that whoever subtracts them finds the same."""
    ms = shown_ms(after_ms) - shown_ms(before_ms)
    return f"{'+' if ms >= 0 else '-'}{format_ms(abs(ms))}"
