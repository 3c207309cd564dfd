"""One client of the server, from its request to its end: what it gets next, and whether it keeps up."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import CLOSED, OPEN

from hexviz.errors import RegistrationError
from hexviz.events.topics import compile_pattern
from hexviz.streams.event_log import Wanted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from hexviz.streams.access import Asked
    from hexviz.streams.event_log import EventLog
    from hexviz.streams.past import Found, Span
    from hexviz.streams.web_models import PageView

MOST_QUEUED = 256 * 1024
"""While more bytes than so many wait for a client to read them it gets no more; with one frame on top this is all
that a client can hold."""
MOST_FRAME = 256 * 1024
_KERNEL_BYTES = 64 * 1024
_HEARD_BURST, _HEARD_RATE = 256 * 1024, 16 * 1024
_MOST_PATTERNS, _MOST_PATTERN, _MOST_STARS = 20, 300, 4


LAST = "last"
"""In place of a run: the one that began last when somebody came, or the first that begins then."""


class _Said(msgspec.Struct):
    k: str
    seq: int


_acknowledgement = msgspec.json.Decoder(_Said).decode


class Connection(ServerConnection):
    """A connection that may say little: this is a read-only server. One that floods it is cut off."""

    asked: Asked
    wanted: Wanted
    _allowed, _since = float(_HEARD_BURST), 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the kernel keep little for a client too, so that a slow one shows early."""
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Count what comes in, then take it in."""
        now = time.monotonic()
        self._allowed = min(_HEARD_BURST, self._allowed + _HEARD_RATE * (now - (self._since or now))) - len(data)
        self._since = now
        if self._allowed < 0 and self.protocol.state is OPEN:
            self.transport.abort()
        else:
            super().data_received(data)


class BadQueryError(ValueError):
    """A client asked for something that there is not; the text is for it."""


def wanted_by(query: Mapping[str, list[str]]) -> Wanted:
    """What ``?run=ID&topics=PATTERN&topics=...`` asks for. Raises :class:`BadQueryError`."""
    patterns = tuple(sorted(set(query.get("topics", []))))
    if len(patterns) > _MOST_PATTERNS:
        raise BadQueryError(f"At most {_MOST_PATTERNS} topics, please.")
    for pattern in patterns:
        if len(pattern) > _MOST_PATTERN or pattern.count("**") > _MOST_STARS:
            raise BadQueryError(f"A topic pattern has at most {_MOST_PATTERN} characters and {_MOST_STARS} times '**'.")
        try:
            compile_pattern(pattern)
        except RegistrationError as error:
            raise BadQueryError(str(error)) from error
    runs = query.get("run", [])
    if len(runs) > 1:
        raise BadQueryError("One run, or none for all of them, please.")
    return Wanted(runs[0] if runs else None, patterns)


class Client:
    """What both kinds of client have in common."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ignored = 0
        self._waiting_since = time.monotonic()
        self._left = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the client to read them."""
        return int(self.connection.transport.get_write_buffer_size())

    def is_open(self) -> bool:
        """Whether it can be sent something."""
        return self.connection.protocol.state is OPEN

    def let_go(self) -> None:
        """It has hung up: what it did not read would keep its connection, for as long as the other end is silent."""
        if self.connection.protocol.state is CLOSED and self.queued_bytes:
            self.connection.transport.abort()

    def stalled_s(self) -> float:
        """For how long now it has read nothing of what waits for it, while it may not be sent more."""
        queued, now = self.queued_bytes, time.monotonic()
        if queued <= MOST_QUEUED or queued < self._left:
            self._waiting_since = now
        self._left = queued
        return now - self._waiting_since

    def has_room(self) -> bool:
        """Whether it may be sent more."""
        return self.queued_bytes <= MOST_QUEUED

    def heard(self, _message: str | bytes) -> None:
        """It said something; there is nothing that it could ask for."""
        self.ignored += 1


class EventClient(Client):
    """One that gets events, from ``position`` on."""

    def __init__(self, connection: Connection, wanted: Wanted, position: int) -> None:
        super().__init__(connection)
        self.wanted = wanted
        self.position = position
        self.dropped = 0
        self.is_reading = False
        """Whether it waits for what is read from the store."""
        self._untold = 0

    def settle(self, first_run: str | None) -> bool:
        """Settle on a run where it came for the last one and there was none; whether that can be done yet."""
        if self.wanted.run_id == LAST and first_run is not None:
            self.wanted = self.wanted._replace(run_id=first_run)
        return self.wanted.run_id != LAST or first_run is not None

    def pass_over(self, log: EventLog, *, readable: bool) -> Span | None:
        """Go on to what can be had: the log, or where the past is ``readable`` a span of it. Count what is lost."""
        while self.position < log.first:
            span, behind = log.gone_at(self.position)
            if span is None or self.wanted.run_id in {None, span.run_id}:
                if span is not None and readable:
                    return span
                self._lose(behind - self.position)
            self.position = behind
        missing = log.missing_at(self.position)
        self._lose(missing)
        self.position += missing
        return None

    def _lose(self, events: int) -> None:
        self.dropped += events
        self._untold += events

    def send(self, log: EventLog, frames: dict[Any, tuple[str, int, int]]) -> int:
        """Send what comes next, one frame at most; the number of events in it. ``frames`` were made for others."""
        lost, self._untold = self._untold, 0
        if self.position >= log.end and not lost:
            return 0
        key = (self.wanted, self.position, lost)
        found = frames.get(key)
        if found is None:
            found = frames[key] = log.frame(self.wanted, self.position, lost, MOST_FRAME)
        frame, self.position, events = found
        self._tell(frame)
        return events

    def send_found(self, log: EventLog, found: Found) -> bool:
        """Send what was read of the span at its position, and count what was not there; whether there was anything."""
        self.position += found.events
        self._lose(found.events - len(found.bodies))
        frame = log.frame_of(self.wanted.on_topic(found.bodies), self.position, self._untold)
        self._untold = 0
        self._tell(frame)
        return bool(frame)

    def _tell(self, frame: str) -> None:
        if frame:
            broadcast([self.connection], frame)


class PageClient(Client):
    """A browser with the page: it gets views of a run, and says which it has drawn."""

    def __init__(self, connection: Connection, view: PageView) -> None:
        super().__init__(connection)
        self.view = view

    def send(self) -> bool:
        """Send what changed, if the browser keeps up; whether anything was sent."""
        frame = self.view.frame()
        if frame is not None:
            broadcast([self.connection], frame)
        return frame is not None

    def heard(self, _message: str | bytes) -> None:
        """An acknowledgement is taken note of, all else ignored."""
        try:
            said = _acknowledgement(_message)
        except (msgspec.DecodeError, ValueError, RecursionError):
            said = None
        if said is not None and said.k == "ack":
            self.view.acknowledge(said.seq)
        else:
            super().heard(_message)
