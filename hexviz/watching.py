"""A run that goes on elsewhere, watched here: the same recording, the same frames, the same dashboard."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import finalize

from hexviz.closing import Closing
from hexviz.errors import SourceError
from hexviz.events import events as ev
from hexviz.events.cloud_events import cloud_event_of
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.streams.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hexviz.events.events import Event
    from hexviz.recording.frames import Frames
    from hexviz.recording.recording import Recording
    from hexviz.stores.store import Store
    from hexviz.streams.models import Source
    from hexviz.widgets.dashboard import LiveView

__all__ = ["StoreSource", "Watch", "shown", "source_of"]

_ENDS = (ev.PipelineCompleted, ev.PipelineFailed, ev.PipelineCancelled, ev.PipelineSkipped)
_GRACE_S = 5.0


class StoreSource:
    """The messages of one run in a store (None: the last one), and those that anybody adds until the run has ended."""

    def __init__(self, store: Store, run_id: str | None = None) -> None:
        self._store, self._run_id = store, run_id
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        run_id = self._run_id or self._store.last_run_id()
        while run_id is None and not self._closed.wait(0.2):
            run_id = self._store.last_run_id()
        if run_id is not None:
            yield from map(cloud_event_of, self._store.tail(run_id, timeout=None, stop=self._closed.is_set))

    def commit(self) -> None:
        """Nothing: a store keeps no account of who has read what."""

    def close(self) -> None:
        """End the iteration, and close the store."""
        self._closed.set()


class _Reading:
    """The thread of a :class:`Watch`. It knows the watch's parts, not the watch, which may go while it reads."""

    def __init__(self, reader: Reader, observers: ObserverManager, let_go: Callable[[], object]) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._reader, self._observers, self._let_go = reader, observers, let_go
        self._open: set[str] = set()
        self.thread = threading.Thread(target=self._read, name="hexviz-watch", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            for event in self._reader:
                self._observers.notify_nowait(event)
                self._note(event)
                self._reader.commit()
        except Exception as error:  # noqa: BLE001 - of a source of any make; told by wait()
            self.error = error
        finally:
            self.ended.set()
            self._let_go()

    def _note(self, event: Event) -> None:
        if isinstance(event, _ENDS):
            self._open.discard(event.run_id)
            if not self._open:
                self.ended.set()
        elif event.run_id not in self._open and type(event) is ev.PipelineStarted:
            self._open.add(event.run_id)
            self.ended.clear()


class Watch(Closing):
    """What :func:`hexviz.watch` gives: a recording that grows while a thread reads what happens elsewhere.

    ``observers`` hears every event as if the run were here; ``recording``, ``frames`` and ``dashboard`` show what came
    so far. Closing ends the reading, and what was recorded stays. A context manager. A watch that nobody holds any
    more, neither a variable nor a view, and that was given no ``observers``, closes itself.
    """

    def __init__(
        self,
        source: Source,
        *,
        run: str | None = None,
        topics: str | Iterable[str] | None = None,
        observers: Iterable[Callable[[Event], Any]] = (),
        where: str = "",
        let_go: Callable[[], object] = lambda: None,
    ) -> None:
        self.observers = ObserverManager()
        self.recorder = Recorder().attach(self.observers)
        given = [self.observers.register(observer, lossless=True) for observer in observers]
        self.reader = Reader(source, run_id=run, topics=topics)
        self._where = (shown(where) if "://" in where else where) or type(source).__name__
        self._dashboard: LiveView | None = None
        self._reading = _Reading(self.reader, self.observers, let_go)
        if not given:
            finalize(self, self.reader.close).atexit = False

    @property
    def recording(self) -> Recording:
        """Everything that came so far; it grows."""
        return self.recorder.recording

    @property
    def frames(self) -> Frames:
        """The recording as pandas frames, as it stands now."""
        return self.recording.frames

    @property
    def dashboard(self) -> LiveView:
        """A live dashboard of the run that began last, or of the first that comes."""
        from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415 - loads ipywidgets, so only on request

        if self._dashboard is None or (self._dashboard.state.done and len(self.recording.run_ids) > 1):
            runs = self.recording.run_ids
            so_far = self.recording.run(runs[-1]).events() if runs else iter(())
            self._dashboard = LiveView(self.observers, history=so_far)
            self._dashboard.source = self
        return self._dashboard

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every run that began has ended, or nothing more comes; False after ``timeout`` seconds.

        Raises what ended the reading, where that was an error.
        """
        ended = self._reading.ended.wait(timeout)
        if self._reading.error is not None:
            raise self._reading.error
        return ended

    def statistics(self) -> dict[str, int]:
        """The counts of :meth:`hexviz.streams.Reader.statistics`."""
        return self.reader.statistics()

    def close(self) -> None:
        """Stop watching; twice is fine. The recording and the dashboard's last picture stay."""
        self.reader.close()
        if threading.current_thread() is not self._reading.thread:
            self._reading.thread.join(_GRACE_S)
        if self._dashboard is not None:
            self._dashboard.close()
        self.recorder.close()

    def _ipython_display_(self) -> None:
        self.dashboard.display()

    def __repr__(self) -> str:
        return f"<Watch {self._where}: {len(self.recorder)} events of {len(self.recording.run_ids)} runs>"


def shown(url: str) -> str:
    """An address as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def source_of(url: str, *, run: str | None, topics: Any, token: str | None) -> Source | None:
    """The source that an address names; None where it is a store's."""
    scheme = urlsplit(url).scheme
    if scheme in {"ws", "wss", "http", "https"}:
        from hexviz.streams.web_source import WebSocketSource  # noqa: PLC0415 - an extra

        return WebSocketSource(url, run_id=run, topics=topics, token=token).connect()
    if scheme == "kafka":
        from hexviz.streams.kafka_source import KafkaSource  # noqa: PLC0415 - an extra

        return KafkaSource(url, run_id=run, topics=topics)
    if "://" in url and scheme not in {"postgresql", "postgres"}:
        raise SourceError(f"hexviz watches ws://, http://, kafka://, postgresql:// and files, not {scheme}://")
    return None
