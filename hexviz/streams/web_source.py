"""The events of a :class:`~hexviz.streams.broadcast.WebSocketBroadcaster`, read elsewhere."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from hexviz.closing import Closing
from hexviz.errors import MissingExtraError
from hexviz.events.cloud_events import MAX_BYTES, from_cloud_event, wire_topic
from hexviz.events.schema import RecordError
from hexviz.streams.models import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCHEMES = {"ws": ("ws", "http"), "http": ("ws", "http"), "wss": ("wss", "https"), "https": ("wss", "https")}
_OPEN_S = 10.0
_LAST = "last"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 3.0


class SourceRefusedError(StreamError):
    """The server does not let us in, or there is no such thing there; the message is its answer."""


class _Frame(msgspec.Struct):
    cursor: str
    events: list[msgspec.Raw]
    dropped: int = 0


_frame = msgspec.json.Decoder(_Frame).decode


class WebSocketSource(Closing):
    """The bodies that a server sends: ``ws://host:port``, ``http://...``, or ``wss://...`` behind a proxy.

    Where the connection breaks it is made again, and goes on behind the last event that came: nothing is missed and
    nothing comes twice while the server runs and still holds what comes next; ``dropped`` counts what it did not hold.
    The iteration ends after :meth:`close`, and when the server has been away for ``patience_s``. ``token`` is by
    default the one in the address, or ``$HEXVIZ_TOKEN``. ``run_id`` and ``topics`` choose events at the server.

    Raises :class:`SourceRefusedError` where the server refuses, :class:`~hexviz.streams.models.StreamError` where it
    cannot be reached at all.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        run_id: str | None = None,
        topics: str | Iterable[str] | None = None,
        patience_s: float = 30.0,
    ) -> None:
        self._connect = _client()
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise StreamError(f"a server of runs is at ws://HOST:PORT, not at {url.partition('?')[0]!r}")
        scheme, web = _SCHEMES[parts.scheme]
        query = parse_qs(parts.query)
        given = token or next(iter(query.pop("token", [])), None) or os.environ.get("HEXVIZ_TOKEN")
        place = parts.netloc.rpartition("@")[2]
        self.url = f"{scheme}://{place}"
        self._origin = f"{web}://{place}"
        self._path = parts.path.rstrip("/").removesuffix("/events")
        self._headers = {"Authorization": f"Bearer {given}"} if given else {}
        self._run_id, self._topics = run_id, [topics] if isinstance(topics, str) else list(topics or ())
        self._patience_s = patience_s
        self._cursor = ""
        self._closed = threading.Event()
        self._connection: Any = None
        self.connections = self.dropped = 0

    def connect(self) -> Self:
        """Make the first connection now, so that what is wrong with it is raised here; returns itself."""
        if self._connection is None:
            self._connection = self._connected()
        return self

    def __iter__(self) -> Iterator[bytes]:
        wait_s, away_since = _FIRST_WAIT_S, time.monotonic()
        while not self._closed.is_set():
            before, garbled = self.connections, False
            try:
                yield from self._bodies()
            except SourceRefusedError:
                raise
            except Exception as error:
                if not self.connections:
                    raise
                garbled = isinstance(error, msgspec.MsgspecError)
            self._connection = None
            now = time.monotonic()
            if self.connections != before:
                away_since = now
                if not garbled:
                    wait_s = _FIRST_WAIT_S
            elif now - away_since > self._patience_s:
                return
            self._closed.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _bodies(self) -> Iterator[bytes]:
        """What comes over one connection, until it breaks."""
        self.connect()
        with self._connection as connection:
            self.connections += 1
            if self._closed.is_set():
                return
            for message in connection:
                frame = _frame(message)
                self.dropped += frame.dropped
                self._stay(frame)
                for body in frame.events:
                    if self._closed.is_set():
                        return
                    yield bytes(body)
                self._cursor = frame.cursor

    def _stay(self, frame: _Frame) -> None:
        """Whoever asked for the last run goes on with that one, also where another begins before he comes back."""
        for body in frame.events if self._run_id == _LAST else ():
            with contextlib.suppress(RecordError):
                self._run_id = from_cloud_event(bytes(body)).run_id
                return

    def _connected(self) -> Any:
        query = _query_of(self._run_id, self._topics) + ([("cursor", self._cursor)] if self._cursor else [])
        try:
            return self._connect(
                f"{self.url}{self._path}/events?{urlencode(query, errors='surrogatepass')}",
                origin=self._origin,
                additional_headers=self._headers,
                compression=None,
                max_size=2 * MAX_BYTES,
                open_timeout=_OPEN_S,
                close_timeout=1.0,
                proxy=None,
            )
        except Exception as error:
            response = getattr(error, "response", None)
            if response is not None and 400 <= response.status_code < 500:  # noqa: PLR2004 - what HTTP calls our fault
                text = bytes(response.body or b"").decode("utf-8", "replace")[:300]
                raise SourceRefusedError(f"{self.url} answers {response.status_code}: {text}") from None
            raise StreamError(f"{self.url} cannot be reached: {error}") from error

    def commit(self) -> None:
        """Nothing: the server keeps no account of who has read what."""

    def close(self) -> None:
        """End the iteration; from any thread, twice is fine."""
        self._closed.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __repr__(self) -> str:
        return f"<WebSocketSource {self.url}>"


def _query_of(run_id: str | None, topics: Iterable[str]) -> list[tuple[str, str]]:
    run = [] if run_id is None else [("run", run_id)]
    return run + [("topics", wire_topic(pattern)) for pattern in topics]


def _client() -> Any:
    try:
        from websockets.sync.client import connect  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("websockets", "ws", purpose="watching a server of runs") from error
    return connect
