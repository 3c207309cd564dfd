"""Tells async observers, on one event loop and inside real tasks, without a task or a timer for each event.

A *teller* is a task that works off the inbox in batches: it gives each observer all events of a batch, then goes on to
the next observer. The first time that an observer really waits, the teller becomes that observer's own, works off what
gathers for it meanwhile, and a new teller goes on with everybody else. So an observer that answers at once costs one
await, and one that hangs costs one task.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import threading
import weakref
from asyncio import _enter_task, _get_running_loop, _leave_task
from collections import deque
from contextvars import copy_context
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hexviz.events.stepping import AbandonedError, Continued

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.events.events import Event
    from hexviz.events.observer_manager import ObserverEntry, ObserverManager

_log = logging.getLogger("hexviz.observers")
_BURST = 256
_BATCH = 1024
_ROW = operator.itemgetter(1)
_CANCEL_GRACE_S = 0.5
_DONE: Any = object()


class Tally:
    """How many events all observers of a row have been told."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told = 0


class Row:
    """The async observers who hear the same events, with what to call.

    They share one tally, because a count for each call would cost a quarter of the call; an observer sums up its
    tallies (:attr:`ObserverEntry.delivered`). A row that was made for some few events has none.
    """

    __slots__ = ("calls", "tally")

    def __init__(self, entries: Iterable[ObserverEntry], tally: Tally | None = None) -> None:
        self.calls = tuple([(entry, entry.call) for entry in entries])
        self.tally = tally

    def count(self, events: int) -> None:
        """Everybody in it has been told so many events."""
        if self.tally is not None:
            self.tally.told += events
            return
        for entry, _ in self.calls:
            entry.counted += events


_NOBODY = Row(())


