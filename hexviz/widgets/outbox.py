"""What a view has not been sent yet, and which of it comes next when not all of it fits.

Everything waits here by number, never as a copy: what is sent is always the newest value. First come the changes of
attempts that the view already shows, then new attempts, spread evenly over those that wait, so that a picture of a
part of them is a fair sample; what was left out follows when there is room.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.palette import SIGNAL_COLORS
from hexviz.recording.state_tables import RETRYING
from hexviz.widgets.critical import critical_nodes
from hexviz.widgets.lists import call_rows, decision_rows, failure_rows
from hexviz.widgets.names import packed_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hexviz.recording.state import Delta, RunState

    Numbers = npt.NDArray[Any]

TABLES: dict[str, tuple[str, ...]] = {
    "fresh": ("row:u4", "node:u4", "attempt:u2", "lane:u2", "status:u1", "wait:f4", "start:f4", "end:f4"),
    "changed": ("row:u4", "status:u1", "end:f4"),
    "backoffs": ("row:u4", "ms:f4"),
    "nodes": ("node:u4", "status:u1", "settled:f4"),
    "waves": ("index:u4", "nodes:u4", "lanes:u4", "start:f4", "end:f4"),
    "spans": ("first:u4", "count:u4", "wave:u4"),
    "names": (),
    "edges": ("parent:u4", "child:u4"),
    "marks": ("at:f4", "signal:u1"),
}
COLUMNS = tuple(f"{table}.{column}" for table, columns in TABLES.items() for column in columns)
"""The buffers of a message, in order; after them one with the bytes of the names."""

MAX_LISTED = 2_000
"""At most so many decisions (failures, calls) travel in one message with all their words: the last ones."""

SIGNALS = {signal: code for code, signal in enumerate(SIGNAL_COLORS)}
"""The code of each signal in the table ``marks``, which holds every decision; 255 stands for another word."""

MOST_EDGES = 2_000
"""The edges of a graph with more nodes than so many stay behind: it is shown by waves."""

_FRESH, _CHANGED, _NODE, _WAVE, _SPAN, _MARK = 25, 9, 9, 20, 12, 5
_LISTED_BYTES = 160
_NAMES = 4_096


class Outbox:
    """What waits to be sent to one view. Not thread-safe: its owner holds the lock of the pump."""

    def __init__(self) -> None:
        self._sent = np.zeros(0, bool)
        self._stale = np.zeros(0, bool)
        self._last = np.zeros(0, np.int64)
        self._nodes = np.zeros(0, bool)
        self._rows = self._first = self._name = self._edge = self._span = self._mark = 0
        self._waves: set[int] = set()
        self._listed = {"decisions": 0, "failures": 0, "calls": 0}
        self._open: set[int] = set()
        self._sums = {"tools": 0, "models": 0, "tokens": 0, "callsFailed": 0}
        self._text = b""
        self._marked = self._left = False

    @property
    def unsent(self) -> int:
        """How many attempts the view does not know yet."""
        return self._rows - int(np.count_nonzero(self._sent[: self._rows]))

    @property
    def waiting(self) -> bool:
        """Whether anything is left that did not fit."""
        return self._left

    def add(self, state: RunState, delta: Delta) -> None:
        """Take note of what changed."""
        rows, nodes = np.asarray(delta.rows, np.int64), np.asarray(delta.nodes, np.int64)
        before, self._rows = self._rows, len(state.attempts)
        self._sent, self._stale = (_wide(mask, self._rows) for mask in (self._sent, self._stale))
        self._last = _wide(self._last, len(state.nodes), -1)
        self._nodes = _wide(self._nodes, len(state.nodes))
        self._stale[rows] = True
        self._nodes[nodes] = True
        self._waves.update(delta.waves)
        if self._rows > before:
            self._last[_view(state.attempts.node, np.uint32)[before:]] = np.arange(before, self._rows)

    def take(self, state: RunState, budget: int | None) -> tuple[dict[str, Any], list[bytes]]:
        """The parts of the next message and its buffers, about ``budget`` bytes in all (None: everything)."""
        room = _Room(budget)
        parts, waves = self._take_lists(state, room), self._take_waves(state, room)
        spans = self._take_spans(state, room)
        changed = self._take_changed(room)
        settled = self._take_nodes(state, room)
        marks = self._take_marks(state, room)
        fresh = self._take_fresh(room)
        names = self._take_names(state, room)
        edges = self._take_edges(state)
        attempts = state.attempts
        touched = np.concatenate((changed, fresh))
        backoff = _view(attempts.backoff_ms, np.float64)[touched]
        backed = touched[backoff > 0.0]
        whole = len(fresh) > 0 and int(fresh[-1]) - int(fresh[0]) == len(fresh) - 1
        start = _view(attempts.start_ms, np.float64)[fresh]
        tables: dict[str, tuple[Any, ...]] = {
            "fresh": (
                fresh[:0] if whole else fresh,
                _view(attempts.node, np.uint32)[fresh],
                np.minimum(_view(attempts.attempt, np.uint32)[fresh], 0xFFFF),
                np.minimum(_view(attempts.lane, np.uint32)[fresh], 0xFFFF),
                _view(attempts.status, np.uint8)[fresh],
                start - _view(attempts.ready_ms, np.float64)[fresh],
                start,
                _view(attempts.end_ms, np.float64)[fresh],
            ),
            "changed": (
                changed,
                _view(attempts.status, np.uint8)[changed],
                _view(attempts.end_ms, np.float64)[changed],
            ),
            "backoffs": (backed, backoff[backoff > 0.0]),
            "nodes": (
                settled,
                _view(state.nodes.status, np.uint8)[settled],
                _view(state.nodes.settled_ms, np.float64)[settled],
            ),
            "waves": tuple(zip(*((w.index, w.nodes, w.lanes, w.start_ms, w.end_ms) for w in waves), strict=True))
            or ((),) * 5,
            "spans": spans,
            "names": (),
            "edges": tuple(zip(*edges, strict=True)) or ((), ()),
            "marks": marks,
        }
        counts = {"fresh": len(fresh), "names": names.count}
        parts["sizes"] = [counts[name] if name in counts else len(tables[name][0]) for name in TABLES]
        parts["firstRow"] = int(fresh[0]) if whole else -1
        parts["firstName"] = names.first
        self._left = bool(
            self._waves
            or self._span < len(state.nodes)
            or self._name < len(state.nodes)
            or self._mark < len(state.decisions)
            or not self._sent[self._first : self._rows].all()
            or (self._stale & self._sent).any()
        )
        if state.done and not self._marked:
            self._marked = True
            parts["critical"] = critical_nodes(state)
        return parts, [*_packed(tables), names.text]

    # --- what comes next

    def _take_lists(self, state: RunState, room: _Room) -> dict[str, Any]:
        share = room.share(0.3)
        parts: dict[str, Any] = {}
        sources: dict[str, tuple[Sequence[Any], Callable[[Any], list[list[Any]]]]] = {
            "failures": (state.failures, failure_rows),
            "decisions": (state.decisions, decision_rows),
        }
        for name, (entries, rows_of) in sources.items():
            fresh = entries[max(self._listed[name], len(entries) - MAX_LISTED) :]
            fresh = fresh[-max(1, share // _LISTED_BYTES) :] if budgeted(share) else fresh
            rows = _fitting(rows_of(fresh), share)
            share -= _size(rows)
            self._listed[name] = len(entries)
            parts[name] = rows
        parts["calls"] = _fitting(call_rows(self._take_calls(state, share)), share)
        room.spend(sum(_size(parts[name]) for name in parts))
        parts["totals"] = {
            "attempts": len(state.attempts),
            "decisions": len(state.decisions),
            "failures": len(state.failures),
            "calls": len(state.calls),
            **self._sums,
        }
        return parts

    def _take_marks(self, state: RunState, room: _Room) -> tuple[list[float], list[int]]:
        """When decisions fell, and with which signal: those that are not told yet, in order."""
        chosen = state.decisions[self._mark : self._mark + room.fits(_MARK, 0.3)]
        self._mark += len(chosen)
        room.spend(_MARK * len(chosen))
        return [decision.offset_ms for decision in chosen], [SIGNALS.get(d.signal, 255) for d in chosen]

    def _take_calls(self, state: RunState, share: int) -> list[tuple[int, Any]]:
        """Calls that began or ended since the last message."""
        calls = state.calls
        began = range(self._listed["calls"], len(calls))
        self._listed["calls"] = len(calls)
        for index in began:
            self._sums["tools" if calls[index].kind == "tool" else "models"] += 1
        ended = [index for index in (*self._open, *began) if calls[index].end_ms >= 0.0]
        for index in ended:
            self._sums["tokens"] += calls[index].tokens
            self._sums["callsFailed"] += calls[index].status == "failed"
        news = sorted({*ended, *began})
        self._open = (self._open | set(began)) - set(ended)
        most = min(MAX_LISTED, max(1, share // _LISTED_BYTES)) if budgeted(share) else MAX_LISTED
        return [(index, calls[index]) for index in news[-most:]]

    def _take_waves(self, state: RunState, room: _Room) -> list[Any]:
        chosen = sorted(self._waves)[: room.fits(_WAVE, 0.4)]
        self._waves.difference_update(chosen)
        room.spend(_WAVE * len(chosen))
        return [state.waves[index] for index in chosen]

    def _take_spans(self, state: RunState, room: _Room) -> tuple[Numbers, Numbers, Numbers]:
        """To which wave the nodes belong, as spans of neighbours in one wave: an attempt can be drawn only then."""
        wave = _view(state.nodes.wave, np.uint32)[self._span :]
        first = np.flatnonzero(np.concatenate(([True], wave[1:] != wave[:-1]))) if len(wave) else np.zeros(0, np.int64)
        count = np.diff(np.append(first, len(wave)))
        most = room.fits(_SPAN, 0.5)
        first, count = first[:most], count[:most]
        start, self._span = self._span, self._span + int(count.sum())
        room.spend(_SPAN * len(first))
        return first + start, count, wave[first]

    def _take_changed(self, room: _Room) -> Numbers:
        waiting = np.flatnonzero(self._stale & self._sent)
        chosen = _spread(waiting, room.fits(_CHANGED, 0.6))
        self._stale[chosen] = False
        room.spend(_CHANGED * len(chosen))
        return chosen

    def _take_fresh(self, room: _Room) -> Numbers:
        waiting: Numbers = self._first + np.flatnonzero(~self._sent[self._first : self._rows])
        chosen = _spread(waiting, room.fits(_FRESH, 0.8))
        self._sent[chosen] = True
        self._stale[chosen] = False
        room.spend(_FRESH * len(chosen))
        if len(waiting):
            self._first = int(waiting[0]) + (len(chosen) == len(waiting)) * (int(waiting[-1]) + 1 - int(waiting[0]))
        return chosen

    def _take_nodes(self, state: RunState, room: _Room) -> Numbers:
        """Nodes that do not stand as their last attempt does; the others are known from that attempt."""
        waiting = np.flatnonzero(self._nodes)
        last = self._last[waiting]
        status = _view(state.nodes.status, np.uint8)[waiting]
        settled = _view(state.nodes.settled_ms, np.float64)[waiting]
        if len(state.attempts):
            ended = np.where(status > RETRYING, _view(state.attempts.end_ms, np.float64)[last], -1.0)
            told = (last >= 0) & (_view(state.attempts.status, np.uint8)[last] == status) & (ended == settled)
        else:
            told = np.zeros(len(waiting), bool)
        untouched = (last < 0) & (status == 0)
        self._nodes[waiting[told | untouched]] = False
        chosen: Numbers = waiting[~(told | untouched)][: room.fits(_NODE, 0.5)]
        self._nodes[chosen] = False
        room.spend(_NODE * len(chosen))
        return chosen

    def _take_names(self, state: RunState, room: _Room) -> _Names:
        first, most = self._name, room.left()
        pieces: list[bytes] = []
        size = 0
        while self._name < len(state.nodes) and (most is None or size < most):
            names = state.nodes.name[self._name : self._name + _NAMES]
            packed, self._text = packed_names(names, self._text, None if most is None else most - size)
            pieces += packed
            size += sum(map(len, packed))
            self._name += len(packed)
        room.spend(size)
        return _Names(first, self._name - first, b"".join(pieces) or b"\0")

    def _take_edges(self, state: RunState) -> list[tuple[int, int]]:
        first, self._edge = self._edge, self._name
        if first == self._edge or max(state.total_nodes, len(state.nodes)) > MOST_EDGES:
            return []
        return [(parent, child) for parent, child in state.nodes.edges() if first <= child < self._edge]


class _Names:
    """Names of nodes from ``first`` on; each shares its beginning with the one before."""

    def __init__(self, first: int, count: int, text: bytes) -> None:
        self.first, self.count, self.text = first, count, text


class _Room:
    """How many bytes are left of a message; without a budget there is room for everything."""

    def __init__(self, budget: int | None) -> None:
        self._left = budget

    def share(self, part: float) -> int:
        """So many bytes are ``part`` of what is left; a huge number without a budget."""
        return _NO_LIMIT if self._left is None else int(self._left * part)

    def fits(self, size: int, part: float) -> int:
        """How many entries of ``size`` bytes fit in ``part`` of what is left."""
        return self.share(part) // size

    def left(self) -> int | None:
        """What is left, or None without a budget."""
        return self._left

    def spend(self, size: int) -> None:
        """Take ``size`` bytes away."""
        if self._left is not None:
            self._left = max(0, self._left - size)


_NO_LIMIT = 1 << 40


def budgeted(share: int) -> bool:
    """Whether ``share`` bytes are a limit at all."""
    return share < _NO_LIMIT // 2


def _fitting(rows: list[list[Any]], share: int) -> list[list[Any]]:
    """The last rows that ``share`` bytes hold."""
    if not budgeted(share):
        return rows
    kept: list[list[Any]] = []
    for row in reversed(rows):
        share -= len(json.dumps(row)) + 1
        if share < 0:
            break
        kept.append(row)
    return kept[::-1]


def _size(rows: list[list[Any]]) -> int:
    return sum(len(json.dumps(row)) + 1 for row in rows)


def _spread(waiting: Numbers, most: int) -> Numbers:
    """At most ``most`` of ``waiting``, evenly spread, the last one among them."""
    if len(waiting) <= most:
        return waiting
    if most <= 0:
        return waiting[:0]
    return waiting[np.linspace(0, len(waiting) - 1, most).round().astype(np.int64)]


def _wide(mask: Numbers, size: int, fill: int = 0) -> Numbers:
    if size <= len(mask):
        return mask
    wider = np.full(max(size, 2 * len(mask)), fill, mask.dtype)
    wider[: len(mask)] = mask
    return wider


def _view(column: Any, kind: Any) -> Numbers:
    """A column of the state without a copy; let go of before the state can grow again."""
    return np.frombuffer(column, kind) if len(column) else np.zeros(0, kind)


def _packed(tables: dict[str, tuple[Any, ...]]) -> list[bytes]:
    buffers = []
    for name, columns in TABLES.items():
        for described, values in zip(columns, tables[name], strict=True):
            kind = np.dtype(described.partition(":")[2]).newbyteorder("<")
            column = np.asarray(values).astype(kind)
            if len(column) > 1 and (column == column[0]).all():
                column = column[:1]
            buffers.append(column.tobytes())
    return buffers
