"""What belongs to which cell: widgets that a re-run lets go of, pictures that must be there when the cell ends."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.getipython import get_ipython

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

PATIENCE_S = 3.0
"""The end of a cell waits at most so long for its last pictures."""
_MOST_LATE = 20

_shown: dict[str, tuple[str, list[Callable[[], object]]]] = {}
"""By cell: in which of its runs, and how to let go of what it showed in it."""


class Output(Protocol):
    """A display that can be replaced: what ``display(..., display_id=...)`` returns."""

    def update(self, shown: Any) -> object:
        """Show ``shown`` instead."""


class _Clock:
    """Whether a cell runs now, what it waits for before it ends, and what was shown while none ran."""

    def __init__(self) -> None:
        self.running = True  # a cell makes the first view
        self.shell: Any = None
        self.waits: list[threading.Event] = []
        self.late: deque[tuple[Output, Any]] = deque(maxlen=_MOST_LATE)

    def follow(self) -> None:
        """Hear of the cells of the shell that runs here; done once."""
        shell = get_ipython()
        if shell is not None and shell is not self.shell:
            self.shell, self.running = shell, True
            shell.events.register("pre_run_cell", self.begins)
            shell.events.register("post_run_cell", self.ends)

    def begins(self, *_info: Any) -> None:
        """Whoever runs a notebook without a browser hears nothing between two cells: it is told again."""
        self.running = True
        while self.late:
            output, shown = self.late.popleft()
            with suppress(Exception):  # what a front end raises is its own, and the cell must run
                output.update(shown)

    def ends(self, *_result: Any) -> None:
        """Wait for the last pictures of runs that have ended."""
        until_s = time.monotonic() + PATIENCE_S
        while self.waits:
            self.waits.pop().wait(max(0.0, until_s - time.monotonic()))
        self.running = False


_clock = _Clock()


def follow() -> None:
    """Hear when cells begin and end, from now on."""
    _clock.follow()


def ending(shown: threading.Event) -> None:
    """The cell that runs now ends after ``shown`` is set."""
    if _clock.shell is not None:
        _clock.waits = [waited for waited in _clock.waits if not waited.is_set()] + [shown]


def put(output: Output, shown: Any) -> None:
    """Show ``shown`` in the place of what ``output`` displays; once more in the next cell, where none runs now."""
    if not _clock.running:
        _clock.late.append((output, shown))
    output.update(shown)


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
