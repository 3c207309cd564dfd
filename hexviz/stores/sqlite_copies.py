"""Copies of the columns of long runs, beside their records: a run that has ended is read from there at once.

The records are what counts. A copy names the segments that it was made of by their bounds and checksums, so it is
passed over when anything was added, removed or repaired since; each part has a checksum, and the copy is passed over
where one does not match. The next reader makes a new one. Deleting the tables loses nothing.

The parts are committed one by one, and count once ``copies`` names them. Until then their token stands in ``copying``,
so that whoever opens the file finds what a full disk or a killed process has left of a copy, and removes it.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hexviz.stores.copying import Copy, Rows, copy_of, named, whole_parts
from hexviz.stores.sqlite_layout import execute_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TABLES = """
CREATE TABLE IF NOT EXISTS copies (
    run INTEGER PRIMARY KEY, token INTEGER NOT NULL, parts INTEGER NOT NULL, made_of BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS copied (
    run INTEGER NOT NULL, token INTEGER NOT NULL, part INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (run, token, part)
);
CREATE TABLE IF NOT EXISTS copying (token INTEGER PRIMARY KEY, run INTEGER NOT NULL, begun_s INTEGER NOT NULL);
"""
_BUSY_MS = 500
"""How long writing a copy waits for other writers: it can be made another time."""
_STALE_S = 60
"""From this age on what was begun is not being made any more: a copy takes a second or two."""
_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


class Copies:
    """The copies in one file, by the row number of their run."""

    def __init__(self, connection: sqlite3.Connection, lock: Any) -> None:
        self._connection = connection
        self._lock = lock

    def segments(self, run: int) -> Rows:
        """What there is of a run now."""
        sql = "SELECT first_seq, last_seq, count, crc FROM segments WHERE run = ? ORDER BY first_seq"
        with self._lock:
            return self._connection.execute(sql, (run,)).fetchall()

    def read(self, run: int, segments: Rows) -> Copy | None:
        """The copy of a run; None where there is none that is whole and of these segments, or the first of them."""
        with contextlib.suppress(sqlite3.Error), self._lock:
            head = self._connection.execute("SELECT token, parts, made_of FROM copies WHERE run = ?", (run,)).fetchone()
            begin = None if head is None else named(head[2], segments)
            if begin is None:
                return None
            sql = "SELECT part, crc, data FROM copied WHERE run = ? AND token = ? ORDER BY part"
            rows = self._connection.execute(sql, (run, head[0])).fetchall()
            return copy_of(whole_parts(rows, head[1]), begin)
        return None

    def clear_up(self) -> None:
        """Remove what is left of copies that were never finished, where there is any and nobody is in the way."""
        with contextlib.suppress(sqlite3.Error), self._lock:
            if self._connection.execute(_THERE, ("copying",)).fetchone() and self._left(self._connection):
                with self._in_no_hurry() as connection:
                    self._remove_left(connection)

    @staticmethod
    def _left(connection: sqlite3.Connection) -> list[tuple[int, int]]:
        """Token and run of each copy that was begun long ago. A clock that was set back must not keep it for ever."""
        sql = "SELECT token, run FROM copying WHERE abs(? - begun_s) > ?"
        return connection.execute(sql, (int(time.time()), _STALE_S)).fetchall()

    def _remove_left(self, connection: sqlite3.Connection) -> None:
        for token, run in self._left(connection):
            self._drop(connection, run, token)

    @staticmethod
    def _drop(connection: sqlite3.Connection, run: int, token: int) -> None:
        """Remove a copy that was not finished."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM copied WHERE run = ? AND token = ?", (run, token))
            connection.execute("DELETE FROM copying WHERE token = ?", (token,))

    def write(self, run: int, made_of: bytes, parts: Sequence[bytes]) -> bool:
        """Keep a copy of segments with that name, where nobody is in the way; one part after the other.

        So no writer waits for long.
        """
        token = secrets.randbits(62)
        with contextlib.suppress(sqlite3.Error), self._lock, self._in_no_hurry() as connection:
            execute_all(connection, _TABLES)
            self._remove_left(connection)
            connection.execute("INSERT INTO copying VALUES (?, ?, ?)", (token, run, int(time.time())))
            try:
                if self._write(connection, run, token, made_of, parts):
                    return True
            finally:  # of one that was not finished nothing is left, where that can be; else for clear_up()
                if connection.execute("SELECT 1 FROM copying WHERE token = ?", (token,)).fetchone():
                    self._drop(connection, run, token)
        return False

    def _write(
        self, connection: sqlite3.Connection, run: int, token: int, made_of: bytes, parts: Sequence[bytes]
    ) -> bool:
        insert = "INSERT INTO copied VALUES (?, ?, ?, ?, ?)"
        for number, part in enumerate(parts):
            connection.execute(insert, (run, token, number, zlib.crc32(part), part))
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if named(made_of, self.segments(run)) is None:  # something was put right, or the run is gone
                return False
            there = "SELECT count(*) FROM copied WHERE run = ? AND token = ?"
            if connection.execute(there, (run, token)).fetchone()[0] < len(parts):  # somebody else's copy was quicker
                return False
            connection.execute("DELETE FROM copied WHERE run = ? AND token != ?", (run, token))
            connection.execute("REPLACE INTO copies VALUES (?, ?, ?, ?)", (run, token, len(parts), made_of))
            connection.execute("DELETE FROM copying WHERE token = ?", (token,))
        return True

    def sweep(self) -> None:
        """Remove what there is of runs that are gone, within the caller's transaction."""
        for table in ("copies", "copied", "copying"):
            if self._connection.execute(_THERE, (table,)).fetchone():
                self._connection.execute(f"DELETE FROM {table} WHERE run NOT IN (SELECT id FROM runs)")  # noqa: S608

    @contextmanager
    def _in_no_hurry(self) -> Iterator[sqlite3.Connection]:
        """The connection, that neither waits for long nor for the disk."""
        connection = self._connection
        names = ("busy_timeout", "synchronous")
        before = [(name, connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names]
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            yield connection
        finally:
            for name, value in before:
                connection.execute(f"PRAGMA {name} = {value}")
