"""A recording: the ordered events of one or more runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from hexviz.errors import HexvizError
from hexviz.events.forking import free_in_children
from hexviz.events.schema import to_record
from hexviz.events.summary import Summariser
from hexviz.recording.columns import EventColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd

    from hexviz.events.events import Event
    from hexviz.recording.frames import Frames

_CHUNK = 4096


class UnknownRunError(HexvizError, KeyError):
    """There is no run of that id in the recording."""

    def __str__(self) -> str:
        return str(self.args[0])


def _nothing() -> None:
    """What a recording that does not grow does before it is read."""


class Recording:
    """Events in order of arrival, of one or more runs, kept as columns.

    ``Recording(events)`` takes any events; a recorder gives one that grows. Reading is safe while it grows: each
    frame or iteration shows what was there when it began. Results are :class:`~hexviz.events.summary.Summary`,
    errors :class:`~hexviz.events.events.RecordedError`.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._columns = EventColumns()
        self._refresh: Callable[[], None] = _nothing
        self._lock: Any = free_in_children(threading.RLock())
        self._only: str | None = None
        self._frames: Frames | None = None
        summarise = Summariser()
        chunk: list[Event] = []
        for event in events:
            chunk.append(summarise(event))
            if len(chunk) >= _CHUNK:
                self._columns.extend(chunk)
                chunk = []
        self._columns.extend(chunk)

    @classmethod
    def from_records(cls, records: Iterable[bytes]) -> Self:
        """The recording of stored records; raises :class:`~hexviz.events.schema.RecordError` for a damaged one."""
        from hexviz.recording.pages import read_into  # noqa: PLC0415 - its decoders take time to make

        self = cls()
        read_into(self._columns, records)
        return self

    @classmethod
    def from_pages(cls, pages: Iterable[bytes]) -> Self:
        """The recording of records that come as JSON arrays, which is the quick way; errors as above."""
        from hexviz.recording.pages import read_pages_into  # noqa: PLC0415 - as above

        self = cls()
        read_pages_into(self._columns, pages)
        return self

    @classmethod
    def from_columns(cls, parts: Sequence[bytes]) -> Self | None:
        """The recording of what :meth:`to_columns` gave; None where the bytes are anything else.

        They are a copy of records that a store keeps, for its own use: records are what travels.
        """
        from hexviz.recording.condensed import expand  # noqa: PLC0415 - numpy loads with it

        columns = expand(parts)
        return None if columns is None else cls.over(columns)

    def __reduce__(self) -> tuple[Callable[[Iterable[bytes]], Recording], tuple[list[bytes]]]:
        """Where a process hands it to another it goes as its records; hexviz itself unpickles none."""
        return Recording.from_records, (list(self.records()),)

    def seq_at(self, place: int) -> int:
        """The number of the event at a place in the order of arrival, from 0 on."""
        columns = self.columns
        with self._lock:
            code = columns.classes[place]
            row = columns.classes[: place + 1].count(code) - 1
            return columns.blocks[code].base["seq"].data[row]  # type: ignore[no-any-return]

    def add_pages(self, pages: Iterable[bytes]) -> None:
        """Append records that come as JSON arrays; errors as in :meth:`from_records`."""
        from hexviz.recording.pages import read_pages_into  # noqa: PLC0415 - as above

        read_pages_into(self._columns, pages)

    def to_columns(self, count: int | None = None) -> list[bytes] | None:
        """The columns (of the first ``count`` events) as bytes.

        None where they are not of one run by ascending seq, or too much in them is odd: a value is not what its record
        says, or a tenth of the events are of users' classes.
        """
        from hexviz.recording.beginning import beginning  # noqa: PLC0415 - as above
        from hexviz.recording.condensed import condense  # noqa: PLC0415 - as above

        columns = self.columns
        with self._lock:
            return condense(columns if count is None else beginning(columns, count))

    @classmethod
    def over(
        cls, columns: EventColumns, *, refresh: Callable[[], None] = _nothing, lock: Any = None, only: str | None = None
    ) -> Self:
        """A recording over columns that somebody else fills; ``only`` keeps one run."""
        self = cls()
        self._columns, self._refresh, self._only = columns, refresh, only
        self._lock = lock if lock is not None else self._lock
        return self

    @property
    def columns(self) -> EventColumns:
        """The columns, with all that is known now, of all runs."""
        self._refresh()
        return self._columns

    @property
    def lock(self) -> Any:
        """Held while the columns grow; whoever copies several columns holds it too."""
        return self._lock

    @property
    def only(self) -> str | None:
        """The run that this recording is restricted to; None means all."""
        return self._only

    def events(self, after_seq: int = 0) -> Iterator[Event]:
        """The events in order of arrival, made anew; only those with a greater ``seq`` than ``after_seq``."""
        columns = self.columns
        end = len(columns)
        for event in columns.events(end=end):
            if (self._only is None or event.run_id == self._only) and (not after_seq or event.seq > after_seq):
                yield event

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def records(self) -> Iterator[bytes]:
        """The events as canonical records."""
        return map(to_record, self.events())

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs, in order of their first event."""
        if self._only is not None:
            return (self._only,)
        columns = self.columns
        with self._lock:
            return tuple(columns.runs)

    def run(self, run_id: str) -> Recording:
        """The part of one run. Raises :class:`UnknownRunError` where it has no event."""
        if run_id not in self.run_ids:
            known = ", ".join(self.run_ids[-5:]) or "none"
            raise UnknownRunError(f"there is no run {run_id!r} in this recording; its last runs: {known}")
        return Recording.over(self._columns, refresh=self._refresh, lock=self._lock, only=run_id)

    def __len__(self) -> int:
        columns = self.columns
        if self._only is None:
            return len(columns)
        with self._lock:
            return columns.count_of(self._only)

    @property
    def frames(self) -> Frames:
        """The recording as pandas frames; made anew only when events came since."""
        from hexviz.recording.frames import Frames  # noqa: PLC0415 - pandas loads at the first frame

        if self._frames is None or self._frames.length != len(self.columns):
            self._frames = Frames(self)
        return self._frames

    def diagnostics(self) -> pd.DataFrame:
        """What is odd about this recording, one row per finding: ``run_id, problem, count, seq, node, detail``.

        Problems: gap, duplicate, out of order, end before start, end without start, no start of the run, second start
        of the run, no end, second end, negative duration, clock step, unknown event. Empty for a sound recording of
        ended runs. Frames build all the same: ordered by ``seq``, the first of duplicates kept.
        """
        return self.frames.diagnostics

    def __repr__(self) -> str:
        runs = self.run_ids
        of = f"run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs"
        return f"<Recording {len(self)} events of {of}>"
