"""Append-only typed columns: events kept as numbers and codes, about 100 bytes each, and given back unchanged.

The fields of each event class stand in a block of their own, in arrival order; beside the blocks stands the order
of the classes. The kinds of columns stand in ``typed_columns``, ``time_column`` and
``packed_column``.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.events.events import EVENT_CLASSES, Event, NodeCompleted
from hexviz.events.schema import BASE_FIELDS, field_types
from hexviz.events.summary import Summary, summarise
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.time_column import TimeColumn
from hexviz.recording.typed_columns import (
    NULL,
    ArrayColumn,
    BoolColumn,
    CodeColumn,
    Column,
    ObjectColumn,
    OptionalColumn,
    Strings,
    TextColumn,
    Tuples,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["NULL", "Block", "EventColumns"]

_AT_ONCE = 512
_BASE_TYPES = {"timestamp": datetime, "run_id": str, "seq": int, "monotonic_ns": int, "pipeline": str}


def column_for(hint: Any, strings: Strings) -> Column:
    """An empty column for values of a type."""
    makers: dict[Any, Any] = {
        int: lambda: ArrayColumn("q"),
        float: lambda: ArrayColumn("d"),
        bool: BoolColumn,
        str: lambda: TextColumn(strings),
        tuple[str, ...]: lambda: CodeColumn(Tuples()),
        datetime: TimeColumn,
        datetime | None: TimeColumn,
        int | None: lambda: OptionalColumn(int),
        bool | None: lambda: OptionalColumn(bool),
    }
    return makers[hint]() if hint in makers else PackedColumn(hint)


def _by_field(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*map(msgspec.structs.astuple, rows), strict=True)


def _by_class(kinds: Sequence[type[Event]], rows: Sequence[Any]) -> dict[type[Event], list[Any]]:
    groups: dict[type[Event], list[Any]] = {cls: [] for cls in dict.fromkeys(kinds)}
    append = {cls: group.append for cls, group in groups.items()}
    for cls, row in zip(kinds, rows, strict=True):
        append[cls](row)
    return groups


class Block:
    """The events of one class, in arrival order: ``base`` holds the columns that all have, ``columns`` its own."""

    def __init__(self, cls: type[Event], strings: Strings) -> None:
        self.cls = cls
        types = field_types(cls) if cls in EVENT_CLASSES else {}
        every = {
            name: column_for((_BASE_TYPES if name in _BASE_TYPES else types)[name], strings)
            if name in _BASE_TYPES or name in types
            else ObjectColumn()
            for name in cls.__struct_fields__
        }
        self.base: dict[str, Any] = {name: every[name] for name in BASE_FIELDS}
        self.columns: dict[str, Column] = {name: column for name, column in every.items() if name not in BASE_FIELDS}
        self._every = list(every.values())
        self._run = cls.__struct_fields__.index("run_id")
        self._result = cls.__struct_fields__.index("result") if cls is NodeCompleted else None

    def extend(self, events: Sequence[Any]) -> Sequence[Any]:
        """Append events of the class; the run of each."""
        fields: list[Any] = list(_by_field(events))
        if self._result is not None:  # small results may have waited for this (see Summariser.step_for)
            results = fields[self._result]
            fields[self._result] = [value if type(value) is Summary else summarise(value) for value in results]
        for column, values in zip(self._every, fields, strict=True):
            column.extend(values)
        return fields[self._run]  # type: ignore[no-any-return]

    def numbered(self, rows: Sequence[Any]) -> list[Any]:
        """The fields of structs in which structured values are JSON, as :meth:`extend_numbered` wants them.

        Raises a MsgspecError where such a value is not of its type; nothing has been appended then.
        """
        return [
            column.numbered(values) if isinstance(column, PackedColumn) else values
            for column, values in zip(self._every, _by_field(rows), strict=True)
        ]

    def extend_numbered(self, fields: list[Any]) -> Sequence[Any]:
        """Append what :meth:`numbered` returned; the run of each event."""
        for column, values in zip(self._every, fields, strict=True):
            if isinstance(column, PackedColumn):
                column.data.fromlist(values)
            else:
                column.extend(values)
        return fields[self._run]  # type: ignore[no-any-return]

    def row(self, row: int) -> dict[str, Any]:
        """The own fields of one event by name."""
        return {name: column[row] for name, column in self.columns.items()}

    def event(self, row: int) -> Event:
        """One event, made anew."""
        return self.cls(**self.row(row), **{name: column[row] for name, column in self.base.items()})

    def events(self, first: int, end: int) -> list[Event]:
        """The events of rows ``first`` to ``end - 1``, made anew: the quick way to many."""
        fields, make = [column.values(first, end) for column in self._every], self.cls
        if make not in EVENT_CLASSES:
            names = make.__struct_fields__
            return [make(**dict(zip(names, row, strict=True))) for row in zip(*fields, strict=True)]
        own = zip(*fields[: -len(BASE_FIELDS)], strict=True)
        return [
            make(*facts, timestamp=at, run_id=run_id, seq=seq, monotonic_ns=clock, pipeline=pipeline)
            for facts, at, run_id, seq, clock, pipeline in zip(own, *fields[-len(BASE_FIELDS) :], strict=True)
        ]

    def __len__(self) -> int:
        return len(self.base["seq"])

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return sum(column.nbytes() for column in self._every)


class EventColumns:
    """All events of a recording. Not thread-safe by itself: the recorder appends under its lock."""

    def __init__(self) -> None:
        self.strings = Strings()
        self.blocks: list[Block] = []
        self.block_of: dict[type[Event], int] = {}
        self.classes = array("H")
        self.runs: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.classes)

    def extend(self, events: Sequence[Event]) -> None:
        """Append events, which must be summarised already."""
        if not events:
            return
        kinds = list(map(type, events))
        self._note(kinds, events, [self.block(cls).extend(group) for cls, group in _by_class(kinds, events).items()])

    def extend_rows(self, kinds: Sequence[type[Event]], rows: Sequence[Any]) -> None:
        """Append structs with the fields of the event classes ``kinds``, structured values as JSON; events of others.

        Raises a MsgspecError where such a value is not of its type; nothing has been appended then.
        """
        if not rows:
            return
        groups = _by_class(kinds, rows)
        blocks = {cls: self.block(cls) for cls in groups}
        numbered = {cls: blocks[cls].numbered(group) for cls, group in groups.items() if cls in EVENT_CLASSES}
        run_ids = [
            block.extend_numbered(numbered[cls]) if cls in numbered else block.extend(groups[cls])
            for cls, block in blocks.items()
        ]
        self._note(kinds, rows, run_ids)

    def _note(self, kinds: Sequence[type[Event]], rows: Sequence[Any], run_ids: list[Sequence[Any]]) -> None:
        first = run_ids[0][0]
        if first not in self.runs or not all(some.count(first) == len(some) for some in run_ids):
            self.runs |= dict.fromkeys(row.run_id if type(row.run_id) is str else "" for row in rows)
        self.classes.fromlist(list(map(self.block_of.__getitem__, kinds)))  # last: readers go by its length

    def block(self, cls: type[Event]) -> Block:
        """The block of a class, made where there is none."""
        if cls not in self.block_of:
            self.block_of[cls] = len(self.blocks)
            self.blocks.append(Block(cls, self.strings))
        return self.blocks[self.block_of[cls]]

    def events(self, end: int) -> Iterator[Event]:
        """The first ``end`` events in arrival order, made anew."""
        done: dict[int, int] = {}
        for first in range(0, end, _AT_ONCE):
            codes = self.classes[first : min(first + _AT_ONCE, end)]
            made = {}
            for code in set(codes):
                row = done.get(code, 0)
                done[code] = row + codes.count(code)
                made[code] = iter(self.blocks[code].events(row, done[code]))
            yield from (next(made[code]) for code in codes)

    def in_order(self, name: str, end: int) -> array[int]:
        """A base column of the first ``end`` events in arrival order: codes, numbers, or microseconds since 1970."""
        columns = [block.base[name] for block in self.blocks]
        parts = [column.micros() if isinstance(column, TimeColumn) else column.data for column in columns]
        values = [iter(part[:]) for part in parts]
        typecode = parts[0].typecode if parts else "q"
        return array(typecode, [next(values[code]) for code in self.classes[:end]])

    def count_of(self, run_id: str) -> int:
        """How many events a run has."""
        code = self.strings.get(run_id)
        return 0 if code is None else sum(block.base["run_id"].data.count(code) for block in self.blocks)

    def last_seq_of(self, run_id: str) -> int:
        """The highest ``seq`` of a run; 0 where it has no event."""
        code = self.strings.get(run_id)
        if code is None:
            return 0
        pairs = (zip(block.base["run_id"].data, block.base["seq"].data, strict=True) for block in self.blocks)
        return max((seq for both in pairs for run, seq in both if run == code), default=0)

    def nbytes(self) -> int:
        """Bytes held by the columns, roughly, without the texts."""
        return 2 * len(self.classes) + sum(block.nbytes() for block in self.blocks)
