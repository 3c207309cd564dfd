"""What the history of a server no longer holds, read from a store of the same runs by a thread of its own."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hexviz.events.cloud_events import to_cloud_event
from hexviz.events.events import printable
from hexviz.events.schema import RecordError, from_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Found", "Past", "ReadableStore", "Span"]


class ReadableStore(Protocol):
    """What keeps the events that a server shows; every :class:`hexviz.stores.Store` does."""

    def read(self, run_id: str, after_seq: int | None = None, *, damaged: str = "raise") -> Iterator[bytes]:
        """The records of a run after a seq, in order."""


class Span(NamedTuple):
    """Events of one run that stood behind one another in the history: ``events`` of them, from ``position`` on."""

    position: int
    run_id: str
    seq: int
    events: int


class Found(NamedTuple):
    """The bodies of the first ``events`` of a span, as far as the store has them."""

    bodies: list[bytes]
    events: int
    fault: str = ""
    """What could not be read, in one line."""


class Past:
    """Reads spans of events from a store, about ``most_bytes`` at a time, and calls ``answer`` from its thread."""

    def __init__(self, store: ReadableStore, most_bytes: int, answer: Callable[[Any, Found], None]) -> None:
        self._store, self._most_bytes, self._answer = store, most_bytes, answer
        self._asked: SimpleQueue[tuple[Any, Span] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="hexviz-ws-past", daemon=True)
        self._thread.start()

    def ask(self, client: Any, span: Span) -> None:
        """Have the span read, for somebody who is named in the answer."""
        self._asked.put((client, span))

    def close(self) -> None:
        """End the thread when it has read what it is reading."""
        self._asked.put(None)
        self._thread.join(1.0)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            client, span = asked
            self._answer(client, self._read(span))

    def _read(self, span: Span) -> Found:
        bodies: list[bytes] = []
        size, last, fault = 0, span.seq + span.events - 1, ""
        try:
            for record in self._store.read(span.run_id, span.seq - 1, damaged="skip"):
                try:
                    event = from_record(record)
                except RecordError as error:  # written by a newer version, say; what follows can be read
                    fault = fault or _fault("an event", span, error)
                    continue
                if event.seq > last:
                    break
                bodies.append(to_cloud_event(event))
                size += len(bodies[-1])
                if size >= self._most_bytes:
                    return Found(bodies, event.seq - span.seq + 1, fault)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, what it does not give is counted as lost
            fault = _fault("the rest", span, error)
        return Found(bodies, span.events, fault)


def _fault(what: str, span: Span, error: Exception) -> str:
    run_id, text = printable(span.run_id), printable(error)
    return f"{what} of run {run_id!r} cannot be read from the store: {type(error).__name__}: {text}"
