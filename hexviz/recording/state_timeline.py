"""StateTimeline: the state of a run at any moment, from one fold of its events.

While the events are folded, every change of a row is written down once, with the number of the event that made it and
of the one that made the next change of the same row. The state after event n is then a selection of whole columns
(first change up to n, next change after n), so no event is read or folded again, and a jump costs what a step costs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hexviz.events import events as ev
from hexviz.recording.moments import MomentError, offset_of
from hexviz.recording.state import RunState
from hexviz.recording.state_tables import STATUSES, Call, Nodes, Wave

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from hexviz.events.events import Event

_NEVER = 2**32 - 1
_FACTS = (
    "run_id",
    "pipeline",
    "status",
    "error",
    "schedule",
    "tags",
    "started_at",
    "total_nodes",
    "total_waves",
    "duration_ms",
)
_RUN_EVENTS = (ev.PipelineStarted, ev.PipelineCompleted, ev.PipelineFailed, ev.PipelineCancelled, ev.PipelineSkipped)


class PastState(RunState):
    """A run as it stood at an earlier moment: all that a :class:`RunState` shows, and nothing can be folded into it."""

    def __init__(self, moment_ms: float) -> None:
        super().__init__()
        self._moment_ms = moment_ms

    def fold(self, event: Event) -> None:
        """Refuse: the past does not change. Raises :class:`MomentError`."""
        raise MomentError(f"a state of the past takes in no {type(event).__name__}; fold it into the StateTimeline")

    def now_ms(self) -> float:
        """The moment that this state shows."""
        return self.end_ms if self.done else max(self._moment_ms, self.last_ms)


class StateTimeline:
    """The states of one run: ``StateTimeline(recording).at(1500)`` is the run 1.5 s after it began.

    ``events`` are the events of a recording in order (of the first run among them where no ``run_id`` is given);
    ``fold`` takes in more, and changes no state that was given out. Held are about 80 bytes per event beside the last
    state itself. Not thread-safe.
    """

    def __init__(self, events: Iterable[Event] = (), run_id: str = "") -> None:
        self._state = RunState(run_id)
        self._seqs = array("q")
        self._ms = array("d")
        self._rows = _Changes("B", "d", "d", "d", "I")
        self._nodes = _Changes("B", "d")
        self._waves = _Changes("I", "I", "d", "d")
        self._wave_place: dict[int, int] = {}
        self._listed = 0
        self._decided = array("I")
        self._failed = array("I")
        self._called = array("I")
        self._call_ended = array("I")
        self._facts: list[tuple[Any, ...]] = [tuple(getattr(self._state, name) for name in _FACTS)]
        self._facts_at = [0]
        for event in events:
            self.fold(event)

    def __len__(self) -> int:
        """How many events were taken in."""
        return len(self._seqs)

    @property
    def end_ms(self) -> float:
        """Where the run ends, so far, in milliseconds after it began."""
        return self._state.end_ms

    def fold(self, event: Event) -> None:
        """Take in one event; events of other runs, and those seen before, change nothing."""
        state = self._state
        count = state.events
        state.fold(event)
        now = state.events
        if now == count:
            return
        self._seqs.append(state.seq)
        self._ms.append(state.last_ms)
        if state.changed_rows:
            self._note_rows(now)
        if state.changed_nodes:
            self._note_nodes(now)
        if state.changed_waves:
            self._note_waves(now)
        listed = len(state.decisions) + len(state.failures) + len(state.calls)
        if listed > self._listed or state.ended_calls:
            self._listed = listed
            self._note_lists(now)
        totals = self._facts[-1][7:9]
        if isinstance(event, _RUN_EVENTS) or now == 1 or (state.total_nodes, state.total_waves) != totals:
            self._facts.append(tuple(getattr(state, name) for name in _FACTS))
            self._facts_at.append(now)
        state.forget_changes()

    def _note_rows(self, now: int) -> None:
        rows = self._state.attempts
        for row in _in_order(self._state.changed_rows):
            self._rows.note(
                now,
                row,
                (rows.status[row], rows.start_ms[row], rows.end_ms[row], rows.backoff_ms[row], rows.worker[row]),
            )

    def _note_nodes(self, now: int) -> None:
        nodes = self._state.nodes
        for node in _in_order(self._state.changed_nodes):
            self._nodes.note(now, node, (nodes.status[node], nodes.settled_ms[node]))

    def _note_waves(self, now: int) -> None:
        for index in _in_order(self._state.changed_waves):
            wave = self._state.waves[index]
            place = self._wave_place.setdefault(index, len(self._wave_place))
            self._waves.note(now, place, (wave.nodes, wave.lanes, wave.start_ms, wave.end_ms))

    def _note_lists(self, now: int) -> None:
        state = self._state
        if len(self._decided) < len(state.decisions):
            self._decided.append(now)
        if len(self._failed) < len(state.failures):
            self._failed.append(now)
        if len(self._called) < len(state.calls):
            self._called.append(now)
            self._call_ended.append(_NEVER)
        for call in state.ended_calls:
            self._call_ended[call] = now

    # --- the past

    def at(self, moment: float | datetime | None = None, *, seq: int | None = None) -> PastState:
        """The state after the event numbered ``seq``, or at a ``moment``: milliseconds after the run began, or a time.

        A time (aware, or UTC) counts from the wall clock of the run's first event. Before the first event the state is
        empty, after the last one it is the last. Raises :class:`MomentError` unless one of the two is given.
        """
        if (moment is None) == (seq is None):
            raise MomentError("say which moment: at(1500.0) in milliseconds, at(a datetime), or at(seq=12)")
        if seq is not None:
            count = bisect_right(self._seqs, seq)
            return self._after(count, self._ms[count - 1] if count else 0.0)
        at_ms = offset_of(moment, self._state.started_at)
        return self._after(bisect_right(self._ms, at_ms), min(at_ms, self.end_ms))

    def _after(self, count: int, moment_ms: float) -> PastState:
        then = PastState(moment_ms)
        for name, value in zip(_FACTS, self._facts[bisect_right(self._facts_at, count) - 1], strict=True):
            setattr(then, name, value)
        then.events = count
        if count:
            then.seq, then.last_ms = self._seqs[count - 1], self._ms[count - 1]
        self._fill_nodes(then, count)
        self._fill_attempts(then, count)
        then.waves = cast("dict[int, Wave]", _PastWaves(self._wave_place, self._waves.after(count)))
        then.decisions = self._state.decisions[: bisect_right(self._decided, count)]
        then.failures = self._state.failures[: bisect_right(self._failed, count)]
        then.calls = self._calls_after(count)
        then.workers = self._state.workers.after(count)
        return then

    def _fill_nodes(self, then: PastState, count: int) -> None:
        status, settled_ms = self._nodes.after(count)
        source, size = self._state.nodes, len(status)
        then.nodes = Nodes(
            name=source.name[:size],
            wave=source.wave[:size],
            status=status,
            settled_ms=settled_ms,
            parents=source.parents[:size],
            code=source.code,  # shared: a code beyond the number of nodes is a node to come
        )
        then.counts = np.bincount(np.frombuffer(status, np.uint8) if size else [], minlength=len(STATUSES)).tolist()

    def _fill_attempts(self, then: PastState, count: int) -> None:
        status, start_ms, end_ms, backoff_ms, worker = self._rows.after(count)
        source, rows, size = self._state.attempts, then.attempts, len(status)
        for name in ("node", "attempt", "lane", "ready_ms"):
            setattr(rows, name, getattr(source, name)[:size])
        rows.status, rows.start_ms, rows.end_ms = status, start_ms, end_ms
        rows.backoff_ms, rows.worker = backoff_ms, worker

    def _calls_after(self, count: int) -> list[Call]:
        size = bisect_right(self._called, count)
        calls = self._state.calls[:size]
        ended = np.frombuffer(self._call_ended, dtype=np.uint32, count=size) if size else np.empty(0, np.uint32)
        for index in np.flatnonzero(ended > count).tolist():
            call = calls[index]
            calls[index] = Call(call.node, call.attempt, call.kind, call.name, call.start_ms)
        return calls


class _Changes:
    """What became of the rows of one table: one entry per change, good from one event up to the next change."""

    def __init__(self, *typecodes: str) -> None:
        self._row = array("I")
        self._since = array("I")
        self._until = array("I")
        self._columns = tuple(array(code) for code in typecodes)
        self._put = tuple(column.append for column in self._columns)
        self._last = array("I")

    def note(self, now: int, row: int, values: tuple[Any, ...]) -> None:
        """Row ``row`` has these values after event ``now``; rows appear in order."""
        entry = len(self._since)
        if row < len(self._last):
            self._until[self._last[row]] = now
            self._last[row] = entry
        else:
            self._last.append(entry)
        self._row.append(row)
        self._since.append(now)
        self._until.append(_NEVER)
        for put, value in zip(self._put, values, strict=True):
            put(value)

    def after(self, count: int) -> tuple[array[Any], ...]:
        """The columns as they stood after ``count`` events."""
        size = bisect_right(self._since, count)
        if not size:
            return tuple(array(column.typecode) for column in self._columns)
        valid = np.flatnonzero(np.frombuffer(self._until, np.uint32, size) > count)
        rows = np.frombuffer(self._row, np.uint32, size)[valid]
        found = []
        for column in self._columns:
            values = array(column.typecode, [0]) * len(rows)
            np.frombuffer(values, column.typecode)[rows] = np.frombuffer(column, column.typecode, size)[valid]
            found.append(values)
        return tuple(found)


def _in_order(numbers: set[int]) -> Iterable[int]:
    return numbers if len(numbers) == 1 else sorted(numbers)


class _PastWaves(Mapping[int, Wave]):
    """The waves of a past state, each made when it is looked at."""

    def __init__(self, place: Mapping[int, int], columns: tuple[array[Any], ...]) -> None:
        self._place = place
        self._columns = columns
        self._made: dict[int, Wave] = {}

    def __getitem__(self, index: int) -> Wave:
        place = self._place[index]
        if place >= len(self):
            raise KeyError(index)
        if index not in self._made:
            self._made[index] = Wave(index, *(column[place] for column in self._columns))
        return self._made[index]

    def __iter__(self) -> Iterator[int]:
        size = len(self)
        return (index for index, place in self._place.items() if place < size)

    def __len__(self) -> int:
        return len(self._columns[0])
