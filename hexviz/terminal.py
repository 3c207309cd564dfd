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

from hexviz.analysis.palette import SIGNAL_COLORS, STATUS_COLORS
from hexviz.display import wanted
from hexviz.events.events import Event, printable
from hexviz.recording.state import STATUSES, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

_DECISIONS_SHOWN = 6
_RUNNING_SHOWN = 8
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
    """Shows a run while it goes on: progress, waves, what runs, the last decisions. An observer and a context manager.

    Register it as an observer; between ``with view:`` and its end it owns the screen and redraws it from a thread of
    its own, a few times a second, whatever the event rate. Where it is not ``enabled``, or the console is no terminal,
    it shows nothing.
    """

    def __init__(self, console: Console, *, enabled: bool = True) -> None:
        self._state = RunState()
        self._lock = threading.Lock()
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
        with self._lock:
            return render(self._state)


def render(state: RunState) -> Group:
    """Draw a run as it stands now."""
    return Group(_headline(state), _counts(state), _waves(state), *_running(state), *_decisions(state))


def _headline(state: RunState) -> Table:
    ended = sum(count for status, count in state.counts_by_status.items() if status not in _OPEN)
    line = Table.grid(padding=(0, 2))
    line.add_row(
        Text(safe(state.pipeline), style="bold"),
        ProgressBar(total=max(1, state.total_nodes), completed=ended, width=40),
        Text(f"{ended}/{state.total_nodes} nodes"),
        Text(f"{state.now_ms() / 1e3:.1f} s"),
        status_text(state.status),
    )
    return line


def _counts(state: RunState) -> Text:
    parts = [
        Text(f"{status.replace('_', ' ')} {count}", style=STATUS_COLORS[status])
        for status, count in state.counts_by_status.items()
        if count
    ]
    return Text("  ").join(parts)


def _waves(state: RunState) -> Text:
    """One block per wave, higher the more of its nodes have ended."""
    totals, ended = Counter[int](), Counter[int]()
    for wave, code in zip(state.nodes.wave, state.nodes.status, strict=True):
        totals[wave] += 1
        ended[wave] += STATUSES[code] not in _OPEN
    blocks = (_BLOCKS[ended[wave] * (len(_BLOCKS) - 1) // totals[wave]] for wave in sorted(totals))
    return Text("waves  ").append("".join(blocks), style=STATUS_COLORS["running"])


def _running(state: RunState) -> list[Text]:
    attempts, now_ms = state.attempts, state.now_ms()
    rows = [row for row, end_ms in enumerate(attempts.end_ms) if end_ms < 0]
    lines = []
    for row in rows[:_RUNNING_SHOWN]:
        attempt = f" (attempt {attempts.attempt[row]})" if attempts.attempt[row] > 1 else ""
        name = f"  {state.nodes.name[attempts.node[row]]}{attempt}"
        lines.append(plain(name).append(f"  {max(0.0, now_ms - attempts.start_ms[row]) / 1e3:.1f} s", style="dim"))
    if len(rows) > _RUNNING_SHOWN:
        lines.append(Text(f"  and {len(rows) - _RUNNING_SHOWN} more", style="dim"))
    return [Text("running"), *lines] if lines else []


def _decisions(state: RunState) -> list[Text]:
    lines = []
    for decision in state.decisions[-_DECISIONS_SHOWN:]:
        signal = "shadow" if decision.shadow else decision.signal
        line = Text(f"  {safe(signal):9}", style=SIGNAL_COLORS.get(decision.signal, ""))
        by = f" by {decision.decided_by}" if decision.decided_by else ""
        because = f": {decision.reason}" if decision.reason else ""
        lines.append(line.append(safe(f"{decision.node}{by}{because}"), style="default"))
    return [Text("decisions"), *lines] if lines else []
