"""The embedded store: one SQLite file in WAL mode, append-only records with a checksum each."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import weakref
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from platformdirs import user_data_path

from hexviz.events import events as ev
from hexviz.events.schema import from_record
from hexviz.stores.errors import (
    NewerStoreError,
    NotAStoreError,
    RunNotFoundError,
    StoreCorruptError,
    StoreReadOnlyError,
    StoreWriteError,
)
from hexviz.stores.writer import Entry, Writer, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

APPLICATION_ID = 0x48455856  # "HEXV"
LAYOUT_VERSION = 1

_MAGIC = b"SQLite format 3\x00"
_BUSY_MS = 30_000
_PAGE = 2_000
_MAX_SEQ = 2**63 - 1
_ELSEWHERE = "Set HEXVIZ_STORE to another place."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS = {
    "PipelineStarted": "running",
    "PipelineCompleted": "succeeded",
    "PipelineFailed": "failed",
    "PipelineCancelled": "cancelled",
    "PipelineSkipped": "skipped",
}
_LAYOUT = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, run_id UNIQUE NOT NULL, pipeline NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'running',
    started_us INTEGER, duration_ms REAL, nodes INTEGER NOT NULL DEFAULT 0, events INTEGER NOT NULL DEFAULT 0,
    tags BLOB NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS records (
    run INTEGER NOT NULL, seq INTEGER NOT NULL, crc INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flushes (id INTEGER PRIMARY KEY CHECK (id = 1), times INTEGER NOT NULL);
INSERT OR IGNORE INTO flushes VALUES (1, 0);
"""


class RunInfo(msgspec.Struct, frozen=True):
    """What a store knows of a run without reading its records. ``duration_ms`` is None while it runs."""

    run_id: str
    pipeline: str
    status: str
    started_at: datetime | None
    duration_ms: float | None
    nodes: int
    events: int
    tags: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """One finding of ``verify``: ``seq`` is 0 where it concerns the whole run or file."""

    run_id: str
    seq: int
    problem: str


def default_path() -> Path:
    """``$HEXVIZ_STORE``, or ``runs.db`` in the platform's data directory for hexviz."""
    chosen = os.environ.get("HEXVIZ_STORE", "")
    return Path(chosen) if chosen else user_data_path("hexviz", appauthor=False) / "runs.db"


