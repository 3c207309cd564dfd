"""The thread that writes: takes events off the run's path, has them encoded, commits them in groups."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hexviz.events.events import Event
from hexviz.stores.errors import StoreError, StoreWriteError
from hexviz.stores.parts import Given, Part, parts_of
from hexviz.stores.run_info import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GROUP_S = 0.05
MAX_QUEUED = 500_000
_BATCH = 5_000
_RETRY_S = 0.5


class Refusal(NamedTuple):
    """Records that a store will never take, and why."""

    number: int
    error: StoreError


class Log(Protocol):
    """What writes groups of records, called in the writer's thread only."""

    @property
    def passing(self) -> tuple[type[Exception], ...]:
        """Errors that may pass (disk full, locked, connection lost): the group is kept and tried again."""

    def commit(self, parts: Sequence[Part], *, to_disk: bool) -> list[Refusal]:
        """Write all parts in one transaction; after an error nothing of it is there."""

    def catch_up(self) -> float | None:
        """Do some of what was put off; seconds until this is to be called again, None where nothing is left."""

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""


class _Barrier:
    """Set when everything queued before it is committed, or with the error that stopped that."""

    def __init__(self, durability: str) -> None:
        self.durability = durability
        self.done = threading.Event()
        self.error: BaseException | None = None


Item = Event | Given | _Barrier


