"""A run as one HTML file: timeline with its slider, graph, decisions and tables. No network, no other file."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hexviz.palette import signal_color, status_color
from hexviz.recording.state import STATUSES, RunState
from hexviz.recording.workers import worker_rows
from hexviz.scratch import scratch_file
from hexviz.widgets.assets import asset
from hexviz.widgets.graph import MOST_NODES, graph_svg
from hexviz.widgets.snapshot import WORKER_HEADS, format_ms, plain_text, worker_state
from hexviz.widgets.wire import base64_buffers, clean_text, encode, script_json, xml_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from hexviz.events.events import Event

_UNSEEN_MS = 0.005
_LONG = 40
_WIDE = ' class="hx-wide"'
_MOST_LINES = 20
MOST_ROWS = 1_000
MOST_BYTES = 400_000
"""No table or list of a report has more rows, or takes more of the file; its caption says how many there are."""

PRINTED_ROWS = 100
"""So many rows of a table are printed; the same number stands in ``report.css``."""


class Events(Protocol):
    """What a report is made from: a :class:`hexviz.recording.recording.Recording`."""

    def events(self) -> Iterator[Event]:
        """Its events in order."""


def write_report(recording: Events, path: str | os.PathLike[str], *, title: str = "", run_id: str = "") -> Path:
    """Write the report of a run (the first one in ``recording`` where no ``run_id`` is given) to ``path``.

    The file is complete in itself and opens from disk without a network; whatever comes from data is escaped, and its
    content security policy allows only the script that it was written with. The file appears whole or not at all,
    and is for its owner only (0600); what a process that was killed has left of it is removed.
    Raises ``OSError`` where ``path`` cannot be written. Returns the path.
    """
    page = report_html(RunState.from_events(recording.events(), run_id), title=title)
    target = Path(path)
    with scratch_file(target) as (file, scratch):
        file.write(page.encode())
        file.close()
        scratch.replace(target)
    return target


def report_html(state: RunState, *, title: str = "") -> str:
    """The text of the report of ``state``."""
    name = title or state.pipeline or "run"
    message, buffers = encode(
        state, state.delta(full=True), seq=max(state.seq, 1), base=0, done=True, paused=False, cancelling=False
    )
    for rows in ("decisions", "failures", "calls"):
        message[rows] = _last_that_fit(message[rows])  # message["totals"] says how many there were
    data = {"title": clean_text(title, 120), "message": message, "buffers": base64_buffers(buffers)}
    script = f"{_as_script(asset('timeline.js'))}\nmountReport(document);\n"
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = _POLICY.format(digest=digest)
    return _PAGE.format(
        policy=policy,
        title=xml_text(f"{name}: {state.status}", 160),
        style=asset("timeline.css") + asset("report.css"),
        name=xml_text(name, 120),
        facts=_facts(state),
        text=xml_text(plain_text(state, title=title), 400),
        data=script_json(data),
        graph=_graph(state),
        tables="".join(_tables(state)),
        script=script,
    )


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
)
_PAGE = """<!doctype html>
<html lang="en" class="hx-page">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body class="hx-page">
<header><h1>{name}</h1><dl>{facts}</dl></header>
<main>
<div id="hexviz-view"><noscript>{text}</noscript></div>
{graph}
{tables}
</main>
<footer>Written by hexviz. This file is complete: it loads nothing.</footer>
<script type="application/json" id="hexviz-data">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def _as_script(module: str) -> str:
    """The module without its exports: inside a page it is one script."""
    text = re.sub(r"^export default .*$", "", module, flags=re.MULTILINE)
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def _facts(state: RunState) -> str:
    started = f"{state.started_at:%Y-%m-%d %H:%M:%S} UTC" if state.started_at else "?"
    pairs = {
        "status": state.status,
        "started": started,
        "took": format_ms(state.end_ms),
        "nodes": state.total_nodes,
        "waves": len(state.waves),
        "attempts": len(state.attempts),
        "decisions": len(state.decisions),
        "run": state.run_id or "?",
        "tags": ", ".join(state.tags),
        "error": state.error,
    }
    given = {key: xml_text(value) for key, value in pairs.items() if value != ""}
    return "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in given.items())


def _graph(state: RunState) -> str:
    svg = graph_svg(state)
    if not svg:
        return ""
    note = "" if len(state.nodes) <= MOST_NODES else f" <small>above {MOST_NODES} nodes each wave is one box</small>"
    return f'<section><h2>Graph{note}</h2><div class="hx-scroll" tabindex="0">{svg}</div></section>'


