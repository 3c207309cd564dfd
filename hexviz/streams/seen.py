"""Which events of which runs have been seen, in little memory: an event is known by its run id and seq."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from hashlib import blake2b

MOST_RUNS = 10_000
MOST_GAPS = 1_000
MOST_UNNUMBERED = 10_000


class _Run:
    """Seqs up to ``last`` are seen, but for those in ``gaps``: ascending (first, last) ranges."""

    __slots__ = ("gaps", "last")

    def __init__(self) -> None:
        self.last = 0
        self.gaps: list[tuple[int, int]] = []


class Seen:
    """For each run the last seq and the gaps before it; the runs heard of longest ago are forgotten.

    A run with more than ``MOST_GAPS`` gaps keeps the newest; what belongs into the others counts as seen.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._unnumbered: OrderedDict[bytes, None] = OrderedDict()

    def is_new_body(self, body: bytes) -> bool:
        """Whether an event without a number comes for the first time: whether the last 10,000 had other bodies."""
        mark = blake2b(body, digest_size=16).digest()
        if mark in self._unnumbered:
            return False
        self._unnumbered[mark] = None
        if len(self._unnumbered) > MOST_UNNUMBERED:
            self._unnumbered.popitem(last=False)
        return True

    def is_new(self, run_id: str, seq: int) -> bool:
        """Whether this event comes for the first time; from now on it is seen."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = _Run()
            if len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
        elif next(reversed(self._runs)) != run_id:
            self._runs.move_to_end(run_id)
        if seq > run.last:
            if seq > run.last + 1:
                run.gaps.append((run.last + 1, seq - 1))
                del run.gaps[:-MOST_GAPS]
            run.last = seq
            return True
        return _fills(run.gaps, seq)

    def gaps(self, run_id: str) -> list[tuple[int, int]]:
        """The seqs below the last that have not come, as ranges (first, last)."""
        run = self._runs.get(run_id)
        return [] if run is None else list(run.gaps)

    def missing(self) -> int:
        """How many events lie in all gaps."""
        return sum(last - first + 1 for run in self._runs.values() for first, last in run.gaps)


def _fills(gaps: list[tuple[int, int]], seq: int) -> bool:
    place = bisect_right(gaps, seq, key=lambda gap: gap[0]) - 1
    if place < 0 or seq > gaps[place][1]:
        return False
    first, last = gaps[place]
    gaps[place : place + 1] = [part for part in ((first, seq - 1), (seq + 1, last)) if part[0] <= part[1]]
    return True
