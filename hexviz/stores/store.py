"""What every store does, whatever it keeps its segments in."""

from __future__ import annotations

import threading
import time
import weakref
from abc import abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from hexviz.closing import Closing
from hexviz.errors import SettingError
from hexviz.events.events import Event
from hexviz.events.schema import from_record
from hexviz.stores.copying import MOST, Copier, is_long, is_of_all, is_over, name_of
from hexviz.stores.errors import StoreError, StoreWriteError
from hexviz.stores.parts import Given
from hexviz.stores.pruning import to_prune
from hexviz.stores.reading import StoreReading
from hexviz.stores.writer import Log, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    import pandas as pd

    from hexviz.recording.recording import Recording
    from hexviz.stores.copying import Copy, Rows
    from hexviz.stores.run_info import RunInfo


class Recordings(Protocol):
    """What makes recordings of runs: :class:`hexviz.recording.recording.Recording`."""

    def from_pages(self, pages: Iterable[bytes], /) -> Recording:
        """The recording of records that come as JSON arrays. Has ``to_columns()``, whose result may be kept."""

    def from_columns(self, parts: Sequence[bytes], /) -> Recording | None:
        """The recording of what ``to_columns`` gave; None where that cannot be read."""


class Store(StoreReading, Closing):
    """Runs, kept in segments (:mod:`hexviz.stores.segments`).

    Writing only queues: a thread with its own connection encodes and commits in groups. What ``flush`` acknowledged
    survives the death of the process (``"os"``) or a power cut (``"disk"``). Appending an equal record again changes
    nothing; another record under the same run id and seq is refused (:class:`RunTakenError`). Several processes may
    write and read one store. ``recordings`` makes what :meth:`recording` returns, ``make_frame`` what :meth:`runs`
    returns out of a list of :class:`RunInfo`.

    A store of another kind gives ``__init__`` a :class:`~hexviz.stores.writer.Log` (most easily a
    :class:`~hexviz.stores.segment_log.SegmentLog`) and defines the methods of the last sections here and in
    :class:`~hexviz.stores.reading.StoreReading`; :class:`hexviz.testing.StoreContract` tests it.
    """

    def __init__(
        self,
        where: str,
        log: Log,
        *,
        recordings: Recordings | None = None,
        make_frame: Callable[[list[RunInfo]], pd.DataFrame] | None = None,
    ) -> None:
        self.where = where
        self._recordings = recordings
        self._make_frame = make_frame
        self._copier = Copier(self)
        self._copying = threading.Lock()
        ended = self._copier.ended if recordings is not None and self._keeps_copies else None
        self._writer = Writer(log, f"hexviz store {where}", ended)
        self.put = self._writer.put
        """Queue one event, summarised but for small results: the run's path.

        See :meth:`hexviz.stores.writer.Writer.put`.
        """
        self._finalizer = weakref.finalize(self, _shut, self._writer, self._copier, self._release())

    # --- writing ---

    def append(self, records: Iterable[bytes | Event]) -> None:
        """Queue records or events, in order. A record must be readable: :class:`~hexviz.events.schema.RecordError`."""
        for record in records:
            self._writer.put(record if isinstance(record, Event) else Given(from_record(record), bytes(record)))

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """Return when all that was queued is committed; ``"disk"`` also waits for the disk.

        Raises :class:`StoreWriteError` where that fails or takes more than ``timeout`` seconds, and
        :class:`RunTakenError` where records were refused since the last flush.
        """
        if durability not in {"os", "disk"}:
            raise SettingError(f"durability is 'os' or 'disk', not {durability!r}")
        self._writer.flush(durability, timeout)

    def statistics(self) -> dict[str, int]:
        """Records ``written`` and ``queued``, ``refused`` (never to be taken) and ``lost`` (queue full, closed)."""
        writer = self._writer
        return {"written": writer.written, "queued": writer.queued, "refused": writer.refused, "lost": writer.lost}

    # --- the runs ---

    def runs(
        self,
        *,
        pipeline: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tag: str | None = None,
    ) -> pd.DataFrame:
        """The runs as a frame, newest first, with the filters of :meth:`list_runs`."""
        if self._make_frame is None:
            raise TypeError("this store was opened without make_frame=: use hexviz.open_store(path), or list_runs()")
        runs = self.list_runs(pipeline=pipeline, status=status, since=since, until=until, tag=tag)
        return self._make_frame(runs)

    def delete(self, run_id: str) -> None:
        """Remove a run and its records. Raises :class:`RunNotFoundError`."""
        self.flush()
        self._info_of(run_id)
        self._delete([run_id])

    def prune(
        self, *, max_age: timedelta | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> list[RunInfo]:
        """Remove runs that began longer ago than ``max_age``, then the oldest until records take ``max_bytes`` at most.

        Runs are removed whole. One without an end to which something was added within a day is spared: it is being
        written. Returns what was removed (with ``dry_run``: what would be), oldest first.
        """
        self.flush()
        gone = to_prune(self.list_runs()[::-1], datetime.now(UTC), max_age, max_bytes)
        if gone and not dry_run:
            self._delete([info.run_id for info in gone])
        return gone

    # --- recordings, and the copies of their columns ---

    def recording(self, run_id: str) -> Recording:
        """The recording of a run, made by the store's ``recordings``.

        Of a long run a store may keep a copy of the columns (:mod:`hexviz.stores.copying`); it is used where it is
        whole and of the very records that are there, or of the first of them.
        """
        if self._recordings is None:
            raise TypeError("this store was opened without recordings=: use hexviz.open_store(path)")
        info = self._info_of(run_id)
        if not is_long(info):
            return self._recordings.from_pages(self.pages(run_id))
        segments, copy = self._copy_of(run_id)
        if is_over(info) and not is_of_all(copy, segments):
            self._copier.forget(run_id)
        found, used = self._read_columns(self._recordings, info, copy)
        if is_over(info) and not is_of_all(used, segments) and self._writer.is_here:
            self._keep_all(run_id, segments, found)
        return found

    def _read_columns(
        self,
        recordings: Recordings,
        info: RunInfo,
        copy: Copy | None,
        paced: Callable[[Iterator[bytes]], Iterator[bytes]] = iter,
    ) -> tuple[Recording, Copy | None]:
        """What a copy has of a run, and from there on what its pages have; and the copy, where it could be used."""
        begun = None if copy is None else recordings.from_columns(copy.parts)
        if copy is None or begun is None or len(begun) != copy.events:
            return recordings.from_pages(paced(self.pages(info.run_id))), None
        begun.add_pages(paced(self._pages_after(info, copy.last_seq, copy.events)))
        return begun, copy

    def _keep_all(self, run_id: str, segments: Rows, recording: Recording) -> bool:
        if sum(row[2] for row in segments) != len(recording):  # something was added meanwhile
            return False
        return self._keep_copy(run_id, name_of(segments), recording.to_columns())

    def keep_columns(self, run_id: str, recording: Any) -> bool:
        """Keep a copy of the columns of a run that was put here, and say whether it was kept.

        It is where the run is long and has ended, and where the events of ``recording``, all of which were put here,
        are those that the store has, no others and none refused.
        """
        writer = self._writer
        if not (self._keeps_copies and self.is_open and writer.is_here):
            return False
        try:
            info = self._info(run_id)
        except StoreError:  # damage is for readers and verify() to tell
            return False
        untouched = not (writer.refused or writer.lost or writer.queued)
        if info is None or not (is_long(info) and is_over(info) and untouched) or info.events != len(recording):
            return False
        with self._copying:
            segments, there = self._copy_of(run_id)
            kept = is_of_all(there, segments) or self._keep_all(run_id, segments, recording)
        if kept:
            self._copier.forget(run_id)
        return kept

    def columns_grew(self, run_id: str, recording: Recording) -> None:
        """Of a run that goes on, and that ``recording`` hears alone, there is much by now: a thread copies it."""
        if self._keeps_copies and self._recordings is not None and self.is_open and self._writer.is_here:
            self._copier.grown(run_id, recording)

    def keep_beginning(self, run_id: str, recording: Recording, least: int) -> bool:
        """Keep a copy of what the store has by now of a run that goes on, all of which stands in ``recording``.

        Whoever reads the run before another copy is made, as after the death of this process, reads the rest only.
        False where the store has less than ``least`` events yet.
        """
        writer, count, begin = self._writer, 0, 0
        with self._copying:
            info = self._info(run_id)
            if writer.refused or writer.lost or least > MOST:
                return True
            if info is None or min(info.events, writer.written) < least:
                return False
            segments, there = self._copy_of(run_id)
            while begin < len(segments) and count + segments[begin][2] <= len(recording):
                count += segments[begin][2]
                begin += 1
            if begin == 0 or (there is not None and there.events >= count):
                return True
            parts = recording.to_columns(count)
            if parts is not None and recording.seq_at(count - 1) == segments[begin - 1][1]:
                self._keep_copy(run_id, name_of(segments[:begin]), parts)
        return True

    def leave_copy(self, run_id: str, paced: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """Make the copy of a run of at most :data:`~hexviz.stores.copying.MOST` events where it is due: no run's path.

        ``paced`` is between the reading of the pages and what becomes of them.
        """
        info = self._info(run_id)
        if self._recordings is None or info is None or not (is_long(info) and is_over(info)) or info.events > MOST:
            return
        segments, there = self._copy_of(run_id)
        if not is_of_all(there, segments):
            found, _ = self._read_columns(self._recordings, info, there, paced)
            self._keep_all(run_id, segments, found)

    def idle_s(self) -> float:
        """For how long nothing has been written here, in seconds."""
        return 0.0 if self._writer.queued else time.monotonic() - self._writer.wrote_at

    # --- life ---

    def close(self, timeout: float | None = 10.0) -> None:
        """Write what is queued, make the copies that are due (ten seconds at most), and let go. Twice is fine.

        Raises :class:`StoreWriteError` where something could not be written within ``timeout`` seconds.
        """
        found = self._finalizer.detach()
        if found is None:
            return
        _, _, (writer, copier, release), _ = found
        left = writer.close(timeout)
        copier.close()
        release()
        if left:
            raise StoreWriteError(f"{self.where}: {left} records could not be written: {self._writer.error}")

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._finalizer.alive

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.where!r}>"

    # --- what a store of another kind may define ---

    _keeps_copies = False

    def _copy_of(self, _run_id: str) -> tuple[Rows, Copy | None]:
        """The segments of the run as they are now, and the copy that was made of them, or of the first, if any."""
        return [], None

    def _keep_copy(self, _run_id: str, _made_of: bytes, _parts: list[bytes] | None) -> bool:
        """Keep a copy of the segments with that name, and say whether it was; no error where that cannot be done."""
        return False

    # --- what a store of another kind defines, beside what reading stands on ---

    @abstractmethod
    def _delete(self, run_ids: list[str]) -> None:
        """Remove runs, all or none; ids that are not there are passed over."""

    @abstractmethod
    def _release(self) -> Callable[[], None]:
        """A function that lets go of what reading holds; it must not hold the store itself."""


def is_address(place: Any) -> bool:
    """Whether ``place`` is the address of a PostgreSQL store."""
    return str(place).startswith(("postgresql://", "postgres://"))


def _shut(writer: Writer, copier: Copier, release: Callable[[], None]) -> None:
    writer.close(5.0)
    copier.close(5.0)
    release()
