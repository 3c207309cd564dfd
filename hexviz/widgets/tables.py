"""The tables of a message as bytes: one little-endian buffer per column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

TABLES: dict[str, tuple[str, ...]] = {
    "fresh": ("row:u4", "node:u4", "attempt:u2", "lane:u2", "status:u1", "wait:f4", "start:f4", "end:f4"),
    "changed": ("row:u4", "status:u1", "end:f4"),
    "backoffs": ("row:u4", "ms:f4"),
    "placed": ("row:u4", "worker:u2", "start:f4"),
    "nodes": ("node:u4", "status:u1", "settled:f4"),
    "waves": ("index:u4", "nodes:u4", "lanes:u4", "start:f4", "end:f4"),
    "spans": ("first:u4", "count:u4", "wave:u4"),
    "names": (),
    "edges": ("parent:u4", "child:u4"),
    "marks": ("at:f4", "signal:u1"),
}
COLUMNS = tuple(f"{table}.{column}" for table, columns in TABLES.items() for column in columns)
"""The buffers of a message, in order; after them one with the bytes of the names."""


def view_of(column: Any, kind: Any) -> Numbers:
    """A column of the state without a copy; let go of before the state can grow again."""
    return np.frombuffer(column, kind) if len(column) else np.zeros(0, kind)


def packed(tables: dict[str, tuple[Any, ...]]) -> list[bytes]:
    """One buffer for each of :data:`COLUMNS`; a column in which all values are equal is that one value."""
    buffers = []
    for name, columns in TABLES.items():
        for described, values in zip(columns, tables[name], strict=True):
            kind = np.dtype(described.partition(":")[2]).newbyteorder("<")
            column = np.asarray(values).astype(kind)
            if len(column) > 1 and (column == column[0]).all():
                column = column[:1]
            buffers.append(column.tobytes())
    return buffers
