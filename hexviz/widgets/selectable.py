"""What both views of a run have: attempts can be selected in them, from the page and from Python."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from hexviz.widgets.selection import rows_of, selection_frame

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.state import RunState
    from hexviz.widgets.timeline import TimelineWidget


class Selectable:
    """What can be selected in a view, from both sides."""

    state: RunState
    widget: TimelineWidget | None

    @property
    def selection(self) -> pd.DataFrame:
        """The attempts that are selected in the picture, as a frame: see :func:`selection_frame` for its columns."""
        rows = self.widget.selected if self.widget is not None else []
        with self._reading():
            return selection_frame(self.state, rows)

    def select(self, chosen: Any = None) -> Self:
        """Light the attempts that ``chosen`` names and pale the others; all are plain again after ``select()``.

        ``chosen`` is a frame with a column ``node`` (and ``attempt``, if only some are meant), or names of nodes.
        Raises :class:`~hexviz.widgets.selection.SelectionError` where it names nothing in this run.
        """
        with self._reading():
            rows = rows_of(self.state, chosen)
        if self.widget is not None:
            self.widget.light(rows)
        return self

    def _reading(self) -> Any:
        """Held while the state is read."""
        return nullcontext()
