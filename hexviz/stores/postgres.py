"""The store of a team: segments of records in PostgreSQL, as bytes, with a checksum each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.spool.spool import MAX_BYTES, Spool
from hexviz.stores.errors import (
    StoreCorruptError,
)
from hexviz.stores.postgres_copies import Copies
from hexviz.stores.postgres_layout import check_layout, key_of, raw_of, text_of
from hexviz.stores.postgres_line import CONNECT_S, WORK_S, Address, Line
from hexviz.stores.postgres_log import PostgresLog
from hexviz.stores.run_info import STATUS, Problem, RunInfo, Wanted, info_of
from hexviz.stores.segments import COLUMNS, MAX_SEQ, Segment
from hexviz.stores.spooled_log import SpooledLog
from hexviz.stores.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import pandas as pd

    from hexviz.recording.recording import Recording
    from hexviz.stores.copying import Copy, Rows
    from hexviz.stores.store import Recordings

_SOME = 4
"""Segments that are read at a time; a page has 8 MiB at most."""
_STATUSES = frozenset(STATUS.values())
_INFO = (
    "run_id, pipeline, status, started_us, duration_ms, nodes, events, tags, "
    "(SELECT coalesce(sum(bytes), 0)::bigint FROM hexviz_segments WHERE run = hexviz_runs.id), changed_us"
)


class PostgresStore(Store):
    """Runs in a PostgreSQL database (see :class:`~hexviz.stores.store.Store` and docs/postgres.md).

    ``url`` is ``postgresql://USER@HOST:PORT/DATABASE``, or what else libpq takes as one; the tables
    (``hexviz_runs``, ``hexviz_segments``, ``hexviz_layout``) stand in the first schema of the search path. Opening
    makes them where they are not, or with ``create=False`` nothing (:class:`NoStoreError`). It
    takes ``connect_s`` seconds at most, reading and each group commit ``work_s``. The writer connects again after the
    connection was lost, and sends what was not acknowledged once more.

    With ``spool``, a directory for this store in this process alone, the server may be away, at opening too: records
    then wait there on the disk, ``spool_bytes`` of them at most, and are sent in order when it is back, by the next
    process that opens the store so if need be. Nothing waits for the server then but what reads from it.
    :class:`~hexviz.spool.SpoolError` where the directory cannot serve, SpoolTakenError where another has it.

    Raises :class:`StoreUnreachableError` where the server does not answer or does not let us in,
    :class:`NewerStoreError`, :class:`NotAStoreError` or :class:`StoreReadOnlyError` where its tables cannot serve, and
    :class:`~hexviz.errors.MissingExtraError` without psycopg. No error and no ``repr`` holds a password.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        connect_s: float = CONNECT_S,
        work_s: float = WORK_S,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes: int = MAX_BYTES,
        recordings: Recordings | None = None,
        make_frame: Callable[[list[RunInfo]], pd.DataFrame] | None = None,
    ) -> None:
        address = Address(url)
        self._line = Line(address, connect_s=connect_s, work_s=work_s)
        self._copies = Copies(self._line)
        log = PostgresLog(Line(address, connect_s=connect_s, work_s=work_s), is_checked=spool is None)
        self._spooled = None if spool is None else SpooledLog(log, Spool(spool, max_bytes=spool_bytes))
        if spool is None:
            try:
                check_layout(self._line, create=create)
            except BaseException:
                self._line.close()
                raise
        super().__init__(str(address), self._spooled or log, recordings=recordings, make_frame=make_frame)
        if spool is not None:
            self._writer.wake()  # an earlier process may have left something

    def statistics(self) -> dict[str, int]:
        """As of every store; with a spool also ``spooled``: the records that wait in it.

        ``written`` are those that the server has, ``lost`` includes those that found no room in the spool.
        """
        found, spooled = super().statistics(), self._spooled
        if spooled is not None:
            found["written"] += spooled.sent - spooled.spooled
            found["refused"] -= spooled.dropped
            found["lost"] += spooled.dropped
            found["spooled"] = spooled.waiting
        return found

    def _release(self) -> Callable[[], None]:
        return self._line.close

    # --- the runs ---

    def _list_runs(self, wanted: Wanted) -> list[RunInfo]:
        if wanted.status is not None and wanted.status not in _STATUSES:
            return []
        parts = {
            "pipeline = %s": None if wanted.pipeline is None else raw_of(wanted.pipeline),
            "status = %s": wanted.status,
            "started_us >= %s": wanted.since_us,
            "started_us < %s": wanted.until_us,
        }
        asked = {part: value for part, value in parts.items() if value is not None}
        return self._infos(" AND ".join(asked) or "true", tuple(asked.values()))

    def _info(self, run_id: str) -> RunInfo | None:
        return next(iter(self._infos("key = %s", (key_of(run_id),))), None)

    def _infos(self, where: str, parameters: tuple[Any, ...]) -> list[RunInfo]:
        sql = f"SELECT {_INFO} FROM hexviz_runs WHERE {where} ORDER BY id DESC"  # noqa: S608 - words of ours only
        try:
            return [info_of(row, text_of) for row in self._line.ask(sql, parameters)]
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise StoreCorruptError(f"{self.where}: the list of runs is damaged: {error}") from error

    def _run_ids(self, prefix: str, most: int) -> list[str]:
        raw = raw_of(prefix)
        sql = "SELECT run_id FROM hexviz_runs WHERE substring(run_id FROM 1 FOR %s) = %s ORDER BY id DESC LIMIT %s"
        return [text_of(row[0]) for row in self._line.ask(sql, (len(raw), raw, most))]

    def _delete(self, run_ids: list[str]) -> None:
        keys = sorted(map(key_of, run_ids))
        self._line.ask("DELETE FROM hexviz_runs WHERE key = ANY(%s) RETURNING 1", (keys,))

    # --- reading ---

    def _segments(self, run_id: str, after_seq: int | None, *, backwards: bool = False) -> Iterator[Segment]:
        key = self._row_of(run_id)
        if key is None:
            return
        order, sign = ("DESC", "<") if backwards else ("ASC", ">")
        sql = (
            f"SELECT {COLUMNS} FROM hexviz_segments WHERE run = %s"  # noqa: S608 - words of ours only
            f" AND (%s::bigint IS NULL OR first_seq {sign} %s) AND (%s::bigint IS NULL OR last_seq > %s)"
            f" ORDER BY first_seq {order} LIMIT {_SOME}"
        )
        last, after = None, None if after_seq is None else max(-MAX_SEQ, min(after_seq, MAX_SEQ))
        while rows := self._line.ask(sql, (key, last, last, after, after)):
            yield from (Segment(*row) for row in rows)
            last = rows[-1][0]

    def _row_of(self, run_id: str) -> int | None:
        found = self._line.ask("SELECT id FROM hexviz_runs WHERE key = %s", (key_of(run_id),))
        return int(found[0][0]) if found else None

    _keeps_copies = True

    def leave_copy(self, run_id: str, paced: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """As of every store; not while records wait in the spool, since the server is then away."""
        if self._spooled is None or not self._spooled.waiting:
            super().leave_copy(run_id, paced)

    def keep_beginning(self, run_id: str, recording: Recording, least: int) -> bool:
        """As of every store; not while records wait in the spool."""
        return (self._spooled is not None and bool(self._spooled.waiting)) or super().keep_beginning(
            run_id, recording, least
        )

    def _copy_of(self, run_id: str) -> tuple[Rows, Copy | None]:
        if (key := self._row_of(run_id)) is None:
            return [], None
        segments = self._copies.segments(key)
        return segments, self._copies.read(key, segments)

    def _keep_copy(self, run_id: str, made_of: bytes, parts: list[bytes] | None) -> bool:
        key = self._row_of(run_id)
        return key is not None and parts is not None and self._copies.write(key, made_of, parts)

    def _own_problems(self) -> list[Problem]:
        return []
