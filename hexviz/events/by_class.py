"""What is worked out once for each class of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hexviz.events.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ByClass(dict[type[Event], T]):
    """``make(event_class)`` for each class of events, made when it is first looked up and kept."""

    def __init__(self, make: Callable[[type[Event]], T]) -> None:
        self._make = make

    def __missing__(self, event_class: type[Event]) -> T:
        made = self[event_class] = self._make(event_class)
        return made