class Desk:
    """The inbox of the async observers of one manager, and the tellers that work it off."""

    __slots__ = (
        "__weakref__",
        "_batch",
        "_batches",
        "_events",
        "_manager",
        "_rest",
        "_row",
        "_teller",
        "_thread",
        "_waiting",
        "_working",
        "awake",
        "inbox",
        "loop",
    )

    def __init__(self, manager: ObserverManager) -> None:
        self._manager = manager
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.inbox: list[tuple[Event, Row]] = []
        """What is to be told: emitters append, from any thread, and wake the teller unless it is ``awake``."""
        self._batches: deque[tuple[Row, list[Event]]] = deque()
        self._row, self._rest = _NOBODY, iter(_NOBODY.calls)
        self._batch: list[Event] = []
        self._events = iter(self._batch)
        self._teller: _Teller | None = None
        self._waiting: set[_Teller] = set()
        self._working = False
        self.awake = False
        _desks.add(self)

    def forget(self) -> None:
        """A forked child has none of its parent's loops: what was queued stays with the parent."""
        self._let_go()
        self.loop = self._thread = None

    def put_back(self, entry: ObserverEntry) -> None:
        """Its teller ended for another reason than that all is told: somebody else tells ``entry`` what waits."""
        waiting = entry.all_in_line()
        if waiting:
            self._batches.appendleft((Row((entry,)), waiting))
            self.awake = True
            self._call_teller()

    def wake(self) -> None:
        """Something came into an inbox that nobody was about to look into; from any thread."""
        self.awake = True
        running = _get_running_loop()
        if running is not None and running is self.loop:
            self._call_teller()
            return
        home = self._home(running)
        if home is running:
            self._call_teller()
        else:
            home.call_soon_threadsafe(self._call_teller)

    def _home(self, running: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
        """The loop that the observers run on: the first one seen, for as long as it runs; else one of our own."""
        if self.loop is not None and self.loop.is_running():
            return self.loop
        self._forget_loop()
        self.loop = running or self._own_loop()
        return self.loop

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        started = threading.Event()
        loop.call_soon(started.set)
        self._thread = threading.Thread(target=_run_loop, args=(loop,), name="hexviz-observer-loop", daemon=True)
        self._thread.start()
        started.wait()
        return loop

    def _forget_loop(self) -> None:
        """The loop does not run. Who waits on it goes on when it does again; on a closed one nobody ever does."""
        for teller in tuple(self._waiting):
            if teller.is_lost():
                self._waiting.discard(teller)
                teller.entry.give_up()
        self._teller = None
        self._working = False

    def _let_go(self) -> None:
        """Nobody waits, and nothing is told any more."""
        for teller in self._waiting:
            teller.entry.set_busy(busy=False)
        self._waiting.clear()
        self.inbox.clear()
        self._batches.clear()
        self._teller = None
        self.awake = self._working = False
        self._begin_batch(_NOBODY, [])

    def _call_teller(self) -> None:
        if not self._has_work():
            self.awake = False
            return
        self._ready_teller().call()

    def _ready_teller(self) -> _Teller:
        teller = self._teller
        if teller is None or teller.task.done():
            assert self.loop is not None  # noqa: S101 - _home() has set it
            teller = self._teller = _Teller(self, self.loop)
        return teller

    def catch_up(self) -> None:
        """Work off the inbox where a burst has gathered: no observer falls behind a loop that never idles."""
        if len(self.inbox) > _BURST:
            self.work_off()

    def work_off(self) -> None:
        """Tell everything in the inbox now, in the name of the teller's task, to each observer up to its first wait."""
        loop = _get_running_loop()
        if loop is None or loop is not self.loop or self._working:
            return
        caller = asyncio.current_task(loop)
        while self._has_work():
            teller = self._ready_teller()
            if caller is not None:
                _leave_task(loop, caller)
            _enter_task(loop, teller.task)
            try:
                suspended = teller.context.run(self._step)  # what an observer sets there is not the caller's
            finally:
                _leave_task(loop, teller.task)
                if caller is not None:
                    _enter_task(loop, caller)
            if suspended is None:
                return
            teller.take_over(*suspended)

    def _step(self) -> tuple[ObserverEntry, Continued] | None:
        """Tell until all is told (None), or until an observer waits: then that one, and how it goes on."""
        self._manager.watch()
        telling = self._tell().__await__()
        self._working = True
        try:
            waiting_on = next(telling, _DONE)
        finally:
            self._working = False
        return None if waiting_on is _DONE else (self._leave_behind(), Continued(telling, waiting_on))

    def _leave_behind(self) -> ObserverEntry:
        """The observer that waits, with what is left of the batch in its backlog; the others are told without it."""
        rest, after = tuple(self._rest), tuple(self._events)
        entry: ObserverEntry = self._row.calls[len(self._row.calls) - len(rest) - 1][0]
        self._rest = iter(rest)
        entry.now = self._batch[len(self._batch) - len(after) - 1]
        entry.counted -= 1 + len(after)  # the row will count them, and so will its own coroutine
        entry.set_busy(busy=True)
        for event in after:
            entry.enqueue(event)
        return entry

    def _next_batch(self) -> bool:
        """Take the next events that the same observers hear; False where there are none."""
        if self._batches:
            self._begin_batch(*self._batches.popleft())
        elif len(self.inbox) > 1:
            taken = self.inbox[:_BATCH]
            del self.inbox[:_BATCH]
            self._batches.extend((row, [event for event, _ in pairs]) for row, pairs in groupby(taken, _ROW))
            self._begin_batch(*self._batches.popleft())
        elif self.inbox:
            event, row = self.inbox.pop(0)
            self._begin_batch(row, [event])
        else:
            self._row = _NOBODY
            return False
        return True

    def _begin_batch(self, row: Row, batch: list[Event]) -> None:
        self._row, self._batch = row, batch
        self._rest, self._events = iter(row.calls), iter(batch[1:])

    async def _tell(self) -> None:
        while self._batch or self._next_batch():
            told = len(self._batch)
            own = await (self._tell_batch() if told > 1 else self._tell_event())
            if own is not None:  # it had to wait, so this coroutine is its own by now
                await self._work_off_backlog(own)
                return
            self._row.count(told)
            self._batch = []

    # The hot loops: written out, kept whole. Both return the observer that had to wait.
    async def _tell_batch(self) -> ObserverEntry | None:
        rest, batch = self._rest, self._batch
        for entry, call in rest:
            events = self._events = iter(batch)
            failed = False
            for event in events:
                if entry.held and entry.kept_back(event):
                    entry.counted -= 1
                    continue
                try:
                    await call(event)
                except BaseException as error:  # noqa: BLE001 - an observer may raise anything
                    failed = self._failed_in_row(entry, event, error, rest)
            if self._rest is not rest:
                return self._own(entry, failed=failed)
        return None

    async def _tell_event(self) -> ObserverEntry | None:
        rest, event = self._rest, self._batch[0]
        failed = False
        for entry, call in rest:
            if entry.held and entry.kept_back(event):
                entry.counted -= 1
                continue
            try:
                await call(event)
            except BaseException as error:  # noqa: BLE001 - as above
                failed = self._failed_in_row(entry, event, error, rest)
        return None if self._rest is rest else self._own(entry, failed=failed)

    async def _work_off_backlog(self, entry: ObserverEntry) -> None:
        loop = asyncio.get_running_loop()
        while (event := entry.next_in_line()) is not None:
            entry.now, entry.started = event, loop.time()
            try:
                await entry.call(event)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - an observer may raise anything
                self._failed(entry, event, error)
            else:
                entry.count_success()

    def _failed_in_row(self, entry: ObserverEntry, event: Event, error: BaseException, rest: Any) -> bool:
        """Count and report; whether it had to wait before, so that the call under way was its own."""
        if isinstance(error, GeneratorExit) and not self._working:
            raise error  # not the observer's own: its coroutine is being closed
        self._failed(entry, event, error)
        if self._rest is not rest:
            return True
        entry.counted -= 1
        return False

    def _own(self, entry: ObserverEntry, *, failed: bool) -> ObserverEntry:
        """The call that had to wait has ended."""
        if not failed:
            entry.count_success()
        return entry

    def _failed(self, entry: ObserverEntry, event: Event, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and not entry.stuck:
            task = asyncio.current_task()
            if task is not None and task.cancelling() and entry.busy:
                entry.dropped["cancelled"] += 1
                entry.drop_backlog("cancelled")
                raise error
        entry.count_failure(event, error)
        entry.started = asyncio.get_running_loop().time()

    # --- tellers

    def hold(self, teller: _Teller) -> None:
        """``teller`` waits with its observer; from now on another one serves the rest."""
        self._waiting.add(teller)
        if self._teller is teller:
            self._teller = None
        if len(self._waiting) == self._manager.max_concurrent_observers + 1:
            _log.warning("more than %d async observers are waiting at once", self._manager.max_concurrent_observers)
        if self._has_work():
            self.awake = True
            self._ready_teller().call()

    def release(self, teller: _Teller) -> None:
        """``teller`` is done with its observer, and ends."""
        self._waiting.discard(teller)

    def teller_ended(self, task: asyncio.Task[None]) -> None:
        """A teller was cancelled, or is done with its observer: the next event wakes another one."""
        if self._teller is not None and self._teller.task is task:
            self._teller = None
            self.awake = False

    def on_the_loop(self) -> ObserverEntry | None:
        """The observer whose code runs on the loop now; may be asked from any thread."""
        if self._working:
            return self._being_told()
        if self.loop is None or not self._waiting:
            return None
        task = asyncio.current_task(self.loop)
        return next((teller.entry for teller in tuple(self._waiting) if teller.task is task), None)

    def _being_told(self) -> ObserverEntry | None:
        calls, told = self._row.calls, self._told_in_row()
        return calls[told][0] if self._batch and 0 <= told < len(calls) else None

    def _told_in_row(self) -> int:
        """How many observers have been told the batch that is being told."""
        return len(self._row.calls) - operator.length_hint(self._rest) - 1

    def told_of_batch(self, entry: ObserverEntry) -> int:
        """How many events of the batch that is being told ``entry`` has been told; its row does not count them yet."""
        batch, calls, told = self._batch, self._row.calls, self._told_in_row()
        position = next((i for i, (other, _) in enumerate(calls) if other is entry), len(calls))
        if not batch or position > told:
            return 0
        return len(batch) if position < told else max(0, len(batch) - operator.length_hint(self._events) - 1)

    @property
    def observer_timeout(self) -> float:
        """The seconds that one call may take."""
        return self._manager.observer_timeout

    def rest(self) -> None:
        """The teller found nothing more to do."""
        self.awake = False
        if self._has_work():  # put by another thread in between
            self.awake = True
            self._call_teller()

    def idle(self) -> bool:
        """Whether everything was told; observers that are stuck do not count."""
        return not self._has_work() and all(t.entry.stuck for t in tuple(self._waiting))

    def _has_work(self) -> bool:
        return bool(self.inbox or self._batches or self._batch)

    def close(self) -> list[asyncio.Task[None]]:
        """End the tellers, abandoning observers that still wait, and the loop where it is our own.

        Returns the tasks that are ending on the loop of the caller.
        """
        loop, self.loop = self.loop, None
        tellers = [*self._waiting, *([self._teller] if self._teller else [])]
        thread, self._thread = self._thread, None
        self._let_go()
        if loop is None or loop.is_closed():
            return []

        def end() -> None:
            for teller in tellers:
                teller.end()
            if thread is not None:
                loop.call_later(0, loop.stop)

        if _get_running_loop() is loop:
            end()
            return [teller.task for teller in tellers if teller.task.get_loop() is loop]
        if loop.is_running():
            loop.call_soon_threadsafe(end)
        return []


class _Teller:
    """One task: idle and on call, or with one observer that made it wait."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._loop = loop
        self._called: asyncio.Future[None] = loop.create_future()
        self._continued: Continued | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.entry: Any = None
        self.context = copy_context()
        self.task = loop.create_task(self._serve(), name="hexviz-teller", context=self.context)
        self.task.add_done_callback(desk.teller_ended)
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - an idle teller holds nothing

    def call(self) -> None:
        if not self._called.done():
            self._called.set_result(None)

    def take_over(self, entry: ObserverEntry, continued: Continued) -> None:
        """Stay with ``entry``, whose coroutine was stepped in the name of this task and now waits."""
        self._begin(entry, continued)
        self.call()

    def _begin(self, entry: ObserverEntry, continued: Continued) -> None:
        self.entry, self._continued = entry, continued
        entry.started = self._loop.time()
        self._timer = self._loop.call_later(self._desk.observer_timeout, self._watch)
        self._desk.hold(self)

    async def _serve(self) -> None:
        try:
            while not self._ended:
                await self._wait_for_call()
                if self._continued is None:
                    suspended = self._desk._step() if not self._desk._working else None  # noqa: SLF001 - two halves of one thing
                    if suspended is None:
                        self._called = self._loop.create_future()
                        self._desk.rest()
                        continue
                    self._begin(*suspended)
                await self._stay()
                return
        except asyncio.CancelledError:
            if self._ended or self.task.cancelling():
                return  # the loop shuts down, or somebody cancelled every task
            raise

    async def _wait_for_call(self) -> None:
        try:
            await self._called
        except asyncio.CancelledError:
            if self._continued is None:
                raise
            # an observer asked for its own cancellation before this task came to stay with it
            self.task.uncancel()
            self._loop.call_soon(self.task.cancel)

    async def _stay(self) -> None:
        continued = self._continued
        assert continued is not None  # noqa: S101 - _begin() has set it
        try:
            await continued
        except AbandonedError:
            pass
        except asyncio.CancelledError:
            self.entry.set_busy(busy=False)  # its loop ends; it may be told on another one
            raise
        except GeneratorExit as error:
            if continued.closed:
                raise
            self.entry.count_failure(self.entry.now, error)  # the observer raised it, after it had waited
            self._desk.put_back(self.entry)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._desk.release(self)

    def _watch(self) -> None:
        """Cancel a call that overruns; abandon one that does not care."""
        late = self._loop.time() - self.entry.started
        if late < self._desk.observer_timeout:
            self._timer = self._loop.call_later(self._desk.observer_timeout - late, self._watch)
            return
        assert self._continued is not None  # noqa: S101
        if self.entry.stuck:
            self._continued.abandoned = True
            self.task.cancel()
            return
        self.entry.overran()
        self.task.cancel()
        self._timer = self._loop.call_later(_CANCEL_GRACE_S, self._abandon)

    def _abandon(self) -> None:
        if self.entry.stuck and self._continued is not None:
            self._continued.abandoned = True
            self.task.cancel()
        elif not self.task.done():
            self.task.uncancel()
            self._timer = self._loop.call_later(self._desk.observer_timeout, self._watch)

    def is_lost(self) -> bool:
        """Whether its loop will never run again."""
        return self._loop.is_closed()

    def end(self) -> None:
        self._ended = True
        if self._continued is not None:
            self._continued.abandoned = True
        if self._loop is _get_running_loop():
            self.task.cancel()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.task.cancel)


_desks: weakref.WeakSet[Desk] = weakref.WeakSet()


def _forget_loops() -> None:
    for desk in tuple(_desks):
        if _get_running_loop() is None:  # a child forked by a task goes on with its copy of the loop
            desk.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_loops)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
