"""Shows runs to others: the server of :mod:`hexviz.streams`, its page, and what feeds it."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hexviz.closing import Closing
from hexviz.errors import SourceError
from hexviz.events.events import printable
from hexviz.events.schema import RecordError, from_record
from hexviz.streams.broadcast import WebSocketBroadcaster
from hexviz.widgets.page import LivePage

if TYPE_CHECKING:
    from hexviz.events.models import BaseEventManager
    from hexviz.stores.store import Store

__all__ = ["StoreServer", "broadcaster"]

_log = logging.getLogger("hexviz.streams")
_LOOK_S = 0.3
_SKEW = timedelta(hours=1)
_MOST_QUEUED = 10_000
_AGAIN_S = 5.0
_LOG_EVERY_S = 30.0


def broadcaster(observers: BaseEventManager | None = None, **options: Any) -> WebSocketBroadcaster:
    """A :class:`~hexviz.streams.WebSocketBroadcaster` with the page; ``options`` are its own."""
    return WebSocketBroadcaster(observers, page=LivePage(), **options)


class StoreServer(Closing):
    """Serves runs of a store while somebody else writes them.

    One run (``run_id``); or, with ``follow``, the newest, all that are being written, and each that begins later.
    ``ended`` is set when there is nothing more to come. ``owned``: the store is closed with the server.
    """

    def __init__(
        self, store: Store, *, run_id: str | None = None, follow: bool = False, owned: bool = False, **options: Any
    ) -> None:
        if run_id is None and not follow:
            raise SourceError(f"there is no run in {store.where} yet: follow=True serves those that begin from now on")
        self.broadcaster = broadcaster(store=store, **options)
        self.ended = threading.Event()
        self._store, self._only, self._owned = store, run_id, owned
        self._places: dict[str, int] = {}
        self._done: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._next_log = 0.0
        self._since: datetime | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hexviz-serve", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and self._look():
                self._stop.wait(_LOOK_S)
        finally:
            self.ended.set()

    def _look(self) -> bool:
        """Read on in each run; whether more may come."""
        if self._only is not None:
            return not self._could_read(self._only, None)
        try:
            infos = self._store.list_runs(since=self._since)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, it may be there again later
            self._complain("the runs of the store", error)
            return not self._stop.wait(_AGAIN_S)
        if self._since is None:  # what is over by now is not served, but for the last one
            self._done.update(info.run_id for info in infos[1:] if info.status != "running")
            begun = [info.started_at for info in infos if info.run_id not in self._done and info.started_at]
            self._since = min(begun, default=datetime.now(UTC) - _SKEW)
        for info in reversed(infos):
            if (
                info.run_id not in self._done
                and time.monotonic() >= self._not_before.get(info.run_id, 0.0)
                and self._could_read(info.run_id, 0.0)
                and info.status != "running"
            ):
                self._done.add(info.run_id)
        return True

    def _could_read(self, run_id: str, timeout_s: float | None) -> bool:
        """Read on in a run; False where that fails: it is told, and tried again in some seconds."""
        try:
            self._read(run_id, timeout_s)
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(f"run {run_id!r}", error)
            self._not_before[run_id] = time.monotonic() + _AGAIN_S
            if timeout_s is None:
                self._stop.wait(_AGAIN_S)
            return False
        return True

    def _read(self, run_id: str, timeout_s: float | None) -> None:
        place = self._places.get(run_id)
        for record in self._store.tail(run_id, place, timeout=timeout_s, stop=self._stop.is_set):
            try:
                event = from_record(record)
            except RecordError as error:  # written by a newer version, say; what follows can be read
                self._complain(f"an event of run {run_id!r}", error)
                continue
            self._places[run_id] = event.seq
            self.broadcaster.put(event)
            while self.broadcaster.statistics()["queued"] > _MOST_QUEUED and not self._stop.is_set():
                time.sleep(0.02)

    def _complain(self, what: str, error: Exception) -> None:
        if time.monotonic() >= self._next_log:
            self._next_log = time.monotonic() + _LOG_EVERY_S
            _log.warning("%s cannot be read: %.300s; the rest is served on", printable(what), printable(error))

    @property
    def url(self) -> str:
        """Where :func:`hexviz.watch` finds it."""
        return self.broadcaster.url

    @property
    def token(self) -> str | None:
        """What lets others in."""
        return self.broadcaster.token

    @property
    def page_url(self) -> str:
        """What to open in a browser."""
        return self.broadcaster.page_url

    def close(self) -> None:
        """Stop reading and serving; twice is fine."""
        self._stop.set()
        self._thread.join(5.0)
        self.broadcaster.close(timeout=2.0)
        if self._owned:
            self._store.close()
