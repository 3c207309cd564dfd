"""Who watches the runs that begin in a context, such as one cell of a notebook."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from hexviz.dag.graph import Graph
    from hexviz.dag.orchestrator import Orchestrator
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager


class Watcher(Protocol):
    """Hears of every run that begins in its context, in whatever task, and in the threads that hexviz starts."""

    tags: tuple[str, ...]
    """What every run is marked with."""
    store: Any
    """Where ``hexviz.run`` keeps its runs when the call names no store: a path, or None for the default store."""

    def policies(self) -> Iterable[Any]:
        """Policies for one more run."""

    def title_of(self, graph: Graph) -> str:
        """The heading of a view."""

    def took(self, run_id: str, recording: Any) -> None:
        """``hexviz.run`` itself records and shows this run."""

    def watch(
        self,
        orchestrator: Orchestrator,
        graph: Graph,
        run_id: str,
        observers: ObserverManager,
        control: ControlManager,
    ) -> AbstractAsyncContextManager[None]:
        """Be there while the run goes on: from before its first event until after its last."""


WATCHER: ContextVar[Watcher | None] = ContextVar("hexviz_watcher", default=None)
"""Whoever watches the runs that begin here; None almost always."""
