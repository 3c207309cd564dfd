"""Notices when an observer holds up an event loop, or the whole interpreter, and says which one it was.

A daemon thread looks in a few times a second while events flow, so the hot path pays nothing. An observer that is seen
twice in the same call, without having awaited anything, blocks its loop. When the thread itself comes late, something
held the interpreter's lock (a C extension that does not release it); then whoever had a long call meanwhile is named.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hexviz.errors import HexvizError
from hexviz.events.forking import free_in_children

if TYPE_CHECKING:
    from collections.abc import Iterable

LAG_S = 0.1
"""An observer that holds up its loop for longer than this is reported."""
STALL_S = 0.5
"""So is one that holds up the whole interpreter for longer than this."""

_LOOK_EVERY_S = 0.05
_LOOKS_WHEN_IDLE = 40


class LoopBlockedError(HexvizError):
    """An observer kept everything else from running; it is reported, never raised."""


class SlowCall(NamedTuple):
    """A call of a sync observer that took longer than :data:`LAG_S`, by the monotonic clock."""

    started_s: float
    took_s: float


class Suspect(Protocol):
    """An observer, as far as this matters."""

    failed: int
    started: float
    slow_call: SlowCall | None

    @property
    def delivered(self) -> int:
        """How many calls of it returned."""


class Watched(Protocol):
    """A manager, as far as this matters."""

    def observers(self) -> Iterable[Suspect]:
        """Everybody who is registered."""

    def on_the_loop(self) -> Suspect | None:
        """Whose code the event loop is running now."""

    def held_up(self, suspect: Any, held_s: float, *, first: bool) -> None:
        """``suspect`` has been holding up others for ``held_s`` so far; ``first`` once for each such time."""


class LagWatch:
    """The thread that looks; it comes with the first event, and goes when no more events flow."""

    def __init__(self, watched: Watched) -> None:
        self._watched = weakref.ref(watched)
        self._lock = free_in_children(threading.Lock())
        self._stopped = threading.Event()
        self.running = False

    def start(self) -> None:
        """Watch, until events cease to flow."""
        with self._lock:
            if self.running:
                return
            self.running = True
            self._stopped = threading.Event()
        threading.Thread(target=self._watch, args=(self._stopped,), name="hexviz-lag", daemon=True).start()

    def stop(self) -> None:
        """The manager is closed: look no more."""
        with self._lock:
            self.running = False
            self._stopped.set()

    def forget(self) -> None:
        """A forked child has no such thread."""
        self.running = False

    def _watch(self, stopped: threading.Event) -> None:
        idle, progress, episode = 0, -1, _Episode()
        while idle < _LOOKS_WHEN_IDLE:
            looked_s = time.monotonic()
            if stopped.wait(_LOOK_EVERY_S):
                return
            watched = self._watched()
            if watched is None:
                return
            _look_for_stalls(watched, looked_s)
            held_s, first = episode.look(watched.on_the_loop())
            if episode.suspect is not None and held_s > LAG_S:
                watched.held_up(episode.suspect, held_s, first=first)
            done = sum(observer.delivered + observer.failed for observer in watched.observers())
            idle = idle + 1 if done == progress and episode.suspect is None else 0
            progress = done
            del watched
        with self._lock:
            if stopped is self._stopped:
                self.running = False


def _look_for_stalls(watched: Watched, looked_s: float) -> None:
    now = time.monotonic()
    late_s = now - looked_s - _LOOK_EVERY_S
    if late_s < STALL_S:
        return
    for observer in watched.observers():
        call = observer.slow_call
        ended_meanwhile = call is not None and call.took_s > late_s / 2 and call.started_s + call.took_s > looked_s
        if ended_meanwhile or (observer.started and now - observer.started > late_s / 2):
            watched.held_up(observer, late_s, first=True)


class _Episode:
    """For how long the same call of the same observer has been seen on the loop."""

    def __init__(self) -> None:
        self.suspect: Suspect | None = None
        self._calls = -1
        self._began_s = 0.0
        self._told = False

    def look(self, suspect: Suspect | None) -> tuple[float, bool]:
        """The seconds so far, and whether they exceed the limit for the first time."""
        now = time.monotonic()
        calls = -1 if suspect is None else suspect.delivered + suspect.failed
        if suspect is not self.suspect or calls != self._calls:
            self.suspect, self._calls, self._began_s, self._told = suspect, calls, now, False
        held_s = now - self._began_s
        first = held_s > LAG_S and not self._told
        self._told = self._told or first
        return held_s, first
