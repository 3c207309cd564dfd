"""Replay: play recorded events again, to observers or to any function. No node code ever runs."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from hexviz.events.replaying import ReplayError, replaying
from hexviz.recording.moments import MomentError, offset_of
from hexviz.recording.playlist import Playlist

if TYPE_CHECKING:
    from datetime import datetime

    from hexviz.events.events import Event
    from hexviz.recording.recording import Recording

__all__ = ["Replay", "ReplayError"]

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[Any]]
State = Literal["ready", "playing", "paused"]

_YIELD_EVERY = 64
_AT_ONCE_S = 1e-6
"""Below this a wait is rounding: the clock may not even move."""


class Replay:
    """The events of a recording in true order (see :mod:`hexviz.recording.playlist`), at the speed of the run.

    ``speed=10`` plays ten times as fast, ``speed=None`` as fast as it can; ``loop=True`` begins again at the end. Gaps
    follow the recorded monotonic clock; where that steps back, the next event comes at once. :meth:`pause`,
    :meth:`resume`, :meth:`step`, :meth:`seek`, :meth:`stop` and ``speed`` may be used from any thread or task, while
    it plays or before. ``clock`` (seconds) and ``sleep`` may be replaced: see :class:`hexviz.testing.FakeClock`.

    While it plays into an :class:`~hexviz.events.ObserverManager`, no other event can be told there, and neither a run
    nor a ``tool_call`` can begin inside it: both are a :class:`ReplayError`.
    """

    def __init__(
        self,
        recording: Recording,
        speed: float | None = 1.0,
        *,
        loop: bool = False,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if not hasattr(recording, "columns"):
            raise ReplayError(f"Replay takes a recording, such as result.recording, not {type(recording).__name__}")
        self.recording = recording
        self.loop = loop
        self._speed = _checked_speed(speed)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._index = 0
        self._head_ns = 0.0
        self._head_s: float | None = None
        self._paused = self._running = self._stopped = False
        self._steps = 0
        self._wake: Callable[[], object] = lambda: None

    @cached_property
    def _playlist(self) -> Playlist:
        return Playlist(self.recording)

    # --- where it stands

    def __len__(self) -> int:
        """How many events there are to play."""
        return len(self._playlist)

    @property
    def position(self) -> int:
        """How many events lie behind, told or passed over."""
        return self._index

    @property
    def seq(self) -> int:
        """The number of the event before the play head in its run; 0 at the beginning."""
        with self._lock:
            return self._playlist.seq(self._index - 1) if self._index else 0

    @property
    def offset_ms(self) -> float:
        """Where the play head stands, in milliseconds after the first event."""
        with self._lock:
            return self._head() / 1e6

    @property
    def state(self) -> State:
        """``playing``, ``paused``, or ``ready`` for :meth:`run`."""
        return "paused" if self._paused else "playing" if self._running else "ready"

    @property
    def speed(self) -> float | None:
        """How many times as fast as it was; None: as fast as possible. May be set while it plays."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        with self._lock:
            self._hold_head()
            self._speed = _checked_speed(speed)
            self._move_head()
        self._wake()

    # --- steering it

    def pause(self) -> None:
        """Tell no further event until :meth:`resume` or :meth:`step`."""
        with self._lock:
            self._hold_head()
            self._paused = True
        self._wake()

    def resume(self) -> None:
        """Play on."""
        with self._lock:
            self._paused, self._steps = False, 0
            self._move_head()
        self._wake()

    def step(self, n: int = 1) -> None:
        """Tell the next ``n`` events at once, then pause."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ReplayError(f"step(n) takes a number of events, 1 or more, not {n!r}")
        with self._lock:
            self.pause()
            self._steps += n
        self._wake()

    def seek(self, at: float | datetime | None = None, *, seq: int | None = None) -> None:
        """Go to a moment (milliseconds after the first event, or a time), or to the event numbered ``seq``.

        That event, or the first one after it, is told next; those in between are passed over. A listener that must
        know the state there gets it from :class:`~hexviz.recording.state_timeline.StateTimeline`. Raises
        :class:`ReplayError` where neither or both are given, and for ``seq`` where the recording holds several runs.
        """
        if (at is None) == (seq is None):
            raise ReplayError("say where to: seek(1500.0) in milliseconds, seek(a datetime), or seek(seq=12)")
        playlist = self._playlist
        if seq is not None and playlist.runs > 1:
            raise ReplayError(
                f"seq={seq} stands in each of the {playlist.runs} runs: replay recording.run(run_id), or seek a time"
            )
        with self._lock:
            first = playlist.keys[0] if len(playlist) else 0
            if seq is not None:
                self._index = playlist.index_of_seq(seq)
                head = playlist.keys[min(self._index, len(playlist) - 1)] if len(playlist) else 0
            else:
                head = first + int(self._offset_ms_of(at) * 1e6)
                self._index = playlist.index_at(head)
            self._head_ns, self._head_s = float(max(0, head - first)), None
            self._move_head()
        self._wake()

    def stop(self) -> None:
        """Let :meth:`run` return; the next one goes on from here."""
        with self._lock:
            self._stopped = True
        self._wake()

    def _offset_ms_of(self, at: Any) -> float:
        try:
            return offset_of(at, self._playlist.started_at)
        except MomentError as error:
            raise ReplayError(str(error)) from None

    # --- playing it

    async def run(self, target: Any) -> int:
        """Feed an observer manager (its ``notify``), an observer (its ``handle``) or a function; how many events.

        What the target returns is awaited where it can be. Begins where the replay stands: at the beginning, where
        :meth:`seek` led, where it was stopped or cancelled; after its end, at the beginning again. Raises
        :class:`ReplayError` for a target that cannot be fed or is busy, and while it is playing already.
        """
        tell = _teller(target)
        with self._lock:
            if self._running:
                raise ReplayError("this replay is playing already; make another one of the same recording")
            self._running, self._stopped = True, False
            if self._index >= len(self._playlist) and not self._paused:
                self._rewind()
        try:
            return await self._play(tell, target)
        finally:
            with self._lock:
                self._hold_head()
                self._running, self._wake = False, lambda: None

    async def _play(self, tell: Callable[[Event], Any], target: Any) -> int:
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: there is nobody to wake
                loop.call_soon_threadsafe(woken.set)

        self._wake = wake
        told = 0
        with replaying(target) as guard:
            while True:
                woken.clear()
                found = self._next()
                if found is None:
                    return told
                if not isinstance(found, int):
                    await self._wait(found.seconds, woken)
                    continue
                guard.telling = event = self._playlist[found]
                answer = tell(event)
                if inspect.isawaitable(answer):
                    await answer
                told += 1
                if not told % _YIELD_EVERY:
                    await asyncio.sleep(0)

    def _next(self) -> int | _Wait | None:
        """Which event is told now, how long to wait for it, or None at the end."""
        with self._lock:
            keys = self._playlist.keys
            if self._stopped or (self._index >= len(keys) and not self._paused and not (self.loop and keys)):
                return None
            if self._paused and (not self._steps or self._index >= len(keys)):
                return _Wait(None)
            if self._index >= len(keys):
                self._rewind()
            ahead_ns = keys[self._index] - keys[0] - self._head()
            if not self._paused and self._speed is not None and (wait_s := ahead_ns / 1e9 / self._speed) > _AT_ONCE_S:
                self._move_head()
                return _Wait(wait_s)
            if self._paused or self._speed is None:
                self._head_ns = float(keys[self._index] - keys[0])
            self._steps -= bool(self._steps)
            self._index += 1
            return self._index - 1

    async def _wait(self, seconds: float | None, woken: asyncio.Event) -> None:
        """Until it is time, or somebody has steered."""
        if seconds is None:
            await woken.wait()
            return
        tasks = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(woken.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _head(self) -> float:
        """The play head in ns after the first event: it moves by the clock while it plays at a speed."""
        if self._head_s is None or self._speed is None:
            return self._head_ns
        return self._head_ns + (self._clock() - self._head_s) * 1e9 * self._speed

    def _hold_head(self) -> None:
        self._head_ns, self._head_s = self._head(), None

    def _move_head(self) -> None:
        if self._running and not self._paused and self._head_s is None:
            self._head_s = self._clock()

    def _rewind(self) -> None:
        self._index, self._head_ns, self._head_s = 0, 0.0, None

    def __repr__(self) -> str:
        return f"<Replay {self.state} at {self._index} of {len(self)} events>"


class _Wait:
    """Nothing is to be told for so many seconds; None: until somebody steers."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds


def _checked_speed(speed: float | None) -> float | None:
    valid = speed is None or (isinstance(speed, int | float) and not isinstance(speed, bool))
    if not valid or (speed is not None and not 0 < speed < float("inf")):
        raise ReplayError(f"speed is None (as fast as possible) or a number above 0, not {speed!r}")
    return speed


def _teller(target: Any) -> Callable[[Any], Any]:
    for name in ("notify", "handle"):
        method = getattr(target, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise ReplayError(f"a {type(target).__name__} cannot be fed: it has neither notify nor handle and is no function")
