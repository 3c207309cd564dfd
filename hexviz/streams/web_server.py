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
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from hexviz.events.cloud_events import to_cloud_event
from hexviz.streams.access import Asked
from hexviz.streams.event_log import EventLog
from hexviz.streams.run_list import RunList
from hexviz.streams.web_answers import answer, document_answer, json_answer, not_found, page_answer
from hexviz.streams.web_client import BadQueryError, Client, Connection, EventClient, PageClient, wanted_by

if TYPE_CHECKING:
    import socket

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from hexviz.events.events import Event
    from hexviz.streams.access import Access
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
        self._listening, self._access, self._page = listening, access, page
        self._most_clients, self._patience_s = most_clients, patience_s
        self._runs = RunList()
        self._marks: list[tuple[int, threading.Event]] = []
        self._dropped = 0
        self._stopping = threading.Event()
        self._awake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._quiet = _quiet_logger(self._fault)
        self._next_log_s = 0.0

    def run(self) -> None:
        """Serve until :meth:`stop`: the body of the thread."""
        asyncio.run(self._serve())

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
        self._dropped += events

    def behind(self) -> int:
        """How many events the client that is behind most has not been sent; about, when asked from another thread."""
        places = [client.position for client in tuple(self.clients) if isinstance(client, EventClient)]
        return max((self.log.end - place for place in places), default=0)

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self._fault(str(context["message"])))
        async with serve(
            self._attend,
            sock=self._listening,
            process_request=self._answer,
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
        try:
            more = self._take_in()
            frames: dict[Any, tuple[str, int, int]] = {}
            for client in tuple(self.clients):
                more |= self._send_to(client, frames)
            self._set_marks()
        except Exception as error:  # noqa: BLE001 - the others are served on
            self._fault(f"{type(error).__name__}: {error}")
            return False
        return more

    def _take_in(self) -> bool:
        lost, self._dropped = self._dropped, 0
        if lost:
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
                self.log.append(event.run_id, body)
                self._runs.take(event)
                self.counts["sent"] += 1
            except Exception as error:  # noqa: BLE001 - an event may be of any make
                self.counts["refused"] += 1
                self._fault(f"an event cannot be sent: {type(error).__name__}")
        if self._page is not None and events:
            self._page.take(events)

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
        if isinstance(client, EventClient):
            before = client.dropped
            self.counts["frames"] += bool(client.send(self.log, frames))
            self.counts["clients_dropped_events"] += client.dropped - before
            return client.position < self.log.end
        return False

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

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let a client in (None), or answer its request; the handshake comes after this."""
        asked = Asked.of(request.path, request.headers)
        if asked is None or getattr(request, "method", "GET") != "GET":
            return answer(HTTPStatus.BAD_REQUEST, "That is no request that this server knows.")
        refusal = self._access.refusal(asked, request.headers)
        if refusal is not None:
            self.counts["clients_refused"] += 1
            more = {"WWW_Authenticate": "Bearer"} if refusal.status is HTTPStatus.UNAUTHORIZED else {}
            return answer(refusal.status, refusal.text, **more)
        return self._admit(connection, asked) if asked.path in {"/events", "/view"} else self._told(asked)

    def _told(self, asked: Asked) -> Response:
        if asked.path == "/healthz":
            return json_answer({"ok": True, "clients": len(self.clients)})
        if asked.path == "/runs":
            return json_answer(self._runs.newest_first())
        if asked.path.startswith("/schemas/"):
            return document_answer(asked.path.removeprefix("/schemas/"))
        page = None if self._page is None else page_answer(asked, self._access, self._page.files)
        return page or not_found()

    def _admit(self, connection: ServerConnection, asked: Asked) -> Response | None:
        if not asked.upgrade:
            return answer(HTTPStatus.UPGRADE_REQUIRED, "This is for WebSocket clients.", Upgrade="websocket")
        if len(self.clients) >= self._most_clients:
            self.counts["clients_refused"] += 1
            return answer(
                HTTPStatus.SERVICE_UNAVAILABLE, "This server has as many clients as it takes.", Retry_After="5"
            )
        try:
            connection.client = self._client_of(connection, asked)  # type: ignore[attr-defined]
        except BadQueryError as error:
            return answer(HTTPStatus.BAD_REQUEST, str(error))
        return None if connection.client else not_found()  # type: ignore[attr-defined]

    def _client_of(self, connection: Any, asked: Asked) -> Client | None:
        wanted = wanted_by(asked.query)
        if wanted.run_id == "last":
            wanted = wanted._replace(run_id=self._runs.last())
        if asked.path == "/view":
            return None if self._page is None else PageClient(connection, self._page.view(wanted.run_id))
        position = self.log.position_of((asked.query.get("cursor") or [""])[0])
        return EventClient(connection, wanted, position or 0)

    async def _attend(self, connection: ServerConnection) -> None:
        """Listen to a client until it goes."""
        client: Client = connection.client  # type: ignore[attr-defined]
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
