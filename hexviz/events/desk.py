"""Tells async observers, on one event loop and inside real tasks, without a task or a timer for each event.

A *teller* is a task that works off the inbox in batches: it gives each observer all events of a batch, then goes on to
the next observer. The first time that an observer really waits, the teller becomes that observer's own, works off what
gathers for it meanwhile, and a new teller goes on with everybody else. So an observer that answers at once costs one
await, and one that hangs costs one task.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _enter_task, _get_running_loop, _leave_task, current_task
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any
from weakref import finalize

from hexviz.events.batches import Batches
from hexviz.events.own_loop import loop_in_a_thread, stop
from hexviz.events.rows import NOBODY
from hexviz.events.stepping import Continued
from hexviz.events.teller import Teller

if TYPE_CHECKING:
    import threading

    from hexviz.events.events import Event
    from hexviz.events.lag import LagWatch
    from hexviz.events.observer_entry import ObserverEntry
    from hexviz.events.observer_manager import ObserverManager

_log = logging.getLogger("hexviz.observers")
_BURST = 256
_DONE: Any = object()


class Desk(Batches):
    """The inbox of the async observers of one manager, and the tellers that work it off."""

    __slots__ = (
        "__weakref__",
        "_end",
        "_lag",
        "_manager",
        "_teller",
        "_thread",
        "_waiting",
        "_working",
        "awake",
        "loop",
    )

    def __init__(self, manager: ObserverManager, lag: LagWatch) -> None:
        super().__init__()
        self._manager = manager
        self._lag = lag
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._end: finalize[..., Any] | None = None
        self._teller: Teller | None = None
        self._waiting: set[Teller] = set()
        self._working = False
        self.awake = False

    def forget(self) -> None:
        """A forked child has none of its parent's loops: what was queued stays with the parent."""
        self._let_go()
        self.loop = self._thread = None
        if self._end is not None:
            self._end.detach()

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
        if running is None:
            running, self._thread = loop_in_a_thread("hexviz-observer-loop")
            self._end = finalize(self, stop, running)  # a manager that nobody closed
            self._end.atexit = False
        self.loop = running
        return running

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
        self._throw_away()
        self._teller = None
        self.awake = self._working = False

    def _call_teller(self) -> None:
        if not self._has_work():
            self.awake = False
            return
        self._ready_teller().call()

    def _ready_teller(self) -> Teller:
        teller = self._teller
        if teller is None or teller.task.done():
            assert self.loop is not None  # noqa: S101 - _home() has set it
            teller = self._teller = Teller(self, self.loop)
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
        caller = current_task(loop)
        while self.inbox or self._batches or self._batch:
            teller = self._ready_teller()
            task = teller.task
            if caller is not None:
                _leave_task(loop, caller)
            _enter_task(loop, task)
            try:
                suspended = teller.context.run(self.step)  # what an observer sets there is not the caller's
            finally:
                _leave_task(loop, task)
                if caller is not None:
                    _enter_task(loop, caller)
            if suspended is None:
                return
            teller.take_over(*suspended)

    def step(self) -> tuple[ObserverEntry, Continued] | None:
        """Tell until all is told (None), or until an observer waits: then that one, and how it goes on."""
        if self._working:
            return None
        if not self._lag.running:
            self._lag.start()
        telling = self._tell().__await__()
        self._working = True
        try:
            waiting_on = next(telling, _DONE)
        finally:
            self._working = False
        return None if waiting_on is _DONE else (self._leave_behind(), Continued(telling, waiting_on))

    def _leave_behind(self) -> ObserverEntry:
        """The observer that waits, with what is left of the batch in its backlog; the others are told without it."""
        entry, after = self._row.calls[self._told_in_row()][0], tuple(self._events)
        rest, self._rest = self._rest, copy(self._rest)
        deque(rest, maxlen=0)  # the others are not for the coroutine that waits
        entry.now = self._batch[len(self._batch) - len(after) - 1]
        entry.counted -= 1 + len(after)  # the row will count them, and so will its own coroutine
        entry.set_busy(busy=True)
        for event in after:
            entry.enqueue(event)
        return entry

    # The hot loops: written out, kept whole. One event is told in line, because `notify` pays for it; nobody is held
    # there, for a row that is told while somebody is unregistered becomes a careful one.
    async def _tell(self) -> None:
        while self._batch or ((self.inbox or self._batches) and self._next_batch()):
            told, row, own = len(self._batch), self._row, None
            if told > 1 or self._waiting:
                own = await self._tell_batch()
            else:
                rest, event, failed = self._rest, self._batch[0], False
                for entry, call in rest:
                    try:
                        await call(event)
                    except BaseException as error:  # noqa: BLE001 - an observer may raise anything
                        failed = self._failed_in_row(entry, event, error, rest)
                if self._rest is not rest:
                    own = self._own(entry, failed=failed)
            if own is not None:  # it had to wait, so this coroutine is its own by now
                await self.work_off_backlog(own)
                return
            if row.tally is not None:
                row.tally.told += told
            else:
                row.count_each(told)
            self._batch = []
        self._row = NOBODY

    async def _tell_batch(self) -> ObserverEntry | None:
        """Tell more than one event, or in a row in which a call may be under way; the observer that had to wait."""
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
                except BaseException as error:  # noqa: BLE001 - as above
                    failed = self._failed_in_row(entry, event, error, rest)
            if self._rest is not rest:
                return self._own(entry, failed=failed)
        return None

    async def work_off_backlog(self, entry: ObserverEntry) -> None:
        """Tell an observer, to whom somebody else's row no longer comes, what gathered while it waited."""
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

    def hold(self, teller: Teller) -> None:
        """``teller`` waits with its observer; from now on another one serves the rest."""
        self._waiting.add(teller)
        if self._teller is teller:
            self._teller = None
        if len(self._waiting) == self._manager.max_concurrent_observers + 1:
            _log.warning("more than %d async observers are waiting at once", self._manager.max_concurrent_observers)
        if self._has_work():
            self.awake = True
            self._ready_teller().call()

    def release(self, teller: Teller) -> None:
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
        return not self._has_work() and all(t.entry.written_off for t in tuple(self._waiting))

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
