"""What happened lately, once for all clients: each client is only a place in it, and a slow one costs no memory."""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from itertools import accumulate, islice
from operator import attrgetter
from typing import NamedTuple

from hexviz.events.cloud_events import batch_of, topic_of
from hexviz.streams.past import Span
from hexviz.streams.reader import wanted_topics

__all__ = ["EventLog", "Wanted"]

MOST_SPANS = 20_000
_position = attrgetter("position")


class Wanted(NamedTuple):
    """Which events somebody wants: of one run (None: of all), with topics that match one of the patterns (or any)."""

    run_id: str | None = None
    topics: tuple[str, ...] = ()

    def chosen(self, entries: list[Entry]) -> list[bytes]:
        """The bodies of those ``entries`` that are wanted."""
        return self.on_topic([body for _, run_id, _, body in entries if self.run_id in {None, run_id}])

    def on_topic(self, bodies: list[bytes]) -> list[bytes]:
        """Those of ``bodies`` whose topic is wanted."""
        if not self.topics:
            return bodies
        matchers = wanted_topics(self.topics) or ()
        return [body for body in bodies if any(matches(topic_of(body)) for matches in matchers)]


class Entry(NamedTuple):
    """An event in the log."""

    position: int
    run_id: str
    seq: int
    body: bytes


class EventLog:
    """The last events as CloudEvents, at most ``max_bytes`` of them; each has a position, counted from 0.

    Of those that are gone it knows by :meth:`gone_at` of which run they were; events that never came leave their
    positions empty (:meth:`missing_at`). ``epoch`` tells this log from another
    one after a restart: a cursor is ``EPOCH-POSITION``. Not thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self.epoch = secrets.token_hex(6)
        self.end = 0
        """The position that the next event will have."""
        self.bytes = 0
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self._gone: list[Span] = []

    @property
    def first(self) -> int:
        """The position of the oldest event that is here."""
        return self._entries[0].position if self._entries else self.end

    def append(self, run_id: str, seq: int, body: bytes) -> None:
        """Add an event; the oldest ones make room for it, a sixteenth at a time."""
        self._entries.append(Entry(self.end, run_id, seq, body))
        self.end += 1
        self.bytes += len(body)
        if self.bytes > self._max_bytes and len(self._entries) > 1:
            sizes = list(accumulate(len(entry.body) for entry in self._entries))
            gone = min(bisect_left(sizes, self.bytes - self._max_bytes * 15 // 16) + 1, len(sizes) - 1)
            self._let_go(gone)
            self.bytes -= sizes[gone - 1]

    def _let_go(self, count: int) -> None:
        for position, run_id, seq, _ in self._entries[:count]:
            last = self._gone[-1] if self._gone else Span(0, "", 0, 0)
            if (last.position + last.events, last.run_id, last.seq + last.events) == (position, run_id, seq):
                self._gone[-1] = last._replace(events=last.events + 1)
            elif seq > 0:
                self._gone.append(Span(position, run_id, seq, 1))
        del self._entries[:count]
        del self._gone[:-MOST_SPANS]

    def gone_at(self, position: int) -> tuple[Span | None, int]:
        """What stood at ``position``, before ``first``: the rest of its span, or None where that is not known.

        With it comes the position of what follows.
        """
        place = bisect_right(self._gone, position, key=_position) - 1
        if place >= 0 and position < (behind := self._gone[place].position + self._gone[place].events):
            _, run_id, seq, events = self._gone[place]
            past = position - self._gone[place].position
            return Span(position, run_id, seq + past, events - past), behind
        return None, self._gone[place + 1].position if place + 1 < len(self._gone) else self.first

    def skip(self, events: int) -> None:
        """Events were lost before they came here: whoever has read everything so far misses them."""
        self.end += events

    def missing_at(self, position: int) -> int:
        """How many events from ``position`` on (not before ``first``) never came here."""
        place = self._place_of(position)
        return (self._entries[place].position if place < len(self._entries) else self.end) - position

    def _place_of(self, position: int) -> int:
        return bisect_left(self._entries, position, key=_position)

    def cursor(self, position: int) -> str:
        """``position`` as a text for a client."""
        return f"{self.epoch}-{position}"

    def position_of(self, cursor: str) -> int | None:
        """The position that a cursor names; None for one of another log, or for what is no cursor."""
        epoch, _, number = cursor.partition("-")
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or len(number) > 18:  # noqa: PLR2004 - more digits are no position
            return None
        return min(int(number), self.end)

    def after(self, position: int, most_bytes: int) -> tuple[list[Entry], int]:
        """Entries from ``position`` on, up to one that never came; and the position behind them.

        About ``most_bytes`` of them, and at least one.
        """
        entries: list[Entry] = []
        size, start = 0, self._place_of(position)
        for entry in islice(self._entries, start, start + most_bytes // 64 + 1):
            if entry.position != position + len(entries) or (entries and size + len(entry.body) > most_bytes):
                break
            entries.append(entry)
            size += len(entry.body)
        return entries, position + len(entries)

    def frame(self, wanted: Wanted, position: int, dropped: int, most_bytes: int) -> tuple[str, int, int]:
        """What to send next to somebody at ``position`` (not before ``first``): frame, position behind it, events.

        The frame is empty where nothing of it is wanted and nothing was dropped.
        """
        entries, behind = self.after(position, most_bytes)
        bodies = wanted.chosen(entries)
        return self.frame_of(bodies, behind, dropped), behind, len(bodies)

    def frame_of(self, bodies: list[bytes], behind: int, dropped: int) -> str:
        """A frame of events before the position ``behind``; empty where there is nothing to tell."""
        if not bodies and not dropped:
            return ""
        head = b'{"cursor":"%b","dropped":%d,"events":' % (self.cursor(behind).encode(), dropped)
        return (head + batch_of(bodies) + b"}").decode()
