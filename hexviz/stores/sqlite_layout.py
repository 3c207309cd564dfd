"""What a SQLite store looks like inside, and how one is opened; every layout that was ever written keeps opening.

Layout 1 kept a row for each record (``records``). Layout 2 keeps segments. A file of layout 1 becomes one of layout 2
when it is opened, which adds a table and moves nothing: a run of the old table is read from there, and moves into
segments when something is added to it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from hexviz.stores.errors import (
    NewerStoreError,
    NoStoreError,
    NotAStoreError,
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
)
from hexviz.stores.run_info import RunInfo, info_of
from hexviz.stores.segments import Segment, pack_marked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

APPLICATION_ID = 0x48455856  # "HEXV"
LAYOUT_VERSION = 2
BUSY_S = 30.0

_ELSEWHERE = "Set HEXVIZ_STORE to another place."
_POLL_S = 0.01
_PAGE_BYTES = 16_384
"""Segments are large: with SQLite's own 4,096 bytes a page, writing them costs half as much again."""
_RUNS = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, run_id UNIQUE NOT NULL, pipeline NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'running',
    started_us INTEGER, duration_ms REAL, nodes INTEGER NOT NULL DEFAULT 0, events INTEGER NOT NULL DEFAULT 0,
    tags BLOB NOT NULL DEFAULT '[]'
);
"""
_SEGMENTS = """
ALTER TABLE runs ADD COLUMN changed_us INTEGER;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    count INTEGER NOT NULL, crc INTEGER NOT NULL, bytes INTEGER NOT NULL, marks BLOB NOT NULL, page BLOB NOT NULL
);
CREATE UNIQUE INDEX segments_by_seq ON segments (run, first_seq, last_seq, bytes);
"""

OLD_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'records'"
"""Whether the file has the table of layout 1."""
ROWS = 2_000
"""Rows of layout 1 that are read at a time."""
BEYOND = 2**63 - 1
"""No seq is greater than this, or less than its opposite."""


def default_path() -> Path:
    """``$HEXVIZ_STORE``, or ``runs.db`` in the platform's data directory for hexviz."""
    chosen = os.environ.get("HEXVIZ_STORE", "")
    return Path(chosen) if chosen else user_data_path("hexviz", appauthor=False) / "runs.db"


# --- opening ------------------------------------------------------------------------------------------------------


