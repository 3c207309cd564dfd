"""A sink for any transport: off the run's path, bounded in memory, spooled on disk, in order, sent again."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from hexviz.closing import Closing
from hexviz.events.cloud_events import with_topics
from hexviz.spool import Spool
from hexviz.streams.backlog import Backlog
from hexviz.streams.models import Message, MessageRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.events.events import Event
    from hexviz.streams.models import Transport

MAX_QUEUED = 500_000
"""Events that may wait to become messages."""
GROUP_S = 0.1
"""For so long events gather, unless somebody waits for them: a few at a time cost most."""
REST_S = 0.0001
"""A pause after a bit of work: whoever waits for the interpreter has it then for some milliseconds."""
_ENCODE_AT_ONCE = 50
_SEND_AT_ONCE, _LEAST_AT_ONCE = 2_000, 16
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_LOG_EVERY_S = 30.0
_LAST_FEW_S = 1.0

_log = logging.getLogger("hexviz.streams")


class SpooledSink(Closing):
    """Sends events by a :class:`~hexviz.streams.models.Transport`, and never holds up the run.

    ``put`` only queues. One thread makes messages of the events, another connects and sends them, oldest first, and
    after a failure again, with waits that grow to five seconds. Messages wait in memory (``max_bytes``); while the
    other side is away, or where that is not enough, they wait in ``spool``, which also keeps what was not sent before
    the process ended: the next sink with the same spool (a directory, or a :class:`hexviz.spool.Spool` with a limit of
    its own, which is closed with the sink) begins with it. What finds no room is dropped, the newest,
    and counted. Receivers may get a message twice, and know it by its run id and ``seq``.

    Trouble is told by one line in the log ``hexviz.streams`` at most every half minute, in :attr:`error`, and counted
    in :meth:`statistics`. An event that can never be sent is logged by itself, and counted.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        spool: Spool | str | os.PathLike[str] | None = None,
        max_bytes: int = 64 << 20,
        name: str = "",
    ) -> None:
        self.name = name or type(transport).__name__
        if spool is not None and not isinstance(spool, Spool):
            spool = Spool(spool)
        self._pump = _Pump(transport, Backlog(spool, max_bytes), self.name)
        self.put = self._pump.put
        """Queue one summarised event: the run's path. Never waits, never raises."""
        self._finalizer = weakref.finalize(self, self._pump.close, 5.0)

    @property
    def error(self) -> Exception | None:
        """Why nothing can be sent now; None where it can."""
        return self._pump.error

    def flush(self, timeout: float | None = 30.0) -> int:
        """Wait until all that was put before is acknowledged; the number of events that are not after ``timeout`` s."""
        return self._pump.flush(timeout)

    def close(self, timeout: float | None = 10.0) -> int:
        """Send what waits, for ``timeout`` seconds at most, and keep the rest in the spool; its number.

        Twice is fine. Events put afterwards are counted as dropped.
        """
        self._finalizer.detach()
        return self._pump.close(timeout)

    def statistics(self) -> dict[str, int]:
        """Counts of events: ``sent`` (acknowledged), ``queued``, ``dropped`` (no room, or closed), ``refused``.

        ``spooled`` are those of ``queued`` that wait on disk, ``failures`` the times that connecting or sending
        failed.
        """
        return self._pump.statistics()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.statistics().items() if count)
        return f"<{type(self).__name__} {self.name}{': ' if counts else ''}{counts}>"


class _Barrier:
    """Stands in the queue behind what was put before it; then knows how many messages must be gone."""

    goal: int | None = None


