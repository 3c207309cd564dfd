"""Tells observers what happened. Their failures and their slowness stay theirs."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import uuid
import weakref
from asyncio import _get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any, Self, get_args

from hexviz.errors import MixedVersionsError, RegistrationError, RegistrationTypeError, hint_at_another_copy
from hexviz.events.audience import Audience, tell_nobody
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
from hexviz.events.desk import Desk
from hexviz.events.events import Event, EventsDropped, ObserverFailed, traceback_lines
from hexviz.events.forking import free_in_children
from hexviz.events.lag import LAG_S, LagWatch, LoopBlockedError
from hexviz.events.models import BaseEventManager, ErrorHandler
from hexviz.events.news import News
from hexviz.events.observer_entry import POLL_S, TALLIES_KEPT, ObserverEntry, Overflow
from hexviz.events.registration import callable_of, check_takes, event_types_of, is_async, name_of, weakly
from hexviz.events.topics import compile_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("hexviz.observers")
_ENDING_S = 0.5
MAX_BLOCK_MS = 10_000.0


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
        self._crew = Crew(max_workers=max_sync_workers, call_timeout_s=observer_timeout)
        self._lag = LagWatch(self)
        self._desk = Desk(self, self._lag)
        self._news = News(self._tell_news)
        self.blocking: tuple[ObserverEntry, ...] = ()
        """Those with ``overflow="block"``: an emitter on an event loop calls :meth:`make_room` before it goes on."""
        self._late: int | None = None  # how many events were told since close(); None while open
        self._late_lock = free_in_children(threading.RLock())
        self.tellers: ByClass[Callable[[Event], None]]
        """``tellers[type(event)](event)`` tells the observers; another object when the registrations change."""
        self._gather()
        _managers.add(self)

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
        check_takes(call, "event")
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
        self._late = None
        if lossless:
            self._lossless[observer_id] = entry
        self._gather()
        return observer_id

    def _gather(self) -> None:
        """The registrations changed."""
        entries = tuple(self._entries.values())
        self.active = bool(entries)
        self.blocking = tuple(e for e in entries if e.overflow == "block" and e.id not in self._lossless)
        audience = Audience(
            entries,
            lossless=self._lossless,
            desk=self._desk,
            crew=self._crew,
            watch=self.watch,
            failed=self._lossless_failed,
        )
        self._desk.serve(ByClass(audience.row))
        self.tellers = ByClass(partial(self._teller, audience) if self._late is None else self._teller_when_closed)
        if self._desk.idle():
            for entry in entries:
                if len(entry.tallies) > TALLIES_KEPT:
                    entry.sum_up()

    def _teller(self, audience: Audience, event_class: type[Event]) -> Callable[[Event], None]:
        hint = hint_at_another_copy(event_class, Event)
        if hint:  # those who are registered for its class would not hear it, and nobody would know
            raise MixedVersionsError(f"{event_class.__qualname__} is no event{hint}")
        return audience.teller(event_class)

    def _teller_when_closed(self, event_class: type[Event]) -> Callable[[Event], None]:
        return tell_nobody if issubclass(event_class, (ObserverFailed, EventsDropped)) else self._count_late

    def _count_late(self, _: Event) -> None:
        with self._late_lock:
            self._late = (self._late or 0) + 1

    def _vanished(self, observer_id: str) -> None:
        if self.unregister(observer_id):
            _log.warning("observer %r was garbage-collected and hears no more; pass keep_alive=True", observer_id)

    def unregister(self, handler_id: str) -> bool:
        """Remove the observer of that id; what still waits for it is dropped. False where there is none."""
        entry = self._entries.pop(handler_id, None)
        if entry is None:
            return False
        self._lossless.pop(handler_id, None)
        self._gather()
        entry.removed = entry.held = True
        entry.drop_backlog("unregistered")
        return True

    def clear(self) -> None:
        """Remove every observer."""
        for observer_id in tuple(self._entries):
            self.unregister(observer_id)

    def __len__(self) -> int:
        return len(self._entries)

    # --- telling

    async def notify(self, event: Event) -> None:
        """Tell the observers of ``event``. Idle async observers are started at once, none is waited for."""
        if self.blocking:
            await self.make_room()
        self.notify_nowait(event)  # as it is at the time: a replay puts another in its place
        self._desk.work_off()

    def notify_nowait(self, event: Event) -> None:
        """Tell the observers of ``event``; async ones hear it when the loop comes round. From any thread."""
        self.tellers[type(event)](event)

    def watch(self) -> None:
        """Observers are about to be called: look whether one of them holds up the others."""
        if not self._lag.running:
            self._lag.start()

    async def make_room(self, events: int = 1) -> None:
        """Wait until observers with ``overflow="block"`` can take so many, each for as long as it asked for at most."""
        began = time.monotonic()
        while any(not e.has_room(events) and time.monotonic() - began < e.block_s for e in self.blocking):  # noqa: ASYNC110 - that it is done is no event of an observer
            await asyncio.sleep(POLL_S)

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
        self._news.number_events_of(run_id, emit)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs under way that tell this manager their events."""
        return self._news.run_ids

    def failed(self, entry: ObserverEntry, event: Event | None, error: BaseException) -> None:
        """Take note that an observer failed; the log and the event are rate-limited, the count is exact."""
        context = {"handler_name": entry.id, "event_type": type(event).__name__ if event else "an event"}
        try:
            self._error_handler.handle_error(error, {**context, "is_critical": False, "priority": None})
        except BaseException as fault:  # noqa: BLE001 - an error handler may raise anything, SystemExit included
            _log.error("the error handler of the observer manager failed:%s", traceback_lines(fault))
        self._news.take_note(ObserverFailed, entry.id, event, type(error).__name__)

    def dropped(self, entry: ObserverEntry, event: Event, reason: str) -> None:
        """Take note that an event was lost for an observer."""
        self._news.take_note(EventsDropped, entry.id, event, reason)

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

    def _tell_news(self, event: Event) -> None:
        self.notify_nowait(event)  # as it is at the time: a replay puts another in its place

    def publish_reports(self, run_id: str | None = None) -> None:
        """Tell now what is still held back about failures and drops (of one run)."""
        self._news.publish(run_id)

    def statistics(self) -> dict[str, dict[str, Any]]:
        """For each observer: delivered, failed, timed_out, dropped (by reason), queued, stuck, loop_lag_max_s.

        Events that were told after :meth:`close` reach nobody; where there are any, they stand under
        ``"(closed)"``, dropped as ``"closed"``.
        """
        statistics = {entry.id: entry.statistics() for entry in tuple(self._entries.values())}
        if self._late:
            nobody = ObserverEntry("(closed)", tell_nobody, self)
            nobody.dropped["closed"] = self._late
            statistics[nobody.id] = nobody.statistics()
        return statistics

    # --- ending

    def _idle(self) -> bool:
        return self._desk.idle() and self._crew.idle()

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - the contract's signature
        """Wait until every observer has heard everything; False where ``timeout`` seconds were not enough.

        What was still held back about failures and losses is told too, and heard.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._desk.work_off()
            if self._idle() and not self._news.publish():
                return True
            if time.monotonic() >= deadline:
                self._desk.work_off()
                return self._idle()
            await asyncio.sleep(0 if self._idle() else POLL_S)

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
        self._late = self._late or 0
        self._gather()
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
        while time.monotonic() < deadline:
            if not (self._crew.idle() and (same_loop or self._desk.idle())):
                time.sleep(POLL_S)
            elif not self._news.publish():
                return
        self._news.publish()

    def forget_parent(self) -> None:
        """In a forked child: none of the parent's threads and loops is here; what was queued stays with the parent."""
        self._desk.forget()
        self._crew.forget()
        self._lag.forget()
        self._news.forget()
        for entry in self._entries.values():
            entry.forget()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<ObserverManager: {len(self._entries)} observers>"


_managers: weakref.WeakSet[ObserverManager] = weakref.WeakSet()


def _forget_parent() -> None:
    for manager in tuple(_managers):
        manager.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
