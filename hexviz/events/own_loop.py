"""An event loop in a daemon thread: for async observers of code that has no loop itself."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


def loop_in_a_thread(name: str) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """A loop that runs already, until it is stopped; then its tasks are cancelled and it is closed."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    loop.call_soon(started.set)
    thread = threading.Thread(target=_run, args=(loop,), name=name, daemon=True)
    thread.start()
    started.wait()
    return loop, thread


def stop(loop: asyncio.AbstractEventLoop) -> None:
    """Stop it, from any thread; twice is fine."""
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
