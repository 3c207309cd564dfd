"""Decisions, failures, calls and workers that a view has not been told of yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.palette import SIGNAL_COLORS
from hexviz.widgets.lists import call_rows, decision_rows, failure_rows
from hexviz.widgets.room import fitting, size_of
from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.recording.state import RunState
    from hexviz.widgets.room import Room

MAX_LISTED = 2_000
"""At most so many decisions (failures, calls) travel in one message with all their words: the last ones."""

SIGNALS = {signal: code for code, signal in enumerate(SIGNAL_COLORS)}
"""The code of each signal in the table ``marks``, which holds every decision; 255 stands for another word."""

MOST_WORKERS = 0xFFFF
"""Workers beyond so many count as none."""

_LISTED_BYTES = 160
_MARK = 5


class Unlisted:
    """What of the lists of a run waits to be told. Of more than fits only the last is told, and how many there are."""

    def __init__(self) -> None:
        self._mark = self._worker = 0
        self._lost: dict[int, float] = {}
        self._labels: set[int] = set()
        self._listed = {"decisions": 0, "failures": 0, "calls": 0}
        self._open: set[int] = set()
        self._sums = {"tools": 0, "models": 0, "tokens": 0, "callsFailed": 0}

    def take(self, state: RunState, room: Room) -> dict[str, Any]:
        """The parts of the next message that are lists."""
        share = room.share(0.3)
        parts: dict[str, Any] = {}
        sources: dict[str, tuple[Sequence[Any], Callable[[Any], list[list[Any]]]]] = {
            "failures": (state.failures, failure_rows),
            "decisions": (state.decisions, decision_rows),
        }
        for name, (entries, rows_of) in sources.items():
            fresh = entries[max(self._listed[name], len(entries) - MAX_LISTED) :]
            fresh = fresh[-max(1, share // _LISTED_BYTES) :] if room.bounded else fresh
            rows = fitting(rows_of(fresh), share)
            share -= size_of(rows)
            self._listed[name] = len(entries)
            parts[name] = rows
        parts["calls"] = fitting(call_rows(self._take_calls(state, share, room)), share)
        room.spend(sum(size_of(parts[name]) for name in parts))
        parts["totals"] = {
            "attempts": len(state.attempts),
            "decisions": len(state.decisions),
            "failures": len(state.failures),
            "calls": len(state.calls),
            **self._sums,
        }
        return parts

    def take_marks(self, state: RunState, room: Room) -> tuple[list[float], list[int]]:
        """When decisions fell, and with which signal: those that are not told yet, in order."""
        chosen = state.decisions[self._mark : self._mark + room.fits(_MARK, 0.3)]
        self._mark += len(chosen)
        room.spend(_MARK * len(chosen))
        return [decision.offset_ms for decision in chosen], [SIGNALS.get(d.signal, 255) for d in chosen]

    def take_workers(self, state: RunState, room: Room) -> dict[str, Any]:
        """Names of workers since the last message.

        Also which of them name no worker, and which workers are dead (``[code, at_ms]``): all, where that changed.
        """
        parts: dict[str, Any] = {}
        names = state.workers.names[: MOST_WORKERS + 1]
        if self._worker < len(names):
            parts["workers"] = [clean_text(name, 120) for name in names[self._worker :]]
            parts["firstWorker"] = self._worker
            self._worker = len(names)
        if state.workers.labels != self._labels:
            self._labels = set(state.workers.labels)
            parts["labels"] = sorted(self._labels)
        lost = state.workers.lost_ms
        if lost != self._lost:
            self._lost = dict(lost)
            parts["lost"] = [[code, at_ms] for code, at_ms in list(lost.items())[-MAX_LISTED:]]
        room.spend(size_of(list(parts.values())))
        return parts

    def marks_wait(self, state: RunState) -> bool:
        """Whether marks of decisions are left over."""
        return self._mark < len(state.decisions)

    def _take_calls(self, state: RunState, share: int, room: Room) -> list[tuple[int, Any]]:
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
        most = min(MAX_LISTED, max(1, share // _LISTED_BYTES)) if room.bounded else MAX_LISTED
        return [(index, calls[index]) for index in news[-most:]]
