"""The async observers who hear the same events."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.events.events import Event
    from hexviz.events.observer_entry import ObserverEntry


class Tally:
    """How many events all observers of a row have been told."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told = 0


class Row:
    """The async observers who hear the same events, with what to call.

    They share one tally, because a count for each call would cost a quarter of the call; an observer sums up its
    tallies (:attr:`ObserverEntry.delivered`). A row that was made for some few events has none.
    """

    __slots__ = ("calls", "tally")

    def __init__(self, entries: Iterable[ObserverEntry], tally: Tally | None = None) -> None:
        self.calls = [(entry, entry.call) for entry in entries]
        self.tally = tally

    def be_careful(self) -> None:
        """Some may be unregistered by now: look before each call, also where the row is being told at this moment."""
        self.calls[:] = [(entry, entry.call_unless_held) for entry, _ in self.calls]

    def count_each(self, events: int) -> None:
        """Everybody in it has been told so many events, where there is no tally."""
        for entry, _ in self.calls:
            entry.counted += events


NOBODY = Row(())
NAMED = Row(())
"""Stands for the row that an :class:`Addressed` event names itself."""


class Addressed(NamedTuple):
    """An event for some of those who hear its class, chosen when it was told: by topic, or because they had room."""

    event: Event
    row: Row
