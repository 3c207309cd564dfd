"""From the events of nodes to one row per attempt and one per node, with arrays only."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import (
    Event,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeFellBack,
    NodeInfo,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    PipelineStarted,
)
from hexviz.recording.columns import NULL
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    from hexviz.recording.snapshot import Array, Snapshot

_STATUS = {word: code for code, word in enumerate(STATUSES)}
_CLASSES: tuple[type[Event], ...] = (
    NodeStarted,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeFellBack,
    NodeCancelled,
)
STARTED, COMPLETED, FAILED, RETRYING, SKIPPED, FELL_BACK, CANCELLED = range(7)
_STATUS_OF = np.array(
    [_STATUS[word] for word in ("running", "succeeded", "failed", "retrying", "skipped", "fell_back", "cancelled")],
    dtype=np.int8,
)


def scatter(size: int, at: Array, values: Array, *, default: Any, last: bool = True) -> Array:
    """An array in which each index of ``at`` holds its last (or first) value."""
    out = np.full(size, default, dtype=np.asarray(values).dtype if len(at) else None)
    if last:
        out[at] = values
    else:
        out[at[::-1]] = np.asarray(values)[::-1]
    return out


class NodeEvents:
    """All events about nodes, in order, as parallel arrays; and which attempt and node each belongs to."""

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
        self._tables = {kind: snapshot.table(cls) for kind, cls in enumerate(_CLASSES)}

    def _part(self, kind: int, cls: type[Event]) -> tuple[Array, ...]:
        table = self.snapshot.table(cls)
        size = 0 if table is None else len(table)
        zeros, nan = np.zeros(size, dtype=np.int64), np.full(size, np.nan)
        fields = {} if table is None else table.block.columns

        def own(name: str, default: Array) -> Array:
            return table.column(name) if table is not None and name in fields else default

        extra = own("queued_ms", nan) if kind == STARTED else own("delay_s", nan) * 1000.0
        return (
            zeros if table is None else table.place,
            zeros + kind,
            own("name", zeros).astype(np.int64),
            own("wave_index", zeros),
            own("attempt", zeros + 1),
            own("duration_ms", nan),
            extra,
            own("ready_at", np.full(size, NULL)),
            own("worker", zeros).astype(np.int64),
            own("reason", zeros).astype(np.int64),
            own("decided_by", zeros).astype(np.int64),
            np.arange(size),
        )

    def details(self, kind: int, field: str, view: Any) -> list[Any]:
        """``view`` of a structured field of all events of a kind, in order."""
        table = self._tables[kind]
        return [] if table is None else table.distinct(field, view)

    @cached_property
    def keys(self) -> tuple[Array, Array, Array]:
        """(of each event its node key, of each event its attempt key, of each attempt its first event)."""
        span = len(self.snapshot.texts_list) + 1
        pair = self.run * span + self.node
        _, node_key = np.unique(pair, return_inverse=True)
        distinct, attempt_code = np.unique(self.attempt, return_inverse=True)
        _, first, attempt_key = np.unique(
            node_key * (len(distinct) + 1) + attempt_code, return_index=True, return_inverse=True
        )
        by_first = np.argsort(first, kind="stable")
        rank = np.empty(len(first), dtype=np.int64)
        rank[by_first] = np.arange(len(first))
        return node_key, rank[attempt_key], first[by_first]


class Attempts:
    """One row per attempt, in order of start: parallel arrays named as the columns of the frame."""

    def __init__(self, events: NodeEvents) -> None:
        self.events = events
        _, key, first = events.keys
        size = len(first)
        own = np.isin(events.kind, (STARTED, COMPLETED, FAILED))
        real = np.zeros(size, dtype=bool)
        real[key[own]] = True
        number = np.cumsum(real) - 1
        keep = real[key]
        self.size = int(real.sum())
        self.first = first[real]
        self.at = number[key[keep]]
        self.kept = np.flatnonzero(keep)
        with np.errstate(all="ignore"):
            self._fill()

    def _last(self, kinds: tuple[int, ...], values: Array, default: Any, *, last: bool = True) -> Array:
        """Per attempt the last (or first) value among its events of some kinds."""
        mine = np.isin(self.events.kind[self.kept], kinds)
        return scatter(self.size, self.at[mine], values[self.kept[mine]], default=default, last=last)

    def _fill(self) -> None:
        e, s = self.events, self.events.snapshot
        ends, settled = (COMPLETED, FAILED), (SKIPPED, FELL_BACK, CANCELLED)
        self.run, self.node, self.wave, self.attempt = (a[self.first] for a in (e.run, e.node, e.wave, e.attempt))
        offset, stamp = s.offset_ms[e.place], s.timestamp[e.place]
        everything = tuple(kind for kind in range(7) if kind != RETRYING)
        self.status = self._last(everything, _STATUS_OF[e.kind], _STATUS["pending"])
        self.ready_at = self._last((STARTED,), e.ready, NULL, last=False)
        self.started_at = self._last((STARTED,), stamp, NULL, last=False)
        self.start_ms = self._last((STARTED,), offset, np.nan, last=False).astype(float)
        self.queued_ms = np.nan_to_num(self._last((STARTED,), e.extra_ms, np.nan, last=False).astype(float))
        self.worker = self._last((STARTED,), e.worker, 0).astype(np.int64)
        self.end_ms = self._last(ends, offset, np.nan, last=False).astype(float)
        self.ended_at = self._last(ends, stamp, NULL, last=False)
        self.duration_ms = self._last(ends, e.duration_ms, np.nan, last=False).astype(float)
        unended = np.isnan(self.end_ms)
        late = self._last(settled, offset, np.nan, last=False).astype(float)
        told = self._last(settled, e.duration_ms, np.nan, last=False).astype(float)
        late_at = self._last(settled, stamp, NULL, last=False)
        self.end_ms = np.where(unended, late, self.end_ms)
        self.ended_at = np.where(unended, late_at, self.ended_at).astype(np.int64)
        self.duration_ms = np.where(unended, np.where(told > 0, told, late - self.start_ms), self.duration_ms)
        self.ready_ms = self.start_ms - self.queued_ms
        self.backoff_ms = np.nan_to_num(self._last((RETRYING,), e.extra_ms, 0.0).astype(float))
        why = (RETRYING, *settled)
        self.reason = self._last(why, e.reason, 0).astype(np.int64)
        self.decided_by = self._last(why, e.decided_by, 0).astype(np.int64)

    def errors(self) -> tuple[list[str], list[str]]:
        """Types and messages of the exceptions."""
        return last_errors(self.events, self.size, self.kept, self.at)


def last_errors(events: NodeEvents, size: int, kept: Array, at: Array) -> tuple[list[str], list[str]]:
    """Of each row the type and message of its last NodeFailed; empty texts without one."""
    types, messages = [""] * size, [""] * size
    found = events.details(FAILED, "error", error_facts)
    mine = events.kind[kept] == FAILED
    for row, index in zip(at[mine].tolist(), events.row[kept[mine]].tolist(), strict=True):
        types[row], messages[row] = found[index]
    return types, messages


def error_facts(error: Any) -> tuple[str, str]:
    """Type and message of a recorded error; empty for None."""
    return ("", "") if error is None else (str(error.type_name), str(error.message))


class Shape:
    """The graphs of all runs: the nodes that PipelineStarted tells, then those that only events know."""

    def __init__(self, events: NodeEvents) -> None:
        snapshot = events.snapshot
        self.infos: dict[tuple[int, str], NodeInfo] = {}
        table = snapshot.table(PipelineStarted)
        if table is not None:
            for place, nodes in zip(table.place.tolist(), table.values("nodes"), strict=True):
                run = int(snapshot.run[place])
                for info in nodes:
                    self.infos.setdefault((run, info.name), info)
        _, first = np.unique(events.run * (len(snapshot.texts_list) + 1) + events.node, return_index=True)
        names = snapshot.texts_list
        for index in np.sort(first).tolist():
            run, name = int(events.run[index]), names[events.node[index]]
            if (run, name) not in self.infos:
                self.infos[run, name] = NodeInfo(name, int(events.wave[index]))
        self.rows = sorted(self.infos, key=lambda pair: pair[0])
        self.index = {pair: row for row, pair in enumerate(self.rows)}

    def rows_of(self, events: NodeEvents) -> Array:
        """Of each event about a node the row of that node."""
        key, _, _ = events.keys
        names = events.snapshot.texts_list
        _, first = np.unique(key, return_index=True)
        row_of_key = [self.index[int(events.run[i]), names[events.node[i]]] for i in first.tolist()]
        return np.array(row_of_key, dtype=np.int64)[key] if len(key) else np.zeros(0, dtype=np.int64)


def node_status(events: NodeEvents, rows: Array, size: int) -> Array:
    """Of each node the status that its last event tells; pending without one."""
    status = np.full(size, _STATUS["pending"], dtype=np.int8)
    status[rows] = _STATUS_OF[events.kind]
    return status
