"""What is to be told, to whom, and how far that is: the inbox of the async observers, sorted into batches.

A *batch* is a stretch of events that the same observers hear, which is their *row*.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hexviz.events.by_class import ByClass
from hexviz.events.forking import free_in_children
from hexviz.events.rows import NAMED, NOBODY, Addressed, Row

if TYPE_CHECKING:
    from hexviz.events.events import Event
    from hexviz.events.observer_entry import ObserverEntry

_BATCH = 1024
_ROW = operator.itemgetter(0)
_NOTHING: Any = iter(())


class Batches:
    """The inbox, the batches, and the one that is being told: ``_rest`` of its row is still to hear it."""

    __slots__ = ("_batch", "_batches", "_events", "_lock", "_rest", "_row", "_rows", "inbox")

    def __init__(self) -> None:
        self._lock = free_in_children(threading.RLock())
        self._rows: ByClass[Row] = ByClass(lambda _: NOBODY)
        self.inbox: list[Event | Addressed] = []
        """What is to be told: emitters append, from any thread, and wake the teller unless it is ``awake``."""
        self._batches: deque[tuple[Row, list[Event]]] = deque()
        self._row, self._rest = NOBODY, iter(NOBODY.calls)
        self._batch: list[Event] = []
        self._events = iter(self._batch)

    def _throw_away(self) -> None:
        """Nothing of it is told any more."""
        self.inbox.clear()
        self._batches.clear()
        self._begin_batch(NOBODY, [])

    def serve(self, rows: ByClass[Row]) -> None:
        """From now on these hear the events; what came before goes to those who heard them then."""
        with self._lock:
            while self.inbox:
                self._sort()
            for row in {self._row, *(row for row, _ in self._batches)}:
                row.be_careful()
            self._rows = rows

    def _next_batch(self) -> bool:
        """Take the next events that the same observers hear; False where there are none."""
        lock = self._lock
        lock.acquire()  # half the price of a with statement
        try:
            if len(self.inbox) == 1 and not self._batches:
                event: Any = self.inbox.pop()
                row = self._rows[type(event)]
                if row is NAMED:
                    event, row = event
                self._row, self._batch, self._rest, self._events = row, [event], iter(row.calls), _NOTHING
                return True
            if not self._batches:
                self._sort()
            if self._batches:
                self._begin_batch(*self._batches.popleft())
                return True
        finally:
            lock.release()
        return False

    def _sort(self) -> None:
        """Put what lies first in the inbox into batches; with the lock held."""
        row_of: ByClass[Any] = self._rows
        taken: list[Any] = self.inbox[:_BATCH]
        del self.inbox[:_BATCH]
        rows = list(map(row_of.__getitem__, map(type, taken)))
        if taken and rows[0] is not NAMED and rows.count(rows[0]) == len(rows):
            self._batches.append((rows[0], taken))
            return
        pairs = [
            (given.row, given.event) if row is NAMED else (row, given) for row, given in zip(rows, taken, strict=True)
        ]
        self._batches.extend((row, [event for _, event in group]) for row, group in groupby(pairs, _ROW))

    def _begin_batch(self, row: Row, batch: list[Event]) -> None:
        self._row, self._batch = row, batch
        self._rest, self._events = iter(row.calls), iter(batch[1:])

    def _being_told(self) -> ObserverEntry | None:
        calls, told = self._row.calls, self._told_in_row()
        return calls[told][0] if self._batch and 0 <= told < len(calls) else None

    def _told_in_row(self) -> int:
        """How many observers have been told the batch that is being told."""
        return len(self._row.calls) - operator.length_hint(self._rest) - 1

    def told_of_batch(self, entry: ObserverEntry) -> int:
        """How many events of the batch that is being told ``entry`` has been told; its row does not count them yet."""
        batch, calls, told = self._batch, self._row.calls, self._told_in_row()
        position = next((i for i, (other, _) in enumerate(calls) if other is entry), len(calls))
        if not batch or position > told:
            return 0
        return len(batch) if position < told else max(0, len(batch) - operator.length_hint(self._events) - 1)

    def _has_work(self) -> bool:
        return bool(self.inbox or self._batches or self._batch)
