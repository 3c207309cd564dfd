"""The last state as static SVG and a table: what stays in a saved, mailed, untrusted or exported notebook."""

from __future__ import annotations

import base64
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from hexviz.palette import STATUS_COLORS, signal_color, status_color
from hexviz.recording.state import RETRYING, STATUSES
from hexviz.recording.workers import worker_rows
from hexviz.widgets.svg import timeline_svg
from hexviz.widgets.text import clean_text, xml_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.recording.state import Decision, Failure, RunState
    from hexviz.recording.workers import WorkerRow

WORKER_HEADS = ("worker", "running", "done", "failed", "busy", "state")
_PROGRESS_ORDER = (3, 6, 5, 7, 4, 2, 1)


def format_ms(ms: float) -> str:
    """A duration as people read it: ``412 ms``, ``3.20 s``, ``4 min 07 s``, ``2 h 05 min``.

    To the letter what ``formatMs`` in ``static/format.mjs`` makes of a time that a page was sent.
    """
    if not ms >= 0.0:
        return "-"
    minutes, seconds = divmod(int(ms / 1e3), 60)
    if not minutes:
        size, unit, places = _digits(ms)
        return f"{shown_ms(ms) / size:.{places}f} {unit}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def shown_ms(ms: float) -> float:
    """``ms`` as exactly as :func:`format_ms` tells it: halves are rounded up, as browsers do."""
    if not 0.0 <= ms < 6e4:  # noqa: PLR2004 - a minute: whole seconds, of which none is made up
        return ms
    size, _, places = _digits(ms)
    told = Decimal(round(ms, 3) / size)  # a page is told three places
    return float(told.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)) * size


def _digits(ms: float) -> tuple[float, str, int]:
    """In which unit a time below a minute is told (milliseconds), its name, and the number of decimal places."""
    if ms < 1e3:  # noqa: PLR2004 - a second
        return 1.0, "ms", 2 if ms < 1 else 1 if ms < 10 else 0  # noqa: PLR2004
    return 1e3, "s", 2 if ms < 1e4 else 1  # noqa: PLR2004


def frozen_html(state: RunState, *, title: str = "") -> str:
    """The last state as HTML with inline styles only: a line of facts, the picture, decisions and failures.

    The picture is an ``<img>`` with a data URI, which untrusted notebooks keep (they strip inline SVG and scripts).
    """
    name = title or state.pipeline or "run"
    picture = base64.b64encode(timeline_svg(state).encode("utf-8")).decode("ascii")
    alt = f"Timeline of {name}: {summary_line(state)}"
    return (
        f'<div class="hexviz-timeline hexviz-frozen" data-rows="{len(state.attempts)}" data-seq="{state.seq}" '
        f'data-done="true" data-controls="none" data-draws="1" '
        f'style="max-width:1400px;padding:10px 14px;border:1px solid rgba(128,138,150,.35);border-radius:8px;'
        f'font-size:13px;line-height:1.4">'
        f'<div style="margin-bottom:4px"><b style="font-size:15px">{xml_text(name, 120)}</b> '
        f"&#160;{_chip(*_outcome(state))}&#160; {xml_text(summary_line(state), 400)}</div>"
        f"{_progress(state)}{_counts(state)}"
        f'<img alt="{xml_text(alt, 400)}" style="display:block;width:100%;max-width:1400px" '
        f'src="data:image/svg+xml;base64,{picture}">'
        f"{_error(state)}{workers_table(worker_rows(state), limit=12)}"
        f"{decisions_table(state.decisions, limit=12)}{failures_table(state.failures, limit=6)}</div>"
    )


def plain_text(state: RunState, *, title: str = "") -> str:
    """The last state in one line."""
    return clean_text(f"{title or state.pipeline or 'run'}: {_outcome(state)[0]}, {summary_line(state)}", 400)


def summary_line(state: RunState) -> str:
    """Elapsed time, nodes ended, attempts, waves and decisions, in words."""
    ended = sum(state.counts[RETRYING + 1 :])
    return (
        f"{format_ms(state.end_ms)} · {ended:,} of {_some(state.total_nodes, 'node')} · "
        f"{_some(len(state.attempts), 'attempt')} · {_some(len(state.waves), 'wave')} · "
        f"{_some(len(state.decisions), 'decision')}"
    )


