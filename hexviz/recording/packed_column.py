"""The column of structured values."""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.events.schema import from_parts, to_parts
from hexviz.events.summary import LASTING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_encoder = msgspec.json.Encoder(enc_hook=to_parts)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines

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
        self._lasting: dict[int, int] = {}

    def extend(self, values: Sequence[Any]) -> None:
        """Append many values at once; one by one where some do not fit."""
        self._make_room()
        numbers: list[Any] = list(map(self._lasting.get, map(id, values)))
        try:
            if None in numbers:
                numbers = self._with_new(values, numbers)
        except Exception:  # noqa: BLE001 - _UnsureError, or what has no place in JSON
            for value in values:
                self._append(value)
        else:
            self.data.fromlist(numbers)

    def _with_new(self, values: Sequence[Any], numbers: list[int | None]) -> list[int]:
        """The numbers of all values, where only those of lasting ones were known."""
        new = [value for value, number in zip(values, numbers, strict=True) if number is None]
        texts = _encode_lines(new).split(b"\n")
        del texts[-1]
        found = list(map(self._texts.__getitem__, texts))
        self._lasting |= {id(value): number for value, number in zip(new, found, strict=True) if id(value) in LASTING}
        if len(new) == len(values):
            return found
        left = iter(found)
        return [next(left) if number is None else number for number in numbers]

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
        given = list(texts)
        written = b"\n".join(given).split(b"\n")
        if len(written) != len(given):  # one was written over several lines
            written = list(map(bytes, given))
        numbers: list[Any] = list(map(self._texts.get, written))
        if None in numbers:
            numbers = [
                self._number_of(text) if number is None else number
                for text, number in zip(written, numbers, strict=True)
            ]
        return numbers

    def _number_of(self, text: bytes) -> int:
        number = self._texts.get(text)  # it may have come a moment ago
        if number is not None:
            return number
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

    def values(self, first: int, end: int) -> list[Any]:
        """The values of rows ``first`` to ``end - 1``: equal ones are read once, and each error is one of its own."""
        if self.odd:
            return [self[row] for row in range(first, end)]
        numbers = self.data[first:end]
        distinct = list(dict.fromkeys(numbers))
        known = dict(zip(distinct, self._decoded(map(self._texts.text, distinct)), strict=True))
        return [from_parts(known[number]) for number in numbers]

    def text(self, number: int) -> bytes:
        """The JSON text of a number in ``data``."""
        return self._texts.text(number)

    def decoded(self, texts: Sequence[bytes]) -> list[Any]:
        """The values of JSON texts, read at once."""
        return list(map(from_parts, self._decoded(texts)))

    def _decoded(self, texts: Iterable[bytes]) -> list[Any]:
        return self._decoder_of_many.decode(b"[" + b",".join(texts) + b"]")  # type: ignore[no-any-return]

    def stored(self) -> tuple[list[bytes], bytes, array[int]]:
        """The texts: the distinct ones by number, the others one after the other, and where each of those ends."""
        return self._texts.known, bytes(self._texts.more), self._texts.ends

    def fill(self, known: list[bytes], more: bytes, ends: array[int]) -> None:
        """Give an empty column the texts that :meth:`stored` gave.

        Raises ValueError or a MsgspecError for one that is no value of the column.
        """
        texts = self._texts
        texts.known, texts.more, texts.ends = known, bytearray(more), ends
        texts.update(zip(known, range(len(known)), strict=True))
        begins = [0, *ends[:-1]] if ends else []
        every = [*known, *(more[begin:end] for begin, end in zip(begins, ends, strict=True))]
        b"".join(every).decode()
        for text in every:
            self._decode(text)

    def __len__(self) -> int:
        return len(self.data)

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        known = sum(map(len, self._texts.known)) + 150 * len(self._texts.known)
        return 4 * len(self.data) + len(self._texts.more) + 8 * len(self._texts.ends) + known
