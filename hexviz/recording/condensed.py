"""The columns of one run as bytes, and back: what a store may keep beside the records, to read a long run at once.

Each column is an array of the least width that holds it, or the steps between its values where those are narrower;
one value, where all are equal. Texts stand once. Nothing in it is trusted when it is read: what is not as it should be
gives None, and the records are read instead.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hexviz.events.schema import CODECS, SCHEMA_VERSION
from hexviz.recording.columns import Block, EventColumns
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.time_arrays import fill_times, micros_of
from hexviz.recording.time_column import TimeColumn
from hexviz.recording.typed_columns import ArrayColumn, CodeColumn, Tuples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_FORMAT = 1
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
_MOST_STEP = 2**62


class _Packed(msgspec.Struct, array_like=True):
    """One array: its values, or ``first`` and the steps from one to the next, or ``first`` alone."""

    dtype: str
    how: str
    count: int
    first: int
    part: int


class _Texts(msgspec.Struct, array_like=True):
    """The JSON texts of a column of structured values: the distinct ones, and the others one after the other."""

    known: int
    more: int
    ends: _Packed


class _Column(msgspec.Struct, array_like=True):
    data: _Packed
    texts: _Texts | None = None
    tuples: list[tuple[str, ...]] | None = None


class _Head(msgspec.Struct):
    format: int
    schema: int
    count: int
    texts: list[str]
    classes: _Packed
    blocks: dict[str, dict[str, _Column]]


class _UnfitError(ValueError):
    """Something that has no place here: a value kept aside, a class of a user."""


# --- writing ------------------------------------------------------------------------------------------------------


def condense(columns: EventColumns) -> list[bytes] | None:
    """The events of one run as bytes; None where their seqs do not ascend, or something is odd in them."""
    parts: list[bytes] = [b""]
    try:
        _check_whole(columns)
        head = _Head(
            _FORMAT,
            SCHEMA_VERSION,
            len(columns),
            columns.strings.values_by_code,
            _pack(parts, np.frombuffer(columns.classes, dtype="H")),
            {block.cls.__name__: _block(parts, block) for block in columns.blocks},
        )
        parts[0] = msgspec.json.encode(head)
    except (_UnfitError, UnicodeEncodeError):
        return None
    return parts


def _check_whole(columns: EventColumns) -> None:
    seqs = np.empty(len(columns), dtype=np.int64)
    classes = np.frombuffer(columns.classes, dtype="H")
    for code, block in enumerate(columns.blocks):
        seqs[classes == code] = np.frombuffer(block.base["seq"].data, dtype="q")
    if len(columns.runs) != 1 or not np.all(seqs[1:] > seqs[:-1]):
        raise _UnfitError


def _block(parts: list[bytes], block: Block) -> dict[str, _Column]:
    if CODECS.get(block.cls.__name__) is None or CODECS[block.cls.__name__].cls is not block.cls:
        raise _UnfitError
    return {name: _column(parts, column) for name, column in (block.base | block.columns).items()}


def _column(parts: list[bytes], column: Any) -> _Column:
    if isinstance(column, list) or column.odd:
        raise _UnfitError
    if isinstance(column, TimeColumn):
        return _Column(_pack(parts, micros_of(column)))
    data = _pack(parts, np.frombuffer(column.data, dtype=column.data.typecode))
    if isinstance(column, PackedColumn):
        known, more, ends = column.stored()
        places = _add(parts, b"\n".join(known)), _add(parts, bytes(more))
        return _Column(data, _Texts(*places, _pack(parts, np.frombuffer(ends, dtype="q"))))
    if isinstance(column, CodeColumn) and isinstance(column.codes, Tuples):
        return _Column(data, tuples=column.codes.values_by_code)
    return _Column(data)


def _add(parts: list[bytes], data: bytes) -> int:
    parts.append(data)
    return len(parts) - 1


def _pack(parts: list[bytes], values: Array) -> _Packed:
    count = len(values)
    if values.dtype == np.float64:
        return _Packed("<f8", "values", count, 0, _add(parts, values.astype("<f8").tobytes()))
    low, high = (int(values.min()), int(values.max())) if count else (0, 0)
    if low == high:
        return _Packed("", "same", count, low, 0)
    plain = _width(low, high)
    if high - low < _MOST_STEP:
        steps = np.diff(values.astype(np.int64))
        narrow = _width(int(steps.min()), int(steps.max()))
        if _WIDTHS.index(narrow) < _WIDTHS.index(plain):
            return _Packed(narrow, "steps", count, int(values[0]), _add(parts, steps.astype(narrow).tobytes()))
    return _Packed(plain, "values", count, 0, _add(parts, values.astype(plain).tobytes()))


def _width(low: int, high: int) -> str:
    return next(dtype for dtype in _WIDTHS if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


# --- reading ------------------------------------------------------------------------------------------------------


def expand(parts: Sequence[bytes]) -> EventColumns | None:
    """The columns that :func:`condense` was given; None where the bytes are anything else."""
    try:
        head = msgspec.json.decode(parts[0], type=_Head)
        return _expanded(head, parts)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError):
        return None


def _expanded(head: _Head, parts: Sequence[bytes]) -> EventColumns:
    _expect(head.format == _FORMAT and head.schema == SCHEMA_VERSION)
    columns = EventColumns()
    for text in head.texts:
        columns.strings[text]
    _expect(columns.strings.values_by_code == head.texts)
    classes = _unpack(parts, head.classes, np.uint16)
    sizes = np.bincount(classes, minlength=len(head.blocks))
    _expect(len(classes) == head.count and len(sizes) == len(head.blocks))
    for (name, given), size in zip(head.blocks.items(), sizes.tolist(), strict=True):
        block = columns.block(CODECS[name].cls)
        every = block.base | block.columns
        _expect(every.keys() == given.keys())
        for field, column in every.items():
            _fill(column, given[field], parts, size, len(head.texts))
    columns.classes.frombytes(classes.tobytes())
    columns.runs = dict.fromkeys(head.texts[code] for code in _run_codes(columns))
    _check_whole(columns)
    return columns


def _run_codes(columns: EventColumns) -> list[int]:
    return sorted({code for block in columns.blocks for code in np.unique(block.base["run_id"].data).tolist()})


def _fill(column: Any, given: _Column, parts: Sequence[bytes], size: int, texts: int) -> None:
    _expect(given.data.count == size)
    if isinstance(column, TimeColumn):
        fill_times(column, _unpack(parts, given.data, np.int64))
        return
    values = _unpack(parts, given.data, np.dtype(column.data.typecode))
    if isinstance(column, PackedColumn):
        _fill_packed(column, given.texts, parts, values)
    elif isinstance(column, CodeColumn):
        for names in given.tuples or ():
            column.codes[names]
        known = texts if given.tuples is None else len(given.tuples)
        _expect(len(column.codes.values_by_code) == known and _within(values, 0, known))
    elif isinstance(column, ArrayColumn) and column.data.typecode == "b":
        _expect(_within(values, 0, 2))
    column.data.frombytes(values.tobytes())


def _fill_packed(column: PackedColumn, given: _Texts | None, parts: Sequence[bytes], numbers: Array) -> None:
    if given is None:
        raise ValueError("texts are missing")
    known = parts[given.known].split(b"\n") if parts[given.known] else []
    ends = _unpack(parts, given.ends, np.int64)
    more = parts[given.more]
    _expect(not len(ends) or (bool(np.all(np.diff(ends, prepend=0) > 0)) and int(ends[-1]) == len(more)))
    _expect(_within(numbers, -len(ends), len(known)))
    column.fill(known, more, array("q", ends.tobytes()))


def _within(values: Array, low: int, end: int) -> bool:
    return not len(values) or (int(values.min()) >= low and int(values.max()) < end)


def _unpack(parts: Sequence[bytes], packed: _Packed, dtype: Any) -> Array:
    if packed.how == "same":
        _expect(0 <= packed.count <= 1 + sum(map(len, parts)))  # seqs take a byte each: more would fill the memory
        return np.full(packed.count, packed.first, dtype=dtype)
    _expect(packed.dtype in (*_WIDTHS, "<f8") and (packed.dtype == "<f8") == (np.dtype(dtype) == np.float64))
    values = np.frombuffer(parts[packed.part], dtype=packed.dtype)
    if packed.how == "steps":
        _expect(len(values) + 1 == packed.count)
        return np.concatenate([[packed.first], packed.first + np.cumsum(values, dtype=np.int64)]).astype(dtype)
    _expect(len(values) == packed.count and packed.how == "values")
    return values.astype(dtype)


def _expect(holds: bool) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise ValueError("these are not the columns of a recording")
