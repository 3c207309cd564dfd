"""Lanes: where the bars of a wave lie, so that those in one lane never overlap."""

from __future__ import annotations

import heapq


class Lanes:
    """The lanes of one wave. A lane belongs to a node while its attempt waits or runs, and during its back-off."""

    __slots__ = ("_free", "_free_at", "_owners")

    def __init__(self) -> None:
        self._owners: list[int] = []
        self._free_at: list[float] = []
        self._free: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, node: int, ready_ms: float) -> int:
        """A lane that was free at ``ready_ms``, or a new one."""
        while self._free and self._free[0][0] <= ready_ms:
            freed_ms, lane = heapq.heappop(self._free)
            if self._owners[lane] < 0 and self._free_at[lane] == freed_ms:
                self._owners[lane] = node
                return lane
        self._owners.append(node)
        self._free_at.append(0.0)
        return len(self._owners) - 1

    def retake(self, lane: int, node: int) -> bool:
        """Keep ``lane`` for the next attempt of ``node``, where nobody has taken it since."""
        if self._owners[lane] not in (-1, node):
            return False
        self._owners[lane] = node
        return True

    def free(self, lane: int, end_ms: float) -> None:
        """Let others have ``lane`` from ``end_ms`` on."""
        self._owners[lane] = -1
        self._free_at[lane] = end_ms
        heapq.heappush(self._free, (end_ms, lane))
