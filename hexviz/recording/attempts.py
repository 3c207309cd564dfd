"""From the events of nodes to one row per attempt, with arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import (
    Event,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeFellBack,
    NodePlaced,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
)
from hexviz.recording.columns import NULL
from hexviz.recording.layout import STATUSES
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    from hexviz.recording.arrays import Array
    from hexviz.recording.shape import Shape
    from hexviz.recording.snapshot import Snapshot

STATUS = {word: code for code, word in enumerate(STATUSES)}
_CLASSES: tuple[type[Event], ...] = (
    NodeStarted,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeFellBack,
    NodeCancelled,
    NodePlaced,
)
STARTED, COMPLETED, FAILED, RETRYING, SKIPPED, FELL_BACK, CANCELLED, PLACED = range(8)
STATUS_OF = np.array(
    [
        STATUS[word]
        for word in ("running", "succeeded", "failed", "retrying", "skipped", "fell_back", "cancelled", "running")
    ],
    dtype=np.int8,
)


class NodeEvents:
    """All events about nodes, in order, as parallel arrays.

    ``extra_ms`` is what a NodeStarted queued and a NodeRetrying delays; ``row`` counts within the event's class.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        with np.errstate(all="ignore"):  # foreign recordings may hold any number
            parts = [self._part(kind, cls) for kind, cls in enumerate(_CLASSES)]
        joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        by_place = np.argsort(joined[0], kind="stable")
        (
            self.place, self.kind, self.node, self.wave, self.attempt, self.duration_ms, self.extra_ms,
            self.ready, self.worker, self.reason, self.decided_by, self.row,
        ) = (values[by_place] for values in joined)  # fmt: skip
        self.run = snapshot.run[self.place]

    def _part(self, kind: int, cls: type[Event]) -> tuple[Array, ...]:
        table = self.snapshot.table(cls)
        size = 0 if table is None else len(table)
        zeros, nan = np.zeros(size, dtype=np.uint32), np.full(size, np.nan)
        fields = {} if table is None else table.block.columns

        def own(name: str, default: Array) -> Array:
            return table.column(name) if table is not None and name in fields else default

        return (
            np.zeros(0, dtype=np.int64) if table is None else table.place,
            np.full(size, kind, dtype=np.int8),
            own("name", zeros),
            own("wave_index", zeros.astype(np.int64)),
            own("attempt", np.ones(size, dtype=np.int64)),
            own("duration_ms", nan),
            own("queued_ms", nan) if kind == STARTED else own("delay_s", nan) * 1000.0,
            _is_ready_at_once(table, own) if kind == STARTED else np.zeros(size, dtype=bool),
            own("worker", zeros),
            own("reason", zeros),
            own("decided_by", zeros),
            np.arange(size),
        )

    def of(self, *kinds: int) -> Array:
        """The positions of the events of some kinds, in order."""
        if len(kinds) == 1:
            return np.flatnonzero(self.kind == kinds[0])
        wanted = np.zeros(len(_CLASSES), dtype=bool)
        wanted[list(kinds)] = True
        return np.flatnonzero(wanted[self.kind])

    def coded(self, kind: int, field: str) -> tuple[Array, list[Any]]:
        """The numbers of a structured field of all events of a kind, in order, and the distinct values."""
        table = self.snapshot.table(_CLASSES[kind])
        return (np.zeros(0, dtype=np.int64), []) if table is None else table.coded(field)


def _is_ready_at_once(table: Any, own: Any) -> Array:
    """Whether a node could have started with the run: it has no parents, and no moment when it became ready."""
    if table is None:
        return np.zeros(0, dtype=bool)
    size = len(table)
    first = own("attempt", np.ones(size)) == 1
    told = (own("ready_at", np.full(size, NULL)) != NULL) | (own("queued_ms", np.zeros(size)) > 0)
    return first & ~told & (own("dependencies", np.zeros(size)) == 0)  # type: ignore[no-any-return]


