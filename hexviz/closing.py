"""What ends with its user: the length of a ``with`` block, and no handler that keeps it for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable


class Closing:
    """A base: the end of a ``with`` block closes the object, however the block ends."""

    __slots__ = ()

    close: Any
    """Lets go of everything; twice is fine. Who derives from this defines it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def held_weakly(method: Callable[..., None]) -> Callable[..., None]:
    """``method`` as a handler for who may live longer than its object, or is part of it."""
    held = WeakMethod(method)

    def hear(*told: Any) -> None:
        found = held()
        if found is not None:
            found(*told)

    return hear
