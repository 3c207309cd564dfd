"""Messages that wait to be sent: in memory while the other side keeps up, on disk while it does not."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from hexviz.events.cloud_events import topic_of
from hexviz.spool import Entry
from hexviz.streams.models import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.spool import Spool

_OVERHEAD = 300
"""Bytes that a message takes in memory beside its body."""


class Backlog:
    """First in, first out, for one thread that adds and one that sends.

    In memory as long as that is at most ``max_bytes``; then, and after :meth:`to_disk`, in the spool, until that is
    empty. What finds no room is dropped, the newest, and counted. What is in memory is always older than what is in
    the spool.
    """

    def __init__(self, spool: Spool | None, max_bytes: int) -> None:
        self.changed = threading.Condition()
        self.added = self.removed = 0
        """Messages taken in and let go since the beginning."""
        self.dropped = 0
        """Messages for which there was no room."""
        self.error: OSError | None = None
        self._spool = spool
        self._max_bytes = max_bytes
        self._memory: deque[Message] = deque()
        self._bytes = 0
        self._begun = self._closed = False
        self._kept = 0

    def begin(self) -> None:
        """Count what an earlier process left, which may take a second: once, by whichever thread comes first."""
        with self.changed:
            if not self._begun:
                self._begun = True
                self.added += self.on_disk

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._memory and not self._spooled

    @property
    def _spooled(self) -> bool:
        return self._spool is not None and self._spool.nbytes > 0

    @property
    def on_disk(self) -> int:
        """Messages that wait in the spool; after :meth:`close`, those that were left there."""
        with self.changed:
            return self._kept if self._spool is None else len(self._spool)

    def __len__(self) -> int:
        with self.changed:
            return len(self._memory) + self.on_disk

    def add(self, messages: Sequence[Message]) -> None:
        """Take in messages behind the others."""
        with self.changed:
            if self._closed:
                self.dropped += len(messages)
            elif self._spooled:
                self._write(messages)
            else:
                self._hold(messages)
            self.changed.notify_all()

    def peek(self, count: int) -> list[Message]:
        """The oldest messages; they stay until :meth:`done`."""
        with self.changed:
            if self._memory or self._spool is None:
                return list(islice(self._memory, count))
            return [Message(e.run_id, e.seq, topic_of(e.record), e.record) for e in self._spool.peek(count)]

    def done(self, count: int) -> None:
        """Let go of the oldest messages, wherever they have got to since :meth:`peek`."""
        with self.changed:
            if self._closed:
                return
            self.removed += count
            while count and self._memory:
                self._bytes -= len(self._memory.popleft().body) + _OVERHEAD
                count -= 1
            while count and self._spool is not None and (given := self._spool.peek(count)):
                self._spool.done(len(given))
                count -= len(given)
            self.changed.notify_all()

    def to_disk(self) -> None:
        """Move what waits in memory into the spool, if there is one: the other side does not take it now."""
        with self.changed:
            if self._memory and not self._spooled:
                waiting = list(self._memory)
                kept = self._append(waiting)
                if kept:  # otherwise they are as well off in memory
                    self._memory.clear()
                    self._bytes = 0
                    self.dropped += len(waiting) - kept
                    self.added -= len(waiting) - kept

    def wait_for(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until ``ready()``, which is asked after each change."""
        with self.changed:
            return self.changed.wait_for(ready, timeout)

    def rouse(self) -> None:
        """Let everybody who waits look again."""
        with self.changed:
            self.changed.notify_all()

    def close(self) -> int:
        """What waits goes to disk; its number."""
        with self.changed:
            self.to_disk()
            left = len(self)
            self._kept = self.on_disk
            self._closed = True
            spool, self._spool = self._spool, None
            if spool is not None:
                spool.close()
            self._memory.clear()
            return left

    def _hold(self, messages: Sequence[Message]) -> None:
        for taken, message in enumerate(messages):
            size = len(message.body) + _OVERHEAD
            if self._bytes + size > self._max_bytes:
                self.to_disk()
                self._write(messages[taken:])
                return
            self._memory.append(message)
            self._bytes += size
            self.added += 1

    def _write(self, messages: Sequence[Message]) -> None:
        kept = self._append(messages)
        self.added += kept
        self.dropped += len(messages) - kept

    def _append(self, messages: Sequence[Message]) -> int:
        """How many of them are on disk now: the first so many."""
        if self._spool is None:
            return 0
        try:
            return self._spool.append([Entry(message.run_id, message.seq, message.body) for message in messages])
        except OSError as error:  # the disk is full or gone
            self.error = error
            return 0
