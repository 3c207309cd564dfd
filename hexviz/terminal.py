"""A run in the terminal: a progress view while it goes on, tables afterwards. The one place that uses rich.

Names, reasons and messages come from data: they are shown as plain text, control characters as escapes.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hexviz.display import wanted
from hexviz.events.events import Event, printable
from hexviz.palette import SIGNAL_COLORS, STATUS_COLORS
from hexviz.recording.state import STATUSES, RunState
from hexviz.recording.workers import worker_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

_DECISIONS_SHOWN = 6
_FAILURES_SHOWN = 4
_WAVES = "waves  "
_WIDE = 100
"""From so many columns on the headline stands in one line."""
_RUNNING_SHOWN = 8
_WORKERS_SHOWN = 8
_REFRESH_HZ = 8
_OPEN = frozenset({"pending", "running", "retrying"})
_TURNING = (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_DIRECTIONS = {code: f"\\u{code:04x}" for code in _TURNING}
_BLOCKS = "·▁▂▃▄▅▆▇█"


def safe(value: object) -> str:
    """Any value as one line of text that cannot steer a terminal: what could, or cannot be printed, is escaped."""
    text = printable(value).translate(_DIRECTIONS)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def plain(value: object) -> Text:
    """Any value as text that rich neither interprets nor styles, safe for a terminal."""
    return Text(safe(value))


def table(title: str, columns: Mapping[str, str], rows: Iterable[Sequence[object]], *, footer: str = "") -> Group:
    """Build a table: ``columns`` maps a heading to ``"left"``, ``"right"``, or ``"whole"`` (left, never broken).

    Every cell is shown as plain text.
    """
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading, justify in columns.items():
        made.add_column(
            plain(heading),
            justify="right" if justify == "right" else "left",
            no_wrap=justify == "whole",
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    headline = plain(title)
    headline.stylize("bold")
    return Group(headline, made, *([plain(footer), Text()] if footer else []))


def status_text(status: str) -> Text:
    """The word for a status, in the colour that it has everywhere."""
    return Text(safe(status), style=STATUS_COLORS.get(status, ""))


def signal_text(signal: str) -> Text:
    """The word for a signal, in the colour that it has everywhere."""
    return Text(safe(signal), style=SIGNAL_COLORS.get(signal, ""))


class RunView:
    """Shows a run while it goes on: progress, waves, what runs, the last decisions and failures.

    It is an observer and a context manager.

    Register it as an observer; between ``with view:`` and its end it owns the screen and redraws it from a thread of
    its own, a few times a second, whatever the event rate. Where it is not ``enabled``, or the console is no terminal,
    it shows nothing.
    """

    def __init__(self, console: Console, *, enabled: bool = True) -> None:
        self._state = RunState()
        self._lock = threading.Lock()
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=_REFRESH_HZ, transient=True)
        self._shown = enabled and console.is_terminal and wanted()

    def __call__(self, event: Event) -> None:
        """Take note of ``event``."""
        with self._lock:
            self._state.fold(event)

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def _render(self) -> Group:
        width, height = self._console.size
        with self._lock:
            return render(self._state, width=width, height=height)


def render(state: RunState, *, width: int = 120, height: int = 40) -> Group:
    """Draw a run as it stands now, for a terminal of that many columns and lines; no line is wider, none is broken."""
    head = [*_headline(state, width), *_counts(state, width), *_waves(state, width)]
    lists = (_running(state), _workers(state), _decisions(state), _failures(state))
    room = max(0, height - 1 - len(head))
    shown = [*head, *(line for lines in _shared(lists, room) for line in lines)]
    for line in shown:
        if isinstance(line, Text):
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(width, overflow="ellipsis")
    return Group(*shown)


def _shared(lists: Sequence[list[Text]], room: int) -> list[list[Text]]:
    """Cut the lists to ``room`` lines together: all may have their share, and what one leaves another takes."""
    given = [0] * len(lists)
    left = room
    while left > 0 and any(given[i] < len(lines) for i, lines in enumerate(lists)):
        for i, lines in enumerate(lists):
            if left > 0 and given[i] < len(lines):
                given[i] += 1
                left -= 1
    return [lines[:count] if count > 1 else [] for lines, count in zip(lists, given, strict=True)]


def _headline(state: RunState, width: int) -> list[Table | Text]:
    ended = sum(count for status, count in state.counts_by_status.items() if status not in _OPEN)
    bar = ProgressBar(total=max(1, state.total_nodes), completed=ended, width=min(40, max(10, width - 2)))
    name, nodes = Text(safe(state.pipeline), style="bold"), Text(f"{ended}/{state.total_nodes} nodes")
    times = (Text(f"{state.now_ms() / 1e3:.1f} s"), status_text(state.status))
    if width >= _WIDE:
        name.truncate(width - _WIDE + 16, overflow="ellipsis")
        return [_in_a_row(name, bar, nodes, *times)]
    return [name, _in_a_row(nodes, *times), _in_a_row(bar)]


def _in_a_row(*parts: Text | ProgressBar) -> Table:
    line = Table.grid(padding=(0, 2))
    line.add_row(*parts)
    return line


def _counts(state: RunState, width: int) -> list[Text]:
    """The number of nodes by status, in as many lines as that takes."""
    lines: list[Text] = []
    waiting = state.waiting
    counts = {"waiting": waiting, **state.counts_by_status}
    counts["pending"] -= waiting
    for status, count in counts.items():
        if not count:
            continue
        part = Text(f"{status.replace('_', ' ')} {count}", style=STATUS_COLORS.get(status, STATUS_COLORS["pending"]))
        if lines and lines[-1].cell_len + 2 + part.cell_len <= width:
            lines[-1] = lines[-1] + Text("  ") + part
        else:
            lines.append(part)
    return lines


def _waves(state: RunState, width: int) -> list[Text]:
    """One block per wave, higher the more of its nodes have ended; several waves share one where there is no room."""
    totals, ended = Counter[int](), Counter[int]()
    for wave, code in zip(state.nodes.wave, state.nodes.status, strict=True):
        totals[wave] += 1
        ended[wave] += STATUSES[code] not in _OPEN
    if not totals:
        return []
    waves = sorted(totals)
    each = -(-len(waves) // max(1, width - len(_WAVES)))
    groups = [waves[first : first + each] for first in range(0, len(waves), each)]
    done = ((sum(ended[wave] for wave in group), sum(totals[wave] for wave in group)) for group in groups)
    blocks = (_BLOCKS[some * (len(_BLOCKS) - 1) // of] for some, of in done)
    return [Text(_WAVES).append("".join(blocks), style=STATUS_COLORS["running"])]


def _running(state: RunState) -> list[Text]:
    attempts, now_ms = state.attempts, state.now_ms()
    rows = [row for row, end_ms in enumerate(attempts.end_ms) if end_ms < 0 and not state.waits(row)]
    lines = []
    for row in rows[:_RUNNING_SHOWN]:
        attempt = f" (attempt {attempts.attempt[row]})" if attempts.attempt[row] > 1 else ""
        for_s = max(0.0, now_ms - attempts.start_ms[row]) / 1e3
        line = Text(f"  {for_s:6.1f} s  ", style="dim").append(_named(state, row, attempt), style="not dim")
        worker = state.workers.names[attempts.worker[row]]
        lines.append(line.append(safe(f"  on {worker}")) if worker else line)
    more = len(rows) - len(lines)
    return [Text(f"running, {more} more than these" if more else "running"), *lines] if lines else []


def _named(state: RunState, row: int, attempt: str) -> str:
    return safe(state.nodes.name[state.attempts.node[row]]) + attempt


def _workers(state: RunState) -> list[Text]:
    workers = worker_rows(state)
    workers.sort(key=lambda worker: worker.lost_ms < 0.0)  # the dead first: they must not be missed
    lines = []
    for worker in workers[:_WORKERS_SHOWN]:
        counts = f"  {worker.busy:4.0%} busy  {worker.running} running, {worker.done} done, {worker.failed} failed"
        line = Text(f"{counts}  ", style="dim").append(safe(worker.name), style="not dim")
        lost = f"  lost at {worker.lost_ms / 1e3:.1f} s" if worker.lost_ms >= 0.0 else ""
        lines.append(line.append(lost, style=STATUS_COLORS["failed"]))
    more = len(workers) - len(lines)
    return [Text(f"workers, {more} more than these" if more else "workers"), *lines] if lines else []


def _decisions(state: RunState) -> list[Text]:
    lines = []
    for decision in reversed(state.decisions[-_DECISIONS_SHOWN:]):
        signal = "shadow" if decision.shadow else decision.signal
        line = Text(f"  {safe(signal):9}", style=SIGNAL_COLORS.get(decision.signal, ""))
        by = f" by {decision.decided_by}" if decision.decided_by else ""
        because = f": {decision.reason}" if decision.reason else ""
        lines.append(line.append(safe(f"{decision.node}{by}{because}"), style="default"))
    return [Text(f"decisions, the last of {len(state.decisions)}"), *lines] if lines else []


def _failures(state: RunState) -> list[Text]:
    lines = []
    for failure in reversed(state.failures[-_FAILURES_SHOWN:]):
        attempt = f" (attempt {failure.attempt})" if failure.attempt > 1 else ""
        line = Text(f"  {safe(failure.node or 'the run')}{attempt}  ", style=STATUS_COLORS["failed"])
        lines.append(line.append(safe(f"{failure.error_type}: {failure.message}"), style="default"))
    return [Text(f"failures, the last of {len(state.failures)}"), *lines] if lines else []