def _some(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def workers_table(workers: list[WorkerRow], *, limit: int) -> str:
    """The first ``limit`` workers as an HTML table with inline styles; nothing where there are none."""
    shown = workers[:limit]
    rows = [
        (xml_text(w.name, 80), str(w.running), str(w.done), str(w.failed), f"{w.busy:.0%}", xml_text(worker_state(w)))
        for w in shown
    ]
    caption = f"Workers: {len(workers)}" if shown == workers else f"Workers: the first {len(shown)} of {len(workers)}"
    return _table(caption, WORKER_HEADS, rows)


def worker_state(worker: WorkerRow) -> str:
    """Whether a worker is dead, and since when, in words; empty while it lives."""
    return f"lost at {format_ms(worker.lost_ms)}" if worker.lost_ms >= 0.0 else ""


def decisions_table(decisions: list[Decision], *, limit: int) -> str:
    """The last ``limit`` decisions as an HTML table with inline styles; nothing where there are none."""
    shown = decisions[-limit:][::-1]
    rows = [
        (
            xml_text(format_ms(d.offset_ms)),
            _chip(d.signal, signal_color(d.signal)),
            xml_text(d.node or d.event_type, 80),
            str(int(d.attempt)) if d.node else "",
            xml_text(("shadow " if d.shadow else "") + d.decided_by, 80),
            xml_text(d.reason, 160),
        )
        for d in shown
    ]
    heads = ("at", "signal", "node", "attempt", "decided by", "reason")
    return _table(_caption("Decisions", len(shown), len(decisions)), heads, rows)


def failures_table(failures: list[Failure], *, limit: int) -> str:
    """The last ``limit`` failures as an HTML table with inline styles; nothing where there are none."""
    shown = failures[-limit:][::-1]
    rows = [
        (
            xml_text(format_ms(f.offset_ms)),
            xml_text(f.node or "the run", 80),
            str(int(f.attempt)) if f.node else "",
            xml_text(f.error_type, 80),
            xml_text(f.message, 200),
        )
        for f in shown
    ]
    return _table(_caption("Failures", len(shown), len(failures)), ("at", "node", "attempt", "error", "message"), rows)


_WITH_WHITE_INK = {STATUS_COLORS["running"], signal_color("error")}
_CELL = "text-align:left;padding:2px 12px 2px 0;border-bottom:1px solid rgba(128,138,150,.3);vertical-align:top"


def _caption(word: str, shown: int, total: int) -> str:
    return f"{word}: {total}" if shown == total else f"{word}: the last {shown} of {total}"


def _table(caption: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th style="{_CELL};font-weight:600">{name}</th>' for name in heads)
    wide = f"{_CELL};overflow-wrap:break-word;max-width:"
    styles = [f"{_CELL};white-space:nowrap", *[f"{wide}280px"] * (len(heads) - 2), f"{wide}560px"]
    body = "".join(
        "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for style, cell in zip(styles, row, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div style="margin:8px 0 2px"><b>{caption}</b></div>'
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:12px;margin:0">'
        f"<tr>{head}</tr>{body}</table></div>"
    )


def _chip(word: str, color: str) -> str:
    ink = "#ffffff" if color in _WITH_WHITE_INK else "#0d1117"
    style = f"background:{color};color:{ink};border-radius:8px;padding:0 8px;font-size:12px"
    return f'<span style="{style}">{xml_text(word, 20)}</span>'


def _progress(state: RunState) -> str:
    total = max(state.total_nodes, 1)
    parts = "".join(
        f'<span style="display:inline-block;height:8px;width:{100 * state.counts[status] / total:.3f}%;'
        f'background:{STATUS_COLORS[STATUSES[status]]}"></span>'
        for status in _PROGRESS_ORDER
        if state.counts[status]
    )
    return f'<div style="height:8px;font-size:0;background:rgba(128,138,150,.25);margin:6px 0">{parts}</div>'


def _counts(state: RunState) -> str:
    shown = [(word, count) for word, count in state.counts_by_status.items() if count]
    items = "".join(
        f'<span style="margin-right:16px"><span style="color:{STATUS_COLORS[word]}">&#9632;</span> '
        f"{count:,} {word.replace('_', ' ')}</span>"
        for word, count in shown
    )
    return f'<div style="font-size:12px;margin-bottom:6px">{items}</div>'


def _outcome(state: RunState) -> tuple[str, str]:
    if state.done:
        return state.status, status_color(state.status)
    return ("unfinished" if state.events else "not started"), STATUS_COLORS["pending"]


def _error(state: RunState) -> str:
    return f'<div style="margin:4px 0"><b>{xml_text(state.error)}</b></div>' if state.error else ""
