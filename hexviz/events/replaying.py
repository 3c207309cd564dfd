"""The guard of a replay: while recorded events are told again, nothing new may happen in their name."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from hexviz.errors import HexvizError
from hexviz.events.events import Event, EventsDropped, ObserverFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ReplayError(HexvizError, ValueError):
    """A replay was asked for in a way that cannot work, or something tried to happen inside one."""


class Guard:
    """One replay under way: ``telling`` is the event that it is telling now."""

    def __init__(self) -> None:
        self.active = True
        self.telling: Event | None = None

    def checked(self, tell: Callable[[Event], Any]) -> Callable[[Event], Any]:
        """``tell``, for this replay's events and for what the manager reports of its own observers."""

        def tell_if_replayed(event: Event) -> Any:
            if event is not self.telling and not isinstance(event, ObserverFailed | EventsDropped):
                raise ReplayError(
                    f"a replay is feeding this observer manager, so a new {type(event).__name__} cannot be told: it "
                    "would stand among recorded facts. Tell it to another manager, or when the replay has ended"
                )
            return tell(event)

        return tell_if_replayed


_here: ContextVar[Guard | None] = ContextVar("hexviz_replay", default=None)
_fed: WeakKeyDictionary[Any, Guard] = WeakKeyDictionary()


def refuse_in_replay(what: str, observers: Any = None) -> None:
    """Raise :class:`ReplayError` where ``what`` would run inside a replay, or tell a manager that a replay feeds."""
    here = _here.get()
    if here is not None and here.active:
        raise ReplayError(f"{what} inside a replay: a replay tells what happened and runs no node. Do this after it")
    if observers is not None and observers in _fed:
        raise ReplayError(
            f"{what} with an observer manager that a replay is feeding: live and recorded events would mix. "
            "Give it a manager of its own, or wait for the end of the replay"
        )


@contextmanager
def replaying(target: Any) -> Iterator[Guard]:
    """Until the end of the block this code is a replay into ``target``, and a manager tells its events only.

    Raises :class:`ReplayError` where runs under way tell ``target``, or another replay feeds it.
    """
    guard = Guard()
    token = _here.set(guard)
    try:
        with _only_replayed(target, guard):
            yield guard
    finally:
        guard.active = False
        _here.reset(token)


@contextmanager
def _only_replayed(target: Any, guard: Guard) -> Iterator[None]:
    tell = getattr(target, "notify_nowait", None)
    if tell is None:
        yield
        return
    if target in _fed:
        raise ReplayError("another replay is feeding this observer manager; wait for its end")
    if runs := getattr(target, "run_ids", ()):
        raise ReplayError(f"the run {runs[0]!r} is telling this observer manager its events; replay into another one")
    _fed[target] = guard
    # On the object and not in its class: the hot path of managers that no replay feeds stays as it is.
    target.notify_nowait = guard.checked(tell)
    try:
        yield
    finally:
        del target.notify_nowait, _fed[target]
