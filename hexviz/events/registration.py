"""What both managers check when a handler is registered: is it callable, is it async, and which events is it for."""

from __future__ import annotations

import functools
import inspect
import weakref
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from hexviz.errors import RegistrationTypeError, hint_at_another_copy
from hexviz.events.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def callable_of(handler: Any) -> Callable[..., Any]:
    """What to call: the ``handle`` method of ``handler``, or ``handler`` itself.

    Raises :class:`~hexviz.errors.RegistrationTypeError` for a class, a generator function, and what cannot be called.
    """
    if inspect.isclass(handler):
        msg = f"register an instance, not the class: {handler.__qualname__}()"
        raise RegistrationTypeError(msg)
    method = getattr(handler, "handle", None)
    call: Any = method if callable(method) else handler
    if not callable(call):
        msg = f"a handler is a function or an object with a handle method, not {type(handler).__qualname__}"
        raise RegistrationTypeError(msg)
    if is_generator(call):
        msg = f"{name_of(handler)} is a generator: calling it runs nothing. Use a function without yield"
        raise RegistrationTypeError(msg)
    return call  # type: ignore[no-any-return]


def is_generator(call: Callable[..., Any]) -> bool:
    """Whether calling ``call`` gives a generator, sync or async, and runs nothing of it."""
    bare = _bare(call)
    return inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare)


def check_takes(call: Callable[..., Any], *arguments: str) -> None:
    """Raises :class:`~hexviz.errors.RegistrationTypeError` where ``call`` cannot be called with ``arguments``."""
    if _surely_takes(call, len(arguments)):
        return
    try:
        signature = inspect.signature(call, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin that does not tell
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        wanted = ", ".join(arguments)
        msg = f"{name_of(call)}{signature} cannot be called with ({wanted}), which it must take"
        raise RegistrationTypeError(msg) from None


def _surely_takes(call: Any, count: int) -> bool:
    """Whether a function, a method or an object that is called takes so many arguments by position.

    To find a signature takes twenty times as long, and every run registers something.
    """
    if isinstance(call, functools.partial):
        return False
    method = _bare(call)
    function = getattr(method, "__func__", method)
    if not isinstance(function, FunctionType):
        return False
    code, given = function.__code__, count + (function is not method)
    least = code.co_argcount - len(function.__defaults__ or ())
    most = given if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    return least <= given <= most and code.co_kwonlyargcount == len(function.__kwdefaults__ or ())


def is_async(call: Callable[..., Any]) -> bool:
    """Whether calling ``call`` gives a coroutine: looks through partials, methods and objects with ``__call__``."""
    return inspect.iscoroutinefunction(_bare(call))


def gives_coroutine(call: Callable[..., Any]) -> bool:
    """Whether ``call`` is an ``async def``, not one that only says that it gives something to await."""
    return bool(getattr(getattr(_bare(call), "__code__", None), "co_flags", 0) & inspect.CO_COROUTINE)


_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)


def _bare(call: Any) -> Any:
    while isinstance(call, functools.partial):
        call = call.func
    if isinstance(call, _FUNCTIONS):
        return call
    return getattr(call, "__call__", call)  # noqa: B004 - the bound method itself is wanted, not whether there is one


def name_of(handler: Any) -> str:
    """A name for people: the function's own, or the class of the object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    name = getattr(handler, "__name__", None)
    return name if isinstance(name, str) else type(handler).__name__


def event_types_of(event_types: Iterable[type[Event]] | type[Event] | None) -> tuple[type[Event], ...] | None:
    """The event classes to hear, subclasses included; None means all of them, an empty iterable means none."""
    if event_types is None:
        return None
    classes = (event_types,) if isinstance(event_types, type) else tuple(_listed(event_types))
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Event)):
            msg = f"event_types takes classes of events, such as [NodeStarted, NodeFailed], not {cls!r}"
            if isinstance(cls, type) and (hint := hint_at_another_copy(cls, Event)):
                msg = f"{cls.__qualname__} is no event{hint}"
            raise RegistrationTypeError(msg)
    return classes


def _listed(event_types: Any) -> Iterable[Any]:
    if isinstance(event_types, str) or not hasattr(event_types, "__iter__"):
        msg = f"event_types takes a list of event classes, such as [NodeStarted], not {event_types!r}"
        raise RegistrationTypeError(msg)
    return event_types  # type: ignore[no-any-return]


def weakly(handler: Any, gone: Callable[[], None]) -> Callable[..., Any]:
    """A stand-in that does not keep ``handler`` alive; ``gone`` is called once when the handler vanishes."""
    call = callable_of(handler)
    reference: Any = (
        weakref.WeakMethod(call, lambda _: gone()) if inspect.ismethod(call) else weakref.ref(call, lambda _: gone())
    )
    if is_async(call):

        async def call_async(*args: Any) -> Any:
            target = reference()
            return None if target is None else await target(*args)

        return call_async

    def call_sync(*args: Any) -> Any:
        target = reference()
        return None if target is None else target(*args)

    return call_sync
