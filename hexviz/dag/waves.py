"""The waves of a run: which have started, what control said of them, and when each has ended."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hexviz.dag.plan import Plan

STATUSES = ("pending", "running", "waiting", "succeeded", "failed", "skipped", "fell_back", "cancelled")
PENDING, RUNNING, WAITING, SUCCEEDED, FAILED, SKIPPED, FELL_BACK, CANCELLED = range(8)
_FINAL = range(SUCCEEDED, CANCELLED + 1)
OPEN: Any = True
"""The gate of a wave whose nodes may start."""


class Waves:
    """Counts the nodes of each wave down.

    ``gates[wave]`` is None (not started), OPEN, a list of nodes that wait for control's answer, or that answer.
    ``left[wave]`` nodes have no final status yet; in ``unfinished`` waves there are some. Nodes are numbered wave by
    wave, so the statuses of a wave stand beside each other.
    """

    def __init__(self, plan: Plan) -> None:
        self._names = plan.wave_names
        count = len(plan.wave_names)
        self.gates: list[Any] = [None] * (count + 1)
        self.left = [0, *(len(names) for names in plan.wave_names)]
        self.unfinished = count
        self._ends = list(accumulate(self.left))
        self._started_ns = [0] * (count + 1)
        self._released = (1, 0)

    def start(self, wave: int, now_ns: int) -> tuple[str, ...]:
        """The first node of ``wave`` may start; returns the names of all of its nodes."""
        self._started_ns[wave] = now_ns
        return self._names[wave - 1]

    def started(self, wave: int) -> bool:
        """Whether ``wave`` has started, and was not ended."""
        return self._started_ns[wave] > 0

    def end(self, wave: int, now_ns: int) -> float:
        """Close ``wave``, complete or not; the milliseconds that it took."""
        duration_ms = (now_ns - self._started_ns[wave]) / 1e6
        self._started_ns[wave] = 0
        return duration_ms

    def counts(self, wave: int, status: bytearray) -> Sequence[int]:
        """How many nodes of ``wave`` ended in each of the final statuses; ``status`` is that of every node."""
        first, last = self._ends[wave - 1], self._ends[wave]
        succeeded = status.count(SUCCEEDED, first, last)
        if succeeded == last - first:
            return succeeded, 0, 0, 0, 0
        return [status.count(code, first, last) for code in _FINAL]

    def unended(self) -> Iterator[int]:
        """The waves that have started and have nodes left: a stopped run ends them too."""
        return (wave for wave, started in enumerate(self._started_ns) if started)

    def release(self) -> range:
        """With ``schedule="wave"``: the nodes that may start now because the waves before theirs have ended."""
        wave, first = self._released
        before = wave
        while wave < len(self.left) and not self.left[wave]:
            first += len(self._names[wave - 1])
            wave += 1
        self._released = wave, first
        if wave == before or wave == len(self.left):
            return range(0)
        return range(first, first + len(self._names[wave - 1]))
