"""Arrays of the dtypes that the frames have: made by handing over buffers, the same on pandas 2 and 3."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hexviz.events.summary import summarise
from hexviz.recording.columns import NULL
from hexviz.recording.layout import COLUMNS, FRAME_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = npt.NDArray[Any]
TEXT_DTYPE = "str" if int(pd.__version__.split(".", maxsplit=1)[0]) >= 3 else "string"  # noqa: PLR2004 - pandas 3


class Domain:
    """The texts that a column may hold: those of ``values`` whose codes are ``used``."""

    def __init__(self, values: Sequence[str], used: Array) -> None:
        self._values = values
        self._used = used

    @classmethod
    def of(cls, values: Sequence[str], codes: Array) -> Domain:
        """The domain of the texts that occur in ``codes``."""
        return cls(values, np.flatnonzero(np.bincount(codes, minlength=len(values))))

    @cached_property
    def _sorted(self) -> tuple[Any, Array]:
        names = [_encodable(self._values[code]) for code in self._used.tolist()]
        known = {name: place for place, name in enumerate(sorted({"", *names}))}  # "" stands for none, everywhere
        places = np.zeros(len(self._values), dtype=_least(len(known)))
        places[self._used] = [known[name] for name in names]
        categories: Any = pd.Index(list(known), dtype=object)
        return pd.CategoricalDtype(categories), places

    def array(self, codes: Array) -> Any:
        """Codes as an array of categories."""
        dtype, places = self._sorted
        return pd.Categorical.from_codes(places[codes], dtype=dtype, validate=False)


def _least(size: int) -> Any:
    return np.int8 if size < 1 << 7 else np.int16 if size < 1 << 15 else np.int32


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def shown(value: Any) -> str:
    """A value of a text column, which is a text except in a foreign recording; no code of another is called."""
    return value if type(value) is str else "" if value is None else str(summarise(value))


class Words(NamedTuple):
    """A column of texts as codes of a list of them."""

    codes: Array
    distinct: Sequence[str]
    domain: Domain | None = None

    def take(self, places: Array) -> Words:
        """The texts at some places."""
        return self._replace(codes=self.codes[places])

    def array(self) -> Any:
        """The column of a frame."""
        return (self.domain or Domain.of(self.distinct, self.codes)).array(self.codes)

    def texts(self) -> Any:
        """The same as an array of texts that are mostly distinct."""
        words: Any = np.array([_encodable(value) for value in self.distinct], dtype=object)
        return pd.array(words[self.codes] if len(words) else words, dtype=TEXT_DTYPE)


def words_of(texts: Sequence[str]) -> Words:
    """Few texts as words."""
    known: dict[str, int] = {}
    codes = [known.setdefault(text, len(known)) for text in texts]
    return Words(np.array(codes, dtype=np.int64), list(known))


def build(name: str, values: Mapping[str, Any]) -> pd.DataFrame:
    """The frame ``name`` from one array or list per column, each brought to its fixed dtype."""
    frame = pd.DataFrame({col.name: typed(col.kind, values[col.name]) for col in COLUMNS[name]}, copy=False)
    frame.attrs.update({"hexviz_schema": FRAME_SCHEMA, "hexviz_frame": name})
    return frame


def from_rows(name: str, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The frame ``name`` from few rows, each in the order of its columns."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS[name])
    return build(name, {col.name: list(values) for col, values in zip(COLUMNS[name], columns, strict=True)})


def typed(kind: str | tuple[str, ...], values: Any) -> Any:
    """``values`` as the array of a column of that kind (see :class:`~hexviz.recording.layout.Col`)."""
    if isinstance(values, pd.api.extensions.ExtensionArray):
        return values
    if isinstance(kind, tuple):
        return _category(kind, values)
    return _MAKERS[kind](values)


def _category(words: tuple[str, ...], values: Any) -> Any:
    """A column of fixed categories, of codes or of words; a word that is none of them is missing."""
    categories: Any = pd.Index(words, dtype=object)
    if isinstance(values, Words):
        code_of = np.array([words.index(word) if word in words else -1 for word in values.distinct], dtype=np.int8)
        codes = code_of[values.codes] if len(code_of) else code_of
    elif isinstance(values, np.ndarray):
        codes = values
    else:
        codes = np.array([words.index(word) if word in words else -1 for word in values], dtype=np.int8)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories), validate=False)


def _words(values: Any) -> Any:
    return (values if isinstance(values, Words) else words_of(values)).array()


def _texts(values: Any) -> Any:
    return (values if isinstance(values, Words) else words_of(values)).texts()


def _whole(values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return values
    return np.array([v if type(v) is int and abs(v) < -NULL else NULL for v in values], dtype=np.int64)


def _clipped(values: Array, dtype: Any) -> Array:
    if values.dtype == dtype:
        return values
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def _nullable(dtype: Any) -> Any:
    def array(values: Any) -> Any:
        whole = _whole(values)
        missing = whole == NULL
        return pd.arrays.IntegerArray(_clipped(np.where(missing, 0, whole), dtype), missing)

    return array


def _plain(dtype: Any) -> Any:
    return lambda values: _clipped(_whole(values), dtype)


def times(values: Any) -> Any:
    """UTC times from microseconds since 1970; NULL is missing."""
    stamps = np.asarray(values, dtype=np.int64).view("M8[us]")
    return pd.Series(stamps).dt.tz_localize("UTC").array


_MAKERS: dict[str, Any] = {
    "word": _words,
    "text": _texts,
    "int64": _plain(np.int64),
    "int32": _plain(np.int32),
    "Int64": _nullable(np.int64),
    "Int32": _nullable(np.int32),
    "time": times,
    "float64": lambda values: np.asarray(values, dtype=np.float64),
    "bool": lambda values: np.asarray(values, dtype=np.bool_),
}
