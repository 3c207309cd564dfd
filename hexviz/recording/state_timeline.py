"""StateTimeline: the state of a run at any moment, from one fold of its events.

While the events are folded, every change of a row is written down once, with the number of the event that made it. The
state after event n is then a selection of whole columns (of each row the last change up to n), so no event is read or
folded again, and a jump costs what a step costs.
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
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from hexviz.events.events import Event

_NEVER = 2**32 - 1
_SEVERAL = 2
_NOTED_AT_ONCE = 4096
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
_OF_ATTEMPTS = frozenset({ev.NodeStarted, ev.NodeCompleted})
"""Most events of a run; alone they change nothing but a row, a node, and now and then a wave."""
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
        self._names: tuple[list[str], array[int], list[tuple[str, ...]]] = ([], array("I"), [])
        self._fold_all(events)

    def __len__(self) -> int:
        """How many events were taken in."""
        return len(self._seqs)

    @property
    def end_ms(self) -> float:
        """Where the run ends, so far, in milliseconds after it began."""
        return self._state.end_ms

    def fold(self, event: Event) -> None:
        """Take in one event; events of other runs, and those seen before, change nothing."""
        self._fold_all((event,))

    def _fold_all(self, events: Iterable[Event]) -> None:
        """The loop over all events of a run, which is why it looks up little: what changed is noted as it is now."""
        state = self._state
        fold, rows, nodes, count = state.fold, state.attempts, state.nodes, state.events
        changed_rows, changed_nodes = state.changed_rows, state.changed_nodes
        note_row, note_node = self._rows.note, self._nodes.note
        note_seq, note_ms = self._seqs.append, self._ms.append
        for event in events:
            fold(event)
            if state.events == count:
                continue
            count = state.events
            note_seq(state.seq)
            note_ms(state.last_ms)
            for row in changed_rows if len(changed_rows) < _SEVERAL else sorted(changed_rows):
                start_ms, end_ms = rows.start_ms[row], rows.end_ms[row]
                note_row((count, row, rows.status[row], start_ms, end_ms, rows.backoff_ms[row], rows.worker[row]))
            for node in changed_nodes if len(changed_nodes) < _SEVERAL else sorted(changed_nodes):
                note_node((count, node, nodes.status[node], nodes.settled_ms[node]))
            if type(event) not in _OF_ATTEMPTS or state.changed_waves or count == 1:
                self._note_others(event, count)
            state.forget_changes()
            if not count % _NOTED_AT_ONCE:
                self._rows.seal()
                self._nodes.seal()

    def _note_others(self, event: Event, now: int) -> None:
        """What few events change: waves, lists, the facts of the run."""
        state = self._state
        self._note_waves(now)
        listed = len(state.decisions) + len(state.failures) + len(state.calls)
        if listed > self._listed or state.ended_calls:
            self._listed = listed
            self._note_lists(now)
        totals = self._facts[-1][7:9]
        if isinstance(event, _RUN_EVENTS) or now == 1 or (state.total_nodes, state.total_waves) != totals:
            self._facts.append(tuple(getattr(state, name) for name in _FACTS))
            self._facts_at.append(now)

    def _note_waves(self, now: int) -> None:
        for index in sorted(self._state.changed_waves):
            wave = self._state.waves[index]
            place = self._wave_place.setdefault(index, len(self._wave_place))
            self._waves.note((now, place, wave.nodes, wave.lanes, wave.start_ms, wave.end_ms))

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
        if len(self._names[0]) != size:  # most moments of a run have all its nodes
            self._names = source.name[:size], source.wave[:size], source.parents[:size]
        name, wave, parents = self._names
        then.nodes = Nodes(
            name=name,
            wave=wave,
            status=status,
            settled_ms=settled_ms,
            parents=parents,
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
    """What became of the rows of one table: one entry for each change, in order."""

    def __init__(self, *typecodes: str) -> None:
        self._new: list[Any] = []  # flat, since the garbage collector would look at each of many tuples
        self.note: Callable[[tuple[Any, ...]], None] = self._new.extend
        """Note (event, row, values...): row ``row`` has these values after so many events; rows appear in order."""
        self._since = array("I")
        self._row = array("I")
        self._columns = tuple(array(code) for code in typecodes)

    def seal(self) -> None:
        """Bring what was noted into columns."""
        every = (self._since, self._row, *self._columns)
        for place, column in enumerate(every):
            column.fromlist(self._new[place :: len(every)])
        self._new.clear()

    def after(self, count: int) -> tuple[array[Any], ...]:
        """The columns as they stood after ``count`` events."""
        self.seal()
        noted = bisect_right(self._since, count)
        if not noted:
            return tuple(array(column.typecode) for column in self._columns)
        rows = np.frombuffer(self._row, np.uint32, noted)
        last = np.empty(int(rows.max()) + 1, dtype=np.uint32)
        last[rows] = np.arange(noted, dtype=np.uint32)  # of entries for one row the last one stays
        return tuple(_taken(column, last) for column in self._columns)


def _taken(column: array[Any], places: Any) -> array[Any]:
    values = array(column.typecode, bytes(column.itemsize)) * len(places)
    np.take(np.frombuffer(column, column.typecode), places, out=np.frombuffer(values, column.typecode), mode="clip")
    return values


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
