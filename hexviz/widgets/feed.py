"""From the run's path to the screen: a tap that only appends, and a thread that sets the pace."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hexviz.events.events import Event
    from hexviz.recording.state import RunState

_log = logging.getLogger("hexviz.widgets")

GREETING_S = 1.0
"""While no view has said hello, everything is sent again this often, so that a view that came late catches up."""

MOST_HZ = 10.0
"""No view is refreshed more often than so many times a second."""

SHARE = 0.5
"""Of the time between two refreshes at most so much goes into taking in events; what is left over waits its turn."""

LATE_SHARE = 0.9
"""As long as a view that came late takes in what was before it."""

FIRST_S = 0.01
"""A view that has just appeared is sent what so many seconds of taking in give, and all that is left afterwards."""

FAR_BEHIND = 200_000
"""Where so many events wait (some 60 MB), taking them in goes before the run's own speed."""

_LEAST, _MOST = 32, 512
_GIVE_WAY_S, _TAKEN_S = 1e-4, 2e-3
_BREATH_S = 0.01
_GRACE_S = 0.03


class Sink(Protocol):
    """Where the pump sends what changed."""

    @property
    def greeted(self) -> bool:
        """Whether a view has answered so far."""

    def ready(self) -> bool:
        """Whether the view has kept up, so that more may be sent."""

    def push(self, state: RunState, *, full: bool, done: bool, asked: bool) -> None:
        """Send what changed (with ``full``: everything, and at once where a view ``asked`` for it)."""

    def news(self) -> bool:
        """Whether there is something to tell beside the state."""


class Tap:
    """What a lossless observer hears. ``put`` is one append, in any thread; it never blocks and never looks inside.

    ``history`` are events told before; they come first, and are read only as they are taken.
    """

    def __init__(self, limit: int | None = None, history: Iterable[Event] = ()) -> None:
        self._history = iter(history)
        self.late = bool(history)
        """Whether there may be more of the history."""
        self._events: deque[Event] = deque(maxlen=limit)
        self.put: Callable[[Event], None] = self._events.append
        """Keep an event for the next :meth:`drain`."""

    def __len__(self) -> int:
        return len(self._events)

    def drain(self, most: int | None = None) -> list[Event]:
        """Everything heard since the last call, in order; at most the first ``most`` of it."""
        if self.late:
            before = list(islice(self._history, most))
            self.late = bool(before) and most is not None
            if before and most is not None:
                return before
            return before + self.drain(most)
        events = self._events
        count = len(events)
        return [events.popleft() for _ in range(count if most is None else min(most, count))]