class Attempts:
    """One row per attempt, in order of start: parallel arrays named as the columns of the frame.

    ``at`` and ``event`` pair the events of nodes with the attempts that they belong to; ``node_row`` is the row of each
    attempt's node.
    """

    def __init__(self, events: NodeEvents, shape: Shape) -> None:
        self.events = events
        key, first = _attempt_keys(events, shape.row_of_event)
        real = np.zeros(len(first), dtype=bool)
        real[key[events.of(STARTED, COMPLETED, FAILED)]] = True
        self.size = int(real.sum())
        self.first = first[real]
        self.at = np.where(real, np.cumsum(real) - 1, -1)[key]
        self.node_row = shape.row_of_event[self.first]
        self.run, self.node, self.wave, self.attempt = (
            values[self.first] for values in (events.run, events.node, events.wave, events.attempt)
        )
        with np.errstate(all="ignore"):
            self._find_ends()
            self._split_times()

    def _mine(self, *kinds: int) -> tuple[Array, Array]:
        """(attempts, events): the events of some kinds that belong to an attempt."""
        events = self.events.of(*kinds)
        at = self.at[events]
        return at[at >= 0], events[at >= 0]

    def _scatter(self, pairs: tuple[Array, Array], values: Array, default: Any, *, last: bool = True) -> Array:
        return scatter(self.size, pairs[0], values[pairs[1]], default=default, last=last)

    def _find_ends(self) -> None:
        e, s = self.events, self.events.snapshot
        starts, ends = self._mine(STARTED), self._mine(COMPLETED, FAILED)
        settled, retrying = self._mine(SKIPPED, FELL_BACK, CANCELLED), self._mine(RETRYING)
        offset, stamp = s.offset_ms[e.place], s.timestamp[e.place]
        told = self._mine(STARTED, COMPLETED, FAILED, SKIPPED, FELL_BACK, CANCELLED)
        self.status = self._scatter(told, STATUS_OF[e.kind], STATUS["pending"])
        self.started_at = self._scatter(starts, stamp, NULL, last=False)
        self.start_ms = self._scatter(starts, offset, np.nan, last=False)
        self.worker = self._scatter(self._mine(STARTED, PLACED), e.worker, 0)
        self.end_ms = self._scatter(ends, offset, np.nan, last=False)
        self.duration_ms = self._scatter(ends, e.duration_ms, np.nan, last=False)
        late = np.isnan(self.end_ms)[settled[0]]
        settled_late = settled[0][late][::-1], settled[1][late][::-1]
        self.end_ms[settled_late[0]] = offset[settled_late[1]]
        self.duration_ms[settled_late[0]] = e.duration_ms[settled_late[1]]
        why = self._mine(RETRYING, SKIPPED, FELL_BACK, CANCELLED)
        self.reason = self._scatter(why, e.reason, 0)
        self.decided_by = self._scatter(why, e.decided_by, 0)
        self.delay_ms = self._scatter(retrying, e.extra_ms, np.nan)

    def _split_times(self) -> None:
        """What the time until the end was spent on: see docs/frames.md."""
        starts = self._mine(STARTED)
        told_ms = np.maximum(np.nan_to_num(self._scatter(starts, self.events.extra_ms, 0.0, last=False)), 0.0)
        at_once = self._scatter(starts, self.events.ready, default=False, last=False)
        before = self._before()
        ended = self.end_ms[before]
        again = (before >= 0) & ~np.isnan(ended)
        asked = np.where(np.isnan(self.delay_ms[before]), self.start_ms - ended - told_ms, self.delay_ms[before])
        gap = np.maximum(self.start_ms - ended, 0.0)
        self.backoff_ms = np.nan_to_num(np.where(again, np.clip(asked, 0.0, gap), 0.0))
        ready = np.where(at_once, 0.0, np.maximum(self.start_ms - told_ms, 0.0))
        self.ready_ms = np.where(again, ended + self.backoff_ms, np.minimum(ready, self.start_ms))
        lost = (self.attempt > 1) & ~again  # how it came from the attempt before is not known
        self.parents_ms = np.nan_to_num(np.where(again | lost, 0.0, np.maximum(self.ready_ms, 0.0)))
        until_start = np.maximum(self.start_ms - self.ready_ms, 0.0)
        until_code = np.maximum(self.end_ms - self.start_ms - np.maximum(self.duration_ms, 0.0), 0.0)
        self.queued_ms = np.nan_to_num(until_start) + np.nan_to_num(until_code)

    def _before(self) -> Array:
        """Of each attempt the row of the one before of the same node; -1 for none."""
        order = np.lexsort((self.attempt, self.node_row))
        node, attempt = self.node_row[order], self.attempt[order]
        follows = np.zeros(self.size, dtype=bool)
        follows[1:] = (node[1:] == node[:-1]) & (attempt[1:] == attempt[:-1] + 1)
        before = np.full(self.size, -1, dtype=np.int64)
        before[order[follows]] = order[np.flatnonzero(follows) - 1]
        return before

    def errors(self) -> tuple[Array, list[Any]]:
        """Of each attempt the number of its error, and the errors; the last is None."""
        return last_errors(self.events, self.size, self.at)


def _attempt_keys(events: NodeEvents, node_row: Array) -> tuple[Array, Array]:
    """(of each event the number of its attempt, of each attempt its first event)."""
    numbers, distinct = factorised(events.attempt)
    key, found = factorised(node_row * max(1, len(distinct)) + numbers)
    return key, scatter(len(found), key, np.arange(len(key)), default=0, last=False)


def scatter(size: int, at: Array, values: Array, *, default: Any, last: bool = True) -> Array:
    """An array in which each index of ``at`` holds its last (or first) value."""
    out = np.full(size, default, dtype=values.dtype)
    if last:
        out[at] = values
    else:
        out[at[::-1]] = values[::-1]
    return out


def last_errors(events: NodeEvents, size: int, row_of_event: Array) -> tuple[Array, list[Any]]:
    """Of each row the number of the error of its last NodeFailed, and the errors; the last is None, for none."""
    codes, values = events.coded(FAILED, "error")
    failed = events.of(FAILED)
    at = row_of_event[failed]
    number = codes[events.row[failed]]
    return scatter(size, at[at >= 0], number[at >= 0], default=len(values)), [*values, None]
