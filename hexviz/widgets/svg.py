"""The timeline of a run as one SVG text, for pictures that need neither a script nor a kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hexviz.palette import ACCENT, STATUS_COLORS, signal_color
from hexviz.recording.state import PENDING, RETRYING, RUNNING, STATUSES
from hexviz.widgets.critical import critical_nodes
from hexviz.widgets.text import xml_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.recording.state import RunState

GUTTER = 58
AXIS = 24
MARKS = 10
_INK = "#737b87"
_DENSE_ROWS = 1_500
_FEW_NODES = 40
_NAMED_PX = 10.0
_WORST = (0, 1, 5, 2, 7, 3, 4, 6)
_NARROW = "@media(max-width:720px){.t{font-size:17px}.s{display:none}}"
"""Where the picture is shown so small that its letters could not be read they are larger, and fewer."""
_LARGE_LINE = 18.0
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5)
_UNITS = ((1e3, "ms", 1.0), (12e4, "s", 1e3), (72e5, "min", 6e4), (math.inf, "h", 36e5))


def timeline_svg(state: RunState, *, width: int = 1000, height: int | None = None) -> str:
    """The timeline of ``state`` as one SVG without scripts, fonts or links: one bar per attempt, waits drawn paler.

    It has no background of its own and colours that can be read on light and on dark. Beyond 1,500 attempts bars that
    meet in one pixel are drawn as one, the worst status winning, so that the text stays small.
    """
    return _Drawing(state, width, height or _height(state)).svg()


def _height(state: RunState) -> int:
    nodes = max(len(state.nodes), 1)
    bars = max(90, nodes * 19 + len(state.waves) * 4) if nodes <= _FEW_NODES else min(460, 360 + nodes)
    return int(bars) + AXIS + MARKS


class _Drawing:
    """The places of everything in one picture."""

    def __init__(self, state: RunState, width: int, height: int) -> None:
        self.state = state
        self.width, self.height = width, height
        self.bottom = height - AXIS - MARKS
        self.end_ms = max(state.end_ms * 1.01, 1.0)
        self.scale = (width - GUTTER - 10) / self.end_ms
        few = len(state.nodes) <= _FEW_NODES
        lanes = {
            index: max(1, wave.lanes, wave.nodes if few else min(wave.nodes, 2))
            for index, wave in sorted(state.waves.items())
        }
        gap = min(4.0, self.bottom * 0.25 / len(lanes)) if len(lanes) > 1 else 0.0
        self.row = (self.bottom - gap * len(lanes)) / max(sum(lanes.values()), 1)
        self.bar = self._bar_height()
        self.last = self._last_of_lane() if self.bar >= _NAMED_PX else set()
        self.bands: dict[int, tuple[float, float]] = {}
        top = 0.0
        for index, count in lanes.items():
            self.bands[index] = (top, count * self.row)
            top += count * self.row + gap

    def _bar_height(self) -> float:
        for above, less in ((8.0, 3.0), (4.0, 1.5), (2.0, 0.6)):
            if self.row > above:
                return self.row - less
        return max(self.row, 0.9)

    def _last_of_lane(self) -> set[int]:
        attempts, wave = self.state.attempts, self.state.nodes.wave
        return set({(wave[node], attempts.lane[row]): row for row, node in enumerate(attempts.node)}.values())

    def x(self, ms: float) -> float:
        return GUTTER + ms * self.scale

    def y(self, row: int) -> float:
        attempts = self.state.attempts
        top, _ = self.bands[self.state.nodes.wave[attempts.node[row]]]
        return top + attempts.lane[row] * self.row + (self.row - self.bar) / 2

    def svg(self) -> str:
        dense = len(self.state.attempts) > _DENSE_ROWS
        body = [
            *self._bands(),
            *self._axis(),
            *(self._dense() if dense else self._bars()),
            *self._critical(),
            *self._marks(),
        ]
        name = xml_text(self.state.pipeline or "run", 120)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" '
            'font-family="system-ui,DejaVu Sans,sans-serif" font-size="11">'
            f"<title>Timeline of {name}</title><style>{_NARROW}</style>"
            '<defs><pattern id="w" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<path d="M0 0v5" stroke="#7d8590"/></pattern>'
            '<pattern id="b" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<path d="M0 0v5" stroke="#e69f00" stroke-width="1.5"/></pattern></defs>'
            f"{''.join(body)}</svg>"
        )

    def _bands(self) -> Iterator[str]:
        free, large = -1.0, -1.0
        for place, (index, (top, tall)) in enumerate(self.bands.items()):
            if place % 2 == 0:
                yield f'<path fill="#808a96" fill-opacity=".1" d="M0 {top:.1f}h{self.width}v{tall:.1f}H0z"/>'
            middle = min(max(top + tall / 2, 7.0), self.bottom - 5)
            if middle - 6 >= free:
                free = middle + 7
                kind = "t" if middle >= large else "s"
                large = middle + _LARGE_LINE if middle >= large else large
                word = f'<tspan class="s">wave </tspan>{index}' if index else "no wave"
                where = f'x="{GUTTER - 6}" y="{middle + 4:.1f}" text-anchor="end"'
                yield f'<text class="{kind}" {where} fill="{_INK}">{word}</text>'

    def _axis(self) -> Iterator[str]:
        base = self.bottom + MARKS
        yield f'<path d="M{GUTTER} {base + 0.5}H{self.width}" stroke="#808a96" stroke-opacity=".5"/>'
        for at, label in axis_ticks(self.end_ms, self.width - GUTTER):
            x = self.x(at)
            yield f'<path d="M{x:.1f} 0V{base + 4}" stroke="#808a96" stroke-opacity=".25"/>'
            anchor = "end" if x > self.width - 20 else "middle"
            place = f'x="{x:.1f}" y="{self.height - 6}" text-anchor="{anchor}"'
            yield f'<text class="t" {place} fill="{_INK}">{label}</text>'

    def _bars(self) -> Iterator[str]:
        attempts = self.state.attempts
        for row in range(len(attempts)):
            y, tall = self.y(row), self.bar
            start, status = attempts.start_ms[row], attempts.status[row]
            end = attempts.end_ms[row] if status != RUNNING else self.state.end_ms
            yield from self._wait(attempts.ready_ms[row], start, y, PENDING)
            if status == RETRYING:
                yield from self._wait(end, min(end + attempts.backoff_ms[row], self.state.end_ms), y, RETRYING)
            width = max((end - start) * self.scale, 1.5)
            color = STATUS_COLORS[STATUSES[status]]
            place = f'x="{self.x(start):.1f}" y="{y:.1f}" width="{width:.1f}" height="{tall:.1f}"'
            yield f'<rect {place} rx="{min(2.0, tall / 4):.1f}" fill="{color}"/>'
            if tall >= _NAMED_PX:
                yield from self._name(row, start, end, y)

    def _wait(self, start: float, end: float, y: float, status: int) -> Iterator[str]:
        width = (end - start) * self.scale
        if width < 1.0:
            return
        place = f'x="{self.x(start):.1f}" y="{y:.1f}" width="{width:.1f}" height="{self.bar:.1f}"'
        yield f'<rect {place} fill="{STATUS_COLORS[STATUSES[status]]}" fill-opacity=".25"/>'
        yield f'<rect {place} fill="url(#{"b" if status == RETRYING else "w"})"/>'

    def _name(self, row: int, start: float, end: float, y: float) -> Iterator[str]:
        """The node's name inside its bar, else right of it, else left of it, where there is room."""
        attempts = self.state.attempts
        name = self.state.nodes.name[attempts.node[row]]
        label = f"{name} · {attempts.attempt[row]}" if attempts.attempt[row] > 1 else name
        size = len(label) * 6.4
        text = f'y="{y + self.bar / 2 + 4:.1f}"%s>{xml_text(label, 60).replace("%", "%%")}</text>'
        if size + 10 <= (end - start) * self.scale:
            ink = "#ffffff" if attempts.status[row] == RUNNING else "#0d1117"
            yield f'<text x="{self.x(start) + 5:.1f}" ' + text % f' fill="{ink}"'
        elif row not in self.last:
            return
        elif self.x(end) + 6 + size < self.width:
            yield f'<text x="{self.x(end) + 6:.1f}" ' + text % f' fill="{_INK}"'
        elif self.x(attempts.ready_ms[row]) - size > GUTTER:
            left = self.x(attempts.ready_ms[row]) - 6
            yield f'<text x="{left:.1f}" ' + text % f' text-anchor="end" fill="{_INK}"'

    def _dense(self) -> Iterator[str]:
        """One path per status from a grid of lines by pixels."""
        lines: dict[int, bytearray] = {}
        attempts = self.state.attempts
        for row in range(len(attempts)):
            status = attempts.status[row]
            end = attempts.end_ms[row] if status != RUNNING else self.state.end_ms
            line = lines.setdefault(int(self.y(row)), bytearray(self.width))
            first = min(int(self.x(attempts.start_ms[row])), self.width - 1)
            last = min(max(first, math.ceil(self.x(end)) - 1), self.width - 1)
            for at in range(first, last + 1):
                if _WORST[status] > _WORST[line[at]]:
                    line[at] = status
        paths: dict[int, list[str]] = {}
        for y, line in lines.items():
            for start, length, status in _runs(line):
                paths.setdefault(status, []).append(f"M{start} {y}h{length}")
        tall = max(self.bar, 1.0)
        for status, moves in sorted(paths.items()):
            color = STATUS_COLORS[STATUSES[status]]
            stroke = f'stroke="{color}" stroke-width="{tall:.1f}"'
            yield f'<path transform="translate(0 {tall / 2:.1f})" {stroke} d="{"".join(moves)}"/>'

    def _critical(self) -> Iterator[str]:
        """The chain of nodes that kept the run from being shorter, as one line; what meets in a pixel once."""
        if not self.state.done:
            return
        attempts = self.state.attempts
        last = {node: row for row, node in enumerate(attempts.node)}
        moves: list[str] = []
        before: tuple[int, int] | None = None
        for node in critical_nodes(self.state):
            if node not in last:
                continue
            row = last[node]
            y = self.y(row) + self.bar - 1
            for x in (self.x(attempts.start_ms[row]), self.x(max(attempts.end_ms[row], attempts.start_ms[row]))):
                if (round(x), round(y)) != before:
                    moves.append(f"{x:.1f} {y:.1f}")
                    before = (round(x), round(y))
        if moves:
            yield f'<path fill="none" stroke="{ACCENT}" stroke-width="1.6" d="M{"L".join(moves)}"/>'

    def _marks(self) -> Iterator[str]:
        y = self.bottom + MARKS / 2
        moves: dict[str, dict[int, None]] = {}
        for decision in self.state.decisions:
            color = signal_color(decision.signal)
            moves.setdefault(color, {})[round(self.x(decision.offset_ms))] = None
        for color, places in moves.items():
            yield f'<path fill="{color}" d="{"".join(f"M{x} {y - 4:.0f}l3.5 7h-7z" for x in places)}"/>'


def axis_ticks(end_ms: float, width: float, gap: float = 80.0) -> list[tuple[float, str]]:
    """Round places on an axis from 0 to ``end_ms``, at least ``gap`` pixels apart, with their labels in one unit."""
    wanted = end_ms * gap / max(width, 1.0)
    step = next((s for s in _STEPS if s >= wanted), 864e5 * math.ceil(wanted / 864e5))
    unit, size = next((unit, size) for limit, unit, size in _UNITS if end_ms < limit)
    return [(i * step, f"{i * step / size:.6g} {unit}") for i in range(int(end_ms / step) + 1)]


def _runs(line: bytearray) -> Iterator[tuple[int, int, int]]:
    start = 0
    for at in range(1, len(line) + 1):
        if at < len(line) and line[at] == line[start]:
            continue
        if line[start]:
            yield start, at - start, line[start]
        start = at
