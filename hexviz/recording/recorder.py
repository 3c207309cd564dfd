"""The recorder: the one observer that loses nothing."""

from __future__ import annotations

import time
import uuid
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

from hexviz.closing import Closing
from hexviz.events.events import Event, NodeCompleted, NodeStarted
from hexviz.events.summary import MAY_WAIT, Capture, Redactor, Summariser
from hexviz.recording.fan_out import parts_of, put_to
from hexviz.recording.kept import PENDING, KeptEvents
from hexviz.recording.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hexviz.events.models import BaseEventManager
    from hexviz.recording.fan_out import EventSink


class RecordStore(Protocol):
    """Where a recorder hands its events: ``put`` only queues, ``flush`` waits until they are kept."""

    def put(self, event: Event, /) -> None:
        """Queue one event."""

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """Return when all that was put is kept; raise when it cannot be."""


class Recorder(Closing):
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
        self._kept = KeptEvents(self.run_id)
        grew = getattr(store, "columns_grew", None)
        self._kept.grown = None if grew is None else partial(_tell_of_growth, grew)
        self._attached: list[tuple[BaseEventManager, str]] = []
        self._values: dict[tuple[str, int], Any] = {}
        self._keepers: dict[type[Event], Callable[[Event], None]] = {}

    def __call__(self, event: Event) -> None:
        """Keep ``event``. Never raises for what the event holds."""
        keep = self._keepers.get(type(event))
        if keep is None:
            keep = self._keepers[type(event)] = self.keeper_of(type(event))
        keep(event)

    def keeper_of(self, event_class: type[Event]) -> Callable[[Event], None]:
        """What managers call in line for each event of a class; made once, so that it needs to look up nothing."""
        kept, put = self._kept, self._put
        pending, numbered, seal = kept.pending, kept.numbered, kept.seal
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
            if len(pending) >= PENDING:
                seal()

        if self._summariser.capture == "value":
            return self._value_keeper(keep)
        as_it_is = step is not None and self._summariser.capture != "json" and not self._sinks
        quick = _QUICK.get(event_class) if as_it_is else None
        return keep if quick is None else quick(kept, keep, put)

    def _value_keeper(self, keep: Callable[[Event], None]) -> Callable[[Event], None]:
        summariser, values, numbered = self._summariser, self._values, self._kept.numbered

        def keep_with_value(event: Event) -> None:
            if not event.seq:
                event = numbered(event)
            kept, value = summariser.value_of(event)
            if kept:
                values[event.run_id, event.seq] = value
            keep(event)

        return keep_with_value

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
    def observers(self) -> BaseEventManager | None:
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
        return _recording_of(self._kept)

    def recording_of(self, run_id: str) -> Recording:
        """One run of what was seen."""
        return self.recording.run(run_id)

    def __len__(self) -> int:
        return len(self._kept)

    def statistics(self) -> dict[str, int]:
        """``events``, ``bytes`` held by the columns, ``texts`` (distinct), ``attached`` managers, ``contents_dropped``.

        The last counts contents that were to be kept and are not: a redactor failed or hung, or they were too long.
        """
        self._kept.seal()
        return {
            "events": len(self._kept.columns),
            "bytes": self._kept.columns.nbytes(),
            "texts": len(self._kept.columns.strings),
            "attached": len(self._attached),
            "contents_dropped": self._summariser.contents_dropped,
        }

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """With a store: return when every event told so far is kept there.

        ``"os"`` survives the end of this process, ``"disk"`` a power cut. Raises the store's error where it cannot be
        kept.
        """
        self._kept.seal()
        if self._store is not None:
            self._store.flush(durability, timeout)

    def close(self) -> None:
        """Detach and flush. Twice is fine; the recording stays readable.

        A store that keeps copies of long runs gets the columns of one that this recorder heard alone.
        """
        self.detach()
        self.flush()
        keep = getattr(self._store, "keep_columns", None)
        if keep is not None and len(self._kept.columns.runs) == 1:
            keep(next(iter(self._kept.columns.runs)), self.recording)

    def __repr__(self) -> str:
        return f"<Recorder {len(self)} events{' with a store' if self._store is not None else ''}>"


def _recording_of(kept: KeptEvents) -> Recording:
    return Recording.over(kept.columns, refresh=kept.seal, lock=kept.lock)


def _tell_of_growth(grew: Callable[[str, Recording], None], kept: KeptEvents) -> None:
    if len(kept.columns.runs) == 1:
        grew(next(iter(kept.columns.runs)), _recording_of(kept))


# The hottest two classes, where an event is kept as it is: everything else goes to the ``keep`` of its class.
def _keep_started(
    kept: KeptEvents, keep: Callable[[Any], None], put: Callable[[Event], None] | None
) -> Callable[[Any], None]:
    pending, append, most = kept.pending, kept.pending.append, PENDING - 1
    queue, awake, rouse = parts_of(put)

    def keep_started(event: NodeStarted) -> None:
        if event.seq and type(event.dependencies) is tuple and len(pending) < most:
            append(event)
            if queue is not None:
                queue(event)
                if not awake:
                    rouse()
        else:
            keep(event)

    return keep_started


def _keep_completed(
    kept: KeptEvents, keep: Callable[[Any], None], put: Callable[[Event], None] | None
) -> Callable[[Any], None]:
    pending, append, most = kept.pending, kept.pending.append, PENDING - 1
    queue, awake, rouse = parts_of(put)

    def keep_completed(event: NodeCompleted) -> None:
        if event.seq and type(event.result) in MAY_WAIT and len(pending) < most:
            append(event)
            if queue is not None:
                queue(event)
                if not awake:
                    rouse()
        else:
            keep(event)

    return keep_completed


_QUICK: dict[type[Event], Any] = {NodeStarted: _keep_started, NodeCompleted: _keep_completed}
