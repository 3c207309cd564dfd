"""What can still be read of a damaged store, or file of JSON lines, as a new one of its own, and what is lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hexviz.events.schema import RecordError, from_record
from hexviz.scratch import scratch_directory
from hexviz.stores.errors import NotAStoreError, NothingToSalvageError, StoreError, StoreWriteError
from hexviz.stores.files import named_errors, plain_file, sync_file_and_directory
from hexviz.stores.jsonl_check import is_jsonl, salvage_jsonl
from hexviz.stores.run_info import Problem
from hexviz.stores.segments import COLUMNS, Opened, Segment, open_segment
from hexviz.stores.sqlite import SQLiteStore, is_open_here
from hexviz.stores.sqlite_layout import connect, known_version, segment_of_rows, text_of
from hexviz.stores.store import is_address

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

_SEGMENT = f"run, {COLUMNS}"
_FAR = 10_000
"""How many row numbers are tried one by one where the rows themselves cannot be listed."""


class Salvaged(NamedTuple):
    """The new store, how many runs and records it holds, and what is lost, by seq."""

    path: Path
    runs: int
    records: int
    lost: list[Problem]


class _Found(NamedTuple):
    """What was found of one run: how many events it should have (None: unknown), and its segments."""

    run_id: str
    counted: int | None
    segments: list[Segment]


def salvage(path: str | os.PathLike[str], target: str | os.PathLike[str] | None = None) -> Salvaged:
    """Write every record at ``path`` whose checksum is right to a new store, or of JSON lines to a new file of them.

    ``path`` is a SQLite store, a file of JSON lines, or the address of a PostgreSQL store, of which the new one is a
    SQLite store. ``target`` is the new file, by default ``NAME.salvaged.db`` (or ``.jsonl``) beside the old one; it
    must not exist, and has to be named for a server. What is there is never changed. Raises
    :class:`NotAStoreError` where nothing can be read at all, :class:`NothingToSalvageError` where no run and no record
    is there, ``NewerStoreError`` for a layout of a newer hexviz,
    :class:`StoreWriteError` where ``target`` cannot be written, ``StoreUnreachableError`` for a server that is away.
    """
    if is_address(path):
        if target is None:
            raise StoreWriteError(
                "say where to write what is on a server: salvage(address, 'saved.db'), or -o saved.db"
            )
        return _new_store(_free(Path(target)), lambda scratch: _fetch(str(path), scratch / "new.db"))
    source = plain_file(path)
    if is_open_here(source):
        raise StoreWriteError(f"{source} is open in this process: close it first")
    try:
        source.open("rb").close()
    except OSError as error:
        raise NotAStoreError(f"{source} cannot be read: {error.strerror or error}") from error
    suffix = ".jsonl" if is_jsonl(source) else ".db"
    goal = _free(Path(target) if target is not None else source.with_name(f"{source.stem}.salvaged{suffix}"))
    if suffix == ".jsonl":
        lost, runs, records = salvage_jsonl(source, goal)
        return Salvaged(goal, runs, records, lost)
    return _new_store(goal, lambda scratch: _transfer(_copy(source, scratch), source, scratch / "new.db"))


def _free(goal: Path) -> Path:
    if goal.exists():
        raise StoreWriteError(f"{goal} exists already: name another file")
    return goal


def _new_store(goal: Path, make: Callable[[Path], Salvaged]) -> Salvaged:
    """The store ``new.db`` that ``make`` makes in a scratch directory, brought to its place."""
    with named_errors(goal), scratch_directory(goal) as scratch:
        report = make(scratch)
        (scratch / "new.db").rename(goal)
        sync_file_and_directory(goal)
        return report._replace(path=goal)


def _fetch(address: str, new: Path) -> Salvaged:
    """What is whole of a store on a server."""
    from hexviz.stores.postgres import PostgresStore  # noqa: PLC0415 - wants psycopg, so only on request

    lost: list[Problem] = []
    with PostgresStore(address, create=False) as source, SQLiteStore(new) as store:
        for info in reversed(source.list_runs()):
            _keep(store, info.run_id, info.events, source.opened(info.run_id), lost)
        return _salvaged(source.where, store, lost)


def _copy(source: Path, scratch: Path) -> Path:
    """The file and its log; a file that was cut is filled up to the size that it says it has."""
    copy = scratch / "copy.db"
    shutil.copyfile(source, copy)
    log = source.with_name(f"{source.name}-wal")
    if log.is_file():
        shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
    with copy.open("r+b") as file:
        head = file.read(32)
        size = int.from_bytes(head[16:18], "big") * int.from_bytes(head[28:32], "big")
        if copy.stat().st_size < size < 100 * copy.stat().st_size:
            file.truncate(size)
    return copy


def _transfer(copy: Path, source: Path, new: Path) -> Salvaged:
    try:
        connection = connect(copy)
    except sqlite3.Error as error:
        raise NotAStoreError(f"{source} cannot be opened: {error}") from error
    with contextlib.closing(connection), SQLiteStore(new) as store:
        try:
            version = known_version(connection, source)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise NotAStoreError(f"nothing of {source} can be read: {error}") from error
        if not version:
            raise NothingToSalvageError(source)
        lost: list[Problem] = []
        for found in _runs(connection, tables, lost):
            opened = (open_segment(found.run_id, segment) for segment in found.segments)
            _keep(store, found.run_id, found.counted, opened, lost)
        return _salvaged(str(source), store, lost)


def _salvaged(place: str, store: SQLiteStore, lost: list[Problem]) -> Salvaged:
    """What was kept in the new store."""
    infos = store.list_runs()
    if not infos and not lost:
        raise NothingToSalvageError(place)
    return Salvaged(store.path, len(infos), sum(info.events for info in infos), lost)


def _keep(
    store: SQLiteStore, run_id: str, counted: int | None, segments: Iterable[Opened], lost: list[Problem]
) -> None:
    seqs: set[int] = set()
    damaged: set[int] = set()
    for opened in segments:
        damaged.update(opened.damaged)
        try:
            store.append(record for seq, record in zip(opened.seqs, opened.records, strict=True) if seq not in seqs)
            seqs.update(opened.seqs)
            store.flush()
        except RecordError as error:  # whole, but of a newer hexviz
            lost.append(Problem(run_id, 0, str(error)))
        except StoreError as error:
            lost.append(Problem(run_id, 0, str(error)))
    gone = damaged - seqs
    if counted is None or len(seqs) + len(gone) < counted:
        gone |= set(range(1, max([*seqs, *gone], default=0))) - seqs
    lost.extend(Problem(run_id, first, _told(first, last)) for first, last in _ranges(sorted(gone)))
    if counted is not None and len(seqs) + len(gone) < counted:
        rest = counted - len(seqs) - len(gone)
        lost.append(Problem(run_id, max(seqs, default=0) + 1, f"{rest} events from here on are lost"))


def _told(first: int, last: int) -> str:
    return f"event {first} is lost" if first == last else f"events {first} to {last} are lost"


def _ranges(seqs: list[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for seq in seqs:
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = seq
    if first is not None and last is not None:
        yield first, last


# --- reading around damage ----------------------------------------------------------------------------------------


def _runs(connection: sqlite3.Connection, tables: set[str], lost: list[Problem]) -> list[_Found]:
    """Every run that is named in the list of runs or by a record, oldest first."""
    named: dict[Any, _Found] = {}
    if "runs" not in tables:
        lost.append(Problem("", 0, "the list of runs is gone"))
    else:
        for key, run_id, counted in _rows(connection, "runs", "id, run_id, events", lost):
            named[key] = _Found(text_of(run_id), counted if type(counted) is int else None, [])
    if "segments" in tables:
        for row in _rows(connection, "segments", f"id, {_SEGMENT}", lost):
            segment = Segment(*row[2:])
            found = named.get(row[1]) or named.setdefault(row[1], _Found(_run_of(segment), None, []))
            found.segments.append(segment)
    if "records" in tables:
        for key, found in named.items():
            found.segments.extend(_old_rows(connection, key, found, lost))
    return [named[key] for key in sorted(named, key=lambda key: (type(key) is not int, str(key).zfill(20)))]


def _rows(connection: sqlite3.Connection, table: str, columns: str, lost: list[Problem]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table that can be read, by row number; those that cannot are passed over."""
    last, misses = 0, 0
    select = f"SELECT {columns} FROM {table} WHERE id"  # noqa: S608 - words of ours only
    while misses < _FAR:
        try:
            row = connection.execute(f"{select} > ? ORDER BY id LIMIT 1", (last,)).fetchone()
            if row is None:
                return
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            if not misses:
                lost.append(Problem("", 0, f"a part of the table {table!r} cannot be read"))
            last, misses = last + 1, misses + 1  # the next row, or the way to it, is damaged: ask for it by its number
            with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
                yield from connection.execute(f"{select} = ?", (last,)).fetchall()
            continue
        if type(row[0]) is not int or row[0] <= last:
            return
        last = row[0]
        yield row


