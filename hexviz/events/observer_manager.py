"""Tells observers what happened. Their failures and their slowness stay theirs."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import uuid
from asyncio import _get_running_loop
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, get_args

from hexviz.errors import RegistrationError, RegistrationTypeError
from hexviz.events.by_class import ByClass
from hexviz.events.config import (
    DEFAULT_BLOCK_MS,
    DEFAULT_MAX_CONCURRENT_OBSERVERS,
    DEFAULT_MAX_SYNC_WORKERS,
    DEFAULT_OBSERVER_TIMEOUT,
    DEFAULT_QUEUE_SIZE,
    LoggingErrorHandler,
)
from hexviz.events.crew import Crew
from hexviz.events.desk import Desk, Row, Tally
from hexviz.events.events import Event, EventsDropped, ObserverFailed, traceback_lines
from hexviz.events.lag import LAG_S, LagWatch, LoopBlockedError, SlowCall
from hexviz.events.models import BaseEventManager, ErrorHandler
from hexviz.events.registration import callable_of, event_types_of, is_async, name_of, weakly
from hexviz.events.topics import compile_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("hexviz.observers")
_POLL_S = 0.002
_ENDING_S = 0.5
_REPORT_EVERY_S = 1.0
_TALLIES_KEPT = 64
MAX_BLOCK_MS = 10_000.0

Overflow = Literal["drop_oldest", "drop_newest", "block"]


class ObserverEntry:
    """One registered observer: what to call, what it hears, what waits for it, and what became of its events."""

    __slots__ = (
        "_lock",
        "_manager",
        "asynchronous",
        "backlog",
        "block_s",
        "busy",
        "call",
        "counted",
        "dropped",
        "event_types",
        "failed",
        "held",
        "id",
        "loop_lag_max_s",
        "now",
        "offered",
        "overflow",
        "queue_size",
        "removed",
        "scheduled",
        "slow_call",
        "started",
        "stuck",
        "tallies",
        "timed_out",
        "topics",
    )

    def __init__(
        self,
        observer_id: str,
        call: Callable[[Event], Any],
        manager: ObserverManager,
        *,
        event_types: tuple[type[Event], ...] | None,
        topics: tuple[Callable[[str], bool], ...] | None,
        queue_size: int,
        overflow: Overflow,
        block_s: float,
    ) -> None:
        self.id = observer_id
        self.call = call
        self.asynchronous = is_async(call)
        self.event_types = event_types
        self.topics = topics
        self.queue_size = queue_size
        self.overflow: Overflow = overflow
        self.block_s = block_s
        self.offered = 0
        self.loop_lag_max_s = 0.0
        self.slow_call: SlowCall | None = None
        self.backlog: deque[Event] = deque()
        self.now: Event | None = None
        self.busy = False
        self.held = False
        self.scheduled = False
        self.started = 0.0
        self.stuck = False
        self.removed = False
        self.counted = 0
        self.tallies: list[Tally] = []
        self.failed = 0
        self.timed_out = 0
        self.dropped: Counter[str] = Counter()
        self._manager = manager
        self._lock = threading.RLock()

    @property
    def delivered(self) -> int:
        """How many events it has heard: those counted one by one, and those counted for all of a row."""
        told = self.counted + sum(tally.told for tally in self.tallies) + self._manager.told_of_batch(self)
        return max(0, told)

    def sum_up(self) -> None:
        """Nothing is on its way: the tallies of rows that are long out of use need not be kept."""
        done, self.tallies = self.tallies[:-_TALLIES_KEPT], self.tallies[-_TALLIES_KEPT:]
        self.counted += sum(tally.told for tally in done)

    def wants(self, event_class: type[Event]) -> bool:
        """Whether it hears this class of events."""
        return self.event_types is None or issubclass(event_class, self.event_types)

    def hears(self, event: Event) -> bool:
        """Whether the topic of ``event`` is one of those asked for."""
        return self.topics is None or any(matches(event.topic) for matches in self.topics)

    def enqueue(self, event: Event) -> None:
        """Keep ``event`` for later; where that cannot be, count what is lost, by reason."""
        with self._lock:
            if self.stuck or self.removed:
                lost, reason = event, "stuck" if self.stuck else "unregistered"
            elif len(self.backlog) < self.queue_size:
                self.backlog.append(event)
                return
            else:
                reason = "queue_full"
                lost = event
                if self.overflow == "drop_oldest":
                    self.backlog.append(event)
                    lost = self.backlog.popleft()
            self.dropped[reason] += 1
        self._manager.dropped(self, lost, reason)

    def kept_back(self, event: Event) -> bool:
        """Keep ``event`` for later where a call is under way (or nobody is to hear it any more); False where not."""
        with self._lock:
            if not self.held:
                return False
            self.enqueue(event)
            return True

    def next_in_line(self) -> Event | None:
        """What waited behind the call that ended; None, and nobody waits any more."""
        with self._lock:
            if self.backlog:
                return self.backlog.popleft()
            self.now = None
            self.set_busy(busy=False)
            return None

    def all_in_line(self) -> list[Event]:
        """Everything that waited behind the call that ended; nobody waits any more."""
        with self._lock:
            waiting = list(self.backlog)
            self.backlog.clear()
            self.now = None
            self.set_busy(busy=False)
            return waiting

    def give_up(self) -> None:
        """The event loop of the call under way was closed: it will not end, nor will what waits behind it be heard."""
        with self._lock:
            self.dropped["cancelled"] += not self.stuck
            self.stuck, self.now = False, None
            self.drop_backlog("cancelled")
            self.set_busy(busy=False)

    def has_room(self, events: int = 1) -> bool:
        """Whether so many more events may wait for it; counted for ``overflow="block"`` alone."""
        ended = self.delivered + self.failed + self.timed_out + sum(self.dropped.values())
        return self.stuck or self.removed or self.offered - ended + min(events, self.queue_size) <= self.queue_size

    def offer(self, event: Event, *, wait: bool) -> bool:
        """Count ``event`` as one that is on its way, or as lost where there is no room, also after waiting for it."""
        deadline = time.monotonic() + self.block_s if wait else 0.0
        while not self.has_room():
            if time.monotonic() >= deadline:
                with self._lock:
                    self.offered += 1
                    self.dropped["queue_full"] += 1
                self._manager.dropped(self, event, "queue_full")
                return False
            time.sleep(_POLL_S)
        with self._lock:
            self.offered += 1
        return True

    def drop_backlog(self, reason: str) -> None:
        """Count everything that waits as lost."""
        with self._lock:
            lost = tuple(self.backlog)
            self.backlog.clear()
            self.dropped[reason] += len(lost)
        for event in lost:
            self._manager.dropped(self, event, reason)

    def overran(self) -> None:
        """The call under way takes too long: count it, and lose what waits behind it until it comes back."""
        self.stuck = True
        self.timed_out += 1
        self._manager.failed(self, self.now, TimeoutError(f"observer {self.id!r} did not return in time"))
        self.drop_backlog("stuck")

    def run(self, event: Event) -> None:
        """Call a sync observer, in a thread of the crew."""
        try:
            outcome = self.call(event)
            if outcome.__class__ is not None.__class__ and hasattr(outcome, "__await__"):
                self._manager.await_elsewhere(outcome)
        except BaseException as error:  # noqa: BLE001 - an observer may raise anything; the run must not notice
            self.count_failure(event, error)
        else:
            self.count_success()

    def set_busy(self, *, busy: bool) -> None:
        """Whether a call waits. While it is ``held``, events go to its backlog: busy, or not registered any more."""
        self.busy = busy
        self.held = busy or self.removed

    def count_success(self) -> None:
        """The call under way returned."""
        if self.stuck:
            self.stuck = False  # counted as timed out already
        else:
            self.counted += 1

    def count_failure(self, event: Event | None, error: BaseException) -> None:
        """The call under way raised."""
        if self.stuck:
            self.stuck = False
            return
        self.failed += 1
        self._manager.failed(self, event, error)

    def statistics(self) -> dict[str, Any]:
        """What became of the events so far."""
        return {
            "delivered": self.delivered,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "dropped": dict(self.dropped),
            "queued": len(self.backlog),
            "stuck": self.stuck,
            "loop_lag_max_s": self.loop_lag_max_s,
        }


class _Others(NamedTuple):
    """Whoever else hears a class of events: more than one lossless observer, sync ones, and those that select."""

    lossless: tuple[tuple[Callable[[Event], Any], ObserverEntry], ...]
    awaited: Row | None
    threaded: tuple[ObserverEntry, ...]
    selective: bool
    """Whether each event has to be looked at: topics matter, or whether there is room."""


_Plan: TypeAlias = "tuple[Callable[[Event], Any], ObserverEntry, Row | None, _Others | None]"
"""Who hears a class of events, found in one step: the first lossless observer as what to call in line, and as itself;
the async ones; whoever else there is."""


_Audience: TypeAlias = "tuple[tuple[ObserverEntry, ...], Row | None, _Others | None]"


class ObserverManager(BaseEventManager):
    """Fire and forget: tells every observer that wants an event, and waits for none.

    The order per observer is the order of ``notify``; each observer has its own bounded queue, so a slow one delays
    nobody else, and what it loses is counted by reason and told with an ``EventsDropped`` event. Async observers run on
    one event loop (the first one that notifies), sync ones in daemon threads, each one call at a time. What an observer
    raises is counted, logged at most once a second, and told with an ``ObserverFailed`` event; it never reaches the
    caller. May be used from any thread and from several loops.

    ``observer_timeout`` (seconds) bounds one call. ``max_sync_workers`` is the number of threads for sync observers;
    calls that overrun get a replacement. ``max_concurrent_observers`` is the number of async observers that may wait at
    a time before that is logged; none is held back, because a slow one must not delay the others.
    """

    def __init__(
        self,
        max_concurrent_observers: int = DEFAULT_MAX_CONCURRENT_OBSERVERS,
        observer_timeout: float = DEFAULT_OBSERVER_TIMEOUT,
        max_sync_workers: int = DEFAULT_MAX_SYNC_WORKERS,
        error_handler: ErrorHandler | None = None,
        use_weak_refs: bool = False,  # noqa: FBT001, FBT002 - the contract's signature
    ) -> None:
        for name, value in (
            ("max_concurrent_observers", max_concurrent_observers),
            ("observer_timeout", observer_timeout),
            ("max_sync_workers", max_sync_workers),
        ):
            if not (value > 0 and math.isfinite(value)):
                msg = f"{name} must be a positive number, not {value!r}"
                raise RegistrationError(msg)
        self.observer_timeout = observer_timeout
        self.max_concurrent_observers = max_concurrent_observers
        self._error_handler = error_handler or LoggingErrorHandler(_log)
        self._use_weak_refs = use_weak_refs
        self._entries: dict[str, ObserverEntry] = {}
        self.active = False
        """Whether anybody is registered: an emitter may save itself the events otherwise."""
        self._lossless: dict[str, ObserverEntry] = {}
        self._plans = ByClass(self._plan)
        self._audiences: dict[tuple[ObserverEntry, ...], _Audience] = {}
        self._rows: dict[tuple[ObserverEntry, ...], Row] = {}
        self._crew = Crew(max_workers=max_sync_workers, call_timeout_s=observer_timeout)
        self._desk = Desk(self)
        self._inbox = self._desk.inbox
        self._lag = LagWatch(self)
        self.blocking: tuple[ObserverEntry, ...] = ()
        """Those with ``overflow="block"``: an emitter on an event loop calls :meth:`make_room` before it goes on."""
        self._emitters: dict[str, Callable[..., Any]] = {}
        self._reports: dict[tuple[str, str, str], list[Any]] = {}
        self._reports_lock = threading.RLock()

    # --- registering

    def register(
        self,
        handler: Any,
        *,
        observer_id: str | None = None,
        event_types: Iterable[type[Event]] | type[Event] | None = None,
        topics: str | Iterable[str] | None = None,
        lossless: bool = False,
        queue_size: int = DEFAULT_QUEUE_SIZE,
        overflow: Overflow = "drop_newest",
        block_ms: float = DEFAULT_BLOCK_MS,
        keep_alive: bool = False,
        replace: bool = False,
    ) -> str:
        """Add an observer: a function of ``(event)``, sync or async, or an object with a ``handle`` method.

        ``event_types`` (subclasses included) and ``topics`` (patterns, see :mod:`hexviz.events.topics`) select what it
        hears. ``queue_size`` events may wait for it while it is busy; ``overflow`` says which are lost beyond that:
        ``"drop_newest"``, ``"drop_oldest"``, or ``"block"``, which holds the emitter for up to ``block_ms`` until there
        is room, and then drops the event (``await notify`` and runs wait without blocking their loop).
        ``lossless=True`` calls a sync function in line, in the thread of the emitter: for recorders, whose cost is a
        fraction of a microsecond. Returns the id to unregister it by.

        Raises :class:`~hexviz.errors.RegistrationError` where the id is taken and ``replace`` is not set, and
        :class:`~hexviz.errors.RegistrationTypeError` for a handler or an event type that cannot work.
        """
        call = callable_of(handler)
        observer_id = observer_id or str(uuid.uuid4())
        if observer_id in self._entries and not replace:
            msg = f"an observer {observer_id!r} is registered already; pass replace=True, or another observer_id="
            raise RegistrationError(msg)
        if queue_size < 1:
            msg = f"queue_size of observer {name_of(handler)!r} must be at least 1, not {queue_size!r}"
            raise RegistrationError(msg)
        if overflow not in get_args(Overflow):
            rules = ", ".join(map(repr, get_args(Overflow)))
            msg = f"overflow of observer {name_of(handler)!r} is one of {rules}, not {overflow!r}"
            raise RegistrationError(msg)
        if not 0 < block_ms <= MAX_BLOCK_MS:
            msg = f"block_ms of observer {name_of(handler)!r} must be above 0 and at most {MAX_BLOCK_MS:g}"
            raise RegistrationError(f"{msg}, not {block_ms!r}")
        if lossless and is_async(call):
            msg = f"a lossless observer is called in line, so {name_of(handler)!r} cannot be async"
            raise RegistrationTypeError(msg)
        if self._use_weak_refs and not keep_alive:
            call = weakly(handler, lambda: self._vanished(observer_id))
        types, patterns = event_types_of(event_types), compile_topics(topics)
        self.unregister(observer_id)
        entry = ObserverEntry(
            observer_id,
            call,
            self,
            event_types=types,
            topics=patterns,
            queue_size=queue_size,
            overflow=overflow,
            block_s=block_ms / 1000,
        )
        self._entries[observer_id] = entry
        if lossless:
            self._lossless[observer_id] = entry
        self._plan_anew()
        return observer_id

    def _plan_anew(self) -> None:
        """The registrations changed."""
        entries = tuple(self._entries.values())
        self.active = bool(entries)
        self.blocking = tuple(e for e in entries if e.overflow == "block" and e.id not in self._lossless)
        self._plans, self._rows = ByClass(self._plan), {}
        self._audiences = {}
        if self._desk.idle():
            for entry in entries:
                if len(entry.tallies) > _TALLIES_KEPT:
                    entry.sum_up()

    def _vanished(self, observer_id: str) -> None:
        if self.unregister(observer_id):
            _log.warning("observer %r was garbage-collected and hears no more; pass keep_alive=True", observer_id)

    def unregister(self, handler_id: str) -> bool:
        """Remove the observer of that id; what still waits for it is dropped. False where there is none."""
        entry = self._entries.pop(handler_id, None)
        if entry is None:
            return False
        self._lossless.pop(handler_id, None)
        self._plan_anew()
        entry.removed = entry.held = True
        entry.drop_backlog("unregistered")
        return True

    def clear(self) -> None:
        """Remove every observer."""
        for observer_id in tuple(self._entries):
            self.unregister(observer_id)

    def __len__(self) -> int:
        return len(self._entries)

    def _plan(self, event_class: type[Event]) -> _Plan:
        wanted = tuple([entry for entry in self.observers() if entry.wants(event_class)])
        lossless, row, others = self._audiences.get(wanted) or self._audience(wanted)
        if not lossless:
            return _keep_nothing, _NO_ENTRY, row, others
        first, *more = lossless
        if more:
            kept = tuple([(self._keeper(entry, event_class), entry) for entry in more])
            others = _Others(kept, None, (), selective=False) if others is None else others._replace(lossless=kept)
        return self._keeper(first, event_class), first, row, others

    def _audience(self, wanted: tuple[ObserverEntry, ...]) -> _Audience:
        """The same for all classes of events that the same observers hear; so they can be told in batches."""
        queued = [entry for entry in wanted if entry.id not in self._lossless]
        awaited = tuple([entry for entry in queued if entry.asynchronous])
        threaded = tuple([entry for entry in queued if not entry.asynchronous])
        selective = any(entry.topics is not None or entry.overflow == "block" for entry in queued)
        row = self._row_of(awaited) if awaited else None
        others = _Others((), row if selective else None, threaded, selective) if selective or threaded else None
        lossless = tuple([entry for entry in wanted if entry.id in self._lossless])
        audience = self._audiences[wanted] = lossless, None if selective else row, others
        return audience

    def _keeper(self, entry: ObserverEntry, event_class: type[Event]) -> Callable[[Event], Any]:
        """What to call in line: a lossless observer may have a function of its own for each class of events."""
        if entry.topics is not None:
            return lambda event: entry.call(event) if entry.hears(event) else None
        special = getattr(entry.call, "keeper_of", None)
        return entry.call if special is None else special(event_class)

    def _row_of(self, entries: tuple[ObserverEntry, ...]) -> Row:
        row = self._rows.get(entries)
        if row is None:
            tally = Tally()
            row = self._rows[entries] = Row(entries, tally)
            for entry in entries:
                entry.tallies.append(tally)
        return row

    # --- telling

    async def notify(self, event: Event) -> None:
        """Tell the observers of ``event``. Idle async observers are started at once, none is waited for."""
        if self.blocking:
            await self.make_room()
        self.notify_nowait(event)
        self._desk.work_off()

    # The hot path: written once, kept whole.
    def notify_nowait(self, event: Event) -> None:
        """Tell the observers of ``event``; async ones hear it when the loop comes round. From any thread."""
        keep, keeper, row, others = self._plans[type(event)]
        fault = None
        try:
            keep(event)
        except BaseException as error:  # noqa: BLE001 - a recorder's fault must not end the run
            fault = error
        if row is not None:
            self._inbox.append((event, row))
            if not self._desk.awake:
                self._desk.wake()
        if others is not None:
            self._tell_others(event, others)
        if fault is not None:
            self._lossless_failed(keeper, event, fault)  # once every recorder has the event itself

    def _tell_others(self, event: Event, others: _Others) -> None:
        lossless, awaited, threaded, selective = others
        faults = []
        for keep, entry in lossless:
            try:
                keep(event)
            except BaseException as error:  # noqa: BLE001 - as above
                faults.append((entry, error))
        if selective:
            awaited, threaded = self._selected_row(event, awaited), self._selected(event, threaded)
        if awaited is not None:
            self._inbox.append((event, awaited))
            if not self._desk.awake:
                self._desk.wake()
        if threaded:
            self.watch()
            self._crew.put(event, threaded)
        for entry, fault in faults:
            self._lossless_failed(entry, event, fault)

    def watch(self) -> None:
        """Observers are about to be called: look whether one of them holds up the others."""
        if not self._lag.running:
            self._lag.start()

    def _selected_row(self, event: Event, row: Row | None) -> Row | None:
        selected = self._selected(event, tuple(entry for entry, _ in row.calls)) if row is not None else ()
        return Row(selected) if selected else None

    def _selected(self, event: Event, observers: tuple[ObserverEntry, ...]) -> tuple[ObserverEntry, ...]:
        """Those that hear its topic and can take it. On a loop the caller has waited for room before."""
        wait = _get_running_loop() is None
        hearing = [entry for entry in observers if entry.hears(event)]
        return tuple(entry for entry in hearing if entry.overflow != "block" or entry.offer(event, wait=wait))

    async def make_room(self, events: int = 1) -> None:
        """Wait until observers with ``overflow="block"`` can take so many, each for as long as it asked for at most."""
        began = time.monotonic()
        while any(not e.has_room(events) and time.monotonic() - began < e.block_s for e in self.blocking):  # noqa: ASYNC110 - that it is done is no event of an observer
            await asyncio.sleep(_POLL_S)

    def catch_up(self) -> None:
        """Tell async observers what has gathered, if that is a burst: for emitters that seldom let the loop run."""
        self._desk.catch_up()

    def _lossless_failed(self, entry: ObserverEntry, event: Event, error: BaseException) -> None:
        entry.failed += 1
        self.failed(entry, event, error)

    def await_elsewhere(self, awaitable: Any) -> None:
        """Wait, in the calling thread, for what a sync observer returned: on the async observers' loop, if it runs."""

        async def waited() -> None:
            await awaitable

        loop = self._desk.loop
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(waited(), loop).result()
        else:
            asyncio.run(waited())

    # --- watching itself

    def number_events_of(self, run_id: str, emit: Callable[..., Any] | None) -> None:
        """Let the run itself number and tell what this layer has to say about the run; None when the run is over."""
        if emit is None:
            self._emitters.pop(run_id, None)
        else:
            self._emitters[run_id] = emit

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs under way that tell this manager their events."""
        return tuple(self._emitters)

    def failed(self, entry: ObserverEntry, event: Event | None, error: BaseException) -> None:
        """Take note that an observer failed; the log and the event are rate-limited, the count is exact."""
        context = {"handler_name": entry.id, "event_type": type(event).__name__ if event else "an event"}
        try:
            self._error_handler.handle_error(error, {**context, "is_critical": False, "priority": None})
        except BaseException as fault:  # noqa: BLE001 - an error handler may raise anything, SystemExit included
            _log.error("the error handler of the observer manager failed:%s", traceback_lines(fault))
        self._tell_about(ObserverFailed, entry, event, type(error).__name__)

    def dropped(self, entry: ObserverEntry, event: Event, reason: str) -> None:
        """Take note that an event was lost for an observer."""
        self._tell_about(EventsDropped, entry, event, reason)

    def _tell_about(self, kind: type[Any], entry: ObserverEntry, event: Event | None, reason: str) -> None:
        if isinstance(event, (ObserverFailed, EventsDropped)):
            return  # what goes wrong with news of this kind is counted, and makes no news
        run_id, seq = (event.run_id, event.seq) if event else ("", 0)
        key = (kind.__name__, entry.id, f"{reason}\0{run_id}")
        with self._reports_lock:
            report = self._reports.get(key)
            if report is None:
                report = self._reports[key] = [kind, entry.id, reason, run_id, 0, seq, seq, -math.inf]
            report[4] += 1
            report[6] = seq
            if time.monotonic() - report[7] < _REPORT_EVERY_S:
                return
        self._publish(report)

    def _publish(self, report: list[Any]) -> None:
        kind, observer, reason, run_id, count, first, last, _ = report
        with self._reports_lock:
            report[4], report[5], report[7] = 0, last + 1, time.monotonic()
        if not count:
            return
        emit = self._emitters.get(run_id)
        fields = {"observer": observer, "reason": reason, "count": count, "first_seq": first, "last_seq": last}
        if emit is not None:
            emit(kind, **fields)
        else:
            self.notify_nowait(kind(**fields, run_id=run_id))

    def observers(self) -> tuple[ObserverEntry, ...]:
        """Everybody who is registered: for the watch on the loop."""
        return tuple(self._entries.values())

    def told_of_batch(self, entry: ObserverEntry) -> int:
        """How many of the events that are being told now ``entry`` has heard."""
        return self._desk.told_of_batch(entry)

    def on_the_loop(self) -> ObserverEntry | None:
        """The observer whose code runs on the loop now."""
        return self._desk.on_the_loop()

    def held_up(self, suspect: ObserverEntry, held_s: float, *, first: bool) -> None:
        """Take note that an observer holds up the loop that it runs on, or the whole interpreter."""
        suspect.loop_lag_max_s = max(suspect.loop_lag_max_s, held_s)
        if first:
            news = f"observer {suspect.id!r} held up everything else for over {LAG_S:g} s: let it await, or be quick"
            self.failed(suspect, suspect.now, LoopBlockedError(news))

    def publish_reports(self, run_id: str | None = None) -> None:
        """Tell now what is still held back about failures and drops (of one run)."""
        with self._reports_lock:
            held = [report for report in self._reports.values() if run_id in (None, report[3])]
            if run_id is not None:
                self._reports = {k: r for k, r in self._reports.items() if r[3] != run_id}
        for report in held:
            self._publish(report)

    def statistics(self) -> dict[str, dict[str, Any]]:
        """For each observer: delivered, failed, timed_out, dropped (by reason), queued, stuck, loop_lag_max_s."""
        return {entry.id: entry.statistics() for entry in tuple(self._entries.values())}

    # --- ending

    def _idle(self) -> bool:
        return self._desk.idle() and self._crew.idle()

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - the contract's signature
        """Wait until every observer has heard everything; False where ``timeout`` seconds were not enough."""
        deadline = time.monotonic() + timeout
        self._desk.work_off()
        while not self._idle():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
            self._desk.work_off()
        self.publish_reports()
        self._desk.work_off()
        return True

    async def close(self, timeout: float = 1.0) -> bool:  # noqa: ASYNC109 - the contract's signature
        """Flush for at most ``timeout`` seconds, then let go of every observer. Closing twice is fine.

        Returns whether everything was delivered. May be used again afterwards, like a new manager.
        """
        complete = await self.flush(timeout) if self._entries else True
        ending = self._let_go()
        if ending:
            await asyncio.wait(ending, timeout=_ENDING_S)
        return complete

    def _let_go(self) -> list[asyncio.Task[None]]:
        self.clear()
        self._lag.stop()
        self._crew.close()
        return self._desk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._flush_from_thread(1.0)
        self._let_go()

    def _flush_from_thread(self, timeout_s: float) -> None:
        """Wait for the sync observers; async ones of a loop that runs in this very thread cannot be waited for."""
        self._desk.work_off()
        same_loop = self._desk.loop is _get_running_loop()
        deadline = time.monotonic() + timeout_s
        while not (self._crew.idle() and (same_loop or self._desk.idle())) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self.publish_reports()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<ObserverManager: {len(self._entries)} observers>"


def _keep_nothing(_: Event) -> None:
    """In the place of a lossless observer where there is none."""


_NO_ENTRY: Any = None
