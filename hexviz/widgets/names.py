"""Names of nodes as bytes: each shares its beginning with the one before, because most names differ in a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 120
"""Longer names are cut, in characters."""

_MOST_SHARED = 255


def packed_names(names: Sequence[str], before: bytes, budget: int | None) -> tuple[list[bytes], bytes]:
    """One piece for each name, and the last name whole; ``before`` is the name before the first.

    A piece is: how many bytes it shares with the name before (at most 255), how many follow (two bytes,
    little-endian), and those. With a ``budget`` of bytes only the first names, up to the one that exceeds it.
    """
    wholes = [before, *map(_harmless, names)]
    lengths = np.fromiter(map(len, wholes), np.int64, len(wholes))
    shared = _shared(wholes, lengths)
    count = len(names)
    if budget is not None:
        sizes = np.cumsum(3 + lengths[1:] - shared)
        count = min(count, int(np.searchsorted(sizes, budget)) + 1)
    heads = np.empty((count, 3), np.uint8)
    rest = (lengths[1:] - shared)[:count]
    heads[:, 0], heads[:, 1], heads[:, 2] = shared[:count], rest & 0xFF, rest >> 8
    packed = heads.tobytes()
    starts = shared[:count].tolist()
    pieces = [
        packed[3 * i : 3 * i + 3] + whole[start:]
        for i, (whole, start) in enumerate(zip(wholes[1:], starts, strict=False))
    ]
    return pieces, wholes[count]


def _harmless(name: str) -> bytes:
    if len(name) <= LONGEST and name.isascii() and name.isprintable():
        return name.encode()
    return clean_text(name, LONGEST).encode("utf-8")


def _shared(wholes: list[bytes], lengths: Any) -> Any:
    """How many bytes each but the first has in common with the one before, at their beginning."""
    letters = np.array(wholes, dtype=bytes)
    width = letters.dtype.itemsize
    table = letters.view(np.uint8).reshape(len(wholes), width)
    same = np.zeros((len(wholes) - 1, width + 1), bool)
    same[:, :width] = table[1:] == table[:-1]
    most = np.minimum(np.minimum(lengths[1:], lengths[:-1]), _MOST_SHARED)
    return np.minimum(np.argmin(same, axis=1), most)
