"""The server behind :class:`hexviz.streams.broadcast.WebSocketBroadcaster`: one thread with its own event loop.

Nothing here runs on the run's path. A pump looks ten times a second at what was put, and sends each client what it
lacks, while the client reads it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from hexviz.events.cloud_events import to_cloud_event
from hexviz.streams.event_log import EventLog
from hexviz.streams.past import Past
from hexviz.streams.run_list import RunList
from hexviz.streams.web_client import (
    LAST,
    MOST_FRAME,
    Client,
    Connection,
    EventClient,
    PageClient,
)
from hexviz.streams.web_door import Door

if TYPE_CHECKING:
    import socket

    from websockets.asyncio.server import ServerConnection

    from hexviz.events.events import Event
    from hexviz.streams.access import Access
    from hexviz.streams.past import Found, ReadableStore
    from hexviz.streams.web_models import Page

TICK_S, BUSY_TICK_S = 0.1, 0.004
LARGEST_MESSAGE = 64 * 1024
_OPEN_S, _CLOSE_S = 5.0, 2.0
_LOG_EVERY_S = 10.0
_SLICE, _LARGE_SLICE, _MANY = 200, 2_000, 20_000
_TOO_SLOW = 1013

_log = logging.getLogger("hexviz.streams")


class WebServer:
    """Serves what is put into ``inbox`` (events, and ``threading.Event`` marks that are set once all have the rest)."""

    def __init__(
        self,
        listening: socket.socket,
        access: Access,
        page: Page | None,
        *,
        history_bytes: int,
        most_clients: int,
        patience_s: float,
        store: ReadableStore | None = None,
    ) -> None:
        self.inbox: deque[Event | threading.Event] = deque()
        self.log = EventLog(history_bytes)
        self.counts = dict.fromkeys(
            (
                "sent",
                "refused",
                "frames",
                "clients_refused",
                "clients_too_slow",
                "clients_dropped_events",
                "ignored",
                "faults",
            ),
            0,
        )
        self.clients: set[Client] = set()
        self._listening, self._page, self._patience_s = listening, page, patience_s
        self._store = store
        self._past: Past | None = None
        self._runs = RunList()
        self._door = Door(access, page, self._runs, self.clients, self.counts, most_clients)
        self._marks: list[tuple[int, threading.Event]] = []
        self._dropped, self._lock = 0, threading.Lock()
        self._stopping = threading.Event()
        self._awake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._quiet = _quiet_logger(self._fault)
        self._next_log_s = 0.0

    def run(self) -> None:
        """Serve until :meth:`stop`: the body of the thread."""
        try:
            asyncio.run(self._serve())
        finally:
            if self._past is not None:
                self._past.close()

    def stop(self) -> None:
        """Say good-bye to the clients and end the thread; from any thread."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Look at the inbox now and not at the next tick; from any thread."""
        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._awake.set)

    def dropped(self, events: int) -> None:
        """So many events were lost before they came to the inbox; from any thread."""
        with self._lock:
            self._dropped += events

    def behind(self) -> int:
        """How many events the client that is behind most has not been sent; about, when asked from another thread."""
        places = [client.position for client in tuple(self.clients) if isinstance(client, EventClient)]
        return max((self.log.end - place for place in places), default=0)

    async def _serve(self) -> None:
        if self._store is not None:
            self._past = Past(self._store, MOST_FRAME, self._hand_over)
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self._fault(str(context["message"])))
        async with serve(
            self._attend,
            sock=self._listening,
            process_request=self._door.answer,
            create_connection=Connection,
            compression=None,
            max_size=LARGEST_MESSAGE,
            max_queue=4,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            server_header=None,
            logger=self._quiet,
        ):
            self._loop = asyncio.get_running_loop()
            while not self._stopping.is_set():
                self._awake.clear()
                busy = self._tick()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), BUSY_TICK_S if busy else TICK_S)

    # --- the pump

    def _tick(self) -> bool:
        """Take in what was put and send it; whether there is more to do at once."""
        more = self._take_in()
        frames: dict[Any, tuple[str, int, int]] = {}
        for client in tuple(self.clients):
            try:
                more |= self._send_to(client, frames)
            except Exception as error:  # noqa: BLE001 - the others are served on, this one is not
                self._fault(f"{type(error).__name__}: {error}")
                client.connection.transport.abort()
        self._set_marks()
        return more

    def _take_in(self) -> bool:
        if self._dropped:
            with self._lock:
                lost, self._dropped = self._dropped, 0
            self.log.skip(lost)
        events: list[Event] = []
        waiting = len(self.inbox)  # in small portions: between them the run has the interpreter
        for _ in range(min(waiting, _SLICE if waiting < _MANY else _LARGE_SLICE)):
            item = self.inbox.popleft()
            if isinstance(item, threading.Event):
                self._log_all(events)
                events = []
                self._marks.append((self.log.end, item))
            else:
                events.append(item)
        self._log_all(events)
        return bool(self.inbox)

    def _log_all(self, events: list[Event]) -> None:
        for event in events:
            try:
                body = to_cloud_event(event)
                self.log.append(event.run_id, event.seq, body)
                self._runs.take(event)
                self.counts["sent"] += 1
            except Exception as error:  # noqa: BLE001 - an event may be of any make
                self.counts["refused"] += 1
                self._fault(f"an event cannot be sent: {type(error).__name__}")
        if self._page is not None and events:
            try:
                self._page.take(events)
            except Exception as error:  # noqa: BLE001 - an event of a user, and a page of one
                self._fault(f"the page cannot show an event: {type(error).__name__}")

    def _send_to(self, client: Client, frames: dict[Any, tuple[str, int, int]]) -> bool:
        if not client.is_open():
            client.let_go()
            return False
        if client.stalled_s() > self._patience_s:
            self._give_up(client)
            return False
        if not client.has_room():
            return False
        if isinstance(client, PageClient):
            self.counts["frames"] += client.send()
            return False
        return isinstance(client, EventClient) and self._send_events(client, frames)

    def _send_events(self, client: EventClient, frames: dict[Any, tuple[str, int, int]]) -> bool:
        if client.is_reading or not client.settle(self._runs.first()):
            return False
        before = client.dropped
        span = client.pass_over(self.log, readable=self._past is not None)
        if span is not None and self._past is not None:
            client.is_reading = True
            self._past.ask(client, span)
        else:
            self.counts["frames"] += bool(client.send(self.log, frames))
        self.counts["clients_dropped_events"] += client.dropped - before
        return not client.is_reading and client.position < self.log.end

    def _hand_over(self, client: EventClient, found: Found) -> None:
        """What a client waits for has been read; called by the thread that reads."""

        def send() -> None:
            client.is_reading = False
            if found.fault:
                self._fault(found.fault)
            if client.is_open():
                before = client.dropped
                self.counts["frames"] += client.send_found(self.log, found)
                self.counts["clients_dropped_events"] += client.dropped - before
            self._awake.set()

        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(send)

    def _give_up(self, client: Client) -> None:
        """A client does not read: say so, and do not wait for it to hear that."""
        self.clients.discard(client)
        self.counts["clients_too_slow"] += 1

        async def part() -> None:
            try:
                await asyncio.wait_for(client.connection.close(_TOO_SLOW, "too slow"), _CLOSE_S)
            except (TimeoutError, OSError):
                client.connection.transport.abort()

        task = asyncio.get_running_loop().create_task(part())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _set_marks(self) -> None:
        if self._marks:
            at_least = self.log.end - self.behind()
            for position, mark in self._marks:
                if position <= at_least:
                    mark.set()
            self._marks = [(position, mark) for position, mark in self._marks if not mark.is_set()]

    # --- who comes in

    def _client_of(self, connection: Connection) -> Client:
        """What attends to a connection that has come through the handshake."""
        asked, wanted = connection.asked, connection.wanted
        if wanted.run_id == LAST:
            wanted = wanted._replace(run_id=self._runs.last() or LAST)
        if asked.path == "/view" and self._page is not None:
            return PageClient(connection, self._page.view(None if wanted.run_id == LAST else wanted.run_id))
        position = self.log.position_of((asked.query.get("cursor") or [""])[0])
        return EventClient(connection, wanted, position or 0)

    async def _attend(self, connection: ServerConnection) -> None:
        """Listen to a client until it goes."""
        client = self._client_of(connection)  # type: ignore[arg-type]
        self.clients.add(client)
        try:
            async for message in connection:
                ignored = client.ignored
                client.heard(message)
                self.counts["ignored"] += client.ignored - ignored
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(client)
            if isinstance(client, PageClient):
                client.view.close()

    def _fault(self, text: str) -> None:
        """Count what went wrong; tell it at most every ten seconds, in one line, and nothing that a client said."""
        self.counts["faults"] += 1
        if time.monotonic() >= self._next_log_s:
            self._next_log_s = time.monotonic() + _LOG_EVERY_S
            _log.warning("the WebSocket server goes on after a fault (%d so far): %.200s", self.counts["faults"], text)


def _quiet_logger(fault: Any) -> logging.Logger:
    """A logger for the library: no requests (they hold tokens), no tracebacks; errors are counted and told rarely."""

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fault(str(record.msg).splitlines()[0])

    quiet = logging.Logger("hexviz.streams.websockets", logging.ERROR)  # noqa: LOG001 - not to be configured by name
    quiet.addHandler(Counting())
    return quiet
