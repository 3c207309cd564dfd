"""Shows runs to others while they go on: a WebSocket server in a thread of its own."""

from __future__ import annotations

import itertools
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hexviz.closing import Closing
from hexviz.errors import MissingExtraError
from hexviz.events.summary import Redactor, Summariser
from hexviz.streams.access import Access, is_loopback, new_token
from hexviz.streams.models import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hexviz.events.events import Event
    from hexviz.events.models import BaseEventManager
    from hexviz.streams.past import ReadableStore
    from hexviz.streams.web_models import Page

HISTORY_BYTES = 64 * 1024 * 1024
MOST_WAITING = 200_000
_GRACE_S = 5.0


class ServerError(StreamError):
    """The server cannot be opened there: the address is taken, or not one of this machine."""


class WebSocketBroadcaster(Closing):
    """A sink that lets others watch: ``WebSocketBroadcaster(observers)``, or ``hexviz.run(..., sinks=[broadcaster])``.

    Python listens with ``hexviz.watch(broadcaster.url, token=broadcaster.token)``, a browser opens ``page_url`` where
    a ``page`` is served (``hexviz.serve`` brings one). The protocol stands in docs/streams.md.

    ``put``, on the run's path, only appends. ``host`` other than this machine (127.0.0.1) needs ``allow_remote=True``
    and a token. ``token``: None makes one, False lets in everybody on this machine. ``origins`` and ``hosts`` are
    names beside the server's own under which browsers may reach it, such as those of a proxy, compared exactly.
    The last ``history_bytes`` of events are kept for clients that come late or come back; what came before is read from
    ``store``, where that keeps the same runs, and otherwise counted for the client as lost. One that reads nothing for
    ``patience_s`` while data wait is closed (1013); no client holds more than half a MiB, or one event where that is
    larger. ``redact`` as in :class:`hexviz.Recorder`, for what ``observers`` tell: what comes from a store or as a sink
    of a recorder is sent as it is.

    Raises :class:`ServerError` where the address cannot be had, :class:`~hexviz.streams.access.AccessError` for an
    unsafe one, :class:`~hexviz.errors.MissingExtraError` without ``hexviz[ws]``. Thread-safe; closing twice is fine.
    """

    def __init__(  # noqa: PLR0913 - all but the first are given by name
        self,
        observers: BaseEventManager | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | Literal[False] | None = None,
        allow_remote: bool = False,
        origins: Iterable[str] = (),
        hosts: Iterable[str] = (),
        page: Page | None = None,
        history_bytes: int = HISTORY_BYTES,
        most_clients: int = 2_000,
        patience_s: float = 20.0,
        redact: Iterable[Redactor] = (),
        store: ReadableStore | None = None,
    ) -> None:
        redact = tuple(redact)
        if redact and (observers is None or store is not None):
            raise StreamError(
                "redact= reaches what observers tell, and not what a store or a recorder gives: give it to the recorder"
            )
        server_class = _server_class()
        if not is_loopback(host) and not allow_remote:
            raise StreamError(f"a server on {host} can be reached by others: say allow_remote=True if they may")
        self.token = new_token() if token is None else token or None
        listening = _listen(host, port)
        self.host, self.port = host, int(listening.getsockname()[1])
        try:
            access = Access(host, self.port, self.token, origins=origins, hosts=hosts)
        except BaseException:
            listening.close()
            raise
        self._server = server_class(
            listening,
            access,
            page,
            history_bytes=history_bytes,
            most_clients=most_clients,
            patience_s=patience_s,
            store=store,
        )
        self._inbox, self._append = self._server.inbox, self._server.inbox.append
        self._summarise = Summariser(redact=redact)
        self._own_run, self._numbers = f"broadcaster-{uuid.uuid4().hex[:12]}", itertools.count(1)
        self._closed = threading.Event()
        self._late = 0
        self._observers: BaseEventManager | None = None
        self._thread = threading.Thread(target=self._server.run, name=f"hexviz-ws-{self.port}", daemon=True)
        self._thread.start()
        if observers is not None:
            self._observers = observers
            self._id = observers.register(self._hear, observer_id=self._own_run, lossless=True, keep_alive=True)

    @property
    def url(self) -> str:
        """Where :func:`hexviz.watch` finds it; the token is not in it."""
        return f"ws://{_bracketed(self.host)}:{self.port}"

    @property
    def page_url(self) -> str:
        """What to open in a browser: with the token, which the page then takes out of its address."""
        token = f"?token={self.token}" if self.token else ""
        return f"http://{_bracketed(self.host)}:{self.port}/{token}"

    def _hear(self, event: Event) -> None:
        event = self._summarise(event)
        if not event.seq and not event.run_id:  # told by hand: receivers know events by run and number
            event = msgspec.structs.replace(event, run_id=self._own_run, seq=next(self._numbers))
        self.put(event)

    def put(self, event: Event) -> None:
        """Queue one summarised event: appends, and nothing else."""
        if self._closed.is_set():
            self._late += 1
        elif len(self._inbox) < MOST_WAITING:
            self._append(event)
        else:
            self._late += 1
            self._server.dropped(1)

    def flush(self, timeout: float | None = 30.0) -> int:
        """Wait until all clients have been sent what was put; how many events one still lacks after ``timeout`` s."""
        if not self._thread.is_alive():
            return 0
        mark = threading.Event()
        self._append(mark)
        self._server.wake()
        return 0 if mark.wait(timeout) else max(len(self._inbox) + self._server.behind(), 1)

    def close(self, timeout: float | None = 10.0) -> int:
        """Send what waits, say good-bye to the clients (1001) and end the thread. What :meth:`flush` gives."""
        if self._observers is not None:
            self._observers.unregister(self._id)
            self._observers = None
        if self._closed.is_set():
            return 0
        self._closed.set()
        left = self.flush(timeout)
        self._server.stop()
        self._thread.join(_GRACE_S)
        return left

    def statistics(self) -> dict[str, int]:
        """Counts.

        Events ``sent`` (taken into the history), ``queued``, ``dropped`` (came too late or too fast), ``refused`` (no
        message can be made of them); ``clients`` now, ``frames`` sent to them, events ``clients_dropped_events`` that
        they lost, ``clients_too_slow`` and closed, ``clients_refused``; messages of theirs ``ignored``, ``faults``.
        """
        now = {"queued": len(self._inbox), "dropped": self._late, "clients": len(self._server.clients)}
        return {**self._server.counts, **now}

    def __repr__(self) -> str:
        return f"<WebSocketBroadcaster {self.url}, {len(self._server.clients)} clients>"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _server_class() -> Callable[..., Any]:
    try:
        from hexviz.streams.web_server import WebServer  # noqa: PLC0415 - loads websockets, an extra
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("websockets"):
            raise
        raise MissingExtraError("websockets", "ws", purpose="showing runs to others") from error
    return WebServer


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1_024)
    except (OSError, OverflowError) as error:
        raise ServerError(f"no server can be opened on {host}, port {port}: {error}") from error
