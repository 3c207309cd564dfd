"""A task of the desk: on call, or with one observer that made it wait."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from hexviz.events.stepping import AbandonedError, Continued

if TYPE_CHECKING:
    from hexviz.events.desk import Desk
    from hexviz.events.observer_entry import ObserverEntry

_CANCEL_GRACE_S = 0.5


class Teller:
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
        """There is something to tell."""
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
                    suspended = self._desk.step()
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
        try:
            while self._continued is not None:
                self._continued = await self._rest_of(self._continued)
        except AbandonedError:
            pass
        except asyncio.CancelledError:
            self.entry.set_busy(busy=False)  # its loop ends; it may be told on another one
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._desk.release(self)

    async def _rest_of(self, continued: Continued) -> Continued | None:
        """Wait until the observer has heard all that waits for it; what is to go on where it broke that off."""
        try:
            await continued
        except GeneratorExit as error:
            if continued.closed:
                raise
            self.entry.count_failure(self.entry.now, error)  # the observer raised it, after it had waited
            self.entry.started = self._loop.time()
            return Continued(self._desk.work_off_backlog(self.entry), None)
        return None

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
        """Tell nothing more; an observer that still waits is abandoned."""
        self._ended = True
        if self._continued is not None:
            self._continued.abandoned = True
        if self._loop is _get_running_loop():
            self.task.cancel()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.task.cancel)