class Pump:
    """Folds what the tap heard into the state, ``hz`` times a second, and sends the difference to the sink.

    One daemon thread of its own, so that neither a busy event loop nor a slow browser holds it up; only it folds.
    When the run has ended it sends the rest, calls ``ended`` and stops by itself. ``close`` is thread-safe and closing
    twice is fine.

    It folds a few events and then lets go of the interpreter. A thread that waits for it runs on and keeps it for the
    switch interval of 5 ms, so a run that never pauses gives one or two hundredths of its time; where none waits, the
    next portions are larger.
    """

    def __init__(
        self, tap: Tap, state: RunState, sink: Sink | None, *, hz: float = 8.0, ended: Callable[[], None] | None = None
    ) -> None:
        self.tap = tap
        self.state = state
        self.lock = threading.RLock()
        self.sent = self.skipped = self.faults = 0
        self._sink = sink
        self.cpu_s = 0.0
        self._due_s = 0.0
        self._period_s = _period_of(hz)
        self._ended = ended
        self._stop = threading.Event()
        self._last = threading.Event()
        self._resync = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._anew = False
        self._last_full_s = 0.0

    def attach(self, sink: Sink) -> None:
        """Send to ``sink`` from now on, beginning with everything."""
        with self.lock:
            self._sink = sink
            self._anew = True
        self._wake.set()

    def pace(self, hz: float) -> None:
        """Refresh ``hz`` times a second from now on, between once in ten seconds and :data:`MOST_HZ`."""
        self._period_s = _period_of(hz)

    def start(self) -> None:
        """Begin to pump."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hexviz-pump", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread, fold what is left and send it as the last word."""
        self._stop.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and not self.is_current():
            thread.join(timeout=5.0)
        try:
            self.tick(done=True)
        except Exception:  # noqa: BLE001 - the front end may be gone, its errors are of any kind
            _log.exception("the last state of the live view cannot be sent")

    def finish(self) -> bool:
        """Nothing more will come: the thread takes in what is left, calls ``ended`` and stops. Returns at once.

        False where there is no thread that could.
        """
        self._last.set()
        self._wake.set()
        return self._thread is not None and self._thread.is_alive()

    def is_current(self) -> bool:
        """Whether the caller is the pump's own thread."""
        return threading.current_thread() is self._thread

    def resync(self) -> None:
        """A view has (re)appeared: send everything, now if the thread has stopped, else with the next tick."""
        if self._stop.is_set():
            self.tick(full=True, done=True)
        else:
            self._resync.set()
            self._wake.set()

    def tick(self, *, full: bool = False, done: bool = False) -> None:
        """Fold what came in, then send what changed unless the view lags behind."""
        with self.lock:
            began_s = time.thread_time()
            try:
                late = self.tap.late
                self._fold(None if done or full else self._share_s(late=late))
                if late and not self.tap.late:
                    self._resync.set()  # a sample of all of it at once, not what is new by and by
                self._send(full=full, done=done)
            finally:
                self.cpu_s += time.thread_time() - began_s

    def _send(self, *, full: bool, done: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        asked = self._resync.is_set()
        self._resync.clear()
        if not (full or asked or done) and not sink.ready():
            self.skipped += 1
            return
        whole = full or asked or self._anew or self._unseen(sink)
        self._anew = False
        if whole or done or self.state.dirty or sink.news():
            sink.push(self.state, full=whole, done=done, asked=full or asked)
            self.sent += 1

    def _share_s(self, *, late: bool) -> float:
        """How long the next tick may take in events."""
        if self._anew and self._sink is not None:
            return FIRST_S
        return (LATE_SHARE if late else SHARE) * self._period_s

    def _fold(self, within_s: float | None) -> None:
        """Take in what was heard; only so much as ``within_s`` seconds of work allow, if given, and in twice the time.

        The second limit counts where the machine is so busy that the work comes late: the picture still moves.
        """
        until_s = None if within_s is None else time.thread_time() + within_s
        late_s = None if within_s is None else time.monotonic() + 2 * within_s
        portion = _LEAST
        while events := self.tap.drain(portion):
            self._take_in(events)
            if until_s is not None and (self._resync.is_set() or time.thread_time() >= until_s):
                return
            if late_s is not None and time.monotonic() >= late_s:
                return
            if len(self.tap) >= FAR_BEHIND:
                continue
            let_go_s = time.monotonic()
            time.sleep(_GIVE_WAY_S)
            portion = _LEAST if time.monotonic() - let_go_s > _TAKEN_S else min(2 * portion, _MOST)

    def _take_in(self, events: list[Event]) -> None:
        fold = self.state.fold
        for event in events:
            try:
                fold(event)
            except Exception:  # noqa: BLE001 - an event may be of any make; one that cannot be shown stops nothing
                self.faults += 1
                if self.faults == 1:
                    _log.exception("the live view cannot take in %s; it goes on without it", type(event).__name__)

    def _paused(self) -> bool:
        """Wait for the next refresh, or until a view has appeared; True where there is none to come."""
        now_s = time.monotonic()
        self._due_s = max(now_s + _BREATH_S, self._due_s + self._period_s) if self._due_s else now_s + self._period_s
        if self.tap.late and self._sink is not None and not self._anew:
            self._due_s = now_s + _BREATH_S  # the next tick takes in more of the history, which fills the period
        self._wake.wait(self._due_s - now_s)
        self._wake.clear()
        return self._stop.is_set()

    def _unseen(self, sink: Sink) -> bool:
        """Whether all should be sent again, because no view has answered so far; large states less often."""
        pause_s = GREETING_S + len(self.state.attempts) / 2_000
        if sink.greeted or time.monotonic() - self._last_full_s < pause_s:
            return False
        self._last_full_s = time.monotonic()
        return self.state.events > 0

    def _run(self) -> None:
        while not self._paused():
            try:
                if self._last.is_set():
                    time.sleep(_GRACE_S)  # whoever ended the run goes on first
                else:
                    self.tick()
            except Exception:  # noqa: BLE001 - a view that breaks must not break the kernel
                _log.exception("the live view stops: it cannot be refreshed")
                return
            if self._ended is not None and (self.state.done or self._last.is_set()):
                self._ended()
                return


def _period_of(hz: float) -> float:
    return 1.0 / min(max(hz, 0.1), MOST_HZ)
