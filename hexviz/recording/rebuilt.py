"""Recorded events made fit for control handlers again: errors as exceptions, values as far as they were kept.

Nothing is imported, unpickled or called by a name that stands in the data. An exception is an instance of a builtin
class, or of a class that is loaded already and bears the recorded name; it is made without running the code of its
class. A value of which only a summary was kept becomes :class:`Unrecorded`: whoever looks into it is found out.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.errors import HexvizError
from hexviz.events.events import Event, RecordedError
from hexviz.events.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUE_FIELDS = ("result", "params", "messages", "response", "node_results")
_EMPTY: dict[str, Callable[[], Any]] = {
    kind.__name__: kind for kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset)
}
_NUMBERS: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
_WORDS = {"None": None, "True": True, "False": False}


class UnrecordedError(HexvizError, LookupError):
    """A handler looked into a value of which the recording holds a summary only."""


class Watch:
    """Whether a handler has looked into something that was not recorded."""

    def __init__(self) -> None:
        self.tripped = False

    def trip(self, summary: Summary) -> UnrecordedError:
        """Take note, and give the error to raise."""
        self.tripped = True
        return UnrecordedError(
            f"of this {summary.type} only a summary was recorded; Recorder(capture='json') keeps more"
        )


class Unrecorded:
    """Stands for a value that was not kept. Its length and its shape are known; all else trips the watch."""

    __slots__ = ("_summary", "_watch")

    def __init__(self, summary: Summary, watch: Watch) -> None:
        object.__setattr__(self, "_summary", summary)
        object.__setattr__(self, "_watch", watch)

    def __getattribute__(self, name: str) -> Any:
        summary = _summary_of(self)
        if name == "shape" and summary.shape:
            return summary.shape
        raise _trip(self)

    def __len__(self) -> int:
        summary = _summary_of(self)
        if summary.length is None and not summary.shape:
            raise _trip(self)
        return summary.shape[0] if summary.length is None else summary.length

    def __bool__(self) -> bool:
        summary = _summary_of(self)
        if summary.length is None:
            raise _trip(self)
        return summary.length > 0


def _summary_of(value: Unrecorded) -> Summary:
    return object.__getattribute__(value, "_summary")  # type: ignore[no-any-return]


def _trip(value: Unrecorded) -> UnrecordedError:
    watch: Watch = object.__getattribute__(value, "_watch")
    return watch.trip(_summary_of(value))


def _tripping(self: Unrecorded, *_others: Any) -> Any:
    raise _trip(self)


for _name in (
    *("eq", "ne", "lt", "le", "gt", "ge", "hash", "str", "repr", "format", "iter", "next", "reversed", "contains"),
    *("getitem", "setitem", "delitem", "call", "int", "float", "complex", "index", "bytes", "setattr", "delattr"),
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod", "rmod"),
    *("pow", "rpow", "and", "rand", "or", "ror", "xor", "rxor", "matmul", "rmatmul", "neg", "pos", "abs", "invert"),
    *("round", "enter", "exit", "await", "aiter", "anext", "fspath", "array", "dir"),
):
    setattr(Unrecorded, f"__{_name}__", _tripping)


class Rebuilt(msgspec.Struct, frozen=True):
    """An event as a handler may be asked about it; ``sure``: nothing in it is a likeness of what was there."""

    event: Event
    sure: bool = True


def rebuild(event: Event, watch: Watch) -> Rebuilt:
    """``event`` with its error as an exception and its values as far as they were recorded."""
    changes: dict[str, Any] = {}
    sure = True
    error = getattr(event, "error", None)
    if isinstance(error, RecordedError):
        changes["error"], sure = _exception(error)
    for name in _VALUE_FIELDS:
        summary = getattr(event, name, None)
        if isinstance(summary, Summary):
            changes[name], known = _value(summary, watch)
            sure = sure and known
    return Rebuilt(msgspec.structs.replace(event, **changes) if changes else event, sure)


def _value(summary: Summary, watch: Watch) -> tuple[Any, bool]:
    if summary.preview in _WORDS and summary.type in {"NoneType", "bool"}:
        return _WORDS[summary.preview], True
    if summary.preview and summary.type in _NUMBERS:
        return _NUMBERS[summary.type](summary.preview), True
    if summary.length == 0 and summary.type in _EMPTY:
        return _EMPTY[summary.type](), True
    if summary.content:
        return json.loads(summary.content), False
    return Unrecorded(summary, watch), True


def _exception(recorded: RecordedError) -> tuple[BaseException, bool]:
    """An exception of the recorded class, and whether that class is certain."""
    builtin = getattr(builtins, recorded.type_name, None)
    kind = builtin if _is_exception(builtin) else _loaded_class(recorded.type_name)
    if kind is None or issubclass(kind, BaseExceptionGroup):
        return recorded, recorded.type_name == RecordedError.__qualname__
    maker: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    return maker.__new__(kind, recorded.message), kind is builtin


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _loaded_class(name: str) -> type[BaseException] | None:
    """The one exception class with this qualified name among those in memory; None where there is none, or several.

    Of several the one that its module holds now counts: a cell that ran twice leaves its first class behind.
    """
    found: set[type[BaseException]] = set()
    seen: set[type[BaseException]] = set()
    ahead = deque([BaseException])
    while ahead:
        kind = ahead.popleft()
        if kind not in seen:
            seen.add(kind)
            ahead.extend(type.__subclasses__(kind))
            if kind.__qualname__ == name and kind is not RecordedError:
                found.add(kind)
    if len(found) > 1:
        found = {kind for kind in found if _is_current(kind)}
    return found.pop() if len(found) == 1 else None


def _is_current(kind: type) -> bool:
    """Whether ``kind`` is what its module holds under its name now."""
    module = sys.modules.get(kind.__module__) if type(kind.__module__) is str else None
    return module is not None and vars(module).get(kind.__qualname__) is kind
