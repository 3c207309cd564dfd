"""The one place that touches the notebook's own event loop: only on request, never on import."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from hexviz.errors import HexvizError

if TYPE_CHECKING:
    from collections.abc import Coroutine


class NestedLoopError(HexvizError, RuntimeError):
    """The notebook's event loop cannot be entered a second time; the message says why and what works instead."""


def run_nested(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run ``coroutine`` to its end on the loop that is running already, for nodes that are bound to that loop.

    Uses nest-asyncio2, which ipykernel 7 itself uses, and patches the loop then and there. Raises
    :class:`NestedLoopError` where no loop runs, for uvloop, and where the older nest_asyncio was applied before: on
    ipykernel 7 that one drops cells that wait in the queue.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        coroutine.close()
        raise NestedLoopError(
            "no event loop is running here, so there is none to nest in: leave out loop='nested'"
        ) from None
    if type(loop).__module__.partition(".")[0] == "uvloop":
        coroutine.close()
        raise NestedLoopError("uvloop cannot be entered twice: write await hexviz.run(...), or leave out loop='nested'")
    if "nest_asyncio" in sys.modules and hasattr(asyncio, "_nest_patched"):
        coroutine.close()
        raise NestedLoopError(
            "nest_asyncio was applied before; on ipykernel 7 it loses cells that wait in the queue. "
            "Restart the kernel without it, or leave out loop='nested'"
        )
    import nest_asyncio2  # noqa: PLC0415 - importing it changes nothing, but only this path needs it

    nest_asyncio2.apply(loop)
    return loop.run_until_complete(asyncio.ensure_future(coroutine, loop=loop))
