"""One call for all who get a recorder's events: its store and its sinks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.events.events import Event

_log = logging.getLogger("hexviz.streams")


class EventSink(Protocol):
    """Where a recorder hands its events beside the store (see :class:`hexviz.streams.Sink`)."""

    def put(self, event: Event, /) -> None:
        """Queue one event: never waits, never raises."""


def parts_of(put: Callable[[Event], None] | None) -> tuple[Any, Any, Callable[[], None]]:
    """(queue, awake, rouse): ``queue(event)``, and then ``rouse()`` unless ``awake``, is ``put(event)``.

    For the recorder's hottest lines, which so save a call for each event. ``queue`` is None where nobody gets them.
    """
    return getattr(put, "parts", (put, True, _nothing))


def _nothing() -> None:
    """Whoever is always awake needs no call."""


def put_to(store: Any, sinks: Sequence[EventSink]) -> Callable[[Event], None] | None:
    """What a recorder calls for each event; None where nobody gets them.

    A sink that raises all the same is logged once and left out from then on: it costs neither the run nor the others
    anything.
    """
    if not sinks:
        return None if store is None else store.put
    keep = None if store is None else store.put
    puts: tuple[Callable[[Event], None], ...] = tuple(sink.put for sink in sinks)

    def put(event: Event) -> None:
        nonlocal puts
        if keep is not None:
            keep(event)
        for sink_put in puts:
            try:
                sink_put(event)
            except Exception as error:  # noqa: BLE001 - it breaks its promise; see above
                puts = tuple(other for other in puts if other is not sink_put)
                _log.warning("a sink failed and gets no more events: %r", error)

    return put
