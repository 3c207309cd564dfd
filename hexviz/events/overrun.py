"""The time limit of control handlers that really wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexviz.events.asking import Check
    from hexviz.events.stepping import Continued

_CANCEL_GRACE_S = 0.5


class Overrun:
    """Watches the handlers of one check that wait: cancels one that overruns, abandons one that ignores that.

    The timer looks now and then who is being asked, so that the hot loop need not tell it.
    """

    def __init__(self, check: Check, continued: Continued) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "ControlManager.check must be awaited inside a task"
            raise RuntimeError(msg)
        self.check, self.continued, self.task = check, continued, task
        self.loop = asyncio.get_running_loop()
        self.fired = 0
        check.overrun = self
        self._watch()

    def _watch(self) -> None:
        """Whoever is asked now gets its full time."""
        self.entry = self.check.current
        self.deadline = self.loop.time() + self.entry.timeout_s
        self._look_again()

    def _look_again(self) -> None:
        left_s = self.deadline - self.loop.time()
        self.timer = self.loop.call_later(min(left_s, self.check.shortest_timeout_s()), self._look)

    def _look(self) -> None:
        if self.check.current is not self.entry:
            self._watch()
        elif self.loop.time() < self.deadline:
            self._look_again()
        else:
            self._fire()

    def _fire(self) -> None:
        self.continued.abandoned = self.fired > 0
        self.fired += 1
        self.task.cancel()
        self.timer = self.loop.call_later(_CANCEL_GRACE_S, self._fire)

    def forgive(self) -> None:
        """Take back our own cancellations, so that the task goes on."""
        while self.fired:
            self.task.uncancel()
            self.fired -= 1
        self.timer.cancel()

    def go_on(self) -> None:
        """One overran; the task asks the next."""
        self.forgive()
        self._watch()

    def stop(self) -> None:
        """The check waits no more."""
        self.forgive()
        self.check.overrun = None