class _Pump:
    """The queue and the two threads of a sink; they do not hold the sink itself, so that it can be forgotten."""

    def __init__(self, transport: Transport, backlog: Backlog, name: str) -> None:
        self.error: Exception | None = None
        self._transport = transport
        self._backlog = backlog
        self._name = name
        self._queue: deque[Event | _Barrier] = deque()
        self._awake: list[bool] = []
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._pid = os.getpid()
        self._closing = self._ended = self._connected = self._gave_up = False
        self._in_hand = self._sent = self._refused = self._failures = self._overflown = 0
        self._next_log = 0.0
        self._most = _SEND_AT_ONCE
        self.put = self._putter()
        if not backlog.is_empty:
            self._rouse()

    def _putter(self) -> Callable[[Event], None]:
        queue, append, awake, rouse = self._queue, self._queue.append, self._awake, self._rouse

        def put(event: Event) -> None:
            if len(queue) >= MAX_QUEUED or self._closing:
                self._overflown += 1
                return
            append(event)  # first, so that no event is left behind by a thread that goes to sleep just now
            if not awake:
                rouse()

        return put

    def _rouse(self) -> None:
        self._awake.append(True)
        if not self._threads:
            with self._lock:
                if not self._threads and os.getpid() == self._pid:  # a forked child sends nothing of its parent
                    self._threads = [
                        threading.Thread(target=work, name=f"hexviz {self._name} {what}", daemon=True)
                        for work, what in ((self._make_messages, "encodes"), (self._send_messages, "sends"))
                    ]
                    for thread in self._threads:
                        thread.start()
        self._wake.set()

    # --- the thread that makes messages ---

    def _make_messages(self) -> None:
        self._backlog.begin()
        while True:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(GROUP_S)
            self._hurry.clear()
            self._awake.clear()
            ended = self._closing
            waiting = sys.maxsize if ended else len(self._queue)  # what comes meanwhile gathers again
            while self._queue and waiting > 0 and not self._gave_up:
                self._take_some(min(waiting, _ENCODE_AT_ONCE))
                waiting -= _ENCODE_AT_ONCE
                if not self._closing:
                    time.sleep(REST_S)
            if ended:
                self._ended = True
                self._backlog.rouse()
                return

    def _take_some(self, most: int) -> None:
        events: list[Event] = []
        for _ in range(min(most, len(self._queue))):
            item = self._queue.popleft()
            if isinstance(item, _Barrier):
                self._keep(events)
                events = []
                item.goal = self._backlog.added
                self._backlog.rouse()
            else:
                self._in_hand += 1
                events.append(item)
        self._keep(events)

    def _keep(self, events: list[Event]) -> None:
        made = zip(events, self._bodies(events), strict=True)
        self._backlog.add([Message(event.run_id, event.seq, topic, body) for event, (topic, body) in made if body])
        self._in_hand = 0

    def _bodies(self, events: list[Event]) -> list[tuple[str, bytes]]:
        """Topic and body for each event; an empty body where there can be none."""
        try:
            return with_topics(events)
        except Exception as error:  # noqa: BLE001 - some event of a user, which costs itself only
            if len(events) > 1:
                return [self._bodies([event])[0] for event in events]
            self._refuse(events[0], error)
            return [("", b"")]

    # --- the thread that sends ---

    def _send_messages(self) -> None:
        backlog, wait_s = self._backlog, _FIRST_WAIT_S
        backlog.begin()
        try:
            while backlog.wait_for(lambda: not backlog.is_empty or self._ended, None) and not backlog.is_empty:
                if self._try_once():
                    wait_s = _FIRST_WAIT_S
                else:
                    backlog.to_disk()
                    if self._pause(wait_s):
                        return
                    wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        finally:
            self._disconnect()

    def _pause(self, wait_s: float) -> bool:
        """Wait before trying again, and bring what comes meanwhile to disk; whether there is no sense in going on."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not self._gave_up:
            self._backlog.wait_for(lambda: self._gave_up, min(left, 0.1))
            self._backlog.to_disk()
        return self._gave_up

    def _try_once(self) -> bool:
        try:
            if not self._connected:
                self._transport.connect()
                self._connected = True
            self._send(self._backlog.peek(self._most))
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, its thread goes on
            self._failures += 1
            self._most = max(_LEAST_AT_ONCE, self._most // 4)  # perhaps the line is slow: ask less of it
            self._tell(error)
            self._disconnect()
            return False
        self._most = min(_SEND_AT_ONCE, self._most + self._most // 4)
        if self.error is not None:
            self.error = None
            _log.info("%s: sending again", self._name)
        return True

    def _send(self, messages: Sequence[Message]) -> None:
        try:
            self._transport.send(messages)
        except MessageRefusedError as error:
            if len(messages) > 1:  # find the one: halve
                middle = len(messages) // 2
                self._send(messages[:middle])
                self._send(messages[middle:])
                return
            self._refuse(messages[0], error)
        else:
            self._sent += len(messages)
        self._backlog.done(len(messages))

    def _refuse(self, item: Event | Message, error: Exception) -> None:
        self._refused += 1
        seq, run_id = getattr(item, "seq", "?"), getattr(item, "run_id", "?")
        _log.warning("%s: event %.100s of run %.200r cannot be sent: %.300s", self._name, seq, run_id, error)

    def _tell(self, error: Exception) -> None:
        self.error = error
        if time.monotonic() >= self._next_log and not self._gave_up:
            self._next_log = time.monotonic() + _LOG_EVERY_S
            said = str(error) if str(error).startswith(self._name) else f"{self._name}: {error}"
            _log.warning("%s; %d events wait and are sent again", said, self.queued)

    def _disconnect(self) -> None:
        self._connected = False
        with contextlib.suppress(Exception):
            self._transport.close()

    # --- for the owner ---

    @property
    def queued(self) -> int:
        """Events put and neither sent, nor refused, nor dropped."""
        return len(self._backlog) + self._in_hand + sum(not isinstance(item, _Barrier) for item in list(self._queue))

    def flush(self, timeout: float | None) -> int:
        """See :meth:`SpooledSink.flush`."""
        if os.getpid() != self._pid or not (self._threads or self._queue) or self._gave_up:
            return self.queued
        barrier = _Barrier()
        self._queue.append(barrier)
        self._hurry.set()
        self._rouse()
        backlog = self._backlog
        backlog.wait_for(
            lambda: (
                self._gave_up or (barrier.goal is not None and (backlog.removed >= barrier.goal or backlog.is_empty))
            ),
            timeout,
        )
        if barrier.goal is None:
            return self.queued
        return 0 if backlog.is_empty else max(0, barrier.goal - backlog.removed)

    def close(self, timeout: float | None) -> int:
        """See :meth:`SpooledSink.close`."""
        self._closing = True
        self._hurry.set()
        if os.getpid() != self._pid or self._gave_up:
            return 0
        until = None if timeout is None else time.monotonic() + timeout
        if self._queue and not self._threads:
            self._rouse()
        self._wake.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if until is None else max(0.0, until - time.monotonic()))
        self._gave_up = True
        self._backlog.rouse()
        for maker in self._threads[:1]:  # ends with the few events that it has in hand; until then no count is right
            if maker is not threading.current_thread():
                maker.join(_LAST_FEW_S)
        behind = self._in_hand + len(self._queue)
        return self._backlog.close() + behind

    def statistics(self) -> dict[str, int]:
        """See :meth:`SpooledSink.statistics`."""
        return {
            "sent": self._sent,
            "queued": self.queued,
            "spooled": self._backlog.on_disk,
            "dropped": self._overflown + self._backlog.dropped,
            "refused": self._refused,
            "failures": self._failures,
        }
