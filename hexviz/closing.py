"""What many a thing here is for the length of a ``with`` block."""

from __future__ import annotations

from typing import Any, Self


class Closing:
    """A base: the end of a ``with`` block closes the object, however the block ends."""

    __slots__ = ()

    close: Any
    """Lets go of everything; twice is fine. Who derives from this defines it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
