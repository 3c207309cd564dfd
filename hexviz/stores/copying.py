"""Copies of the columns of long runs: which runs have one, and the thread that makes what nobody else has made.

The recorder of a run leaves one when it closes, and whoever reads a run that has none. While the run goes on a thread
copies what the recorder has heard so far, each time it is half as much again. For every other run that ends
(one that was imported, or came over a stream, or was heard by a recorder of many runs) a thread makes it, from the
records that the store has, once nothing has been written for a while: not beside a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
import weakref
import zlib
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.events.forking import free_in_children

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hexviz.recording.recording import Recording
    from hexviz.stores.run_info import RunInfo
    from hexviz.stores.store import Store

LONG = 20_000
"""Events from which on a run is read from a copy of its columns; fewer are read in less than 40 ms anyway."""
MOST = 5_000_000
"""Events up to which the thread makes a copy: it holds about 100 bytes of each meanwhile."""
QUIET_S = 1.0
"""Nothing may have been written for so long: in that time the recorder of a run does it, for a fortieth of the work."""
LATE_S = 10.0
"""How long closing a store waits for the copies that are due; without it, the next reader makes them."""
_PACE_S = 0.0005
_LOOK_S = 0.1
_HASH_BYTES = 32
_STALE = timedelta(minutes=1)


def is_long(info: RunInfo) -> bool:
    """Whether a run may have a copy that is worth its place."""
    return info.events >= LONG


def is_over(info: RunInfo) -> bool:
    """Whether a run has ended, or its writer seems to be gone."""
    return info.status != "running" or (info.changed_at is not None and datetime.now(UTC) - info.changed_at > _STALE)


Rows = list[tuple[Any, ...]]
"""Of each segment of a run, in order: first seq, last seq, count and CRC-32."""


class Copy(NamedTuple):
    """A copy of the first events of a run, or of all: its parts, how many there are, and up to which seq."""

    parts: list[bytes]
    events: int
    last_seq: int


def name_of(rows: Rows) -> bytes:
    """What names the segments that a copy is made of: a hash, and the last seq."""
    last = rows[-1][1] if rows else 0
    return _hash_of(rows) + int(last).to_bytes(8, "big", signed=True)


def named(name: Any, rows: Rows) -> Rows | None:
    """The first of ``rows`` that ``name`` names; None where they are others now.

    A hash alone, as the first copies had it, names all that there was.
    """
    if type(name) is not bytes or len(name) not in {_HASH_BYTES, _HASH_BYTES + 8}:
        return None
    last, begin = int.from_bytes(name[_HASH_BYTES:], "big", signed=True), rows
    if len(name) > _HASH_BYTES:
        begin = list(takewhile(lambda row: type(row[1]) is int and row[1] <= last, rows))
    return begin if begin and _hash_of(begin) == name[:_HASH_BYTES] else None


def _hash_of(rows: Rows) -> bytes:
    return hashlib.sha256(repr(rows).encode()).digest()


def copy_of(parts: list[bytes] | None, rows: Rows) -> Copy | None:
    """The copy that has these parts and is made of these segments."""
    return None if parts is None else Copy(parts, sum(row[2] for row in rows), rows[-1][1])


def is_of_all(copy: Copy | None, rows: Rows) -> bool:
    """Whether there is a copy, and it is made of all of these segments."""
    return copy is not None and bool(rows) and copy.last_seq == rows[-1][1]


def whole_parts(rows: Sequence[tuple[Any, Any, Any]], number: Any) -> list[bytes] | None:
    """The parts of a copy, of rows (part, CRC-32, data) by part; None where any is missing or damaged."""
    if [row[0] for row in rows] != list(range(number if type(number) is int else -1)):
        return None
    if any(type(data) is not bytes or zlib.crc32(data) != crc for _, crc, data in rows):
        return None
    return [data for _, _, data in rows]


class Copier:
    """Makes the copies of one store that nobody else has made. Its thread ends when nothing is due, or with the store.

    ``ended`` may be called from any thread, ``close`` ends it all.
    """

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)
        self._name = f"hexviz store {store.where} copies"
        self._due: dict[str, None] = {}
        self._grown: dict[str, tuple[Recording, int]] = {}
        self._at: str | None = None
        self._lock = free_in_children(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._deadline = float("inf")

    def ended(self, run_id: str) -> None:
        """A run has ended: its copy is due, if it is long and nobody else leaves one."""
        with self._lock:
            self._due[run_id] = None
            self._begin()

    def grown(self, run_id: str, recording: Recording) -> None:
        """A run that goes on has got long: a copy of what a recorder has heard of it is due at once."""
        count = len(recording)  # which may tell of more growth
        with self._lock:
            self._grown[run_id] = recording, count
            self._begin()

    def _begin(self) -> None:
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def forget(self, run_id: str) -> None:
        """Somebody else makes the copy of this run: do not begin it, or leave it."""
        with self._lock:
            self._due.pop(run_id, None)
            self._grown.pop(run_id, None)
            self._at = None if self._at == run_id else self._at

    def close(self, timeout: float = LATE_S) -> None:
        """Make what is due at once, as far as ``timeout`` seconds reach, and end. Twice is fine."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout + 1.0)
        with self._lock:
            self._grown.clear()  # lets go of what a recorder keeps

    def _run(self) -> None:
        while (run_id := self._next()) is not None:
            if run_id in self._grown:
                self._copy_grown()
                continue
            with contextlib.suppress(Exception):  # damage is for readers to tell, and a copy can be made another time
                self._wait_for_quiet()
                if (store := self._store()) is not None:
                    store.leave_copy(run_id, self._paced)
            store = None  # so that one that nobody holds any more goes

    def _next(self) -> str | None:
        """The next run that is due; None where the thread is to end."""
        with self._lock:
            self._at = None
            if self._grown and not self._closing.is_set():
                return next(iter(self._grown))
            if self._due and time.monotonic() < self._deadline:
                self._at = next(iter(self._due))
                del self._due[self._at]
            else:
                self._thread = None
            return self._at

    def _paced(self, pages: Iterable[bytes]) -> Iterator[bytes]:
        """Pages, while nothing is written; everybody else goes first."""
        for page in pages:
            self._wait_for_quiet()
            yield page
            time.sleep(_PACE_S)

    def _copy_grown(self) -> None:
        """Copy what has grown, as soon as the store has it: that does not wait for quiet, there will be none."""
        while self._grown and not self._closing.is_set():
            for run_id, (recording, count) in tuple(self._grown.items()):
                store, done = self._store(), True
                with contextlib.suppress(Exception):  # as above
                    done = store is None or store.keep_beginning(run_id, recording, count)
                with self._lock:
                    if done and self._grown.get(run_id) == (recording, count):
                        del self._grown[run_id]
                del store, recording
            if self._grown:
                self._closing.wait(_LOOK_S)

    def _wait_for_quiet(self) -> None:
        while (left := self._busy_s()) > 0 and not self._closing.wait(left):
            self._copy_grown()
        if time.monotonic() > self._deadline or self._at is None:
            raise _LateError

    def _busy_s(self) -> float:
        """How long it may take until nothing has been written for long enough; 0 where that is so."""
        store = self._store()
        return 0.0 if store is None else QUIET_S - store.idle_s()


class _LateError(Exception):
    """The store was closed and the time that was left is over, or somebody else makes the copy."""
