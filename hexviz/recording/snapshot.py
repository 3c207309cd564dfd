"""The columns of a recording as numpy arrays at one moment: ordered by run and seq, duplicates taken out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hexviz.recording.columns import ArrayColumn, Block, Column, EventColumns, PackedColumn
from hexviz.recording.layout import texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.events import Event
    from hexviz.recording.recording import Recording

Array = npt.NDArray[Any]


def array_of(column: ArrayColumn) -> Array:
    """A copy of an array column as a numpy array."""
    return np.frombuffer(column.data.tobytes(), dtype=column.data.typecode)


class ClassTable:
    """The events of one class in order: ``place`` is each one's position in the whole snapshot."""

    def __init__(self, block: Block, rows: Array, place: Array) -> None:
        self.block = block
        self.rows = rows
        self.place = place

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Array:
        """A field as numbers or text codes."""
        column = self.block.columns[name]
        if not isinstance(column, ArrayColumn):
            raise TypeError(f"{self.block.cls.__name__}.{name} is not a column of numbers")
        return array_of(column)[self.rows]

    def values(self, name: str) -> list[Any]:
        """A field as the values given, made anew."""
        column: Column = self.block.columns[name]
        return [column[row] for row in self.rows.tolist()]

    def distinct(self, name: str, view: Callable[[Any], Any]) -> list[Any]:
        """``view`` of a structured field, computed once for equal values."""
        column = self.block.columns[name]
        if not isinstance(column, PackedColumn):
            return [view(column[row]) for row in self.rows.tolist()]
        seen: dict[bytes, Any] = {}
        found = []
        for row in self.rows.tolist():
            key = column.text(row)
            if not key:
                found.append(view(column[row]))
                continue
            if key not in seen:
                seen[key] = view(column[row])
            found.append(seen[key])
        return found


class Snapshot:
    """All events of a recording at one moment. Positions ("places") count through runs, then seq."""

    def __init__(self, recording: Recording) -> None:
        with recording.lock:
            columns = recording.columns
            self.columns: EventColumns = columns
            self.length = len(columns)
            self.texts_list = list(columns.strings.values_by_code)
            self._classes = np.frombuffer(columns.classes.tobytes(), dtype="H")
            run = array_of(columns.run_id).astype(np.int64)
            seq = array_of(columns.seq)
            self._take(recording, run, seq)
            self.timestamp = array_of(columns.timestamp)[self.order]
            self.monotonic_ns = array_of(columns.monotonic_ns)[self.order]
            self.pipeline = array_of(columns.pipeline)[self.order]
            self._tables = {block.cls: self._table(code, block) for code, block in enumerate(columns.blocks)}

    def _take(self, recording: Recording, run: Array, seq: Array) -> None:
        present = np.arange(self.length)
        if recording.only is not None:
            present = np.flatnonzero(run == self.columns.strings.get(recording.only, -1))
        codes, first = np.unique(run[present], return_index=True)
        by_first = np.argsort(first, kind="stable")
        self.run_codes = codes[by_first]
        rank = np.empty(len(codes), dtype=np.int64)
        rank[by_first] = np.arange(len(codes))
        run_index = rank[np.searchsorted(codes, run[present])]
        by_seq = np.lexsort((seq[present], run_index))
        self.arrival = present
        self.arrival_run = run_index
        self.arrival_seq = seq[present]
        order, runs, seqs = present[by_seq], run_index[by_seq], seq[present][by_seq]
        twice = np.zeros(len(order), dtype=bool)
        twice[1:] = (runs[1:] == runs[:-1]) & (seqs[1:] == seqs[:-1]) & (seqs[1:] > 0)
        self.duplicates = [(int(r), int(s)) for r, s in zip(runs[twice], seqs[twice], strict=True)]
        self.order, self.run, self.seq = order[~twice], runs[~twice], seqs[~twice]
        self.place_of = np.full(self.length, -1, dtype=np.int64)
        self.place_of[self.order] = np.arange(len(self.order))

    def _table(self, code: int, block: Block) -> ClassTable:
        place = self.place_of[np.flatnonzero(self._classes == code)]
        rows = np.flatnonzero(place >= 0)
        rows = rows[np.argsort(place[rows], kind="stable")]
        return ClassTable(block, rows, place[rows])

    def __len__(self) -> int:
        return len(self.order)

    @property
    def classes(self) -> list[type[Event]]:
        """The classes that occur, in order of their first event."""
        return list(self._tables)

    @property
    def class_codes(self) -> Array:
        """Of each event the position of its class in :attr:`classes`."""
        return self._classes[self.order].astype(np.int64)

    def table(self, cls: type[Event]) -> ClassTable | None:
        """The events of exactly this class; None where there is none."""
        table = self._tables.get(cls)
        return table if table is not None and len(table) else None

    @cached_property
    def base_ns(self) -> Array:
        """Of each run the monotonic clock at its start: its PipelineStarted, or its earliest event."""
        from_first = np.full(len(self.run_codes), np.iinfo(np.int64).max)
        np.minimum.at(from_first, self.run, self.monotonic_ns)
        for cls, table in self._tables.items():
            if cls.__name__ == "PipelineStarted":
                places = table.place[::-1]
                from_first[self.run[places]] = self.monotonic_ns[places]
        return from_first

    @cached_property
    def offset_ms(self) -> Array:
        """Of each event the milliseconds since its run's start."""
        return (self.monotonic_ns - self.base_ns[self.run]) / 1e6

    @cached_property
    def _texts(self) -> Any:
        return texts(self.texts_list)

    def text(self, codes: Array) -> Any:
        """Text codes as an array of texts."""
        return self._texts.take(codes)

    def run_ids(self, run: Array) -> Any:
        """Positions of runs as an array of run ids."""
        return self.text(self.run_codes[run])

    def run_name(self, run: int) -> str:
        """The id of one run."""
        return str(self.texts_list[self.run_codes[run]])

    def code(self, text: str) -> int:
        """The code of a text that occurs."""
        return self.columns.strings[text]
