"""Who hears which events, worked out once for each class: what is done with an event is one function."""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hexviz.events.rows import NAMED, NOBODY, Addressed, Row, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hexviz.events.crew import Crew
    from hexviz.events.desk import Desk
    from hexviz.events.events import Event
    from hexviz.events.observer_entry import ObserverEntry

    Teller: TypeAlias = Callable[[Event], None]


class _Circle(NamedTuple):
    """Those who hear the same classes of events; all such classes share it, so that they are told in batches."""

    lossless: tuple[ObserverEntry, ...]
    row: Row
    threaded: tuple[ObserverEntry, ...]
    selective: bool
    """Whether each event has to be looked at: topics matter, or whether there is room."""


class Audience:
    """The observers who were registered at a time.

    ``failed(entry, event, error)`` is called for a lossless observer that raised, once every other one has the event.
    """

    def __init__(
        self,
        entries: Iterable[ObserverEntry],
        *,
        lossless: Iterable[str],
        desk: Desk,
        crew: Crew,
        watch: Callable[[], None],
        failed: Callable[[ObserverEntry, Event, BaseException], None],
    ) -> None:
        self._entries = tuple(entries)
        self._lossless = frozenset(lossless)
        self._desk, self._crew, self._watch, self._failed = desk, crew, watch, failed
        self._circles: dict[tuple[ObserverEntry, ...], _Circle] = {}
        self._rows: dict[tuple[ObserverEntry, ...], Row] = {}

    def row(self, event_class: type[Any]) -> Row:
        """The async ones who hear all events of a class: those that :attr:`Desk.inbox` is for."""
        if event_class is Addressed:
            return NAMED
        circle = self._circle(event_class)
        return NOBODY if circle.selective else circle.row

    def _circle(self, event_class: type[Event]) -> _Circle:
        wanted = tuple([entry for entry in self._entries if entry.wants(event_class)])
        circle = self._circles.get(wanted)
        if circle is None:
            lossless = tuple([entry for entry in wanted if entry.id in self._lossless])
            queued = [entry for entry in wanted if entry.id not in self._lossless]
            row = self._row_of(tuple([entry for entry in queued if entry.asynchronous]))
            threaded = tuple([entry for entry in queued if not entry.asynchronous])
            selective = any(entry.topics is not None or entry.overflow == "block" for entry in queued)
            circle = self._circles[wanted] = _Circle(lossless, row, threaded, selective)
        return circle

    def _row_of(self, entries: tuple[ObserverEntry, ...]) -> Row:
        if not entries:
            return NOBODY
        row = self._rows.get(entries)
        if row is None:
            tally = Tally()
            row = self._rows[entries] = Row(entries, tally)
            for entry in entries:
                entry.tallies.append(tally)
        return row

    # --- what is done with an event of a class. The hot path: written once for each frequent case, kept whole

    def teller(self, event_class: type[Event]) -> Teller:
        """What tells everybody an event of a class."""
        lossless, row, threaded, selective = self._circle(event_class)
        keepers = tuple([(_keeper(entry, event_class), entry) for entry in lossless])
        match keepers:
            case (first, second) if row is NOBODY and not selective and not threaded:
                return self._keep_both(first, second)
        if selective or threaded or len(keepers) > 1:
            return self._tell_everybody(keepers, row, threaded, selective=selective)
        if not keepers:
            return tell_nobody if row is NOBODY else self._put()
        return self._keep(*keepers[0]) if row is NOBODY else self._keep_and_put(*keepers[0])

    def _put(self) -> Callable[[Event | Addressed], None]:
        desk, put = self._desk, self._desk.inbox.append

        def tell(event: Event | Addressed) -> None:
            put(event)
            if not desk.awake:
                desk.wake()

        return tell

    def _keep(self, keep: Teller, keeper: ObserverEntry) -> Teller:
        failed = self._failed

        def tell(event: Event) -> None:
            try:
                keep(event)
            except BaseException as error:  # noqa: BLE001 - a recorder's fault must not end the run
                failed(keeper, event, error)

        return tell

    def _keep_both(self, first: tuple[Teller, ObserverEntry], second: tuple[Teller, ObserverEntry]) -> Teller:
        """A recorder and a view: the usual run under a dashboard."""
        keep, also, failed = first[0], second[0], self._failed

        def tell(event: Event) -> None:
            fault = None
            try:
                keep(event)
            except BaseException as error:  # noqa: BLE001 - as above
                fault = error
            try:
                also(event)
            except BaseException as error:  # noqa: BLE001 - as above
                failed(second[1], event, error)
            if fault is not None:
                failed(first[1], event, fault)

        return tell

    def _keep_and_put(self, keep: Teller, keeper: ObserverEntry) -> Teller:
        desk, put, failed = self._desk, self._desk.inbox.append, self._failed

        def tell(event: Event) -> None:
            fault = None
            try:
                keep(event)
            except BaseException as error:  # noqa: BLE001 - as above
                fault = error
            put(event)
            if not desk.awake:
                desk.wake()
            if fault is not None:
                failed(keeper, event, fault)

        return tell

    def _tell_everybody(
        self,
        keepers: tuple[tuple[Teller, ObserverEntry], ...],
        row: Row,
        threaded: tuple[ObserverEntry, ...],
        *,
        selective: bool,
    ) -> Teller:
        awaited, put = tuple([entry for entry, _ in row.calls]), self._put()

        def tell(event: Event) -> None:
            faults = []
            for keep, keeper in keepers:
                try:
                    keep(event)
                except BaseException as error:  # noqa: BLE001 - as above
                    faults.append((keeper, error))
            off_loop = threaded
            if selective:
                chosen, off_loop = _chosen(event, awaited), _chosen(event, threaded)
                if chosen:
                    put(Addressed(event, Row(chosen)))
            elif row is not NOBODY:
                put(event)
            if off_loop:
                self._watch()
                self._crew.put(event, off_loop)
            for keeper, fault in faults:
                self._failed(keeper, event, fault)

        return tell


def _keeper(entry: ObserverEntry, event_class: type[Event]) -> Callable[[Event], Any]:
    """What to call in line: a lossless observer may have a function of its own for each class of events."""
    if entry.topics is not None:
        return lambda event: entry.call(event) if entry.hears(event) else None
    special = getattr(entry.call, "keeper_of", None)
    return entry.call if special is None else special(event_class)


def _chosen(event: Event, observers: tuple[ObserverEntry, ...]) -> tuple[ObserverEntry, ...]:
    """Those that hear its topic and can take it. On a loop the caller has waited for room before."""
    wait = _get_running_loop() is None
    hearing = [entry for entry in observers if entry.hears(event)]
    return tuple([entry for entry in hearing if entry.overflow != "block" or entry.offer(event, wait=wait)])


def tell_nobody(_: Event) -> None:
    """What is done with an event that nobody hears."""