def prepare(path: Path, *, create: bool) -> None:
    """Make the file (0600) and its directory (0700) where missing; named errors where the path cannot serve.

    Without ``create`` nothing is made: :class:`NoStoreError`.

    A file that is there is not opened here: closing it again would take away the locks that other connections of this
    process hold on it (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        if create:
            _make_directories(path.parent)
            if _made(path):
                path.chmod(0o600)  # whatever the umask said
        mode = path.stat().st_mode
        allowed = os.access(path, os.R_OK | os.W_OK)
    except PermissionError as error:
        raise StoreReadOnlyError(f"{path} cannot be written: {error.strerror}. {_ELSEWHERE}") from error
    except (OSError, ValueError) as error:
        if not create and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise NoStoreError(path) from error
        if getattr(error, "errno", None) == errno.EROFS:
            raise StoreReadOnlyError(f"{path} is on a read-only file system. {_ELSEWHERE}") from error
        reason = getattr(error, "strerror", None) or error
        raise NotAStoreError(f"{str(path)!r} cannot be opened: {reason}") from error
    if stat.S_ISDIR(mode):
        raise NotAStoreError(f"{path} is a directory: name a file in it, such as {path / 'runs.db'}")
    if not stat.S_ISREG(mode):
        raise NotAStoreError(f"{path} is not a plain file")
    if not allowed:
        raise StoreReadOnlyError(f"{path} cannot be written: permission denied. {_ELSEWHERE}")


def _made(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _make_directories(path: Path) -> None:
    """``path`` and what is missing above it, each for its owner only: mkdir's ``mode`` is for the last one alone."""
    if not path.exists():
        _make_directories(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that waits for other writers."""
    there = uri_of(path.absolute())
    connection = sqlite3.connect(there, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def uri_of(path: PurePath) -> str:
    """The address of a file that has to be there: one that was deleted meanwhile is not made anew."""
    uri = path.as_uri()
    if not uri.startswith("file:///"):  # a server of Windows; SQLite takes it as a part of the path only
        uri = uri.replace("file://", "file:////", 1)
    return f"{uri}?mode=rw"


def check_layout(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    """Make an empty file a store, and an old layout the newest; named errors for files of others, and newer ones.

    Without ``create`` an empty file stays as it is: :class:`NoStoreError`.
    """
    try:
        version = known_version(connection, path)
        if version == LAYOUT_VERSION:
            return
        if not (version or create):
            raise NoStoreError(path, " (the file is empty)")
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # counts for a new file only
        _use_log(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            _bring_up(connection, known_version(connection, path))  # another process may have been quicker
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise opening_error(error, path) from error


def _use_log(connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log. SQLite does not wait by itself where several make a new file at once."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    if version < 1:
        execute_all(connection, _RUNS)
    if version < LAYOUT_VERSION:
        execute_all(connection, _SEGMENTS)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")


def opening_error(error: Exception, path: Path) -> StoreError:
    """What SQLite says of a file, as an error of ours."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
        return StoreCorruptError(f"{path} is damaged: {error}. `hexviz salvage` gives what can still be read")
    if not isinstance(error, sqlite3.OperationalError):
        return NotAStoreError(f"{path} is damaged or not a SQLite file, so not a store of hexviz: {error}")
    if "readonly" in str(error):
        return StoreReadOnlyError(f"{path} cannot be written: {error}")
    return NotAStoreError(f"{path} cannot be opened: {error}")


def known_version(connection: sqlite3.Connection, path: Path) -> int:
    """The layout; 0 for an empty file."""
    application, version, tables = _marks_of(connection)
    if application != APPLICATION_ID and (application or tables):
        raise NotAStoreError(f"{path} is the database of another application")
    if version > LAYOUT_VERSION:
        raise NewerStoreError(
            f"{path} has layout {version}, this hexviz knows up to {LAYOUT_VERSION}: it was written by a newer one"
        )
    return version if application == APPLICATION_ID else 0


def _marks_of(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Whose file it is, its layout, and how many tables it has, at one moment: another process may be making it."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        words = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (int(connection.execute(word).fetchone()[0]) for word in words)
    finally:
        if alone and connection.in_transaction:
            connection.execute("ROLLBACK")
    return application, version, tables


def execute_all(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements within the transaction that is open, or each in its own."""
    for statement in filter(str.strip, script.split(";")):  # executescript would commit what was begun
        connection.execute(statement)


# --- values -------------------------------------------------------------------------------------------------------


def key_of(text: str) -> str | bytes:
    """``text`` as SQLite keeps it: lone surrogates, which it refuses, make it bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def text_of(value: Any) -> str:
    """The text that :func:`key_of` was given."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else str(value)


INFO = (
    "run_id, pipeline, status, started_us, duration_ms, nodes, events, tags, "
    "(SELECT coalesce(sum(bytes), 0) FROM segments WHERE run = runs.id), changed_us"
)


def checked_info_of(row: tuple[Any, ...]) -> RunInfo:
    """A row of :data:`INFO`. Raises what a damaged file brings about."""
    _, _, _, _, _, nodes, events, *_ = row
    if type(events) is not int or type(nodes) is not int:
        raise TypeError(f"the numbers of run {text_of(row[0])!r} are none")
    return info_of(row, text_of)


# --- layout 1 -----------------------------------------------------------------------------------------------------


def segment_of_rows(run_id: str, rows: Sequence[tuple[Any, Any, Any]]) -> Segment:
    """Rows (seq, crc, record) of layout 1 as a segment; a record that was damaged there is damaged here."""
    begun = zlib.crc32(f"{run_id}\n".encode("utf-8", "surrogatepass"))
    seqs, records, crcs, sound = [], [], [], True
    for seq, crc, record in rows:
        data = record if type(record) is bytes else b""
        good = type(record) is bytes and crc == zlib.crc32(data, zlib.crc32(b"%d" % seq, begun))
        seqs.append(seq)
        records.append(data)
        crcs.append(zlib.crc32(data) ^ (not good))
        sound = sound and good
    segment = pack_marked(run_id, seqs, records, crcs)
    return segment if sound else segment._replace(crc=-1)
