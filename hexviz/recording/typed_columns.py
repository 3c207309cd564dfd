"""The kinds of columns: each takes many values at once, holds them small, and gives them back unchanged.

A value that does not fit its column (a text where a number belongs) is kept aside in ``odd``, so nothing is lost.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NULL = -(2**63)
"""What stands in a column of whole numbers or times where there is no value."""


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

    def values(self, first: int, end: int) -> list[Any]:
        """The values of rows ``first`` to ``end - 1``: the quick way to many."""

    def __len__(self) -> int:
        """How many rows."""

    def nbytes(self) -> int:
        """Bytes held, roughly."""


def with_odd(values: list[Any], odd: dict[int, Any], first: int) -> list[Any]:
    """``values`` of the rows from ``first`` on, with those in their places that are kept aside."""
    for row in odd.keys() & range(first, first + len(values)) if odd else ():
        values[row - first] = odd[row]
    return values


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
                self.data.extend(array(self.data.typecode, self.encoded([value])))
            except Exception:  # noqa: BLE001 - as above
                self.odd[len(self.data)] = value
                self.data.append(self.absent())

    def encoded(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values as the array holds them; TypeError, OverflowError or ValueError where one does not fit."""
        return values

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return value

    def decoded_all(self, values: list[Any]) -> list[Any]:
        """The same of many."""
        return values

    def absent(self) -> Any:
        """What stands in the array where the value is kept aside."""
        return float("nan") if self.data.typecode == "d" else 0

    def __getitem__(self, row: int) -> Any:
        return self.odd[row] if row in self.odd else self.decoded(self.data[row])

    def values(self, first: int, end: int) -> list[Any]:
        """The values of rows ``first`` to ``end - 1``: the quick way to many."""
        return with_odd(self.decoded_all(self.data[first:end].tolist()), self.odd, first)

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
        if NULL in values:
            raise ValueError("the mark of None as a value")
        return [NULL if value is None else value for value in values]

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return None if value == NULL else self._kind(value)

    def decoded_all(self, values: list[Any]) -> list[Any]:
        """The same of many."""
        return list(map(self.decoded, values))

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

    def decoded_all(self, values: list[Any]) -> list[Any]:
        """The same of many."""
        return list(map(bool, values))


class CodeColumn(ArrayColumn):
    """Values as codes of a dictionary that gives new ones a new code."""

    def __init__(self, codes: Strings | Tuples) -> None:
        super().__init__("I")
        self.codes: Any = codes

    def encoded(self, values: Sequence[Any]) -> list[Any]:
        """Codes, new ones where a value is new."""
        return list(map(self.codes.__getitem__, values))

    def decoded(self, value: Any) -> Any:
        """The value as it was given."""
        return self.codes.values_by_code[value]

    def decoded_all(self, values: list[Any]) -> list[Any]:
        """The same of many."""
        return list(map(self.codes.values_by_code.__getitem__, values))


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


class ObjectColumn(list[Any]):
    """Values of classes that are not ours, as they are."""

    def values(self, first: int, end: int) -> list[Any]:
        """The values of rows ``first`` to ``end - 1``."""
        return self[first:end]

    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return 64 * len(self)