def _run_of(segment: Segment) -> str:
    """The run id that the first readable record of a segment names; empty where there is none."""
    if type(segment.page) is bytes:
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, ValueError):
            for raw in msgspec.json.decode(segment.page, type=list[msgspec.Raw]):
                with contextlib.suppress(RecordError):
                    return from_record(bytes(raw)).run_id
    return ""


def _old_rows(connection: sqlite3.Connection, key: Any, found: _Found, lost: list[Problem]) -> Iterator[Segment]:
    """What stands in the table of layout 1, a row at a time where a page of it cannot be read."""
    last, most = -1, (found.counted or 0) + _FAR
    sql = "SELECT seq, crc, record FROM records WHERE run = ? AND seq {} ? ORDER BY seq LIMIT 500"
    while last < most:
        try:
            rows = connection.execute(sql.format(">"), (key, last)).fetchall()
            if not rows:
                return
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            rows = []
            for seq in islice(range(last + 1, most), 500):
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
                    rows += connection.execute(sql.format("="), (key, seq)).fetchall()
            last += 500
        else:
            last = rows[-1][0] if type(rows[-1][0]) is int else most
        sound = [row for row in rows if type(row[0]) is int and type(row[1]) is int]
        if len(sound) < len(rows):
            lost.append(Problem(found.run_id, 0, f"{len(rows) - len(sound)} rows of layout 1 are damaged"))
        if sound:
            yield segment_of_rows(found.run_id, sound)