def _tables(state: RunState) -> Iterator[str]:
    yield _workers_table(state)
    yield _table(
        "Decisions",
        ("at", "signal", "node", "wave", "attempt", "about", "decided by", "reason"),
        (
            (
                format_ms(d.offset_ms), _Chip(d.signal, signal_color(d.signal)), d.node, d.wave or "",
                d.attempt if d.node else "", d.event_type, f"{'shadow ' if d.shadow else ''}{d.decided_by}", d.reason,
            )
            for d in reversed(state.decisions)
        ),
        len(state.decisions), last=True,
    )  # fmt: skip
    yield _table(
        "Failures",
        ("at", "node", "attempt", "error", "message", "traceback"),
        (
            (
                format_ms(f.offset_ms), f.node or "the run", f.attempt if f.node else "", f.error_type, f.message,
                _Folded(f.traceback),
            )
            for f in reversed(state.failures)
        ),
        len(state.failures), last=True,
    )  # fmt: skip
    yield _table(
        "Calls",
        ("at", "node", "attempt", "kind", "name", "status", "took", "tokens"),
        (
            (
                format_ms(c.start_ms), c.node, c.attempt, c.kind, c.name, _Chip(c.status, status_color(c.status)),
                format_ms(c.end_ms - c.start_ms), c.tokens or "",
            )
            for c in reversed(state.calls)
        ),
        len(state.calls), last=True,
    )  # fmt: skip
    yield _nodes_table(state)


def _workers_table(state: RunState) -> str:
    workers = worker_rows(state)
    rows = (
        (
            w.name, w.running, w.done, w.failed, f"{w.busy:.0%}",
            _Chip(worker_state(w), status_color("failed")) if w.lost_ms >= 0.0 else "",
        )
        for w in workers
    )  # fmt: skip
    return _table("Workers", WORKER_HEADS, rows, len(workers), last=False)


def _nodes_table(state: RunState) -> str:
    nodes, attempts = state.nodes, state.attempts
    ran = [0.0] * len(nodes)
    waited = [0.0] * len(nodes)
    tries = [0] * len(nodes)
    for row, node in enumerate(attempts.node):
        end_ms = attempts.end_ms[row] if attempts.end_ms[row] >= 0 else state.end_ms
        ran[node] += end_ms - attempts.start_ms[row]
        waited[node] += attempts.start_ms[row] - attempts.ready_ms[row] + attempts.backoff_ms[row]
        tries[node] += 1
    rows = (
        (
            nodes.name[n], nodes.wave[n], _Chip(STATUSES[nodes.status[n]], status_color(STATUSES[nodes.status[n]])),
            tries[n], format_ms(ran[n]) if tries[n] else "", format_ms(waited[n]) if waited[n] > _UNSEEN_MS else "",
        )
        for n in sorted(range(len(nodes)), key=lambda n: -ran[n])
    )  # fmt: skip
    heads = ("node", "wave", "status", "attempts", "ran", "waited")
    return _table("Nodes, the longest first", heads, rows, len(nodes), last=False)


class _Chip:
    """A word on its colour."""

    def __init__(self, word: str, color: str) -> None:
        self.word, self.color = word, color

    def html(self) -> str:
        light = " hx-light" if self.color in {signal_color("error"), status_color("running")} else ""
        word = xml_text(self.word.replace("_", " "), 20)
        return f'<span class="hx-chip{light}" style="background:{self.color}">{word}</span>'


class _Folded:
    """A long text that opens on a click."""

    def __init__(self, text: str) -> None:
        self.text = text

    def html(self) -> str:
        if not self.text:
            return ""
        lines = "\n".join(xml_text(line, 400) for line in _ends_of(self.text.splitlines()))
        return f"<details><summary>show</summary><pre>{lines}</pre></details>"


def _last_that_fit(rows: list[Any]) -> list[Any]:
    """The last of ``rows`` that together take no more of the file than a table."""
    left = MOST_BYTES
    for place in range(len(rows) - 1, -1, -1):
        left -= len(script_json(rows[place]))
        if left < 0:
            return rows[place + 1 :]
    return rows


def _ends_of(lines: list[str]) -> list[str]:
    """The first and the last lines of a long traceback, which tell where it began and what was raised."""
    left_out = len(lines) - 2 * _MOST_LINES
    if left_out <= 0:
        return lines
    return [*lines[:_MOST_LINES], f"... {left_out} lines left out ...", *lines[-_MOST_LINES:]]


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], total: int, *, last: bool) -> str:
    """A table of as many rows as fit; with ``last`` they come newest first and are shown in the order of time."""
    if not total:
        return ""
    lines = _fitting(rows)
    which = f"{total}" if len(lines) == total else f"the {'last' if last else 'first'} {len(lines)} of {total}"
    head = "".join(f"<th>{name}</th>" for name in heads)
    side = "last" if last else "first"
    paper = f' <small class="hx-paper">on paper the {side} {PRINTED_ROWS}</small>' if len(lines) > PRINTED_ROWS else ""
    return (
        f'<section class="hx-{side}"><h2>{title} <small>{which}</small>{paper}</h2>'
        f'<div class="hx-scroll hx-tall" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(reversed(lines) if last else lines)}</tbody></table></div></section>"
    )


def _fitting(rows: Iterable[Sequence[Any]]) -> list[str]:
    lines: list[str] = []
    left = MOST_BYTES
    for row in islice(rows, MOST_ROWS):
        line = "<tr>" + "".join(map(_cell, row)) + "</tr>"
        left -= len(line.encode())
        if left < 0:
            break
        lines.append(line)
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, (_Chip, _Folded)):
        return f"<td>{value.html()}</td>"
    return f"<td{_WIDE if isinstance(value, str) and len(value) > _LONG else ''}>{xml_text(value)}</td>"
