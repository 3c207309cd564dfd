"""Playlist: the events of a recording in true order, each reached by its place.

Within a run the order is that of ``seq``. Between runs it is that of the clocks: runs whose wall clock and monotonic
clock differ by the same amount (to a second) are taken to come from one machine and follow its monotonic clock, which
no time server moves. Between machines the wall clock at each machine's first event counts; whether that was right
nobody can tell from the events. Runs that tie keep the order in which they were recorded.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate, chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from hexviz.events.events import Event
    from hexviz.recording.recording import Recording

_SAME_CLOCK_NS = 1_000_000_000


class Playlist:
    """The events that were recorded when it was made; ``keys`` are their times on one axis, in ns, never decreasing."""

    def __init__(self, recording: Recording) -> None:
        columns = recording.columns
        with recording.lock:
            self._columns = columns
            self._classes = columns.classes[:]
            size = len(self._classes)
            runs = columns.in_order("run_id", size)
            self._seqs = columns.in_order("seq", size)
            self._monotonic = columns.in_order("monotonic_ns", size)
            self._wall = columns.in_order("timestamp", size)
            only = None if recording.only is None else columns.strings.get(recording.only)
        self._rows = _rows_of(self._classes)
        places: dict[int, array[int]] = {}
        for place, run in enumerate(runs):
            if run not in places:
                places[run] = array("q")
            places[run].append(place)
        kept = [place for run, place in places.items() if recording.only is None or run == only]
        self.runs = len(kept)
        self._places, self.keys = self._merged([self._by_seq(run) for run in kept])

    def _by_seq(self, places: array[int]) -> array[int]:
        """The places of one run by number; an event without one stays behind the event before it."""
        numbers = array("q", accumulate((self._seqs[place] for place in places), _or_last))
        if all(map(int.__le__, numbers, numbers[1:])):
            return places
        return array("q", (places[i] for i in sorted(range(len(places)), key=numbers.__getitem__)))

    def _merged(self, runs: list[array[int]]) -> tuple[array[int], array[int]]:
        keys = [array("q", accumulate((self._monotonic[place] for place in run), max)) for run in runs]
        if len(runs) == 1:
            return runs[0], keys[0]
        shifted = (
            (key + offset for key in run) for run, offset in zip(keys, self._clock_offsets_ns(runs), strict=True)
        )
        times = array("q", chain.from_iterable(shifted))
        places = array("q", chain.from_iterable(runs))
        order = sorted(range(len(places)), key=times.__getitem__)
        return array("q", (places[i] for i in order)), array("q", (times[i] for i in order))

    def _clock_offsets_ns(self, runs: list[array[int]]) -> list[int]:
        """What to add to each run's monotonic clock: one number for the runs of one machine."""
        spans = []
        for number, run in enumerate(runs):
            offsets = [self._wall[place] * 1000 - self._monotonic[place] for place in run]
            spans.append((min(offsets), max(offsets), offsets[0], self._monotonic[run[0]], number))
        found = [0] * len(runs)
        for machine in _machines(sorted(spans)):
            _, first = min((began, offset) for _, _, offset, began, _ in machine)
            for *_, number in machine:
                found[number] = first
        return found

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Event:
        place = self._places[index]
        return self._columns.blocks[self._classes[place]].event(self._rows[place])

    def __iter__(self) -> Iterator[Event]:
        return map(self.__getitem__, range(len(self)))

    @property
    def started_at(self) -> datetime | None:
        """The wall clock of the first event."""
        if not self._places:
            return None
        block = self._columns.blocks[self._classes[self._places[0]]]
        moment: datetime | None = block.base["timestamp"][self._rows[self._places[0]]]
        return moment

    def seq(self, index: int) -> int:
        """The number of an event in its run."""
        return self._seqs[self._places[index]]

    def index_of_seq(self, seq: int) -> int:
        """Where the first event with this number or a later one stands."""
        return next((index for index in range(len(self)) if self.seq(index) >= seq), len(self))

    def index_at(self, key: float) -> int:
        """Where the first event at this time or later stands."""
        return bisect_left(self.keys, key)


def _or_last(last: int, seq: int) -> int:
    return seq or last


def _rows_of(classes: Iterable[int]) -> array[int]:
    """The row of each event in the block of its class."""
    seen: dict[int, int] = {}
    rows = array("q")
    for code in classes:
        row = seen.get(code, 0)
        seen[code] = row + 1
        rows.append(row)
    return rows


def _machines(spans: list[tuple[int, int, int, int, int]]) -> Iterator[list[tuple[int, int, int, int, int]]]:
    """Runs whose clock offsets overlap, or lie within a second of each other, in one list."""
    machine: list[tuple[int, int, int, int, int]] = []
    reach = 0
    for span in spans:
        if machine and span[0] > reach + _SAME_CLOCK_NS:
            yield machine
            machine = []
        reach = max(reach, span[1]) if machine else span[1]
        machine.append(span)
    if machine:
        yield machine
