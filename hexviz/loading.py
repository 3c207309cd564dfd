"""Loading modules on request, in a process that holds much already."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def at_once() -> Iterator[None]:
    """Load modules within this without the garbage collector.

    Loading makes so many objects that it would look through all of a kernel once and find nothing, which takes a sixth
    of the time until the first bars are drawn. A process that runs without it stays so.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
