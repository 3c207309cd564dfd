"""The waves of a run: which have started, what control said of them, and when each has ended."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.dag.plan import Plan

STATUSES = ("pending", "running", "waiting", "succeeded", "failed", "skipped", "fell_back", "cancelled")
PENDING, RUNNING, WAITING, SUCCEEDED, FAILED, SKIPPED, FELL_BACK, CANCELLED = range(8)
OPEN: Any = True
"""The gate of a wave whose nodes may start."""


class EndedWave(NamedTuple):
    """What :class:`~hexviz.events.events.WaveCompleted` tells."""

    wave_index: int
    duration_ms: float
    counts: dict[str, int]


class Waves:
    """Counts the nodes of each wave down.

    ``gates[wave]`` is None (not started), OPEN, a list of nodes that wait for control's answer, or that answer.
    """

    def __init__(self, plan: Plan) -> None:
        self._names = plan.wave_names
        count = len(plan.wave_names)
        self.gates: list[Any] = [None] * (count + 1)
        self._left = [0, *(len(names) for names in plan.wave_names)]
        self._counts = [0] * (len(STATUSES) * (count + 1))
        self._started_ns = [0] * (count + 1)
        self._released = (1, 0)

    def start(self, wave: int) -> tuple[str, ...]:
        """The first node of ``wave`` may start; returns the names of all of its nodes."""
        self._started_ns[wave] = monotonic_ns()
        return self._names[wave - 1]

    def end_node(self, wave: int, status: int) -> bool:
        """A node of ``wave`` has its final status; whether it was the last one of a wave that had started."""
        self._counts[wave * len(STATUSES) + status] += 1
        self._left[wave] -= 1
        return not self._left[wave] and self._started_ns[wave] > 0

    def end(self, wave: int) -> EndedWave:
        """Close ``wave``, complete or not."""
        duration_ms = (monotonic_ns() - self._started_ns[wave]) / 1e6
        self._started_ns[wave] = 0
        first = wave * len(STATUSES)
        return EndedWave(wave, duration_ms, dict(zip(STATUSES[3:], self._counts[first + 3 : first + 8], strict=True)))

    def unended(self) -> Iterator[int]:
        """The waves that have started and have nodes left: a stopped run ends them too."""
        return (wave for wave, started in enumerate(self._started_ns) if started)

    def release(self) -> range:
        """With ``schedule="wave"``: the nodes that may start now because the waves before theirs have ended."""
        wave, first = self._released
        before = wave
        while wave < len(self._left) and not self._left[wave]:
            first += len(self._names[wave - 1])
            wave += 1
        self._released = wave, first
        if wave == before or wave == len(self._left):
            return range(0)
        return range(first, first + len(self._names[wave - 1]))
