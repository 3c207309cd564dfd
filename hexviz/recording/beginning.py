"""The first events of columns that grow, as columns of their own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hexviz.recording.columns import EventColumns
from hexviz.recording.typed_columns import ObjectColumn

if TYPE_CHECKING:
    from hexviz.recording.columns import Block


def beginning(columns: EventColumns, count: int) -> EventColumns:
    """The first ``count`` events; the texts are shared, so nothing may be added to either while it is used."""
    found = EventColumns()
    found.strings, found.runs = columns.strings, columns.runs
    found.classes = columns.classes[:count]
    for code, block in enumerate(columns.blocks):
        rows = found.classes.count(code)
        if rows:
            found.block_of[block.cls] = code
            found.blocks.append(_first_rows(block, rows))
    return found


def _first_rows(block: Block, rows: int) -> Block:
    found = copy.copy(block)
    found.base = {name: _first(column, rows) for name, column in block.base.items()}
    found.columns = {name: _first(column, rows) for name, column in block.columns.items()}
    return found


def _first(column: Any, rows: int) -> Any:
    if isinstance(column, ObjectColumn):
        return ObjectColumn(column[:rows])
    found = copy.copy(column)
    found.data = column.data[: rows * (len(column.data) // len(column))]
    found.odd = {row: value for row, value in column.odd.items() if row < rows}
    return found
