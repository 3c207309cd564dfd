"""Copies of the columns of long runs in PostgreSQL: two tables beside the others, made with the first copy.

The records are what counts (see :mod:`hexviz.stores.copying`). A copy names the segments that it was made of by their
bounds and checksums, and is passed over where the run has others now. Dropping both tables loses nothing.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Any

from hexviz.stores.copying import Copy, Rows, copy_of, named, whole_parts
from hexviz.stores.errors import StoreError
from hexviz.stores.postgres_line import driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.stores.postgres_line import Line

_TABLES = """
CREATE TABLE IF NOT EXISTS hexviz_copies (
    run bigint PRIMARY KEY REFERENCES hexviz_runs (id) ON DELETE CASCADE, parts bigint NOT NULL, made_of bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS hexviz_copied (
    run bigint NOT NULL REFERENCES hexviz_copies (run) ON DELETE CASCADE, part bigint NOT NULL, crc bigint NOT NULL,
    data bytea NOT NULL, PRIMARY KEY (run, part)
);
ALTER TABLE hexviz_copied ALTER COLUMN data SET STORAGE EXTERNAL;
"""
_THERE = "SELECT 1 FROM pg_class WHERE relname = 'hexviz_copied' AND pg_table_is_visible(oid)"
_NO_HURRY = "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '500ms'"
"""Writing a copy waits neither for the disk nor for others: it can be made another time."""
_LARGEST = 2**28


class Copies:
    """The copies in one schema, by the id of their run."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def segments(self, run: int) -> Rows:
        """What there is of a run now."""
        sql = "SELECT first_seq, last_seq, count, crc FROM hexviz_segments WHERE run = %s ORDER BY first_seq"
        return self._line.ask(sql, (run,))

    def read(self, run: int, segments: Rows) -> Copy | None:
        """The copy of a run; None where there is none that is whole and of these segments, or the first of them."""
        parts = (
            "SELECT parts, part, crc, data FROM hexviz_copies JOIN hexviz_copied USING (run)"
            " WHERE run = %s AND made_of = %s ORDER BY part"
        )
        with contextlib.suppress(driver().Error):  # there is no such table, or we may not read it
            head = self._line.ask("SELECT made_of FROM hexviz_copies WHERE run = %s", (run,))
            begin = named(head[0][0], segments) if head else None
            rows = [] if begin is None else self._line.ask(parts, (run, head[0][0]))
            if begin is not None and rows:
                return copy_of(whole_parts([row[1:] for row in rows], rows[0][0]), begin)
        return None

    def write(self, run: int, made_of: bytes, parts: Sequence[bytes]) -> bool:
        """Keep a copy in the place of an older one, and say whether it was kept; no error where that cannot be done."""
        if max(map(len, parts)) > _LARGEST:
            return False
        with contextlib.suppress(driver().Error, StoreError), self._line.work() as connection, connection.transaction():
            connection.execute(_NO_HURRY)
            if connection.execute(_THERE).fetchone() is None:
                connection.execute(_TABLES)
            connection.execute("DELETE FROM hexviz_copies WHERE run = %s", (run,))
            connection.execute("INSERT INTO hexviz_copies VALUES (%s, %s, %s)", (run, len(parts), made_of))
            self._put(connection, run, parts)
            return True
        return False

    @staticmethod
    def _put(connection: Any, run: int, parts: Sequence[bytes]) -> None:
        sql = "COPY hexviz_copied (run, part, crc, data) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types(("int8", "int8", "int8", "bytea"))
            for number, part in enumerate(parts):
                copy.write_row((run, number, zlib.crc32(part), part))
