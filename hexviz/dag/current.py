"""Which node is running here: known by context, through tasks and threads."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hexviz.dag.run import Run


class CurrentNode(NamedTuple):
    """The attempt in whose context code runs."""

    run: Run
    name: str
    wave_index: int
    attempt: int


CURRENT: ContextVar[CurrentNode | None] = ContextVar("hexviz_current_node", default=None)
