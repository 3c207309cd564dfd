"""The thread that writes: takes events off the run's path, encodes them, commits them in groups."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from hexviz.events.events import Event
from hexviz.events.schema import to_record
from hexviz.stores.errors import StoreError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP_S = 0.05
MAX_QUEUED = 500_000
_BATCH = 5_000
_YIELD_EVERY = 200
_RETRY_S = 0.5


class Entry(msgspec.Struct):
    """One record on its way, with the facts about its run that it tells."""

    run_id: str
    seq: int
    record: bytes
    facts: Event | None = None
    timestamp: datetime | None = None
    pipeline: str = ""


class _Barrier:
    """Set when everything queued before it is committed, or with the error that stopped that."""

    def __init__(self, durability: str) -> None:
        self.durability = durability
        self.done = threading.Event()
        self.error: BaseException | None = None


Item = Event | Entry | _Barrier


class Writer:
    """A queue and a daemon thread. ``commit`` is called in that thread with entries in order."""

    def __init__(self, commit: Callable[[list[Entry], bool], None], finish: Callable[[], None], name: str) -> None:
        self._commit = commit
        self._finish = finish
        self._name = name
        self._queue: deque[Item] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._awake = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closing = False
        self.error: BaseException | None = None
        self.written = 0
        self.lost = 0
        self.refused = 0

    def put(self, item: Event | Entry) -> None:
        """Queue an event.

        Waits only while half a million are queued; loses (and counts) only after closing, or when writing fails for so
        long that the queue is full.
        """
        queue = self._queue
        if len(queue) >= MAX_QUEUED or self._closing:
            self._put_slowly(item)
            return
        queue.append(item)
        if not self._awake:
            self._awake = True
            self._rouse()

    def _put_slowly(self, item: Item) -> None:
        while len(self._queue) >= MAX_QUEUED and self.error is None and not self._closing:
            self._rouse()
            time.sleep(0.001)
        if self._closing or len(self._queue) >= MAX_QUEUED:
            self.lost += 1
            return
        self._queue.append(item)

    def _rouse(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None and os.getpid() == self._pid:  # a forked child never writes its parent's file
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        self._wake.set()

    def flush(self, durability: str, timeout: float | None) -> None:
        """Wait until all that was put before is committed. Raises :class:`StoreWriteError` with the cause."""
        if self._pid != os.getpid() or (self._thread is None and not self._queue):
            return
        barrier = _Barrier(durability)
        self._queue.append(barrier)
        self._hurry.set()
        self._rouse()
        if not barrier.done.wait(timeout):
            raise StoreWriteError(f"{self._name}: not written within {timeout} s, {self.queued} records are queued")
        if barrier.error is not None:
            if isinstance(barrier.error, StoreError):
                raise barrier.error
            raise StoreWriteError(
                f"{self._name}: {barrier.error}; {len(self._queue)} records stay queued and are tried again"
            ) from barrier.error

    def close(self, timeout: float | None) -> int:
        """Write what is queued, end the thread; the number of records that could not be written. Twice is fine."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(timeout)
        return sum(not isinstance(item, _Barrier) for item in list(self._queue))

    @property
    def queued(self) -> int:
        """Records not yet written."""
        return len(self._queue)

    # --- in the thread ---

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                if not self._closing:
                    self._hurry.wait(GROUP_S)
                self._hurry.clear()
                self._awake = False
                ended = self._closing
                written = self._drain()
                if ended and (not self._queue or not written):
                    return
        finally:
            self._finish()

    def _drain(self) -> bool:
        while self._queue:
            entries, barriers = self._take()
            try:
                self._commit(entries, any(barrier.durability == "disk" for barrier in barriers))
            except (sqlite3.Error, OSError) as error:
                self._put_back(entries, error)
                _settle(barriers, error)
                self._hurry.wait(_RETRY_S)
                self._wake.set()
                return False
            except Exception as error:  # noqa: BLE001 - what SQLite cannot hold must not end the thread
                self._write_singly(entries, error)
            else:
                self.error = None
                self.written += len(entries)
            _settle(barriers, None)
        return True

    def _write_singly(self, entries: list[Entry], error: Exception) -> None:
        """One of the entries cannot be written at all: leave it out, and count it."""
        if len(entries) <= 1:
            self.refused += len(entries)
            self.error = error
            return
        for entry in entries:
            try:
                self._commit([entry], False)  # noqa: FBT003
                self.written += 1
            except Exception as fault:  # noqa: BLE001 - as above
                self.refused += 1
                self.error = fault

    def _take(self) -> tuple[list[Entry], list[_Barrier]]:
        entries: list[Entry] = []
        barriers: list[_Barrier] = []
        while self._queue and len(entries) < _BATCH:
            item = self._queue.popleft()
            if isinstance(item, _Barrier):
                barriers.append(item)
            elif isinstance(item, Entry):
                entries.append(item)
            else:
                self._encode(item, entries)
            if len(entries) % _YIELD_EVERY == 0:
                time.sleep(0)  # the run's thread goes first
        return entries, barriers

    def _encode(self, event: Event, entries: list[Entry]) -> None:
        try:
            entries.append(entry_of(event, to_record(event)))
        except Exception as error:  # noqa: BLE001 - an event that cannot be written costs itself only
            self.refused += 1
            self.error = error

    def _put_back(self, entries: list[Entry], error: BaseException) -> None:
        self.error = error
        self._queue.extendleft(reversed(entries))


def _settle(barriers: list[_Barrier], error: BaseException | None) -> None:
    for barrier in barriers:
        barrier.error = error
        barrier.done.set()


def entry_of(event: Event, record: bytes) -> Entry:
    """The record of ``event`` with what the list of runs needs to know of it."""
    facts = event if type(event).__name__.startswith("Pipeline") else None
    return Entry(event.run_id, event.seq, record, facts, event.timestamp, event.pipeline)
