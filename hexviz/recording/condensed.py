"""The columns of one run as bytes, and back: what a store may keep beside the records, to read a long run at once.

Each column is an array of the least width that holds it, or the steps between its values where those are narrower;
one value, where all are equal. Texts stand once, and what has no column as its record (see ``set_aside``). Nothing is
trusted when it is read: what is not as it should be gives None, and the records are read instead.
"""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hexviz.events.schema import CODECS, SCHEMA_VERSION, to_record
from hexviz.recording.columns import Block, EventColumns
from hexviz.recording.packed_arrays import Packed, add, expect, pack, raw, unpack, within
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.set_aside import events_of, is_ours, odd_records, odd_rows, set_odd
from hexviz.recording.time_arrays import fill_times, micros_of
from hexviz.recording.time_column import TimeColumn
from hexviz.recording.typed_columns import ArrayColumn, CodeColumn, Tuples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hexviz.events.events import Event

    Array = npt.NDArray[Any]

_FORMAT = 2
MOST_ASIDE = 0.1
"""The part of the events that may stand as records: with more of them a copy is read no sooner than the records."""


class _Texts(msgspec.Struct, array_like=True):
    """The JSON texts of a column of structured values: the distinct ones, and the others one after the other."""

    known: int
    more: int
    ends: Packed


class _Column(msgspec.Struct, array_like=True):
    data: Packed
    texts: _Texts | None = None
    tuples: list[tuple[str, ...]] | None = None
    odd: list[int] = []
    """The rows whose value stands in the records of the block."""


class _Block(msgspec.Struct, array_like=True):
    columns: dict[str, _Column]
    records: int
    """The part with the records of the rows that are odd in any column, one a line."""


class _Head(msgspec.Struct):
    """``classes`` has of each event the number of its block, one more for those whose records are in ``others``."""

    format: int
    schema: int
    count: int
    texts: list[str]
    classes: Packed
    blocks: dict[str, _Block]
    others: int


# --- writing ------------------------------------------------------------------------------------------------------


def condense(columns: EventColumns) -> list[bytes] | None:
    """The events of one run as bytes.

    None where they are not of one run by ascending seq, where one holds what its record does not say, or where too many
    would stand as records.
    """
    parts: list[bytes] = [b""]
    try:
        _check_whole(columns)
        aside = sum(len(odd_rows(block)) if is_ours(block) else len(block) for block in columns.blocks)
        expect(aside <= MOST_ASIDE * len(columns))
        ours = [block for block in columns.blocks if is_ours(block)]
        number = {block.cls: code for code, block in enumerate(ours)}
        codes = np.array([number.get(block.cls, len(ours)) for block in columns.blocks], dtype="H")
        classes = codes[np.frombuffer(columns.classes, dtype="H")]
        parts[0] = _encode_head(
            _Head(
                _FORMAT,
                SCHEMA_VERSION,
                len(columns),
                columns.strings.values_by_code,
                pack(parts, classes),
                {block.cls.__name__: _block(parts, block) for block in ours},
                _add_lines(parts, _others(columns, classes == len(ours))),
            )
        )
    except ValueError:
        return None
    return parts


def _encode_head(head: _Head) -> bytes:
    try:
        return msgspec.json.encode(head)
    except UnicodeEncodeError:  # a text with half a surrogate pair, which only the standard library writes and reads
        return json.dumps(msgspec.to_builtins(head)).encode()


def _check_whole(columns: EventColumns) -> None:
    seqs = np.empty(len(columns), dtype=np.int64)
    classes = np.frombuffer(columns.classes, dtype="H")
    for code, block in enumerate(columns.blocks):
        seqs[classes == code] = np.frombuffer(block.base["seq"].data, dtype="q")
        expect(not block.base["seq"].odd and not block.base["run_id"].odd)
    expect(len(columns.runs) == 1 and bool(np.all(seqs[1:] > seqs[:-1])))


def _others(columns: EventColumns, chosen: Array) -> list[bytes]:
    """The records of the events of users' classes, in order."""
    done: dict[int, int] = {}
    records = []
    for place in np.flatnonzero(chosen).tolist():
        code = columns.classes[place]
        done[code] = done.get(code, -1) + 1
        records.append(to_record(columns.blocks[code].event(done[code])))
    return records


def _block(parts: list[bytes], block: Block) -> _Block:
    columns = {name: _column(parts, column) for name, column in (block.base | block.columns).items()}
    return _Block(columns, _add_lines(parts, odd_records(block)))


def _column(parts: list[bytes], column: Any) -> _Column:
    odd = sorted(column.odd)
    if isinstance(column, TimeColumn):
        return _Column(pack(parts, micros_of(column)), odd=odd)
    data = pack(parts, np.frombuffer(column.data, dtype=column.data.typecode))
    if isinstance(column, PackedColumn):
        known, more, ends = column.stored()
        places = _add_lines(parts, known), add(parts, bytes(more))
        return _Column(data, _Texts(*places, pack(parts, np.frombuffer(ends, dtype="q"))), odd=odd)
    if isinstance(column, CodeColumn) and isinstance(column.codes, Tuples):
        return _Column(data, tuples=column.codes.values_by_code, odd=odd)
    return _Column(data, odd=odd)


