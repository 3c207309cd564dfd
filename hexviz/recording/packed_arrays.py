"""Arrays of numbers as few bytes: the least width, or steps from one to the next, or one value where all are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
_MOST_STEP = 2**62


class Packed(msgspec.Struct, array_like=True):
    """One array: its values, or ``first`` and the steps from one to the next, or ``first`` alone."""

    dtype: str
    how: str
    count: int
    first: int
    part: int


def pack(parts: list[bytes], values: Array) -> Packed:
    """Append an array to the parts; what says how it is to be read."""
    count = len(values)
    if values.dtype == np.float64:
        return Packed("<f8", "values", count, 0, add(parts, values.astype("<f8").tobytes()))
    low, high = (int(values.min()), int(values.max())) if count else (0, 0)
    if low == high:
        return Packed("", "same", count, low, 0)
    plain = _width(low, high)
    if high - low < _MOST_STEP:
        steps = np.diff(values.astype(np.int64))
        narrow = _width(int(steps.min()), int(steps.max()))
        if _WIDTHS.index(narrow) < _WIDTHS.index(plain):
            return Packed(narrow, "steps", count, int(values[0]), add(parts, steps.astype(narrow).tobytes()))
    return Packed(plain, "values", count, 0, add(parts, values.astype(plain).tobytes()))


def _width(low: int, high: int) -> str:
    return next(dtype for dtype in _WIDTHS if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


def add(parts: list[bytes], data: bytes) -> int:
    """Append a part; its number."""
    parts.append(data)
    return len(parts) - 1


def unpack(parts: Sequence[bytes], packed: Packed, dtype: Any) -> Array:
    """The array that was packed. ValueError or another error of a lookup for anything else."""
    if packed.how == "same":
        expect(0 <= packed.count <= 1 + sum(map(len, parts)))  # seqs take a byte each: more would fill the memory
        return np.full(packed.count, packed.first, dtype=dtype)
    expect(packed.dtype in (*_WIDTHS, "<f8") and (packed.dtype == "<f8") == (np.dtype(dtype) == np.float64))
    values = np.frombuffer(parts[packed.part], dtype=packed.dtype)
    if packed.how == "steps":
        expect(len(values) + 1 == packed.count)
        return np.concatenate([[packed.first], packed.first + np.cumsum(values, dtype=np.int64)]).astype(dtype)
    expect(len(values) == packed.count and packed.how == "values")
    return values.astype(dtype)


def raw(values: Array) -> memoryview:
    """The bytes of an array, not copied."""
    return memoryview(values.view(np.uint8).data)


def within(values: Array, low: int, end: int) -> bool:
    """Whether all values are at least ``low`` and less than ``end``."""
    return not len(values) or (int(values.min()) >= low and int(values.max()) < end)


def expect(holds: bool) -> None:  # noqa: FBT001 - reads as an assertion
    """Raise ValueError where the bytes are not what was written."""
    if not holds:
        raise ValueError("these are not the columns of a recording")
