"""The writer's side of the embedded store: group commits into one SQLite file, and its log put on the disk."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hexviz.stores.files import sync, sync_directory
from hexviz.stores.run_info import micros
from hexviz.stores.segment_log import SegmentLog
from hexviz.stores.segments import COLUMNS, Segment
from hexviz.stores.sqlite_layout import BEYOND, OLD_TABLE, ROWS, connect, key_of, segment_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hexviz.stores.parts import Part


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SQLiteLog(SegmentLog):
    """The writer's own connection; opened in its thread at the first commit."""

    passing = (sqlite3.Error, OSError)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._has_rows = False
        self._unsure = False
        self._identity: tuple[int, int] | None = None

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connection = connect(self._path)
            self._identity = _identity(self._path)
            in_wal = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            # With a log, the log is put on the disk by _sync. A file system without shared memory has none.
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if in_wal else 'FULL'}")
            self._has_rows = bool(connection.execute(OLD_TABLE).fetchone())
        return self._connection

    @contextmanager
    def _transaction(self, *, to_disk: bool) -> Iterator[None]:
        connection = self._opened
        connection.execute("BEGIN IMMEDIATE")
        yield
        if _identity(self._path) != self._identity:
            raise OSError(errno.ESTALE, "the file was deleted, moved or replaced while it was open", str(self._path))
        connection.execute("COMMIT")
        if to_disk:
            self._sync(connection)

    def _sync(self, connection: sqlite3.Connection) -> None:
        """Put the log on the disk.

        After an error nobody knows what of the log is there, and a second fsync may say that all is well. So the log
        is copied into the database, which is put on the disk afresh.
        """
        if self._unsure:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                raise OSError(errno.EBUSY, "a reader holds the log, which has to be written anew", str(self._path))
            self._unsure = False
        log = self._path.with_name(f"{self._path.name}-wal")
        if log.exists():
            self._unsure = True
            sync(log)
            sync_directory(log.parent)
            self._unsure = False

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _key_of(self, part: Part) -> tuple[int, str]:
        connection, first = self._opened, part.first
        row = connection.execute("SELECT id FROM runs WHERE run_id = ?", (key_of(part.run_id),)).fetchone()
        if row is None:
            connection.execute(
                "INSERT INTO runs (run_id, pipeline, started_us) VALUES (?, ?, ?)",
                (key_of(part.run_id), key_of(first.pipeline), micros(first.timestamp)),
            )
            row = connection.execute("SELECT last_insert_rowid()").fetchone()
        elif self._has_rows:
            self._move_rows(int(row[0]), part.run_id)
        return int(row[0]), part.run_id

    def _move_rows(self, run: int, run_id: str) -> None:
        """Turn what layout 1 holds of a run into segments."""
        connection, last = self._opened, -BEYOND
        sql = "SELECT seq, crc, record FROM records WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
        while rows := connection.execute(sql, (run, last, ROWS)).fetchall():
            last = rows[-1][0]
            self._add((run, run_id), [segment_of_rows(run_id, rows)])
            connection.execute("DELETE FROM records WHERE run = ? AND seq <= ?", (run, last))

    def _last_seq(self, key: tuple[int, str]) -> int | None:
        sql = "SELECT last_seq FROM segments WHERE run = ? ORDER BY first_seq DESC LIMIT 1"
        row = self._opened.execute(sql, key[:1]).fetchone()
        return None if row is None else row[0]

    def _bounds(self, key: tuple[int, str], low: int, high: int) -> list[tuple[int, int]]:
        sql = "SELECT first_seq, last_seq FROM segments WHERE run = ? AND last_seq >= ? AND first_seq <= ? ORDER BY 1"
        return self._opened.execute(sql, (key[0], low, high)).fetchall()

    def _load(self, key: tuple[int, str], first_seq: int) -> Segment:
        sql = f"SELECT {COLUMNS} FROM segments WHERE run = ? AND first_seq = ?"  # noqa: S608 - words of ours only
        return Segment(*self._opened.execute(sql, (key[0], first_seq)).fetchone())

    def _remove(self, key: tuple[int, str], first_seq: int) -> None:
        self._opened.execute("DELETE FROM segments WHERE run = ? AND first_seq = ?", (key[0], first_seq))

    def _add(self, key: tuple[int, str], segments: Sequence[Segment]) -> None:
        self._opened.executemany(
            "INSERT INTO segments (run, first_seq, last_seq, count, crc, bytes, marks, page)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(key[0], s.first_seq, s.last_seq, s.length, s.crc, len(s.page), s.marks, s.page) for s in segments],
        )

    def _tell(self, key: tuple[int, str], added: int, facts: dict[str, Any]) -> None:
        changes = facts | {"changed_us": time.time_ns() // 1000}
        if "pipeline" in changes:
            changes["pipeline"] = key_of(changes["pipeline"])
        columns = "".join(f", {name} = ?" for name in changes)
        self._opened.execute(
            f"UPDATE runs SET events = events + ?{columns} WHERE id = ?",  # noqa: S608 - names from run_info
            (added, *changes.values(), key[0]),
        )
