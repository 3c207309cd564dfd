"""Which widgets belong to which cell, so that a cell that is run again lets go of what it showed before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

if TYPE_CHECKING:
    from collections.abc import Callable

_shown: dict[str, tuple[str, list[Callable[[], object]]]] = {}
"""By cell: in which of its runs, and how to let go of what it showed in it."""


def adopt(close: Callable[[], object]) -> None:
    """What ``close`` closes is shown by the cell that runs now; what it showed when it ran before is closed.

    Front ends that do not say which cell runs (the message's metadata have no ``cellId``) keep all widgets.
    """
    cell, run = _running_cell()
    if not cell:
        return
    before, shown = _shown.get(cell, ("", []))
    if before != run:
        for close_old in shown:
            close_old()
        shown = []
    _shown[cell] = (run, [*shown, close])


def _running_cell() -> tuple[str, str]:
    """The id of the cell that runs, and of the request to run it; empty where they are not known."""
    parent: Any = getattr(get_ipython(), "get_parent", dict)() or {}
    cell = (parent.get("metadata") or {}).get("cellId") or ""
    return str(cell), str((parent.get("header") or {}).get("msg_id") or "")