class Writer:
    """A queue and a daemon thread. ``ended`` hears of each run whose end was committed, in that thread."""

    def __init__(self, log: Log, name: str, ended: Callable[[str], None] | None = None) -> None:
        self._log = log
        self._ended = ended
        self._passing: tuple[type[Exception], ...] = (*log.passing, MemoryError)
        self._name = name
        self._queue: deque[Item] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._awake: list[bool] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closing = False
        self._pause: float | None = None
        self._in_hand = 0
        self._refusal: StoreError | None = None
        self.error: BaseException | None = None
        self.written = 0
        self.wrote_at = time.monotonic()
        """When something was last committed, by the monotonic clock."""
        self.lost = 0
        self.refused = 0
        self.put = self._putter()
        """Queue an event.

        Waits only while about half a million are queued; loses (and counts) only after closing, or when writing fails
        for so long that the queue is full.
        """

    def _putter(self) -> Callable[[Event | Given], None]:
        """What the run's path calls; it looks up nothing of this object while the thread is awake anyway.

        A recorder does the same by its ``parts``, without the call (see :func:`hexviz.recording.fan_out.parts_of`).
        """
        awake, append, rouse = self._awake, self._queue.append, self._rouse

        def put(item: Event | Given) -> None:
            append(item)  # first, so that no item is left behind by a thread that goes to sleep just now
            if not awake:
                rouse()

        vars(put)["parts"] = (append, awake, rouse)
        return put

    def _rouse(self) -> None:
        """After the first put since the thread has looked: wake it, and hold the caller up while the queue is full."""
        while self._is_full() and self.error is None and not self._closing:
            self.wake()
            time.sleep(0.001)
        if self._closing or self._is_full():
            self._drop_newest()
            return
        self._awake.append(True)
        self.wake()
        if self._closing:
            self._awake.clear()

    def _is_full(self) -> bool:
        return len(self._queue) + self._in_hand > MAX_QUEUED

    def _drop_newest(self) -> None:
        barriers = []
        with contextlib.suppress(IndexError):  # the thread was quicker: nothing is lost
            while isinstance(found := self._queue.pop(), _Barrier):
                barriers.append(found)
            self.lost += 1
        self._queue.extend(reversed(barriers))

    def wake(self) -> None:
        """Let the thread look for work; it is started where there is none."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and os.getpid() == self._pid:  # a forked child never writes its parent's file
                    self._wake.set()  # first, so that the thread need not be woken again while the run goes on
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        self._wake.set()

    def flush(self, durability: str, timeout: float | None) -> None:
        """Wait until all that was put before is committed. Raises :class:`StoreWriteError` with the cause."""
        if self._pid != os.getpid() or (self._thread is None and not self._queue):
            return
        if self._closing and (self._thread is None or not self._thread.is_alive()):
            if self.queued:
                raise StoreWriteError(f"{self._name}: it was closed with {self.queued} records that were not written")
            return
        barrier = _Barrier(durability)
        self._queue.append(barrier)
        self._hurry.set()
        self.wake()
        if not barrier.done.wait(timeout):
            raise StoreWriteError(f"{self._name}: not written within {timeout} s, {self.queued} records are queued")
        if barrier.error is not None:
            if isinstance(barrier.error, StoreError):
                raise barrier.error
            raise StoreWriteError(
                f"{self._name}: {barrier.error}; {self.queued} records stay queued and are tried again"
            ) from barrier.error

    def close(self, timeout: float | None) -> int:
        """Write what is queued, end the thread; the number of records that could not be written. Twice is fine."""
        self._closing = True
        self._awake.clear()
        self._hurry.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(timeout)
        return self.queued

    @property
    def is_here(self) -> bool:
        """Whether this is the process that opened the store, and not one that it forked."""
        return self._pid == os.getpid()

    @property
    def queued(self) -> int:
        """Records not yet written."""
        return self._in_hand + sum(not isinstance(item, _Barrier) for item in list(self._queue))

    # --- in the thread ---

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait(self._pause)
                self._wake.clear()
                if not self._closing:
                    self._hurry.wait(GROUP_S)
                self._hurry.clear()
                self._awake.clear()
                ended = self._closing
                written = self._drain()
                self._pause = self._log.catch_up()
                while ended and self._pause == 0.0:
                    self._pause = self._log.catch_up()
                if ended and (not self._queue or not written):
                    return
        finally:
            self._log.close()

    def _drain(self) -> bool:
        while self._queue:
            items, barriers = self._take()
            try:
                self._write(items, to_disk=any(barrier.durability == "disk" for barrier in barriers))
            except self._passing as error:
                self.error = error
                self._queue.extendleft(reversed(items))
                self._in_hand = 0
                _settle(barriers, error)
                self._hurry.wait(_RETRY_S)
                self._wake.set()
                return False
            if barriers:
                _settle(barriers, self._refusal)
                self._refusal = None
        return True

    def _take(self) -> tuple[list[Event | Given], list[_Barrier]]:
        items: list[Event | Given] = []
        barriers: list[_Barrier] = []
        queue, take, keep = self._queue, self._queue.popleft, items.append
        self._awake.clear()  # so that the next put looks whether the queue is full
        while queue and len(items) < _BATCH:
            item = take()
            if isinstance(item, _Barrier):
                barriers.append(item)
            else:
                keep(item)
        self._in_hand = len(items)
        return items, barriers

    def _write(self, items: Sequence[Event | Given], *, to_disk: bool) -> None:
        parts, unwritable = parts_of(items)
        refusals = [Refusal(len(unwritable), StoreWriteError(f"{self._name}: {error}")) for error in unwritable[:1]]
        try:
            if parts or to_disk:
                refusals += self._log.commit(parts, to_disk=to_disk)
        except self._passing:
            raise
        except Exception as error:  # noqa: BLE001 - what the store cannot hold must not end the thread
            if len(items) > 1:
                self._write_singly(items)
                return
            refusals = [Refusal(len(items), StoreWriteError(f"{self._name}: {error}"))]
        refused = sum(refusal.number for refusal in refusals)
        self.error = None
        self.written += len(items) - refused
        self.refused += refused
        self._in_hand = 0
        self.wrote_at = time.monotonic()
        self._tell_of_ends(parts)
        for refusal in refusals:
            self.error = refusal.error
            self._refusal = self._refusal or refusal.error

    def _tell_of_ends(self, parts: Sequence[Part]) -> None:
        if self._ended is not None:
            for part in parts:
                if any(STATUS[type(event)] != "running" for event in part.facts):
                    self._ended(part.run_id)

    def _write_singly(self, items: Sequence[Event | Given]) -> None:
        """One of the records cannot be written at all: leave it out, and count it."""
        for item in items:
            self._write([item], to_disk=False)


def _settle(barriers: list[_Barrier], error: BaseException | None) -> None:
    for barrier in barriers:
        barrier.error = error
        barrier.done.set()
