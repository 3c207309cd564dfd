"""For tests, yours and ours: hear every event of a run, without a store and without a screen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hexviz.dag.graph import Graph
from hexviz.dag.orchestrator import Orchestrator
from hexviz.events.events import Event
from hexviz.events.observer_manager import ObserverManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.dag.result import RunResult


class CapturedEvents(list[Event]):
    """The events that were told, in order."""

    def names(self) -> list[str]:
        """The class names, in order: what a test compares most often."""
        return [type(event).__name__ for event in self]

    def of(self, *classes: type[Event]) -> list[Event]:
        """The events of these classes, in order."""
        return [event for event in self if isinstance(event, classes)]


@contextmanager
def capture_events(observers: ObserverManager) -> Iterator[CapturedEvents]:
    """Put every event that ``observers`` are told into a list, in line, for as long as the ``with`` block lasts."""
    captured = CapturedEvents()
    observer_id = observers.register(captured.append, lossless=True)
    try:
        yield captured
    finally:
        observers.unregister(observer_id)


def sample_graph() -> Graph:
    """A small graph that does nothing much: ``load`` -> ``clean``, ``count`` -> ``join``."""
    graph = Graph("sample")
    graph.node(lambda rows=None: list(rows or range(5)), name="load")

    async def clean(rows: list[int]) -> list[int]:
        return [row for row in rows if row % 2 == 0]

    graph.node(clean, after=["load"])
    graph.node(len, name="count", after=["load"])
    graph.node(lambda clean, count: {"kept": len(clean), "of": count}, name="join", after=["clean", "count"])
    return graph


async def sample_run(observers: ObserverManager | None = None) -> RunResult:
    """Run :func:`sample_graph` once, telling ``observers``."""
    return await Orchestrator(observers=observers or ObserverManager()).run(sample_graph())
