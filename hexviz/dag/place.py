"""Where one worker of a run stands, and how it is made to leave a node that takes too long."""

from __future__ import annotations

import asyncio
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

from hexviz.dag.current import CURRENT
from hexviz.events.stepping import Continued

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

DONE: Any = object()
"""What the first step of a node gives where it never waited."""


class Place:
    """One worker: its task, the coroutine of its node once that waits, and the timer that bounds it."""

    __slots__ = ("_fired", "_grace_s", "_timer", "began", "closed", "continued", "result", "stepper", "task")

    def __init__(self, grace_s: float) -> None:
        self.result: Any = None
        self.stepper: Any = None
        self.task: asyncio.Task[Any] | None = None
        self.began = False
        self.closed = False
        self.continued: Continued | None = None
        self._grace_s = grace_s
        self._fired = 0
        self._timer: asyncio.TimerHandle | None = None

    def new_step(self, initial_input: Any, results: list[Any]) -> Callable[[Any], Any]:
        """A function that launches a node's code and steps it once, in the context that it is called in.

        It takes ``(here, launch)`` and returns DONE, with :attr:`result` set, or what the node
        waits for. It serves one node after the other, because that spares each of them an exception for its result; a
        node that waits, or raises, uses it up.
        """
        self.stepper = _stepping(self, initial_input, results)
        next(self.stepper)
        return self.stepper.send  # type: ignore[no-any-return]

    def stay(self, continued: Continued, timeout_s: float | None) -> None:
        """The node waits: it may do so for ``timeout_s`` seconds."""
        self.continued = continued
        if timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self._overrun)

    def leave(self) -> None:
        """The node ended."""
        if self.continued is not None:
            self.closed, self.continued = self.continued.closed, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overrun(self) -> None:
        """The node's time is up: cancel it, and let go of it where it does not end within the grace time."""
        if self.task is None or self.continued is None:
            return
        self.continued.abandoned = self._fired > 0
        self._fired += 1
        self.task.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._overrun)

    def forgive(self) -> bool:
        """Take back our own cancellations; whether there were any."""
        fired, self._fired = self._fired, 0
        for _ in range(fired):
            if self.task is not None:
                self.task.uncancel()
        return fired > 0

    def cancelled_itself(self) -> bool:
        """Take back a cancellation that nobody here asked for: the node's own, or one of every task in the loop."""
        if self.task is None or not self.task.cancelling():
            return False
        self.task.uncancel()
        return True

    def abandon(self) -> None:
        """Let go of a node that ignores its cancellation."""
        if self.continued is not None:
            self.continued.abandoned = True
        if self.task is not None:
            self.task.cancel()


@coroutine
def _stepping(place: Place, initial_input: Any, results: list[Any]) -> Generator[Any, Any, None]:
    enter = CURRENT.set
    while True:
        here, launch = yield DONE
        enter(here)
        steps = launch(initial_input, results)
        place.result = yield from (steps if type(steps) is CoroutineType else _steps_of(steps))  # type: ignore[misc]
        if place.continued is not None:
            return


def _steps_of(awaitable: Any) -> Any:
    return awaitable.__await__() if hasattr(awaitable, "__await__") else awaitable


async def abandonable(coroutine: Coroutine[Any, Any, Any], place: Place) -> Any:
    """Await ``coroutine`` in such a way that the end of the run can let go of it: AbandonedError."""
    try:
        waiting_on = coroutine.send(None)
    except StopIteration as done:
        return done.value
    place.stay(Continued(coroutine, waiting_on), None)
    try:
        return await place.continued  # type: ignore[misc]
    finally:
        place.leave()
