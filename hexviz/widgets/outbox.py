"""What a view has not been sent yet, and which of it comes next when not all of it fits.

Everything waits here by number, never as a copy: what is sent is always the newest value. First come the changes of
attempts that the view already shows, then new attempts, spread evenly over those that wait, so that a picture of a
part of them is a fair sample; what was left out follows when there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.recording.state_tables import PENDING, RETRYING, RUNNING
from hexviz.widgets.critical import critical_nodes
from hexviz.widgets.names import packed_names
from hexviz.widgets.room import Room
from hexviz.widgets.tables import TABLES, packed, view_of
from hexviz.widgets.unlisted import MOST_WORKERS, Unlisted

if TYPE_CHECKING:
    from hexviz.recording.state import Delta, RunState
    from hexviz.widgets.tables import Numbers

MOST_EDGES = 2_000
"""The edges of a graph with more nodes than so many stay behind: it is shown by waves."""

_FRESH, _CHANGED, _NODE, _WAVE, _SPAN, _PLACED = 25, 9, 9, 20, 12, 10
_NAMES = 4_096


class Outbox:
    """What waits to be sent to one view. Not thread-safe: its owner holds the lock of the pump."""

    def __init__(self) -> None:
        self._sent = np.zeros(0, bool)
        self._stale = np.zeros(0, bool)
        self._last = np.zeros(0, np.int64)
        self._nodes = np.zeros(0, bool)
        self._rows = self._first = self._name = self._edge = self._span = 0
        self._waves: set[int] = set()
        self._worker, self._begun = np.zeros(0, np.uint32), np.zeros(0)
        self._lists = Unlisted()
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
        self._worker, self._begun = _wide(self._worker, self._rows), _wide(self._begun, self._rows)
        self._last = _wide(self._last, len(state.nodes), -1)
        self._nodes = _wide(self._nodes, len(state.nodes))
        self._stale[rows] = True
        self._nodes[nodes] = True
        self._waves.update(delta.waves)
        if self._rows > before:
            self._last[view_of(state.attempts.node, np.uint32)[before:]] = np.arange(before, self._rows)

    def take(self, state: RunState, budget: int | None) -> tuple[dict[str, Any], list[bytes]]:
        """The parts of the next message and its buffers, about ``budget`` bytes in all (None: everything)."""
        room = Room(budget)
        parts, waves = self._lists.take(state, room), self._take_waves(state, room)
        parts.update(self._lists.take_workers(state, room))
        spans = self._take_spans(state, room)
        changed = self._take_changed(room)
        settled = self._take_nodes(state, room)
        marks = self._lists.take_marks(state, room)
        fresh = self._take_fresh(room, _FRESH + _PLACED * (len(state.workers) > 0))
        names = self._take_names(state, room)
        edges = self._take_edges(state)
        whole = len(fresh) > 0 and int(fresh[-1]) - int(fresh[0]) == len(fresh) - 1
        tables: dict[str, tuple[Any, ...]] = {
            **self._attempts(state, fresh, changed, whole=whole),
            "nodes": (
                settled,
                view_of(state.nodes.status, np.uint8)[settled],
                view_of(state.nodes.settled_ms, np.float64)[settled],
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
            or self._lists.marks_wait(state)
            or not self._sent[self._first : self._rows].all()
            or (self._stale & self._sent).any()
        )
        if state.done and not self._marked:
            self._marked = True
            parts["critical"] = critical_nodes(state)
        return parts, [*packed(tables), names.text]

    def _attempts(
        self, state: RunState, fresh: Numbers, changed: Numbers, *, whole: bool
    ) -> dict[str, tuple[Numbers, ...]]:
        """The tables about attempts; the numbers of the new ones are left out where they follow each other."""
        attempts = state.attempts
        status, end = view_of(attempts.status, np.uint8), view_of(attempts.end_ms, np.float64)
        start = view_of(attempts.start_ms, np.float64)[fresh]
        touched = np.concatenate((changed, fresh))
        backoff = view_of(attempts.backoff_ms, np.float64)[touched]
        return {
            "fresh": (
                fresh[:0] if whole else fresh,
                view_of(attempts.node, np.uint32)[fresh],
                np.minimum(view_of(attempts.attempt, np.uint32)[fresh], 0xFFFF),
                np.minimum(view_of(attempts.lane, np.uint32)[fresh], 0xFFFF),
                status[fresh],
                start - view_of(attempts.ready_ms, np.float64)[fresh],
                start,
                end[fresh],
            ),
            "changed": (changed, status[changed], end[changed]),
            "backoffs": (touched[backoff > 0.0], backoff[backoff > 0.0]),
            "placed": self._placed(state, touched),
        }

    def _placed(self, state: RunState, touched: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """On which workers these attempts are, where that is not told yet, and when their code began there."""
        worker, start = view_of(state.attempts.worker, np.uint32), view_of(state.attempts.start_ms, np.float64)
        told = (worker[touched] == self._worker[touched]) & (start[touched] == self._begun[touched])
        news = touched[(worker[touched] > 0) & ~told]
        self._worker[news], self._begun[news] = worker[news], start[news]
        return news, np.where(worker[news] > MOST_WORKERS, 0, worker[news]), start[news]

    # --- what comes next

    def _take_waves(self, state: RunState, room: Room) -> list[Any]:
        chosen = sorted(self._waves)[: room.fits(_WAVE, 0.4)]
        self._waves.difference_update(chosen)
        room.spend(_WAVE * len(chosen))
        return [state.waves[index] for index in chosen]

    def _take_spans(self, state: RunState, room: Room) -> tuple[Numbers, Numbers, Numbers]:
        """To which wave the nodes belong, as spans of neighbours in one wave: an attempt can be drawn only then."""
        wave = view_of(state.nodes.wave, np.uint32)[self._span :]
        first = np.flatnonzero(np.concatenate(([True], wave[1:] != wave[:-1]))) if len(wave) else np.zeros(0, np.int64)
        count = np.diff(np.append(first, len(wave)))
        most = room.fits(_SPAN, 0.5)
        first, count = first[:most], count[:most]
        start, self._span = self._span, self._span + int(count.sum())
        room.spend(_SPAN * len(first))
        return first + start, count, wave[first]

    def _take_changed(self, room: Room) -> Numbers:
        waiting = np.flatnonzero(self._stale & self._sent)
        chosen = _spread(waiting, room.fits(_CHANGED, 0.6))
        self._stale[chosen] = False
        room.spend(_CHANGED * len(chosen))
        return chosen

    def _take_fresh(self, room: Room, size: int) -> Numbers:
        waiting: Numbers = self._first + np.flatnonzero(~self._sent[self._first : self._rows])
        chosen = _spread(waiting, room.fits(size, 0.8))
        self._sent[chosen] = True
        self._stale[chosen] = False
        room.spend(size * len(chosen))
        if len(waiting):
            self._first = int(waiting[0]) + (len(chosen) == len(waiting)) * (int(waiting[-1]) + 1 - int(waiting[0]))
        return chosen

    def _take_nodes(self, state: RunState, room: Room) -> Numbers:
        """Nodes that do not stand as their last attempt does; the others are known from that attempt."""
        waiting = np.flatnonzero(self._nodes)
        last = self._last[waiting]
        status = view_of(state.nodes.status, np.uint8)[waiting]
        settled = view_of(state.nodes.settled_ms, np.float64)[waiting]
        if len(state.attempts):
            ended = np.where(status > RETRYING, view_of(state.attempts.end_ms, np.float64)[last], -1.0)
            tried = view_of(state.attempts.status, np.uint8)[last]
            same = (tried == status) | (
                (tried == RUNNING) & (status == PENDING)
            )  # which waits, as its worker's code says
            told = (last >= 0) & same & (ended == settled)
        else:
            told = np.zeros(len(waiting), bool)
        untouched = (last < 0) & (status == PENDING)
        self._nodes[waiting[told | untouched]] = False
        chosen: Numbers = waiting[~(told | untouched)][: room.fits(_NODE, 0.5)]
        self._nodes[chosen] = False
        room.spend(_NODE * len(chosen))
        return chosen

    def _take_names(self, state: RunState, room: Room) -> _Names:
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
