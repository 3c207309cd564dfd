"""The kinds of columns: each takes many values at once, holds them small, and gives them back unchanged.

A value that does not fit its column (a text where a number belongs) is kept aside in ``odd``, so nothing is lost.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hexviz.events.schema import from_parts, to_parts
from hexviz.events.summary import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NULL = -(2**63)
"""What stands in a column of whole numbers or times where there is no value."""

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
    """Whole numbers (``q``, ``b``) or floats (``d``) in an array."""

    def __init__(self, typecode: str) -> None:
        self.data = array(typecode)
        self.odd: dict[int, Any] = {}

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        try:
            self.data.extend(self._repeated(values) or array(self.data.typecode, self.encoded(values)))
        except Exception:  # noqa: BLE001 - a value that is no number may do anything when taken for one
            self._extend_one_by_one(values)

    def _repeated(self, values: Sequence[Any]) -> array[Any] | None:
        """The values as the array holds them, quickly where all are one whole number or one code."""
        first = values[0]
        if values[-1] == first and self.data.typecode != "d" and values.count(first) == len(values):
            return array(self.data.typecode, self.encoded((first,))) * len(values)
        return None

    def _extend_one_by_one(self, values: Iterable[Any]) -> None:
        for value in values:
            try:
                self.data.fromlist(self.encoded([value]))
            except Exception:  # noqa: BLE001 - as above
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


class CodeColumn(ArrayColumn):
    """Values as codes of a dictionary that gives new ones a new code."""

    def __init__(self, codes: Strings | Tuples) -> None:
        super().__init__("I")
        self._codes: Any = codes

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Codes, new ones where a value is new."""
        return list(map(self._codes.__getitem__, values))

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return self._codes.values_by_code[value]


class TextColumn(CodeColumn):
    """Texts as codes of a shared :class:`Strings`."""


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


# --- times --------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECONDS = (1 << 34) - 1
_NEVER = datetime.fromtimestamp(_SECONDS, UTC).replace(microsecond=999_999)
_HEAD = b"\xd7\xff"
_pack = msgspec.msgpack.Encoder().encode


class TimeColumn:
    """Aware times, or None, from 1970 to 2514: each as the MessagePack timestamp of 64 bits, with its two-byte head.

    msgspec writes those in C, ten times as fast as Python finds the microseconds of a datetime. None is the last
    microsecond of that span.
    """

    never = _SECONDS | 999_999_000 << 34
    """The eight bytes of None as a number."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.odd: dict[int, Any] = {}

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        if not (
            self._extend_at_once(values)
            or self._extend_at_once([_NEVER if value is None else value for value in values])
        ):
            for value in values:
                self._append(value)

    def _extend_at_once(self, values: Sequence[Any]) -> bool:
        count = len(values)
        try:
            packed = _pack(values)
        except Exception:  # noqa: BLE001 - what is no time may do anything
            return False
        start = len(packed) - 10 * count
        if start not in {1, 3, 5}:
            return False
        bare = packed[start:]
        if bare[::10].count(_HEAD[0]) != count or bare[1::10].count(_HEAD[1]) != count:
            return False
        self.data += bare
        return True

    def _append(self, value: Any) -> None:
        seconds, micros = _SECONDS, 999_999
        try:
            if value is not None:
                found, part = divmod((utc(value) - _EPOCH) // _MICROSECOND, 1_000_000)
                if not 0 <= found <= _SECONDS:
                    raise OverflowError("beyond 34 bits")  # noqa: TRY301 - kept aside below
                seconds, micros = found, part
        except Exception:  # noqa: BLE001 - as above
            self.odd[len(self)] = value
        self.data += _HEAD + (micros * 1000 << 34 | seconds).to_bytes(8, "big")

    def micros(self) -> array[int]:
        """All times as microseconds since 1970; NULL for None and what is kept aside."""
        words = [int.from_bytes(self.data[at + 2 : at + 10], "big") for at in range(0, len(self.data), 10)]
        return array("q", [NULL if w == self.never else (w & _SECONDS) * 1_000_000 + (w >> 34) // 1000 for w in words])

    def __getitem__(self, row: int) -> Any:
        if row in self.odd:
            return self.odd[row]
        word = int.from_bytes(self.data[10 * row + 2 : 10 * row + 10], "big")
        moment = _EPOCH + timedelta(seconds=word & _SECONDS, microseconds=(word >> 34) // 1000)
        return None if moment == _NEVER else moment

    def __len__(self) -> int:
        return len(self.data) // 10

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return len(self.data)


# --- structured values --------------------------------------------------------------------------------------------

_LEAST_KNOWN, _MOST_KNOWN = 1024, 16_384
"""Distinct texts of one column that are kept once, and one more for every 16 rows: a column of ever new ones is not to
hold a dictionary of them."""


@cache
def _decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(hint)


class _UnsureError(Exception):
    """A new text says null, for None or for a NaN that JSON would lose, or it is no value of its column."""


class _Texts(dict[bytes, int]):
    """JSON texts: the first distinct ones by number, others one after the other by negative number."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._decode = decode
        self.known: list[bytes] = []
        self.room = _LEAST_KNOWN
        self.more = bytearray()
        self.ends = array("q")

    def __missing__(self, text: bytes) -> int:
        if b"null" in text:
            raise _UnsureError
        self._decode(text)
        return self.add(text)

    def add(self, text: bytes) -> int:
        """The number of a new text."""
        if len(self.known) < self.room:
            self[text] = len(self.known)
            self.known.append(text)
            return len(self.known) - 1
        self.more += text
        self.ends.append(len(self.more))
        return -len(self.ends)

    def text(self, number: int) -> bytes:
        """The text of a number."""
        if number >= 0:
            return self.known[number]
        at = -number - 1
        return bytes(self.more[self.ends[at - 1] if at else 0 : self.ends[at]])


