"""The writer's side of the store in PostgreSQL: group commits by COPY on a connection of its own."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hexviz.stores.errors import StoreUnreachableError, StoreWriteError
from hexviz.stores.postgres_layout import check_layout, key_of, number_of, raw_of
from hexviz.stores.postgres_line import Line, driver
from hexviz.stores.run_info import micros
from hexviz.stores.segment_log import SegmentLog
from hexviz.stores.segments import COLUMNS, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hexviz.stores.parts import Part
    from hexviz.stores.writer import Refusal

_COLUMNS = ("int8", "int8", "int8", "int8", "int8", "int8", "bytea", "bytea")
_COMMIT = {False: "local", True: "on"}
"""``synchronous_commit`` of each durability, whatever the server's default: "on" also waits for standby servers."""


class PostgresLog(SegmentLog):
    """The writer's own connection; opened in its thread at the first commit."""

    def __init__(self, line: Line, *, is_checked: bool) -> None:
        super().__init__()
        self._line = line
        self._is_checked = is_checked
        self._connection: Any = None
        module = driver()
        self.passing = (
            module.OperationalError, module.InterfaceError, module.errors.ReadOnlySqlTransaction, OSError,
        )  # fmt: skip

    def commit(self, parts: Sequence[Part], *, to_disk: bool) -> list[Refusal]:
        """Write all parts in one transaction; always in the same order, so that two writers cannot block each other.

        A connection that broke while it was idle is found out here; the group is then written on a new one at once.
        """
        ordered, was_connected = sorted(parts, key=lambda part: key_of(part.run_id)), self._line.connected
        try:
            if not self._is_checked:
                check_layout(self._line)
                self._is_checked = True
            try:
                return super().commit(ordered, to_disk=to_disk)
            except (driver().OperationalError, driver().InterfaceError):
                if not was_connected:
                    raise
                return super().commit(ordered, to_disk=to_disk)
        except (driver().OperationalError, driver().InterfaceError) as error:
            said = f"{self._line.address}: {self._line.address.clean(error)}"
            raise StoreWriteError(f"{said}; what is queued is kept and sent again") from None
        except StoreUnreachableError as error:
            raise StoreWriteError(f"{error}; what is queued is kept and sent again") from None

    @contextmanager
    def _transaction(self, *, to_disk: bool) -> Iterator[None]:
        with self._line.work() as connection, connection.transaction():
            self._connection = connection
            connection.execute(f"SET LOCAL synchronous_commit = {_COMMIT[to_disk]}")
            if to_disk:  # a commit that changes nothing would wait for nothing
                connection.execute("UPDATE hexviz_layout SET flushes = flushes + 1")
            yield

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        self._line.close()

    def _key_of(self, part: Part) -> int:
        """The run's row, made where it is not there, and locked until the commit."""
        first = part.first
        row = self._connection.execute(
            "INSERT INTO hexviz_runs (key, run_id, pipeline, started_us) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING id",
            (key_of(part.run_id), raw_of(part.run_id), raw_of(first.pipeline), micros(first.timestamp)),
        ).fetchone()
        return int(row[0])

    def _last_seq(self, key: int) -> int | None:
        sql = "SELECT last_seq FROM hexviz_segments WHERE run = %s ORDER BY first_seq DESC LIMIT 1"
        row = self._connection.execute(sql, (key,)).fetchone()
        return None if row is None else int(row[0])

    def _bounds(self, key: int, low: int, high: int) -> list[tuple[int, int]]:
        sql = (
            "SELECT first_seq, last_seq FROM hexviz_segments"
            " WHERE run = %s AND last_seq >= %s AND first_seq <= %s ORDER BY 1"
        )
        return self._connection.execute(sql, (key, low, high)).fetchall()  # type: ignore[no-any-return]

    def _load(self, key: int, first_seq: int) -> Segment:
        sql = f"SELECT {COLUMNS} FROM hexviz_segments WHERE run = %s AND first_seq = %s"  # noqa: S608 - words of ours only
        return Segment(*self._connection.execute(sql, (key, first_seq)).fetchone())

    def _remove(self, key: int, first_seq: int) -> None:
        sql = "DELETE FROM hexviz_segments WHERE run = %s AND first_seq = %s"
        self._connection.execute(sql, (key, first_seq))

    def _add(self, key: int, segments: Sequence[Segment]) -> None:
        sql = (
            "COPY hexviz_segments (run, first_seq, last_seq, count, crc, bytes, marks, page) FROM STDIN (FORMAT BINARY)"
        )
        with self._connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types(_COLUMNS)
            for s in segments:
                copy.write_row((key, s.first_seq, s.last_seq, s.length, s.crc, len(s.page), s.marks, s.page))

    def _tell(self, key: int, added: int, facts: dict[str, Any]) -> None:
        changes = facts | {"changed_us": time.time_ns() // 1000}
        if "pipeline" in changes:
            changes["pipeline"] = raw_of(changes["pipeline"])
        if "duration_ms" in changes:
            changes["duration_ms"] = number_of(changes["duration_ms"])
        columns = "".join(f", {name} = %s" for name in changes)
        self._connection.execute(
            f"UPDATE hexviz_runs SET events = events + %s{columns} WHERE id = %s",  # noqa: S608 - names from run_info
            (added, *changes.values(), key),
        )
