"""What happened lately, once for all clients: each client is only a place in it, and a slow one costs no memory."""

from __future__ import annotations

import secrets
from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

from hexviz.events.cloud_events import batch_of, topic_of
from hexviz.streams.reader import wanted_topics

__all__ = ["EventLog", "Wanted"]


class Wanted(NamedTuple):
    """Which events somebody wants: of one run (None: of all), with topics that match one of the patterns (or any)."""

    run_id: str | None = None
    topics: tuple[str, ...] = ()

    def chosen(self, entries: list[tuple[str, bytes]]) -> list[bytes]:
        """The bodies of those ``entries`` (run id, body) that are wanted."""
        bodies = [body for run_id, body in entries if self.run_id in {None, run_id}]
        if not self.topics:
            return bodies
        matchers = wanted_topics(self.topics) or ()
        return [body for body in bodies if any(matches(topic_of(body)) for matches in matchers)]


class EventLog:
    """The last events as CloudEvents, at most ``max_bytes`` of them; each has a position, counted from 0.

    ``epoch`` tells this log from another one after a restart: a cursor is ``EPOCH-POSITION``. Not thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self.epoch = secrets.token_hex(6)
        self.first = 0
        self.bytes = 0
        self._max_bytes = max_bytes
        self._entries: list[tuple[str, bytes]] = []

    @property
    def end(self) -> int:
        """The position that the next event will have."""
        return self.first + len(self._entries)

    def append(self, run_id: str, body: bytes) -> None:
        """Add an event; the oldest ones make room for it, a sixteenth at a time."""
        self._entries.append((run_id, body))
        self.bytes += len(body)
        if self.bytes > self._max_bytes and len(self._entries) > 1:
            sizes = list(accumulate(len(body) for _, body in self._entries))
            gone = min(bisect_left(sizes, self.bytes - self._max_bytes * 15 // 16) + 1, len(sizes) - 1)
            del self._entries[:gone]
            self.bytes -= sizes[gone - 1]
            self.first += gone

    def skip(self, events: int) -> None:
        """Events were lost before they came here: whoever has read everything so far misses them."""
        self.first, self.bytes, self._entries = self.end + events, 0, []

    def cursor(self, position: int) -> str:
        """``position`` as a text for a client."""
        return f"{self.epoch}-{position}"

    def position_of(self, cursor: str) -> int | None:
        """The position that a cursor names; None for one of another log, or for what is no cursor."""
        epoch, _, number = cursor.partition("-")
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or len(number) > 18:  # noqa: PLR2004 - more digits are no position
            return None
        return min(int(number), self.end)

    def after(self, position: int, most_bytes: int) -> tuple[list[tuple[str, bytes]], int]:
        """Entries from ``position`` on, about ``most_bytes`` of them, at least one; and the position behind them."""
        entries: list[tuple[str, bytes]] = []
        size = 0
        for entry in self._entries[position - self.first :][: most_bytes // 64 + 1]:
            if entries and size + len(entry[1]) > most_bytes:
                break
            entries.append(entry)
            size += len(entry[1])
        return entries, position + len(entries)

    def frame(self, wanted: Wanted, position: int, dropped: int, most_bytes: int) -> tuple[str, int, int]:
        """What to send next to somebody at ``position`` (not before ``first``): frame, position behind it, events.

        The frame is empty where nothing of it is wanted and nothing was dropped.
        """
        entries, behind = self.after(position, most_bytes)
        bodies = wanted.chosen(entries)
        if not bodies and not dropped:
            return "", behind, 0
        head = b'{"cursor":"%b","dropped":%d,"events":' % (self.cursor(behind).encode(), dropped)
        return (head + batch_of(bodies) + b"}").decode(), behind, len(bodies)
