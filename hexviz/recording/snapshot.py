"""The columns of a recording as numpy arrays at one moment: ordered by run and seq, duplicates taken out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hexviz.recording.arrays import Array, Domain, Words
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.time_arrays import micros_of
from hexviz.recording.time_column import TimeColumn
from hexviz.recording.typed_columns import ArrayColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.events.events import Event
    from hexviz.recording.columns import Block, EventColumns
    from hexviz.recording.recording import Recording


def array_of(column: Any) -> Array:
    """A copy of a column of numbers, codes or times as a numpy array; times are microseconds since 1970."""
    if isinstance(column, TimeColumn):
        return micros_of(column)
    return np.frombuffer(column.data.tobytes(), dtype=column.data.typecode)


def factorised(values: Array) -> tuple[Array, Array]:
    """(of each value its number, the distinct values): numbers count by first appearance."""
    codes, distinct = pd.factorize(values)
    return codes, np.asarray(distinct)


class ClassTable:
    """The events of one class in order: ``place`` is each one's position in the whole snapshot."""

    def __init__(self, block: Block, rows: Array, place: Array) -> None:
        self.block = block
        self.rows = rows
        self.place = place
        self._coded: dict[str, tuple[Array, list[bytes], list[Any]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Array:
        """A field as numbers or text codes."""
        column = self.block.columns[name]
        if not isinstance(column, (ArrayColumn, TimeColumn)):
            raise TypeError(f"{self.block.cls.__name__}.{name} is not a column of numbers")
        return array_of(column)[self.rows]

    def coded(self, name: str) -> tuple[Array, list[Any]]:
        """(of each event the number of its value, the distinct values as events hold them)."""
        column = self.block.columns[name]
        if isinstance(column, PackedColumn):
            codes, texts, odd = self._packed(name, column)
            return codes, [*column.decoded(texts), *odd]
        if not isinstance(column, ArrayColumn):
            return np.arange(len(self)), [column[row] for row in self.rows.tolist()]
        codes, distinct = factorised(array_of(column)[self.rows])
        values = list(map(column.decoded, distinct.tolist()))
        places, odd = self._odd(column.odd)
        if odd:
            codes = codes.copy()
            codes[places] = len(values) + np.arange(len(odd))
        return codes, values + odd

    def coded_json(self, name: str) -> tuple[Array, list[Any]]:
        """The same with the JSON of structured values (bytes) in their place."""
        column = self.block.columns[name]
        if not isinstance(column, PackedColumn):
            return self.coded(name)
        codes, texts, odd = self._packed(name, column)
        return codes, [*texts, *odd]

    def _packed(self, name: str, column: PackedColumn) -> tuple[Array, list[bytes], list[Any]]:
        """(of each event a number, the distinct JSON texts, the values kept aside): numbers count through both."""
        if name in self._coded:
            return self._coded[name]
        places, odd = self._odd(column.odd)
        plain = np.ones(len(self), dtype=bool)
        plain[places] = False
        found, distinct = factorised(np.frombuffer(column.data.tobytes(), dtype="i")[self.rows[plain]])
        known: dict[bytes, int] = {}
        numbers = [known.setdefault(column.text(number), len(known)) for number in distinct.tolist()]
        codes = np.empty(len(self), dtype=np.int64)
        codes[plain] = np.array(numbers, dtype=np.int64)[found]
        codes[places] = len(known) + np.arange(len(odd))
        self._coded[name] = codes, list(known), odd
        return self._coded[name]

    def _odd(self, odd: dict[int, Any]) -> tuple[Array, list[Any]]:
        """(places, values) of the events whose value is kept aside: each gets a number of its own."""
        if not odd:
            return np.zeros(0, dtype=np.int64), []
        places = np.flatnonzero(np.isin(self.rows, np.array(list(odd))))
        return places, [odd[row] for row in self.rows[places].tolist()]

    def events(self) -> Iterator[dict[str, Any]]:
        """The own fields of each event by name: for few events."""
        return map(self.block.row, self.rows.tolist())


class Snapshot:
    """All events of a recording at one moment. Positions ("places") count through runs, then seq."""

    def __init__(self, recording: Recording) -> None:
        with recording.lock:
            columns = recording.columns
            self.columns: EventColumns = columns
            self.length = len(columns)
            self.texts_list = list(columns.strings.values_by_code)
            self._classes = np.frombuffer(columns.classes.tobytes(), dtype="H")
            self._rows = [np.flatnonzero(self._classes == code) for code in range(len(columns.blocks))]
            self._take(recording, self._in_arrival_order("run_id"), self._in_arrival_order("seq"))
            self.timestamp = self._in_arrival_order("timestamp")[self.order]
            self.monotonic_ns = self._in_arrival_order("monotonic_ns")[self.order]
            self.pipeline = self._in_arrival_order("pipeline")[self.order]
            self._tables = {block.cls: self._table(code, block) for code, block in enumerate(columns.blocks)}

    def _in_arrival_order(self, name: str) -> Array:
        """A column that all classes have."""
        parts = [array_of(block.base[name]) for block in self.columns.blocks]
        values = np.empty(self.length, dtype=parts[0].dtype if parts else np.int64)
        for rows, part in zip(self._rows, parts, strict=True):
            values[rows] = part[: len(rows)]
        return values

    def _take(self, recording: Recording, run: Array, seq: Array) -> None:
        present = np.arange(self.length)
        if recording.only is not None:
            present = np.flatnonzero(run == self.columns.strings.get(recording.only, -1))
            run, seq = run[present], seq[present]
        run_index, codes = factorised(run)
        self.run_codes = codes.astype(np.int64)
        self.arrival_run = run_index
        self.arrival_seq = seq
        by_seq = _order(run_index, seq)
        order, runs, seqs = present[by_seq], run_index[by_seq], seq[by_seq]
        twice = np.zeros(len(order), dtype=bool)
        twice[1:] = (runs[1:] == runs[:-1]) & (seqs[1:] == seqs[:-1]) & (seqs[1:] > 0)
        self.duplicate_run, self.duplicate_seq = runs[twice], seqs[twice]
        self.order, self.run, self.seq = order[~twice], runs[~twice], seqs[~twice]
        self.place_of = np.full(self.length, -1, dtype=np.int64)
        self.place_of[self.order] = np.arange(len(self.order))

    def _table(self, code: int, block: Block) -> ClassTable:
        place = self.place_of[self._rows[code]]
        rows = np.flatnonzero(place >= 0)
        if np.any(np.diff(place[rows]) < 0):
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
    def run_starts(self) -> Array:
        """Of each run the place of its first event."""
        return np.flatnonzero(np.diff(self.run, prepend=-1))

    @cached_property
    def base_ns(self) -> Array:
        """Of each run the monotonic clock at its start: its PipelineStarted, or its earliest event."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        from_first = np.minimum.reduceat(self.monotonic_ns, self.run_starts)
        for cls, table in self._tables.items():
            if cls.__name__ == "PipelineStarted":
                places = table.place[::-1]
                from_first[self.run[places]] = self.monotonic_ns[places]
        return from_first

    @cached_property
    def offset_ms(self) -> Array:
        """Of each event the milliseconds since its run's start."""
        return (self.monotonic_ns - self.base_ns[self.run]) / 1e6

    # --- texts ---

    def words(self, codes: Array) -> Words:
        """Text codes as a column of texts."""
        return Words(codes, self.texts_list)

    @cached_property
    def _run_domain(self) -> Domain:
        return Domain(self.texts_list, np.unique(self.run_codes))

    def run_ids(self, run: Array) -> Words:
        """Positions of runs as a column of run ids, the same categories in each frame."""
        return Words(self.run_codes[run], self.texts_list, self._run_domain)

    def run_name(self, run: int) -> str:
        """The id of one run."""
        return str(self.texts_list[self.run_codes[run]])

    def code(self, text: str) -> int:
        """The code of a text here; a text that no column holds gets one."""
        code = self.columns.strings.get(text, -1)
        if 0 <= code < self._known:
            return code
        if text not in self._more:
            self._more[text] = len(self.texts_list)
            self.texts_list.append(text)
        return self._more[text]

    @cached_property
    def _known(self) -> int:
        return len(self.texts_list)

    @cached_property
    def _more(self) -> dict[str, int]:
        return {}

    def named(self) -> Array:
        """Which texts are the name of a node in some event, as codes; the empty text is one."""
        found = np.zeros(len(self.texts_list), dtype=bool)
        found[0] = True
        for cls, table in self._tables.items():
            for name in ("name", "node_name"):
                column = table.block.columns.get(name)
                if isinstance(column, TextColumn) and not (name == "name" and "Pipeline" in cls.__name__):
                    found[table.column(name)] = True
        return np.flatnonzero(found)


def _order(run: Array, seq: Array) -> Array:
    """The order by run, then seq, then arrival; quick where the events lie in order already."""
    step = np.diff(run)
    if not np.any(step < 0) and not np.any((step == 0) & (np.diff(seq) < 0)):
        return np.arange(len(run))
    return np.lexsort((seq, run))
