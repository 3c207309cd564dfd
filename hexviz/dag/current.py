"""Which node is running here: known by context, through tasks and threads."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from hexviz.dag.run import Run  # noqa: TC004 - only for readers: the struct does not check it


class CurrentNode(msgspec.Struct, frozen=True):
    """The attempt in whose context code runs: the run, the number of the node in its plan, the attempt."""

    run: Run
    index: int
    attempt: int

    @property
    def name(self) -> str:
        """The node's name."""
        return self.run.plan.names[self.index]

    @property
    def wave_index(self) -> int:
        """The node's wave."""
        return self.run.plan.waves[self.index]


CURRENT: ContextVar[tuple[Run, int, int] | None] = ContextVar("hexviz_current_node", default=None)
"""The fields of a :class:`CurrentNode`: it is set for every attempt, and seldom read."""


def current_node() -> CurrentNode | None:
    """The attempt in whose context this is called; None outside of any."""
    here = CURRENT.get()
    return None if here is None else CurrentNode(*here)