class PackedColumn:
    """Structured values (summaries, errors, votes) as JSON texts, of which equal ones are kept once."""

    def __init__(self, hint: Any) -> None:
        self.data = array("i")
        self.odd: dict[int, Any] = {}
        self._decode = _decoder(hint).decode
        self._texts = _Texts(self._decode)
        self._decoder_of_many = _decoder(list[hint])

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        self._make_room()
        try:
            texts = _encode_lines(values).split(b"\n")
            del texts[-1]
            numbers = list(map(self._texts.__getitem__, texts))
        except Exception:  # noqa: BLE001 - _UnsureError, or what has no place in JSON
            for value in values:
                self._append(value)
        else:
            self.data.fromlist(numbers)

    def _append(self, value: Any) -> None:
        try:
            text = _encode(value)
            if from_parts(self._decode(text)) != value and b"null" in text:
                raise ValueError("NaN has no JSON")  # noqa: TRY301 - kept aside below
        except Exception:  # noqa: BLE001 - as above
            self.odd[len(self.data)] = value
            self.data.append(0)
            return
        number = self._texts.get(text)
        self.data.append(self._texts.add(text) if number is None else number)

    def _make_room(self) -> None:
        self._texts.room = min(_MOST_KNOWN, max(_LEAST_KNOWN, len(self.data) >> 4))

    def numbered(self, texts: Iterable[msgspec.Raw]) -> list[int]:
        """The numbers of values that are JSON already. Raises a MsgspecError for one that is no value of the column."""
        self._make_room()
        find = self._texts.get
        numbers = []
        for text in map(bytes, texts):
            number = find(text)
            numbers.append(self._number_of(text) if number is None else number)
        return numbers

    def _number_of(self, text: bytes) -> int:
        known, canonical = self._texts, _encode(self._decode(text))
        number = known.get(canonical)
        if number is None:
            number = known.add(canonical)
        if number >= 0:
            known[text] = number  # as it was written: it may come again
        return number

    def _value(self, text: bytes) -> Any:
        return from_parts(self._decode(text))

    def __getitem__(self, row: int) -> Any:
        return self.odd[row] if row in self.odd else self._value(self._texts.text(self.data[row]))

    def text(self, number: int) -> bytes:
        """The JSON text of a number in ``data``."""
        return self._texts.text(number)

    def decoded(self, texts: Sequence[bytes]) -> list[Any]:
        """The values of JSON texts, read at once."""
        return list(map(from_parts, self._decoder_of_many.decode(b"[" + b",".join(texts) + b"]")))

    def __len__(self) -> int:
        return len(self.data)

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        known = sum(map(len, self._texts.known)) + 150 * len(self._texts.known)
        return 4 * len(self.data) + len(self._texts.more) + 8 * len(self._texts.ends) + known


class ObjectColumn(list[Any]):
    """Values of classes that are not ours, as they are."""

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return 64 * len(self)


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
