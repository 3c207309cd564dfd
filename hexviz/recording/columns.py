"""Append-only typed columns: events kept as numbers and codes, about 100 bytes each, and given back unchanged.

Columns common to all events stand in arrival order; the fields of each event class stand in a block of their own.
A value that does not fit its column (a text where a number belongs) is kept aside, so nothing is lost.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hexviz.events.events import EVENT_CLASSES, Event
from hexviz.events.schema import BASE_FIELDS, field_types, from_parts, to_parts
from hexviz.events.summary import utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NULL = -(2**63)
"""What stands in a column of whole numbers or times where there is no value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encoder = msgspec.json.Encoder(enc_hook=to_parts)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines


class Strings(dict[str, int]):
    """Every distinct text once; a column of texts holds their codes."""

    def __init__(self) -> None:
        super().__init__()
        self.values_by_code: list[str] = []
        self[""]

    def __missing__(self, text: str) -> int:
        if type(text) is not str:
            raise TypeError(f"{type(text).__qualname__} is not a text")
        code = self[text] = len(self.values_by_code)
        self.values_by_code.append(text)
        return code


class Column(Protocol):
    """What every column can do."""

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values; none is lost, whatever its type."""

    def __getitem__(self, row: int) -> Any:
        """The value of a row, as it was given."""

    def __len__(self) -> int:
        """How many rows."""

    def nbytes(self) -> int:
        """Bytes held, roughly."""


class ArrayColumn:
    """Whole numbers (``q``, ``b``) or floats (``d``) in an array; values that do not fit are kept in ``odd``."""

    def __init__(self, typecode: str) -> None:
        self.data = array(typecode)
        self.odd: dict[int, Any] = {}

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        try:
            self.data.fromlist(self.encoded(values))
        except (TypeError, OverflowError, ValueError):
            for value in values:
                try:
                    self.data.fromlist(self.encoded([value]))
                except (TypeError, OverflowError, ValueError):
                    self.odd[len(self.data)] = value
                    self.data.append(self.absent())

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """The values as the array holds them; TypeError, OverflowError or ValueError where one does not fit."""
        return list(values)

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return value

    def absent(self) -> Any:
        """What stands in the array where the value is kept aside."""
        return float("nan") if self.data.typecode == "d" else 0

    def __getitem__(self, row: int) -> Any:
        return self.odd[row] if row in self.odd else self.decoded(self.data[row])

    def __len__(self) -> int:
        return len(self.data)

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return len(self.data) * self.data.itemsize


class OptionalColumn(ArrayColumn):
    """Whole numbers or booleans that may be None."""

    def __init__(self, kind: type) -> None:
        super().__init__("q")
        self._kind = kind

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Numbers, with NULL for None."""
        if any(value == NULL for value in values):
            raise ValueError("the mark of None as a value")
        return [NULL if value is None else value for value in values]

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return None if value == NULL else self._kind(value)

    def absent(self) -> Any:
        """No value."""
        return NULL


class BoolColumn(ArrayColumn):
    """Booleans."""

    def __init__(self) -> None:
        super().__init__("b")

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return bool(value)


class TimeColumn(ArrayColumn):
    """Aware times as microseconds since 1970, or None."""

    def __init__(self) -> None:
        super().__init__("q")

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Microseconds, with NULL for None."""
        try:
            if values[0] is not None:
                spans = [value - _EPOCH for value in values]
                return [(span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds for span in spans]
        except TypeError:
            pass  # some are None or naive
        return [NULL if value is None else (utc(value) - _EPOCH) // _MICROSECOND for value in values]

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return None if value == NULL else _EPOCH + timedelta(microseconds=value)

    def absent(self) -> Any:
        """No value."""
        return NULL


class TextColumn(ArrayColumn):
    """Texts as codes of a shared :class:`Strings`."""

    def __init__(self, strings: Strings) -> None:
        super().__init__("I")
        self._strings = strings

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Codes, new ones where a value is new."""
        return list(map(self._strings.__getitem__, values))

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return self._strings.values_by_code[value]


class Tuples(dict[tuple[str, ...], int]):
    """Every distinct tuple of texts once."""

    def __init__(self) -> None:
        super().__init__()
        self.values_by_code: list[tuple[str, ...]] = []
        self[()]

    def __missing__(self, names: tuple[str, ...]) -> int:
        if type(names) is not tuple or any(type(name) is not str for name in names):
            raise TypeError(f"{type(names).__qualname__} is not a tuple of texts")
        code = self[names] = len(self.values_by_code)
        self.values_by_code.append(names)
        return code


