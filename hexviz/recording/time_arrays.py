"""Columns of times as numpy arrays of microseconds, and back; apart, because a run does without numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.recording.packed_arrays import raw
from hexviz.recording.time_column import TimeColumn
from hexviz.recording.typed_columns import NULL

if TYPE_CHECKING:
    import numpy.typing as npt

_STAMP = np.dtype([("head", ">u2"), ("word", ">u8")])
_HEAD = 0xD7FF
_SECOND = 1_000_000


def micros_of(column: TimeColumn) -> npt.NDArray[Any]:
    """All times as microseconds since 1970, int64; NULL for None and what is kept aside."""
    words = np.frombuffer(bytes(column.data), dtype=_STAMP)["word"].astype(np.uint64)
    micros = (words & (2**34 - 1)) * _SECOND + (words >> 34) // 1000
    return np.where(words == TimeColumn.never, NULL, micros.astype(np.int64))


def fill_times(column: TimeColumn, micros: npt.NDArray[Any]) -> None:
    """Give an empty column the times that :func:`micros_of` told. Raises ValueError for what is no time."""
    missing = micros == NULL
    if np.any(((micros < 0) | (micros >= 2**34 * _SECOND)) & ~missing):
        raise ValueError("a time beyond 34 bits")
    seconds = micros // _SECOND
    stamps = np.empty(len(micros), dtype=_STAMP)
    stamps["head"] = _HEAD
    words = ((micros - seconds * _SECOND) * 1000 << 34 | seconds).astype(np.uint64)
    stamps["word"] = np.where(missing, np.uint64(TimeColumn.never), words)
    column.data.extend(raw(stamps))
