"""Hear every event of a run, a clock that obeys, a run to try things with."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hexviz.dag.graph import Graph
from hexviz.dag.orchestrator import Orchestrator
from hexviz.events.events import Event
from hexviz.events.observer_manager import ObserverManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.dag.result import RunResult

_ROUNDS = 50
"""Turns of the event loop that :meth:`FakeClock.advance` gives to those whom it woke."""


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


class FakeClock:
    """A clock for tests: ``Replay(recording, clock=clock, sleep=clock.sleep)``. Times are seconds.

    With ``jumps`` a sleeper moves the clock on and wakes at once, so that an hour takes no time; without, sleepers wait
    until :meth:`advance` has moved the clock past their time. ``slept`` lists what was asked for. For one event loop.
    """

    def __init__(self, now_s: float = 0.0, *, jumps: bool = True) -> None:
        self.now_s = now_s
        self.jumps = jumps
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """The time now."""
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        """Wait until ``delay_s`` seconds of this clock have passed."""
        self.slept.append(delay_s)
        due_s = self.now_s + delay_s
        if self.jumps:
            self.now_s = max(self.now_s, due_s)
            await asyncio.sleep(0)
            return
        sleeper = (due_s, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, delay_s: float) -> None:
        """Move the clock on, and let everybody run who has waited for that."""
        self.now_s += delay_s
        for _ in range(_ROUNDS):
            for due_s, sleeper in self._sleepers:
                if due_s <= self.now_s and not sleeper.done():
                    sleeper.set_result(None)
            await asyncio.sleep(0)


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