class NamesColumn(ArrayColumn):
    """Tuples of texts (parents, nodes of a wave, tags) as codes."""

    def __init__(self) -> None:
        super().__init__("I")
        self._tuples = Tuples()

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Codes, new ones where a value is new."""
        return list(map(self._tuples.__getitem__, values))

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return self._tuples.values_by_code[value]


@cache
def _decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(hint)


class PackedColumn:
    """Structured values (summaries, errors, votes, names) as JSON, one after the other in one buffer."""

    def __init__(self, hint: Any) -> None:
        self.data = bytearray()
        self.ends = array("q")
        self.odd: dict[int, Any] = {}
        self._decode = _decoder(hint).decode

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        try:
            lines = _encode_lines(values)
        except (TypeError, ValueError, OverflowError):
            lines = b"null"
        if b"null" in lines:  # None, or a NaN that JSON would lose
            self._extend_one_by_one(values)
            return
        texts = lines.split(b"\n")
        del texts[-1]
        self.ends.fromlist(list(islice(accumulate(map(len, texts), initial=len(self.data)), 1, None)))
        self.data += b"".join(texts)

    def _extend_one_by_one(self, values: Sequence[Any]) -> None:
        for value in values:
            try:
                text = _encode(value)
                if b"null" in text and value is not None and from_parts(self._decode(text)) != value:
                    raise ValueError("NaN has no JSON")  # noqa: TRY301 - kept aside below
                self.data += text
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
                self.odd[len(self.ends)] = value
            self.ends.append(len(self.data))

    def text(self, row: int) -> bytes:
        """The JSON of a row; empty where the value is kept aside."""
        return bytes(self.data[self.ends[row - 1] if row else 0 : self.ends[row]])

    def __getitem__(self, row: int) -> Any:
        return self.odd[row] if row in self.odd else from_parts(self._decode(self.text(row)))

    def __len__(self) -> int:
        return len(self.ends)

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return len(self.data) + 8 * len(self.ends)


class ObjectColumn(list[Any]):
    """Values of classes that are not ours, as they are."""

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return 64 * len(self)


def _column_for(hint: Any, strings: Strings) -> Column:
    makers: dict[Any, Any] = {
        int: lambda: ArrayColumn("q"),
        float: lambda: ArrayColumn("d"),
        bool: BoolColumn,
        str: lambda: TextColumn(strings),
        tuple[str, ...]: NamesColumn,
        datetime | None: TimeColumn,
        int | None: lambda: OptionalColumn(int),
        bool | None: lambda: OptionalColumn(bool),
    }
    return makers[hint]() if hint in makers else PackedColumn(hint)


class Block:
    """The own fields of all events of one class, in arrival order."""

    def __init__(self, cls: type[Event], strings: Strings) -> None:
        self.cls = cls
        self.size = 0
        types = field_types(cls) if cls in EVENT_CLASSES else {}
        self.columns: dict[str, Column] = {
            name: _column_for(types[name], strings) if name in types else ObjectColumn()
            for name in cls.__struct_fields__
            if name not in BASE_FIELDS
        }
        self._places = [(cls.__struct_fields__.index(name), column) for name, column in self.columns.items()]

    def extend(self, rows: list[tuple[Any, ...]]) -> None:
        """Append the rows (one tuple of all fields per event)."""
        values = list(zip(*rows, strict=True))
        for place, column in self._places:
            column.extend(values[place])
        self.size += len(rows)

    def row(self, row: int) -> dict[str, Any]:
        """The own fields of one event by name."""
        return {name: column[row] for name, column in self.columns.items()}


_base_of = attrgetter(*BASE_FIELDS)


class EventColumns:
    """All events of a recording. Not thread-safe by itself: the recorder appends under its lock."""

    def __init__(self) -> None:
        self.strings = Strings()
        self.blocks: list[Block] = []
        self.block_of: dict[type[Event], int] = {}
        self.classes = array("H")
        self.timestamp = TimeColumn()
        self.run_id = TextColumn(self.strings)
        self.seq = ArrayColumn("q")
        self.monotonic_ns = ArrayColumn("q")
        self.pipeline = TextColumn(self.strings)

    def __len__(self) -> int:
        return len(self.classes)

    def extend(self, events: Sequence[Any], kinds: list[type[Event]] | None = None) -> None:
        """Append events, which must be summarised already; or structs of the same fields, with their classes."""
        if not events:
            return
        kinds = list(map(type, events)) if kinds is None else kinds
        for cls in dict.fromkeys(kinds):
            if cls not in self.block_of:
                self.block_of[cls] = len(self.blocks)
                self.blocks.append(Block(cls, self.strings))
        groups: dict[type[Event], list[tuple[Any, ...]]] = {cls: [] for cls in dict.fromkeys(kinds)}
        append = {cls: rows.append for cls, rows in groups.items()}
        for cls, row in zip(kinds, map(msgspec.structs.astuple, events), strict=True):
            append[cls](row)
        for cls, rows in groups.items():
            self.blocks[self.block_of[cls]].extend(rows)
        base = (self.timestamp, self.run_id, self.seq, self.monotonic_ns, self.pipeline)
        for column, values in zip(base, zip(*map(_base_of, events), strict=True), strict=True):
            column.extend(values)
        self.classes.fromlist(list(map(self.block_of.__getitem__, kinds)))  # last: readers go by its length

    def events(self, end: int) -> Iterator[Event]:
        """The first ``end`` events in arrival order, made anew."""
        rows = [0] * len(self.blocks)
        for position in range(end):
            code = self.classes[position]
            block = self.blocks[code]
            values = block.row(rows[code])
            rows[code] += 1
            values["timestamp"] = self.timestamp[position]
            values["run_id"] = self.run_id[position]
            values["seq"] = self.seq[position]
            values["monotonic_ns"] = self.monotonic_ns[position]
            values["pipeline"] = self.pipeline[position]
            yield block.cls(**values)

    def last_seq_of(self, run_id: str) -> int:
        """The highest ``seq`` of a run; 0 where it has no event."""
        code = self.strings.get(run_id)
        pairs = zip(self.run_id.data, self.seq.data, strict=True)
        return 0 if code is None else max((seq for run, seq in pairs if run == code), default=0)

    def nbytes(self) -> int:
        """Bytes held by the columns, roughly, without the texts."""
        base = (self.timestamp, self.run_id, self.seq, self.monotonic_ns, self.pipeline)
        own = (column for block in self.blocks for column in block.columns.values())
        return 2 * len(self.classes) + sum(column.nbytes() for column in (*base, *own))
