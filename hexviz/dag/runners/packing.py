"""Code and values of a run on their way to another process and back: pickled, as by any pool of processes.

Nothing recorded passes here: recordings are never unpickled.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import pickle
import traceback
from collections import ChainMap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from hexviz.dag.errors import NodeTransferError, RemoteNodeError
from hexviz.events.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from hexviz.dag.runners.attempt import Attempt

    Apart: TypeAlias = MutableMapping[type[Any], Callable[[Any], Any]]

_MOST_EVENT_BYTES = 2**18


def packed(value: Any, what: str, apart: Apart | None = None) -> bytes:
    """``value`` as bytes; functions of a notebook or of a script by value, where cloudpickle is installed.

    ``apart`` says of some types how they are pickled, as ``__reduce__`` does. Raises
    :class:`~hexviz.dag.errors.NodeTransferError`, which names ``what``.
    """
    plain, refused = _tried(pickle.Pickler, value, apart)
    if plain is not None and b"__main__" not in plain:
        return plain
    by_value = _cloudpickle_pickler()
    data = plain  # without cloudpickle the other side looks it up in its own __main__
    if by_value is not None:
        data, refused = _tried(by_value, value, apart)
    if data is not None:
        return data
    assert refused is not None  # noqa: S101 - one of the two is there
    text = f"{what} cannot be sent to another process: {type(refused).__name__}: {_said(refused)}"
    if by_value is None:
        text += (
            ". Functions of a notebook, and inner ones, need the package cloudpickle: pip install 'hexviz[processes]'"
        )
    raise NodeTransferError(text) from refused


def _tried(pickler: Any, value: Any, apart: Apart | None) -> tuple[bytes | None, Exception | None]:
    """The bytes, or what was raised. Where that is caught, its frame must end, or both would wait for the collector."""
    try:
        return _pickled(pickler, value, apart), None
    except Exception as error:  # noqa: BLE001 - whatever the value's own code raises
        return None, error


def _pickled(pickler: Any, value: Any, apart: Apart | None) -> bytes:
    if apart is None and pickler is pickle.Pickler:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    file = io.BytesIO()
    made: Any
    if apart is None:
        made = pickler(file, pickle.HIGHEST_PROTOCOL)
    elif pickler is pickle.Pickler:
        made = pickler(file, pickle.HIGHEST_PROTOCOL)
        made.dispatch_table = ChainMap(apart, copyreg.dispatch_table)
    else:  # cloudpickle's class has a table, which is read when it is made
        with_table = type("Pickler", (pickler,), {"dispatch_table": ChainMap(apart, pickler.dispatch_table)})
        made = with_table(file, pickle.HIGHEST_PROTOCOL)
    made.dump(value)
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """What :func:`packed` was given, on the other side of the same run."""
    return pickle.loads(data)  # noqa: S301 - code and values of the user's own run, from its own workers


def packed_call(attempt: Attempt, out_model: Any = None, apart: Apart | None = None) -> bytes:
    """Errand, function and arguments of an attempt as bytes; what cannot be sent is named: argument or function."""
    node, fn, args, kwargs = attempt.node, attempt.fn, attempt.args, attempt.kwargs
    try:
        return packed((tuple(attempt.errand(out_model)), fn, args, kwargs), f"node {node!r}", apart)
    except NodeTransferError as error:
        raise (culprit(node, fn, args, kwargs) or error) from error.__cause__


def culprit(
    node: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> NodeTransferError | None:
    """The error for the first part of a call that cannot be sent; None where each of them can."""
    parts = [("the function", fn)]
    parts += [(f"argument {number} ({type(value).__qualname__})", value) for number, value in enumerate(args, 1)]
    parts += [(f"the argument {name!r} ({type(value).__qualname__})", value) for name, value in kwargs.items()]
    for what, value in parts:
        try:
            packed(value, f"{what} of node {node!r}")
        except NodeTransferError as error:
            return error
    return None


def packed_result(node: str, value: Any) -> bytes:
    """A node's result as bytes."""
    return packed(value, f"the result of node {node!r} ({type(value).__qualname__})")


def packed_event(cls: type[Any], fields: dict[str, Any]) -> bytes:
    """An event on its way home; a value that is too large, or cannot be sent, travels as its summary."""
    try:
        data = packed((cls, fields), "an event")
        if len(data) <= _MOST_EVENT_BYTES:
            return data
    except NodeTransferError:
        pass
    return packed((cls, {name: _sendable(value) for name, value in fields.items()}), "an event")


def _sendable(value: Any) -> Any:
    if isinstance(value, BaseException):
        return unpacked(packed_error(value))
    try:
        return value if len(packed(value, "a value")) <= _MOST_EVENT_BYTES // 8 else summarise(value)
    except NodeTransferError:
        return summarise(value)


def packed_error(error: BaseException) -> bytes:
    """An exception as bytes, its traceback as a note; one that cannot be sent is worded in a RemoteNodeError."""
    trace = "".join(traceback.format_exception(error))
    try:
        data = packed(error, "an error", _BY_THEMSELVES)
        back = unpacked(data)
    except Exception:  # noqa: BLE001 - the constructors of foreign exceptions take anything
        back = None
    if type(back) is not type(error):
        back = RemoteNodeError(type(error).__qualname__, _said(error))
    with suppress(Exception):  # an exception's own attributes may refuse
        back.add_note(f"where it was raised:\n{trace}")
    return packed(back, "an error", _BY_THEMSELVES)


class _ByThemselves(dict[type[Any], Any]):
    """Exceptions are pickled as they are.

    Once Dask has seen one, tblib has changed how its class is pickled in that process, which fails for classes with
    more than one builtin base.
    """

    def __missing__(self, cls: type[Any]) -> Any:
        if issubclass(cls, BaseException):
            return _reduced
        raise KeyError(cls)


def _reduced(error: BaseException) -> Any:
    return error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


_BY_THEMSELVES = _ByThemselves()


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "<its message cannot be shown>"


def _cloudpickle_pickler() -> Any:
    try:
        return importlib.import_module("cloudpickle").Pickler
    except ImportError:
        return None
