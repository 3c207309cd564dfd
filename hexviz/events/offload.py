"""Call a sync function in a daemon thread of its own, so that the loop goes on and a time limit holds."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def in_thread(call: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """``call`` as an async function. Cancelled, its thread is let go of: a daemon, it holds up nobody's exit."""

    async def call_elsewhere(*args: Any) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(call, *args)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
                _hand_over(loop, answer, None, error)
            else:
                _hand_over(loop, answer, result, None)

        threading.Thread(target=work, name="hexviz-handler", daemon=True).start()
        result, error = await answer
        if error is not None:
            raise error
        return await result if hasattr(result, "__await__") else result

    return call_elsewhere


def _hand_over(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], result: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if not answer.done():
            answer.set_result((result, error))

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)
