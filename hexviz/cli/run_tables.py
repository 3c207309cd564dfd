"""What a run looks like as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from hexviz import analysis
from hexviz.terminal import signal_text, status_text, table

if TYPE_CHECKING:
    from rich.console import Console, Group

_MOST_DECISIONS = 40
_COSTLY_WAVES = 5
_FACTS = {"fact": "left", "value": "left"}
_STATUSES = ("succeeded", "failed", "skipped", "fell_back", "cancelled")


def print_run(console: Console, frames: Any) -> None:
    """Its summary, decisions and critical path."""
    console.print(_summary_table(frames))
    if len(frames.decisions):
        console.print(_decisions_table(frames))
    if len(frames.nodes):
        console.print(_critical_path_table(frames))


def _summary_table(frames: Any) -> Group:
    run = frames.runs.iloc[0]
    counts = "  ".join(f"{status.replace('_', ' ')} {run[status]}" for status in _STATUSES if _known(run[status]))
    rows = [
        ("run", run["run_id"]),
        ("pipeline", run["pipeline"]),
        ("status", status_text(run["status"])),
        ("started (UTC)", _time(run["started_at"])),
        ("took", seconds(run["duration_ms"])),
        ("nodes", f"{run['nodes']} in {run['waves']} waves: {counts}"),
        ("attempts", run["attempts"]),
        ("decisions", run["decisions"]),
    ]
    if _known(run["error_type"]):
        rows.append(("error", f"{run['error_type']}: {run['error_message']}"))
    return table("Run", _FACTS, rows)


def _decisions_table(frames: Any) -> Group:
    votes = frames.decisions
    told = votes[votes["decisive"] | (votes["shadow"] & (votes["vote"] != "proceed")) | (votes["error"] != "")]
    columns = {"at": "right", "signal": "left", "node": "whole", "try": "right", "why": "left"}
    rows = [
        (
            seconds(vote["offset_ms"]),
            signal_text(vote["vote"]).append("*" if vote["shadow"] else ""),
            vote["node"],
            _known(vote["attempt"]),
            f"{vote['handler']}: {vote['vote_reason'] or vote['error']}",
        )
        for _, vote in told.head(_MOST_DECISIONS).iterrows()
    ]
    notes = ["* a shadow policy: asked and recorded, not obeyed"] if told["shadow"].any() else []
    if len(told) > len(rows):
        notes.append(f"and {len(told) - len(rows)} more")
    return table("Decisions", columns, rows, footer="; ".join(notes))


def _critical_path_table(frames: Any) -> Group:
    path = analysis.critical_path(frames)
    columns = {"wave": "right", "node": "left", "start": "right", "took": "right"}
    rows = [
        (step["wave"], step["node"], seconds(step["start_ms"]), seconds(step["duration_ms"]))
        for _, step in path.iterrows()
    ]
    total = seconds(path["duration_ms"].sum())
    footer = f"{len(rows)} {'node' if len(rows) == 1 else 'nodes'}, {total}"
    return table("Critical path: what the run had to wait for", columns, rows, footer=footer)


def barrier_table(frames: Any) -> Group:
    """What a barrier after each wave would have cost."""
    waves = analysis.wave_barrier(frames)
    costly = waves.sort_values("longest_ms", ascending=False).head(_COSTLY_WAVES).sort_values("wave")
    columns = {"wave": "right", "nodes": "right", "all would wait for": "left", "took": "right"}
    rows = [
        (row["wave"], row["nodes"], row["longest_node"], seconds(row["longest_ms"])) for _, row in costly.iterrows()
    ]
    facts, run = waves.attrs, frames.runs.iloc[0]
    footer = (
        f"Critical path {seconds(facts['critical_path_ms'])}, this run {seconds(run['duration_ms'])}, "
        f"with a barrier after each wave {seconds(facts['barrier_ms'])}: {facts['ratio']:.2f} times the critical path"
    )
    return table(
        f"What waiting for whole waves would have cost: the {len(rows)} longest waves", columns, rows, footer=footer
    )


def _known(value: Any) -> Any:
    """The value of a cell, or nothing where it is missing."""
    return "" if pd.isna(value) or value == 0 else value


def _time(moment: Any) -> str:
    return "" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M:%S}"


def seconds(duration_ms: float | None) -> str:
    """A duration as text, nothing where it is missing."""
    return "" if pd.isna(duration_ms) else f"{duration_ms / 1e3:.3f} s"