def _add_lines(parts: list[bytes], lines: list[bytes]) -> int:
    return add(parts, b"\n".join(lines))


# --- reading ------------------------------------------------------------------------------------------------------


def expand(parts: Sequence[bytes]) -> EventColumns | None:
    """The columns that :func:`condense` was given; None where the bytes are anything else."""
    try:
        return _expanded(_decode_head(parts[0]), parts)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError):
        return None


def _decode_head(data: bytes) -> _Head:
    try:
        return msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(data), _Head)


def _expanded(head: _Head, parts: Sequence[bytes]) -> EventColumns:
    expect(head.format == _FORMAT and head.schema == SCHEMA_VERSION)
    columns = EventColumns()
    for text in head.texts:
        columns.strings[text]
    expect(columns.strings.values_by_code == head.texts)
    classes = unpack(parts, head.classes, np.uint16)
    others = events_of(_lines(parts, head.others))
    sizes = np.bincount(classes, minlength=len(head.blocks) + 1).tolist()
    expect(len(classes) == head.count and len(sizes) == len(head.blocks) + 1 and sizes[-1] == len(others))
    ours = [CODECS[name].cls for name in head.blocks]
    kinds = [*ours, *dict.fromkeys(map(type, others))]
    codes = classes.astype(np.int64)
    codes[codes == len(ours)] = [kinds.index(type(event)) for event in others]
    columns.classes.frombytes(raw(_in_order(columns, kinds, codes)))
    for cls, given, size in zip(ours, head.blocks.values(), sizes, strict=False):
        _fill_block(columns.block(cls), given, parts, size, len(head.texts))
    for cls in kinds[len(ours) :]:
        columns.block(cls).extend([event for event in others if type(event) is cls])
    columns.runs = dict.fromkeys(columns.strings.values_by_code[code] for code in _run_codes(columns))
    _check_whole(columns)
    return columns


def _in_order(columns: EventColumns, kinds: list[type[Event]], codes: Array) -> Array:
    """Make the blocks in the order of their first events, as if the events had come one by one; the codes of these."""
    counts = np.bincount(codes, minlength=len(kinds))
    expect(len(counts) == len(kinds) == len(set(kinds)) and bool(np.all(counts)))
    for code in sorted(range(len(kinds)), key=lambda code: int(np.argmax(codes == code))):
        columns.block(kinds[code])
    return np.array([columns.block_of[cls] for cls in kinds], dtype="H")[codes]


def _fill_block(block: Block, given: _Block, parts: Sequence[bytes], size: int, texts: int) -> None:
    every = block.base | block.columns
    expect(every.keys() == given.columns.keys())
    for field, column in every.items():
        odd = given.columns[field].odd
        expect(not odd or (odd == sorted(set(odd)) and odd[0] >= 0 and odd[-1] < size))
        _fill(column, given.columns[field], parts, size, texts)
    set_odd(block, {name: column.odd for name, column in given.columns.items()}, _lines(parts, given.records))


def _run_codes(columns: EventColumns) -> list[int]:
    """Two of the codes where there are several, one where there is one."""
    codes = [np.frombuffer(block.base["run_id"].data, dtype="I") for block in columns.blocks]
    return sorted({int(found) for some in codes for found in (some.min(), some.max())})


def _fill(column: Any, given: _Column, parts: Sequence[bytes], size: int, texts: int) -> None:
    expect(given.data.count == size)
    if isinstance(column, TimeColumn):
        fill_times(column, unpack(parts, given.data, np.int64))
        return
    values = unpack(parts, given.data, np.dtype(column.data.typecode))
    if isinstance(column, PackedColumn):
        _fill_packed(column, given, parts, values)
    elif isinstance(column, CodeColumn):
        for names in given.tuples or ():
            column.codes[names]
        known = texts if given.tuples is None else len(given.tuples)
        expect(len(column.codes.values_by_code) == known and within(values, 0, known))
    elif isinstance(column, ArrayColumn) and column.data.typecode == "b":
        expect(within(values, 0, 2))
    column.data.frombytes(raw(values))


def _fill_packed(column: PackedColumn, given: _Column, parts: Sequence[bytes], numbers: Array) -> None:
    if given.texts is None:
        raise ValueError("texts are missing")
    known = _lines(parts, given.texts.known)
    ends = unpack(parts, given.texts.ends, np.int64)
    more = parts[given.texts.more]
    expect(not len(ends) or (bool(np.all(np.diff(ends, prepend=0) > 0)) and int(ends[-1]) == len(more)))
    expect(within(np.delete(numbers, given.odd), -len(ends), len(known)))
    column.fill(known, more, array("q", ends.tobytes()))


def _lines(parts: Sequence[bytes], part: int) -> list[bytes]:
    return parts[part].split(b"\n") if parts[part] else []
