"""How much of what waits fits in the next message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_LIMIT = 1 << 40


class Room:
    """How many bytes are left of a message; without a budget there is room for everything."""

    def __init__(self, budget: int | None) -> None:
        self._left = budget

    @property
    def bounded(self) -> bool:
        """Whether there is a budget at all."""
        return self._left is not None

    def share(self, part: float) -> int:
        """So many bytes are ``part`` of what is left; a huge number without a budget."""
        return _NO_LIMIT if self._left is None else int(self._left * part)

    def fits(self, size: int, part: float) -> int:
        """How many entries of ``size`` bytes fit in ``part`` of what is left."""
        return self.share(part) // size

    def left(self) -> int | None:
        """What is left, or None without a budget."""
        return self._left

    def spend(self, size: int) -> None:
        """Take ``size`` bytes away."""
        if self._left is not None:
            self._left = max(0, self._left - size)


def fitting(rows: list[list[Any]], share: int) -> list[list[Any]]:
    """The last rows that ``share`` bytes hold as JSON."""
    if share >= _NO_LIMIT:
        return rows
    kept: list[list[Any]] = []
    for row in reversed(rows):
        share -= size_of([row])
        if share < 0:
            break
        kept.append(row)
    return kept[::-1]


def size_of(rows: Sequence[Any]) -> int:
    """How many bytes these rows take as JSON."""
    return sum(len(json.dumps(row)) + 1 for row in rows)