class SQLiteStore:
    """Runs in one SQLite file.

    Writing only queues: a thread with its own connection encodes and commits in groups. What ``flush`` acknowledged
    survives the death of the process (``"os"``) or a power cut (``"disk"``). Appending a record again changes
    nothing. Several processes may write and read one file. ``recording_factory`` makes what :meth:`recording`
    returns out of an iterator of records.

    Raises :class:`NotAStoreError`, :class:`NewerStoreError` or :class:`StoreReadOnlyError` when opened on a path that
    cannot serve.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        recording_factory: Callable[[Iterator[bytes]], Any] | None = None,
    ) -> None:
        self.path = Path(path) if path is not None else default_path()
        self._factory = recording_factory
        _prepare(self.path)
        self._reader = _connect(self.path)
        try:
            _check_layout(self._reader, self.path)
        except BaseException:
            self._reader.close()
            raise
        self._lock = threading.RLock()
        log = _Log(self.path)
        self._writer = Writer(log.commit, log.close, f"hexviz store {self.path.name}")
        self.put = self._writer.put
        """Queue one summarised event: the run's path. See :meth:`hexviz.stores.writer.Writer.put`."""
        self._finalizer = weakref.finalize(self, _shut, self._writer, self._reader)

    # --- writing ---

    def append(self, records: Iterable[bytes | ev.Event]) -> None:
        """Queue records or events, in order. A record must be readable: :class:`~hexviz.events.schema.RecordError`."""
        for record in records:
            self._writer.put(record if isinstance(record, ev.Event) else entry_of(from_record(record), bytes(record)))

    def flush(self, durability: str = "os", timeout: float | None = 30.0) -> None:
        """Return when all that was queued is committed; ``"disk"`` also waits for the disk.

        Raises :class:`StoreWriteError` where that fails or takes more than ``timeout`` seconds.
        """
        if durability not in {"os", "disk"}:
            raise ValueError(f"durability is 'os' or 'disk', not {durability!r}")
        self._writer.flush(durability, timeout)

    def statistics(self) -> dict[str, int]:
        """Records ``written`` and ``queued``, ``refused`` (could not be encoded) and ``lost`` (queue full, closed)."""
        writer = self._writer
        return {"written": writer.written, "queued": writer.queued, "refused": writer.refused, "lost": writer.lost}

    # --- reading ---

    def runs(self, *, pipeline: str | None = None, status: str | None = None, tag: str | None = None) -> list[RunInfo]:
        """The runs, newest first; filters combine."""
        rows = self._fetch(
            "SELECT run_id, pipeline, status, started_us, duration_ms, nodes, events, tags FROM runs "
            "WHERE pipeline = coalesce(?, pipeline) AND status = coalesce(?, status) ORDER BY id DESC",
            (None if pipeline is None else _key(pipeline), None if status is None else _key(status)),
        )
        try:
            return [info for info in map(_info, rows) if tag is None or tag in info.tags]
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            raise StoreCorruptError(f"{self.path}: the list of runs is damaged: {error}") from error

    def last_run_id(self) -> str | None:
        """The newest run; None in an empty store."""
        rows = self._fetch("SELECT run_id FROM runs ORDER BY id DESC LIMIT 1")
        return _text(rows[0][0]) if rows else None

    def find(self, prefix: str) -> str:
        """The one run whose id is, or begins with, ``prefix``. Raises :class:`RunNotFoundError` for none or several."""
        if self._fetch("SELECT 1 FROM runs WHERE run_id = ?", (_key(prefix),)):
            return prefix
        sql = "SELECT run_id FROM runs WHERE substr(run_id, 1, ?) = ? LIMIT 6"
        rows = self._fetch(sql, (len(prefix), _key(prefix)))
        if len(rows) == 1:
            return _text(rows[0][0])
        if rows:
            some = ", ".join(_text(row[0]) for row in rows[:5])
            raise RunNotFoundError(f"several runs begin with {prefix!r}: {some}")
        raise RunNotFoundError(f"there is no run {prefix!r} in {self.path}; `hexviz runs` lists what there is")

    def read(self, run_id: str, after_seq: int = 0, *, damaged: str = "raise") -> Iterator[bytes]:
        """The records of a run with a greater ``seq``, in order, a page at a time.

        What is committed while reading is seen too. A damaged record raises :class:`StoreCorruptError`, or is left
        out with ``damaged="skip"``.
        """
        key, begun = self._run_key(run_id), _begun(run_id)
        last = after_seq - 1 if after_seq == 0 else after_seq  # a foreign record may have seq 0
        while True:
            rows = self._fetch(
                "SELECT seq, crc, record FROM records WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?",
                (key, last, _PAGE),
            )
            for seq, crc, record in rows:
                if crc == _continued(begun, seq, record):
                    yield record
                elif damaged != "skip":
                    raise StoreCorruptError(
                        f"{self.path}: event {seq} of run {run_id!r} is damaged (its checksum does not match). "
                        'read(..., damaged="skip") gives the others.'
                    )
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def recording(self, run_id: str) -> Any:
        """The recording of a run, made by the store's ``recording_factory``."""
        if self._factory is None:
            raise TypeError("this store was opened without a recording_factory: use hexviz.open_store(path)")
        return self._factory(self.read(run_id))

    def verify(self) -> list[Problem]:
        """Read everything: damaged records, runs without an end ("unclean end"), damage of the file itself."""
        problems = [Problem("", 0, str(row[0])) for row in self._fetch("PRAGMA quick_check") if row[0] != "ok"]
        for info in reversed(self.runs()):
            try:
                problems += self._verify_run(info)
            except StoreCorruptError as error:
                problems.append(Problem(info.run_id, 0, str(error)))
        return problems

    def _verify_run(self, info: RunInfo) -> Iterator[Problem]:
        rows = self._fetch("SELECT seq, crc, record FROM records WHERE run = ?", (self._run_key(info.run_id),))
        for seq, crc, record in rows:
            if crc != _checksum(info.run_id, seq, record):
                yield Problem(info.run_id, seq, "damaged record")
        if len(rows) != info.events:
            yield Problem(info.run_id, 0, f"{info.events} events were counted, {len(rows)} are there")
        if info.status == "running":
            yield Problem(info.run_id, 0, "unclean end")

    def delete(self, run_id: str) -> None:
        """Remove a run and its records. Raises :class:`RunNotFoundError`."""
        self.flush()
        key = self._run_key(run_id)
        with self._lock, self._reader as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM records WHERE run = ?", (key,))
            connection.execute("DELETE FROM runs WHERE id = ?", (key,))

    def _run_key(self, run_id: str) -> int:
        rows = self._fetch("SELECT id FROM runs WHERE run_id = ?", (_key(run_id),))
        if not rows:
            raise RunNotFoundError(f"there is no run {run_id!r} in {self.path}; `hexviz runs` lists what there is")
        return int(rows[0][0])

    def _fetch(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreCorruptError(f"{self.path} cannot be read: {error}") from error

    # --- life ---

    def close(self, timeout: float | None = 10.0) -> None:
        """Write what is queued and let go of the file. Twice is fine.

        Raises :class:`StoreWriteError` where something could not be written within ``timeout`` seconds.
        """
        if self._finalizer.detach() is None:
            return
        left = self._writer.close(timeout)
        with self._lock:
            self._reader.close()
        if left:
            raise StoreWriteError(f"{self.path}: {left} records could not be written: {self._writer.error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self.path)!r}>"


def _shut(writer: Writer, reader: sqlite3.Connection) -> None:
    writer.close(5.0)
    with contextlib.suppress(sqlite3.Error):
        reader.close()


# --- opening ------------------------------------------------------------------------------------------------------


def _prepare(path: Path) -> None:
    """Make the file (0600) and its directory (0700) where missing; named errors where the path cannot serve."""
    if path.is_dir():
        raise NotAStoreError(f"{path} is a directory: name a file in it, such as {path / 'runs.db'}")
    try:
        _make_directories(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except PermissionError as error:
        raise StoreReadOnlyError(f"{path} cannot be written: {error.strerror}. {_ELSEWHERE}") from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise StoreReadOnlyError(f"{path} is on a read-only file system. {_ELSEWHERE}") from error
        raise NotAStoreError(f"{path} cannot be opened: {error.strerror or error}") from error
    if magic and magic != _MAGIC:
        raise NotAStoreError(f"{path} is not a SQLite file, so not a store of hexviz")


def _make_directories(path: Path) -> None:
    """``path`` and what is missing above it, each for its owner only: mkdir's ``mode`` is for the last one alone."""
    if not path.exists():
        _make_directories(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _check_layout(connection: sqlite3.Connection, path: Path) -> None:
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION_ID and (application or tables):
            raise NotAStoreError(f"{path} is the database of another application")
        if version > LAYOUT_VERSION:
            raise NewerStoreError(
                f"{path} has layout {version}, this hexviz knows up to {LAYOUT_VERSION}: it was written by a newer one"
            )
        if application == APPLICATION_ID and version == LAYOUT_VERSION:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {_LAYOUT} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {LAYOUT_VERSION}; COMMIT;"
        )
    except sqlite3.OperationalError as error:
        if "readonly" in str(error):
            raise StoreReadOnlyError(f"{path} cannot be written: {error}") from error
        raise NotAStoreError(f"{path} cannot be opened: {error}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise NotAStoreError(f"{path} is damaged or not a SQLite file: {error}") from error


# --- writing, in the writer's thread ------------------------------------------------------------------------------


class _Log:
    """The writer's own connection; opened in its thread at the first commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._keys: dict[str, int] = {}

    def commit(self, entries: list[Entry], to_disk: bool) -> None:  # noqa: FBT001 - called by the writer only
        """Write all entries in one transaction. After an error the connection is not used again."""
        try:
            connection = self._opened()
            if to_disk:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if to_disk:  # a commit with synchronous = FULL puts the whole log so far on the disk
                connection.execute("UPDATE flushes SET times = times + 1")
            by_run: dict[str, list[Entry]] = {}
            for entry in entries:
                by_run.setdefault(entry.run_id, []).append(entry)
            for run_id, mine in by_run.items():
                self._write_run(connection, run_id, mine)
            connection.execute("COMMIT")
            if to_disk:
                connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        connection, self._connection, self._keys = self._connection, None, {}
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self._path)
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection

    def _write_run(self, connection: sqlite3.Connection, run_id: str, entries: list[Entry]) -> None:
        key = self._key_of(connection, run_id, entries[0])
        before, begun = connection.total_changes, _begun(run_id)
        connection.executemany(
            "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)",
            [(key, e.seq, _continued(begun, e.seq, e.record), e.record) for e in entries if abs(e.seq) <= _MAX_SEQ],
        )
        added = connection.total_changes - before
        connection.execute("UPDATE runs SET events = events + ? WHERE id = ?", (added, key))
        for entry in entries:
            if entry.facts is not None:
                _tell_run(connection, key, entry.facts)

    def _key_of(self, connection: sqlite3.Connection, run_id: str, first: Entry) -> int:
        key = self._keys.get(run_id)
        if key is None or not connection.execute("SELECT 1 FROM runs WHERE id = ?", (key,)).fetchone():
            connection.execute(
                "INSERT OR IGNORE INTO runs (run_id, pipeline, started_us) VALUES (?, ?, ?)",
                (_key(run_id), _key(first.pipeline), _micros(first.timestamp)),
            )
            key = int(connection.execute("SELECT id FROM runs WHERE run_id = ?", (_key(run_id),)).fetchone()[0])
            self._keys[run_id] = key
        return key


def _tell_run(connection: sqlite3.Connection, key: int, event: ev.Event) -> None:
    if isinstance(event, ev.PipelineStarted):
        tags = msgspec.json.encode([tag.encode("utf-8", "backslashreplace").decode() for tag in event.tags])
        connection.execute(
            "UPDATE runs SET pipeline = ?, started_us = ?, nodes = ?, tags = ? WHERE id = ?",
            (_key(event.name), _micros(event.timestamp), max(min(event.total_nodes, _MAX_SEQ), 0), tags, key),
        )
    elif type(event).__name__ in _STATUS:
        connection.execute(
            "UPDATE runs SET status = ?, duration_ms = ? WHERE id = ?",
            (_STATUS[type(event).__name__], event.duration_ms, key),  # type: ignore[attr-defined]
        )


def _key(text: str) -> str | bytes:
    """``text`` as SQLite keeps it: lone surrogates, which it refuses, make it bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else str(value)


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _checksum(run_id: str, seq: int, record: bytes) -> int:
    return _continued(_begun(run_id), seq, record)


def _begun(run_id: str) -> int:
    return zlib.crc32(f"{run_id}\n".encode("utf-8", "surrogatepass"))


def _continued(begun: int, seq: int, record: bytes) -> int:
    if type(record) is not bytes or type(seq) is not int:  # a damaged file may give any type
        return -1
    return zlib.crc32(record, zlib.crc32(b"%d" % seq, begun))


def _info(row: tuple[Any, ...]) -> RunInfo:
    run_id, pipeline, status, started_us, duration_ms, nodes, events, tags = row
    started = None if started_us is None else _EPOCH + timedelta(microseconds=started_us)
    return RunInfo(
        _text(run_id), _text(pipeline), status, started, duration_ms, nodes, events, tuple(msgspec.json.decode(tags))
    )
