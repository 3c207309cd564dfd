"""One run as it stands now: a fold of its events, for live views, replays, reports and the terminal.

Pure Python: no widget, no asyncio, no pandas. Times are milliseconds since the run's ``PipelineStarted`` by the
monotonic clock; -1 stands for "not yet".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from hexviz.recording.state_folds import FOLDS, Folded, folds_of
from hexviz.recording.state_tables import (
    CANCELLED,
    FAILED,
    FELL_BACK,
    PENDING,
    RETRYING,
    RUNNING,
    SKIPPED,
    STATUSES,
    SUCCEEDED,
    Call,
    Columns,
    Decision,
    Delta,
    Failure,
    Nodes,
    Wave,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.events.events import Event

__all__ = [
    "CANCELLED",
    "FAILED",
    "FELL_BACK",
    "PENDING",
    "RETRYING",
    "RUNNING",
    "SKIPPED",
    "STATUSES",
    "SUCCEEDED",
    "Call",
    "Columns",
    "Decision",
    "Delta",
    "Failure",
    "Nodes",
    "RunState",
    "Wave",
]

_LIVE_CLOCK_SKEW_MS = 5_000.0


class RunState(Folded):
    """What is known of one run. ``fold`` each of its events in order; events of other runs are left alone.

    Not thread-safe: whoever folds in one thread and reads in another holds a lock (see ``hexviz.widgets.feed.Pump``).
    """

    @classmethod
    def from_events(cls, events: Iterable[Event], run_id: str = "") -> Self:
        """The state after ``events``; of the first run among them where no ``run_id`` is given."""
        state = cls(run_id)
        for event in events:
            state.fold(event)
        return state

    @property
    def done(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.duration_ms >= 0.0

    @property
    def dirty(self) -> bool:
        """Whether anything changed since the last :meth:`delta`."""
        return self._changed

    @property
    def end_ms(self) -> float:
        """Where the time axis of this state ends, in milliseconds."""
        return max(self.last_ms, self.duration_ms)

    @property
    def counts_by_status(self) -> dict[str, int]:
        """The number of nodes by status word."""
        return dict(zip(STATUSES, self.counts, strict=True))

    @property
    def waiting(self) -> int:
        """How many of the pending nodes were sent to a runner and wait there for a worker."""
        return sum(map(self.waits, range(len(self.attempts)))) if self.workers.labels and not self.done else 0

    def now_ms(self) -> float:
        """How far the run has come: by this process's clock while it goes on here, else up to its last event."""
        if self.done or self._origin_ns is None:
            return self.end_ms
        by_clock = (time.monotonic_ns() - self._origin_ns) / 1e6
        lag_ms = by_clock - self.last_ms
        return by_clock if self.status == "running" and lag_ms > -_LIVE_CLOCK_SKEW_MS else self.last_ms

    def fold(self, event: Event) -> None:
        """Take in one event. Events of another run, and those already folded (by ``seq``), change nothing."""
        if event.run_id != self.run_id:
            if self.run_id or self.events:
                return
            self.run_id = event.run_id
        seq = event.seq
        if seq:
            if seq <= self.seq:
                return
            self.seq = seq
        self.events += 1
        self._changed = True
        origin_ns = self._origin_ns
        if origin_ns is None:
            origin_ns = self._origin_ns = event.monotonic_ns
            self.started_at = event.timestamp
        at_ms = (event.monotonic_ns - origin_ns) / 1e6
        if at_ms < 0.0:  # noqa: PLR1730 - a call of max costs as much as all of this
            at_ms = 0.0
        if at_ms > self.last_ms:  # noqa: PLR1730
            self.last_ms = at_ms
        kind = type(event)
        fold = FOLDS[kind] if kind in FOLDS else folds_of(kind)
        if fold is not None:
            fold(self, event, at_ms)

    def delta(self, *, full: bool = False) -> Delta:
        """What changed since the last call; with ``full``, everything."""
        told = [0, 0, 0] if full else self._told
        rows: Iterable[int] = range(len(self.attempts)) if full else self.changed_rows
        nodes: Iterable[int] = range(len(self.nodes)) if full else self.changed_nodes
        waves: Iterable[int] = self.waves if full else self.changed_waves
        delta = Delta(full, sorted(rows), sorted(nodes), sorted(waves), *told)
        self.forget_changes()
        self._told = [len(self.nodes), len(self.decisions), len(self.failures)]
        self._changed = False
        return delta

    def forget_changes(self) -> None:
        """Begin to collect anew which rows, nodes and waves change, and which calls end."""
        self.changed_rows.clear()
        self.changed_nodes.clear()
        self.changed_waves.clear()
        self.ended_calls.clear()
