"""Replay: play recorded events again, to observers or to any function. No node code ever runs."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hexviz.errors import HexvizError

if TYPE_CHECKING:
    from hexviz.recording.recording import Recording

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[Any]]


class ReplayError(HexvizError, ValueError):
    """A replay was asked for in a way that cannot work."""


class Replay:
    """The events of a recording in order, as fast as possible (``speed=None``) or ``speed`` times as fast as they were.

    ``clock`` (seconds) and ``sleep`` may be replaced, for tests. Gaps follow the recorded monotonic clock; where that
    steps back, the next event comes at once.
    """

    def __init__(
        self,
        recording: Recording,
        speed: float | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise ReplayError(f"speed is None (as fast as possible) or a number above 0, not {speed!r}")
        self.recording = recording
        self.speed = speed
        self._clock = clock
        self._sleep = sleep

    async def run(self, target: Any, *, after_seq: int = 0) -> int:
        """Feed an observer manager (its ``notify``), an observer (its ``handle``) or a function; how many events.

        What the target returns is awaited where it can be. ``after_seq`` leaves out the beginning of each run.
        """
        tell = _teller(target)
        began = self._clock()
        first_ns: int | None = None
        count = 0
        for event in self.recording.events(after_seq):
            if self.speed is not None:
                first_ns = event.monotonic_ns if first_ns is None else first_ns
                due = began + (event.monotonic_ns - first_ns) / 1e9 / self.speed
                wait = due - self._clock()
                if wait > 0:
                    await self._sleep(wait)
            answer = tell(event)
            if inspect.isawaitable(answer):
                await answer
            count += 1
        return count


def _teller(target: Any) -> Callable[[Any], Any]:
    for name in ("notify", "handle"):
        method = getattr(target, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise ReplayError(f"a {type(target).__name__} cannot be fed: it has neither notify nor handle and is no function")
