"""Runs sync observers off the event loop: daemon threads, one call at a time for each observer.

One router thread takes ``(event, observers)`` from the emitters, so that telling fifty observers costs the emitter one
put. It also watches: an observer whose call overruns is marked as stuck and its events are dropped as such, and a
thread that it holds is replaced, so that it delays nobody else.
"""

from __future__ import annotations

import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from hexviz.events.forking import free_in_children
from hexviz.events.lag import LAG_S, SlowCall

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

    from hexviz.events.events import Event

_BATCH = 64
_PATIENCE_S = 0.05
_STOP: Any = object()


class ThreadedObserver(Protocol):
    """What the crew needs of a registered observer."""

    backlog: deque[Event]
    scheduled: bool
    started: float
    now: Event | None
    stuck: bool
    removed: bool
    slow_call: SlowCall | None

    @property
    def written_off(self) -> bool:
        """Whether it is stuck, and what waited behind it was dropped and told."""

    def run(self, event: Event) -> None:
        """Call the observer's function; counts and reports what it raises, never raises itself."""

    def enqueue(self, event: Event) -> None:
        """Put ``event`` into the backlog, or count it as dropped."""

    def overran(self) -> None:
        """Count the call that overran, and everything that waits behind it."""


class Crew:
    """The threads of one manager; they come with the first event and go when it is closed or forgotten by its user."""

    def __init__(self, *, max_workers: int, call_timeout_s: float) -> None:
        self._max_workers = max_workers
        self._call_timeout_s = call_timeout_s
        self._lock = free_in_children(threading.RLock())
        self._shift: _Shift | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def put(self, event: Event, observers: Sequence[ThreadedObserver]) -> None:
        """Hand ``event`` to ``observers``; never waits for any of them."""
        (self._shift or self._start()).put(event, observers)

    def _start(self) -> _Shift:
        with self._lock:
            if self._shift is None:
                self._shift = _Shift(self._max_workers, self._call_timeout_s)
                self._end = weakref.finalize(self, self._shift.close)
                self._end.atexit = False
            return self._shift

    def idle(self) -> bool:
        """Whether every event has been handled, as far as that can be: stuck observers do not count."""
        shift = self._shift
        return shift is None or shift.idle()

    def close(self) -> None:
        """Send the threads home. What a stuck observer holds is left behind: it is a daemon and holds nobody up."""
        with self._lock:
            self._shift = None
            if self._end is not None:
                self._end()

    def forget(self) -> None:
        """A forked child has none of its parent's threads: what was queued stays with the parent."""
        self._shift = None
        if self._end is not None:
            self._end.detach()


class _Shift:
    """A router and its workers, which hold nothing while they wait: the last event may hold all results of a run.

    Its lock is re-entrant: a finaliser may tell an event in the middle of anything.
    """

    def __init__(self, max_workers: int, call_timeout_s: float) -> None:
        self._max_workers = max_workers
        self._call_timeout_s = call_timeout_s
        self._lock = threading.RLock()
        self._inbox: SimpleQueue[tuple[Event, Sequence[ThreadedObserver]]] = SimpleQueue()
        self._ready: SimpleQueue[ThreadedObserver] = SimpleQueue()
        self._running: set[ThreadedObserver] = set()
        self._workers = 0
        self._slow = 0
        self._unrouted = 0
        self._watched = time.monotonic()
        threading.Thread(target=self._route, name="hexviz-observers", daemon=True).start()

    def put(self, event: Event, observers: Sequence[ThreadedObserver]) -> None:
        with self._lock:
            self._unrouted += 1
        self._inbox.put((event, observers))

    def idle(self) -> bool:
        if self._unrouted or not self._ready.empty():
            return False
        return all(observer.written_off for observer in tuple(self._running))

    def close(self) -> None:
        self._inbox.put(_STOP)

    # --- router thread

    def _route(self) -> None:
        while self._route_next():
            pass

    def _route_next(self) -> bool:
        try:
            item = self._inbox.get(timeout=_PATIENCE_S if self._running or not self._ready.empty() else None)
        except Empty:
            self._watch()
            return True
        if item is _STOP:
            self._send_home()
            return False
        for observer in item[1]:
            self._assign(observer, item[0])
        with self._lock:
            self._unrouted -= 1
        if time.monotonic() - self._watched > _PATIENCE_S:
            self._watch()
        return True

    def _send_home(self) -> None:
        self._ready.put(_STOP)

    def _assign(self, observer: ThreadedObserver, event: Event) -> None:
        observer.enqueue(event)
        with self._lock:
            if observer.scheduled or not observer.backlog:
                return
            observer.scheduled = True
            self._running.add(observer)
            if self._workers < self._max_workers and self._workers < len(self._running):
                self._hire()
        self._ready.put(observer)

    def _watch(self) -> None:
        """Replace the threads of calls that take long; call an observer stuck when its call overruns."""
        now = self._watched = time.monotonic()
        slow = 0
        for observer in tuple(self._running):
            if observer.started and now - observer.started > _PATIENCE_S:
                slow += 1
            if observer.started and not observer.stuck and now - observer.started > self._call_timeout_s:
                observer.overran()
        with self._lock:
            self._slow = slow
            if not self._ready.empty() and self._workers < self._max_workers + slow:
                self._hire()

    def _hire(self) -> None:
        self._workers += 1
        threading.Thread(target=self._work, name=f"hexviz-observer-{self._workers}", daemon=True).start()

    # --- worker threads

    def _work(self) -> None:
        while self._serve_next():
            pass
        with self._lock:
            self._workers -= 1

    def _serve_next(self) -> bool:
        observer = self._ready.get()
        if observer is _STOP:  # stays there, for all others and for one that is hired only now
            others_first = not self._ready.empty()
            self._send_home()
            return others_first
        self._serve(observer)
        with self._lock:
            return self._workers <= self._max_workers + self._slow

    def _serve(self, observer: ThreadedObserver) -> None:
        backlog = observer.backlog
        for _ in range(_BATCH):
            try:
                event = backlog.popleft()
            except IndexError:
                break
            observer.now, observer.started = event, time.monotonic()
            observer.run(event)
            took_s = time.monotonic() - observer.started
            if took_s > LAG_S:
                observer.slow_call = SlowCall(observer.started, took_s)
            observer.now, observer.started = None, 0.0
        with self._lock:
            if backlog:
                self._ready.put(observer)
                return
            observer.scheduled = False
            self._running.discard(observer)
