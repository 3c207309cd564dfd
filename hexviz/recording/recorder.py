"""The recorder: the one observer that loses nothing."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from hexviz.events.by_class import ByClass
from hexviz.events.summary import Capture, Redactor, Summariser
from hexviz.recording.columns import EventColumns
from hexviz.recording.fan_out import put_to
from hexviz.recording.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from hexviz.events.events import Event
    from hexviz.events.models import BaseEventManager
    from hexviz.recording.fan_out import EventSink

_PENDING = 8_192
"""Events that wait, as they are, to become columns: a run of some thousand nodes pays for that when it is over."""
_CHUNK = 1_024
"""Events that become columns at a time: few enough to stay in the caches, enough to share the price of a call."""


class RecordStore(Protocol):
    """Where a recorder hands its events: ``put`` only queues, ``flush`` waits until they are kept."""

    def put(self, record: Event) -> None:
        """Queue one event."""

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """Return when all that was put is kept; raise when it cannot be."""


class Recorder:
    """Keeps every event it is told, in order of arrival, as columns.

    Called in line and from any thread, about a microsecond per event. Results, parameters, messages and errors are
    kept as bounded summaries (``capture="summary"``), or with a redacted JSON copy (``capture="json"``); no code of
    their classes is called. ``capture="value"`` keeps summaries, and in :attr:`kept_values` the values themselves: in
    memory only, no store ever gets them. ``redact``: functions that take a value and return what may be kept of it,
    called before anything is queued or written; with ``"value"`` they get the object itself, so they return a new one.

    With a ``store`` every event is also queued to the store's writer thread, and each of ``sinks`` (see
    :class:`hexviz.streams.Sink`) gets it too, as it is kept: summarised and redacted. Store and sinks stay their
    owner's to close. An event told by hand (``seq`` 0) gets this recorder's ``run_id`` and the next ``seq``.
    """

    def __init__(
        self,
        store: RecordStore | None = None,
        *,
        sinks: Iterable[EventSink] = (),
        capture: Capture = "summary",
        redact: Iterable[Redactor] = (),
    ) -> None:
        self.run_id = f"{time.time_ns() // 1_000_000:012x}-{uuid.uuid4().hex[:12]}"
        self._store = store
        self._sinks = tuple(sinks)
        self._put = put_to(store, self._sinks)
        self._summariser = Summariser(capture, redact)
        self._columns = EventColumns()
        self._pending: list[Event] = []
        self._lock = threading.RLock()
        self._seqs: Counter[str] = Counter()
        self._attached: list[tuple[Any, str]] = []
        self._values: dict[tuple[str, int], Any] = {}
        self._keepers = ByClass(self.keeper_of)

    def __call__(self, event: Event) -> None:
        """Keep ``event``. Never raises for what the event holds."""
        self._keepers[type(event)](event)

    def keeper_of(self, event_class: type[Event]) -> Callable[[Event], None]:
        """What managers call in line for each event of a class; made once, so that it needs to look up nothing."""
        put, pending, numbered, seal = self._put, self._pending, self._numbered, self._seal
        append = pending.append
        step = self._summariser.step_for(event_class, hurried=not self._sinks)

        def keep(event: Event) -> None:
            if step is not None:
                event = step(event)
            if not event.seq:
                event = numbered(event)
            append(event)
            if put is not None:
                put(event)
            if len(pending) >= _PENDING:
                seal()

        return keep if self._summariser.capture != "value" else self._value_keeper(keep)

    def _value_keeper(self, keep: Callable[[Event], None]) -> Callable[[Event], None]:
        summariser, values, numbered = self._summariser, self._values, self._numbered

        def keep_with_value(event: Event) -> None:
            if not event.seq:
                event = numbered(event)
            kept, value = summariser.value_of(event)
            if kept:
                values[event.run_id, event.seq] = value
            keep(event)

        return keep_with_value

    def _numbered(self, event: Event) -> Event:
        with self._lock:
            run_id = event.run_id or self.run_id
            if run_id not in self._seqs:  # news about a run that is over: its own numbering goes on
                self._seal()
                self._seqs[run_id] = self._columns.last_seq_of(run_id)
            self._seqs[run_id] += 1
            return msgspec.structs.replace(event, run_id=run_id, seq=self._seqs[run_id])

    def _seal(self) -> None:
        """Turn the pending events into columns. Appending goes on meanwhile from other threads."""
        with self._lock:
            count = len(self._pending)
            for first in range(0, count, _CHUNK):
                self._columns.extend(self._pending[first : min(first + _CHUNK, count)])
            del self._pending[:count]

    # --- where the events come from ---

    def attach(self, observers: BaseEventManager, *, observer_id: str = "recorder") -> Self:
        """Hear all events of an observer manager, in line and without loss; may be done with several managers."""
        self._attached.append(
            (observers, observers.register(self, lossless=True, observer_id=observer_id, keep_alive=True))
        )
        return self

    def detach(self) -> None:
        """Hear no more of any manager; what was kept stays."""
        while self._attached:
            observers, observer_id = self._attached.pop()
            observers.unregister(observer_id)

    @property
    def observers(self) -> Any:
        """The manager that was attached last; None where there is none."""
        return self._attached[-1][0] if self._attached else None

    # --- what is kept ---

    @property
    def kept_values(self) -> Mapping[tuple[str, int], Any]:
        """With ``capture="value"``: results, parameters, messages and answers by run id and ``seq`` of their event.

        They are the very objects, alive as long as this recorder, except that values under secret keys are replaced.
        """
        return MappingProxyType(self._values)

    @property
    def recording(self) -> Recording:
        """Everything seen so far; it goes on growing while the recorder is told more."""
        return Recording.over(self._columns, refresh=self._seal, lock=self._lock)

    def recording_of(self, run_id: str) -> Recording:
        """One run of what was seen."""
        return self.recording.run(run_id)

    def __len__(self) -> int:
        with self._lock:
            return len(self._columns) + len(self._pending)

    def statistics(self) -> dict[str, int]:
        """``events``, ``bytes`` held by the columns, ``texts`` (distinct), ``attached`` managers, ``contents_dropped``.

        The last counts contents that were to be kept and are not: a redactor failed or hung, or they were too long.
        """
        self._seal()
        return {
            "events": len(self._columns),
            "bytes": self._columns.nbytes(),
            "texts": len(self._columns.strings),
            "attached": len(self._attached),
            "contents_dropped": self._summariser.contents_dropped,
        }

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """With a store: return when every event told so far is kept there.

        ``"os"`` survives the end of this process, ``"disk"`` a power cut. Raises the store's error where it cannot be
        kept.
        """
        self._seal()
        if self._store is not None:
            self._store.flush(durability, timeout)

    def close(self) -> None:
        """Detach and flush. Twice is fine; the recording stays readable.

        A store that keeps copies of long runs gets the columns of one that this recorder heard alone.
        """
        self.detach()
        self.flush()
        keep = getattr(self._store, "keep_columns", None)
        if keep is not None and len(self._columns.runs) == 1:
            keep(next(iter(self._columns.runs)), self.recording)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder {len(self)} events{' with a store' if self._store is not None else ''}>"
