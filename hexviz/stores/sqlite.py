"""The embedded store: one SQLite file in WAL mode, append-only segments of records with a checksum each."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.stores.errors import StoreCorruptError, StoreWriteError
from hexviz.stores.run_info import Problem, RunInfo, Wanted
from hexviz.stores.segments import COLUMNS, Segment
from hexviz.stores.sqlite_copies import Copies
from hexviz.stores.sqlite_layout import (
    BEYOND,
    INFO,
    OLD_TABLE,
    ROWS,
    check_layout,
    checked_info_of,
    connect,
    default_path,
    key_of,
    opening_error,
    prepare,
    segment_of_rows,
    text_of,
)
from hexviz.stores.sqlite_log import SQLiteLog
from hexviz.stores.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import pandas as pd

    from hexviz.stores.copying import Copy, Rows
    from hexviz.stores.store import Recordings

__all__ = ["SQLiteStore", "default_path", "is_open_here"]

_ROOM = 10
"""A copy is made where so many times its size is free on the disk."""
_SPARE = 0.25
"""The part of a file that may be empty after pruning before it is packed."""


class SQLiteStore(Store):
    """Runs in one SQLite file (see :class:`~hexviz.stores.store.Store`).

    Raises :class:`NotAStoreError`, :class:`NewerStoreError` or :class:`StoreReadOnlyError` when opened on a path that
    cannot serve. Where nothing is yet, a store is made, or with ``create=False`` nothing: :class:`NoStoreError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        recordings: Recordings | None = None,
        make_frame: Callable[[list[RunInfo]], pd.DataFrame] | None = None,
    ) -> None:
        self.path = Path(path) if path is not None else default_path()
        prepare(self.path, create=create)
        self._lock = threading.RLock()
        try:
            self._reader = connect(self.path)
        except sqlite3.Error as error:
            raise opening_error(error, self.path) from error
        try:
            check_layout(self._reader, self.path, create=create)
            self._has_rows = bool(self._reader.execute(OLD_TABLE).fetchone())
        except BaseException:
            self._reader.close()
            raise
        self._copies = Copies(self._reader, self._lock)
        self._copies.clear_up()
        super().__init__(str(self.path), SQLiteLog(self.path), recordings=recordings, make_frame=make_frame)
        _open_stores.add(self)

    def _release(self) -> Callable[[], None]:
        lock, reader = self._lock, self._reader

        def release() -> None:
            with lock, contextlib.suppress(sqlite3.Error):
                reader.close()

        return release

    # --- the runs ---

    def _list_runs(self, wanted: Wanted) -> list[RunInfo]:
        asked = (_key(wanted.pipeline), _key(wanted.status), wanted.since_us, wanted.until_us)
        return self._infos(
            "WHERE (? IS NULL OR pipeline = ?) AND (? IS NULL OR status = ?)"
            " AND (? IS NULL OR started_us >= ?) AND (? IS NULL OR started_us < ?) ORDER BY id DESC",
            tuple(value for value in asked for _ in range(2)),
        )

    def _info(self, run_id: str) -> RunInfo | None:
        return next(iter(self._infos("WHERE run_id = ?", (key_of(run_id),))), None)

    def _infos(self, where: str, parameters: tuple[Any, ...]) -> list[RunInfo]:
        rows = self._fetch(f"SELECT {INFO} FROM runs {where}", parameters)  # noqa: S608 - words of ours only
        try:
            return list(map(checked_info_of, rows))
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            raise StoreCorruptError(f"{self.path}: the list of runs is damaged: {error}") from error

    def _run_ids(self, prefix: str, most: int) -> list[str]:
        if not prefix:
            rows = self._fetch("SELECT run_id FROM runs ORDER BY id DESC LIMIT ?", (most,))
            return [text_of(row[0]) for row in rows]
        sql = "SELECT run_id FROM runs WHERE substr(run_id, 1, ?) = ? ORDER BY id DESC LIMIT ?"
        key = key_of(prefix)
        found = [text_of(row[0]) for row in self._fetch(sql, (len(key), key, most))]
        if type(key) is str:  # an id that is kept as bytes may begin with plain text
            raw = prefix.encode()
            odd = self._fetch(sql, (len(raw), raw, most))
            found += [text_of(row[0]) for row in odd if text_of(row[0]) not in found]
        return found[:most]

    def _delete(self, run_ids: list[str]) -> None:
        try:
            with self._lock, self._reader as connection:
                connection.execute("BEGIN IMMEDIATE")
                for run_id in run_ids:
                    self._delete_one(connection, run_id)
                self._copies.sweep()
        except sqlite3.Error as error:
            raise StoreWriteError(f"{self.path}: nothing was removed: {error}") from error
        self._pack()

    def _delete_one(self, connection: sqlite3.Connection, run_id: str) -> None:
        row = connection.execute("SELECT id FROM runs WHERE run_id = ?", (key_of(run_id),)).fetchone()
        if row is not None:
            connection.execute("DELETE FROM segments WHERE run = ?", row)
            if self._has_rows:
                connection.execute("DELETE FROM records WHERE run = ?", row)
            connection.execute("DELETE FROM runs WHERE id = ?", row)

    def _pack(self) -> None:
        """Give the space of deleted runs back to the disk, where it is much and nobody else is in the way."""
        free, pages = self._fetch("PRAGMA freelist_count")[0][0], self._fetch("PRAGMA page_count")[0][0]
        if free > _SPARE * pages:
            with self._lock, contextlib.suppress(sqlite3.OperationalError):
                self._reader.execute("VACUUM")
                self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- reading ---

    def _segments(self, run_id: str, after_seq: int | None, *, backwards: bool = False) -> Iterator[Segment]:
        found = self._fetch("SELECT id FROM runs WHERE run_id = ?", (key_of(run_id),))
        if not found:
            return
        key, order, sign = found[0][0], "DESC" if backwards else "ASC", "<" if backwards else ">"
        if self._has_rows:
            yield from self._rows(run_id, key, after_seq, backwards=backwards)
        sql = (
            f"SELECT {COLUMNS} FROM segments WHERE run = ? AND first_seq {sign} ? "  # noqa: S608 - words of ours only
            f"AND (? IS NULL OR last_seq > ?) ORDER BY first_seq {order} LIMIT 1"
        )
        last = BEYOND if backwards else -BEYOND
        while rows := self._fetch(sql, (key, last, after_seq, after_seq)):
            yield Segment(*rows[0])
            if type(rows[0][0]) is not int:
                return
            last = rows[0][0]

    def _rows(self, run_id: str, key: int, after_seq: int | None, *, backwards: bool) -> Iterator[Segment]:
        """What stands in the table of layout 1."""
        sign, order = ("<", "DESC") if backwards else (">", "ASC")
        last = BEYOND if backwards else -BEYOND if after_seq is None else after_seq
        sql = (
            f"SELECT seq, crc, record FROM records WHERE run = ? AND seq {sign} ? "  # noqa: S608 - words of ours only
            f"ORDER BY seq {order} LIMIT ?"
        )
        while rows := self._fetch(sql, (key, last, ROWS)):
            last = rows[-1][0]
            yield segment_of_rows(run_id, rows[::-1] if backwards else rows)

    _keeps_copies = True

    def _copy_of(self, run_id: str) -> tuple[Rows, Copy | None]:
        if (key := self._long_run(run_id)) is None:
            return [], None
        segments = self._copies.segments(key)
        return segments, self._copies.read(key, segments)

    def _keep_copy(self, run_id: str, made_of: bytes, parts: list[bytes] | None) -> bool:
        key = self._long_run(run_id)
        if key is None or parts is None or not self._has_room(sum(map(len, parts))):
            return False
        return self._copies.write(key, made_of, parts)

    def _has_room(self, size: int) -> bool:
        """Whether a copy of so many bytes leaves the disk to the records, which count."""
        try:
            return shutil.disk_usage(self.path.parent).free >= _ROOM * size
        except OSError:
            return False

    def _long_run(self, run_id: str) -> int | None:
        """The row of a run; None where some of it stands in the table of layout 1."""
        found = self._fetch("SELECT id FROM runs WHERE run_id = ?", (key_of(run_id),))
        if not found or (self._has_rows and self._fetch("SELECT 1 FROM records WHERE run = ? LIMIT 1", found[0])):
            return None
        return int(found[0][0])

    def _own_problems(self) -> list[Problem]:
        return [Problem("", 0, str(row[0])) for row in self._fetch("PRAGMA quick_check") if row[0] != "ok"]

    def _fetch(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError, MemoryError, OverflowError) as error:
            raise StoreCorruptError(f"{self.path} cannot be read: {error}") from error


def is_open_here(path: Path) -> bool:
    """Whether this process has the store at ``path`` open: its file must then not be opened by other means."""
    return any(store.is_open and store.path.exists() and store.path.samefile(path) for store in _open_stores)


_open_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()


def _key(text: str | None) -> str | bytes | None:
    return None if text is None else key_of(text)
