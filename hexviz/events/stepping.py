"""Step a coroutine by hand, and go on with it inside a task once it really waits.

Most handlers and many nodes never wait. Stepping them once costs a call; a timer, a task and a context switch are paid
for only by those that yield. What yielded is continued by :class:`Continued`, which can also let go of a coroutine
that refuses to end.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

    Stepped = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]


class AbandonedError(Exception):
    """The coroutine did not end when it was cancelled, and was let go."""


class Continued:
    """Awaits a coroutine that has been stepped once and then yielded ``waiting_on``.

    With ``context`` every further step runs in that context, so that what the coroutine sets stays with it.
    ``abandoned`` may be set to True before the surrounding task is cancelled: then the coroutine is closed instead of
    being told of the cancellation, and :class:`AbandonedError` is raised, whatever the coroutine does about it.
    """

    __slots__ = ("_context", "_coroutine", "_waiting_on", "abandoned", "closed")

    def __init__(self, coroutine: Stepped, waiting_on: Any, context: Context | None = None) -> None:
        self._coroutine = coroutine
        self._context = context
        self._waiting_on = waiting_on
        self.abandoned = False
        self.closed = False

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, waiting_on = self._coroutine, self._waiting_on
        send: Any = coroutine.send
        throw: Any = coroutine.throw
        if self._context is not None:
            send, throw = partial(self._context.run, send), partial(self._context.run, throw)
        while True:
            try:
                value = yield waiting_on
            except GeneratorExit:
                self.closed = True
                close_quietly(coroutine)
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the coroutine
                if self.abandoned:
                    close_quietly(coroutine)
                    raise AbandonedError from None
                try:
                    waiting_on = throw(error)
                except StopIteration as done:
                    return done.value
            else:
                try:
                    waiting_on = send(value)
                except StopIteration as done:
                    return done.value


def close_quietly(coroutine: Stepped) -> None:
    """Close ``coroutine`` even where it raises, or ignores that it is being closed."""
    with suppress(BaseException):  # it had its chance; nobody is left to hear of it
        coroutine.close()
