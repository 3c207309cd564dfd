"""The longest paths through a run's graph: what its makespan becomes when one node takes another time."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.analysis.shape import Shape


class LongestPaths:
    """A graph whose nodes take ``times`` ms each and start when their parents have ended, as many at once as can.

    ``makespan_ms`` is the longest path. One other time costs no walk through the graph: the new makespan is the longer
    one of the longest path through the node and the longest one past it, both known for every node from one sweep.
    """

    def __init__(self, shape: Shape, times: list[float]) -> None:
        self._shape = shape
        self._times = times
        self._start = self._starts(times)
        self._tail = [0.0] * len(times)
        for node in reversed(shape.order):
            after = (times[child] + self._tail[child] for child in shape.children[node])
            self._tail[node] = max(after, default=0.0)
        self.makespan_ms = max((self._start[node] + time for node, time in enumerate(times)), default=0.0)
        self._past = self._longest_past()

    def _starts(self, times: list[float]) -> list[float]:
        start = [0.0] * len(times)
        for node in self._shape.order:
            start[node] = max((start[parent] + times[parent] for parent in self._shape.parents[node]), default=0.0)
        return start

    def _longest_past(self) -> list[float]:
        """For each node the longest path without it: it ends before it, begins after it, or jumps over it by an edge.

        Before and after are places in topological order; the edges that jump over a place wait in a heap.
        """
        order, times = self._shape.order, self._times
        place = {node: number for number, node in enumerate(order)}
        ends = [self._start[node] + times[node] for node in order]
        before = [0.0, *accumulate(ends, max)]
        after = [0.0, *accumulate((times[node] + self._tail[node] for node in reversed(order)), max)]
        past = [0.0] * len(order)
        jumps: list[tuple[float, int]] = []
        for number, node in enumerate(order):
            while jumps and jumps[0][1] <= number:
                heappop(jumps)
            over = -jumps[0][0] if jumps else 0.0
            past[node] = max(before[number], after[len(order) - number - 1], over)
            for child in self._shape.children[node]:
                heappush(jumps, (-(ends[number] + times[child] + self._tail[child]), place[child]))
        return past

    def later_ms(self, changed: Mapping[int, float]) -> float:
        """How much later the last node ends where the ``changed`` nodes take these times."""
        if len(changed) == 1:
            ((node, time),) = changed.items()
            through = self._start[node] + time + self._tail[node]
            return max(through, self._past[node]) - self.makespan_ms
        times = self._times.copy()
        for node, time in changed.items():
            times[node] = time
        start = self._starts(times)
        return max((start[node] + time for node, time in enumerate(times)), default=0.0) - self.makespan_ms
