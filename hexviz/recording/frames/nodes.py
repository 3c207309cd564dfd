"""The frames ``nodes`` and ``edges``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.summary import Summary
from hexviz.recording.arrays import Words, build, shown
from hexviz.recording.attempts import (
    CANCELLED,
    COMPLETED,
    FELL_BACK,
    RETRYING,
    SKIPPED,
    STATUS,
    STATUS_OF,
    last_errors,
    scatter,
)
from hexviz.recording.columns import NULL
from hexviz.recording.frames.attempts import error_words

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.attempts import Attempts, NodeEvents
    from hexviz.recording.shape import Shape
    from hexviz.recording.snapshot import Snapshot


class NodeFacts:
    """What the events of a node say of it, one entry per row of the shape."""

    def __init__(self, events: NodeEvents, shape: Shape) -> None:
        self.events = events
        self._rows = shape.row_of_event
        self._size = len(shape)

    @cached_property
    def status(self) -> Array:
        """The status that its last event tells; pending without one."""
        status = np.full(self._size, STATUS["pending"], dtype=np.int8)
        status[self._rows] = STATUS_OF[self.events.kind]
        return status

    def last(self, kinds: tuple[int, ...], values: Array, default: Any) -> Array:
        """The last value among its events of some kinds."""
        events = self.events.of(*kinds)
        return scatter(self._size, self._rows[events], values[events], default=default)

    def results(self) -> tuple[Words, Words]:
        """Type and text of its last result."""
        number = np.full(len(self.events.kind), -1, dtype=np.int64)
        found: list[Any] = [None]
        for kind in (COMPLETED, FELL_BACK, SKIPPED):
            codes, values = self.events.coded(kind, "result")
            events = self.events.of(kind)
            number[events] = codes[self.events.row[events]] + len(found)
            found += values
        last = self.last((COMPLETED, FELL_BACK, SKIPPED), number, 0)
        facts = [_result_facts(value) for value in found]
        return Words(last, [kind for kind, _ in facts]), Words(last, [text for _, text in facts])

    def errors(self) -> tuple[Words, Words]:
        """Type and message of its last failure."""
        return error_words(*last_errors(self.events, self._size, self._rows))


def _result_facts(summary: Any) -> tuple[str, str]:
    return (summary.type, str(summary)) if type(summary) is Summary else ("", shown(summary))


def nodes_frame(shape: Shape, attempts: Attempts, facts: NodeFacts) -> pd.DataFrame:
    """One row per node of each run, also for nodes that never started."""
    a, e, size = attempts, facts.events, len(shape)
    s, of = e.snapshot, attempts.node_row

    def first(values: Array, default: Any) -> Array:
        return scatter(size, of, values, default=default, last=False)

    def last(values: Array, default: Any) -> Array:
        return scatter(size, of, values, default=default)

    def total(values: Array) -> Array:
        return np.bincount(of, np.where(np.isfinite(values), values, 0.0), size)

    error_type, error_message = facts.errors()
    result_type, result_summary = facts.results()
    settles = (RETRYING, SKIPPED, FELL_BACK, CANCELLED)
    return build("nodes", {
        "run_id": s.run_ids(shape.run), "node": shape.names(shape.node), "wave": shape.wave,
        "status": facts.status, "attempts": np.bincount(of, minlength=size), "parents": shape.parents,
        "started_at": first(a.started_at, NULL),
        "start_ms": first(a.start_ms, np.nan), "end_ms": last(a.end_ms, np.nan),
        "duration_ms": last(a.duration_ms, np.nan), "total_ms": total(a.duration_ms),
        "parents_ms": first(a.parents_ms, 0.0), "queued_ms": total(a.queued_ms), "backoff_ms": total(a.backoff_ms),
        "result_type": result_type, "result_summary": result_summary,
        "error_type": error_type, "error_message": error_message,
        "reason": s.words(facts.last(settles, e.reason, 0)),
        "decided_by": s.words(facts.last(settles, e.decided_by, 0)),
    })  # fmt: skip


def edges_frame(snapshot: Snapshot, shape: Shape) -> pd.DataFrame:
    """One row per dependency."""
    parent, child = shape.edges
    return build("edges", {
        "run_id": snapshot.run_ids(shape.run[child]), "source": shape.names(parent),
        "target": shape.names(shape.node[child]),
    })  # fmt: skip
