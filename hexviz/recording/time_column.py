"""The column of times."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.events.summary import utc
from hexviz.recording.typed_columns import NULL, with_odd

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECONDS = (1 << 34) - 1
_NEVER = datetime.fromtimestamp(_SECONDS, UTC).replace(microsecond=999_999)
_HEAD = b"\xd7\xff"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any]).decode


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

    def values(self, first: int, end: int) -> list[Any]:
        """The values of rows ``first`` to ``end - 1``: the quick way to many."""
        packed = self.data[10 * first : 10 * end]
        moments = _unpack(b"\xdd" + (len(packed) // 10).to_bytes(4, "big") + packed)
        if _NEVER in moments:
            moments = [None if moment == _NEVER else moment for moment in moments]
        return with_odd(moments, self.odd, first)

    def __len__(self) -> int:
        return len(self.data) // 10

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return len(self.data)
