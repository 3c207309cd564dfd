"""Runs as Parquet files: one directory per run, with its frames and its records.

``run_id=.../attempts.parquet`` and the other frames are for any reader of Parquet; ``records.parquet`` holds the
records (columns ``place`` in the recording, ``crc``, ``record``), from which the recording is read back unchanged. The
name of each directory is the percent-encoded run id (see :func:`hexviz.stores.files.safe_name`).
"""

from __future__ import annotations

import heapq
import importlib
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexviz.errors import MissingExtraError
from hexviz.stores.errors import StoreCorruptError, StoreError
from hexviz.stores.files import checksum_of, new_directory, original_name, read_manifest, safe_name
from hexviz.stores.jsonl import Damage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

KIND = "parquet"
RECORDS = "records.parquet"
FRAMES = ("events", "runs", "waves", "nodes", "attempts", "edges", "decisions", "calls", "observers")
MAX_GROUP_BYTES = 2**32
"""No row group of records is read that says it unpacks to more: 4 GiB."""

_ROWS = 16_384
_BATCH = 1_024
_PLAIN: dict[str, Any] = {"use_dictionary": False, "compression": "zstd", "write_page_checksum": True}


def write_parquet(
    path: str | os.PathLike[str],
    runs: Iterable[tuple[str, Mapping[str, Any], Iterable[tuple[int, bytes]]]],
    facts: dict[str, Any],
) -> Path:
    """Write runs to the directory ``path``, whole or not at all: of each its id, its frames and its placed records.

    ``facts`` stand in the manifest. Raises :class:`~hexviz.errors.MissingExtraError` without pyarrow,
    :class:`StoreWriteError` where ``path`` cannot be written.
    """
    arrow, parquet = _pyarrow()
    with new_directory(path, KIND, facts) as scratch:
        for run_id, frames, records in runs:
            place = scratch / f"run_id={safe_name(run_id)}"
            place.mkdir(mode=0o700)
            for name, frame in frames.items():
                table = arrow.Table.from_pandas(frame, preserve_index=False)
                parquet.write_table(table, place / f"{name}.parquet", compression="zstd", write_page_checksum=True)
            _write_records(arrow, parquet, place / RECORDS, records)
    return Path(path)


def _write_records(arrow: Any, parquet: Any, path: Path, records: Iterable[tuple[int, bytes]]) -> None:
    schema = arrow.schema([("place", arrow.int64()), ("crc", arrow.uint32()), ("record", arrow.binary())])
    with parquet.ParquetWriter(path, schema, **_PLAIN) as writer:
        rows: list[tuple[int, bytes]] = []
        for row in records:
            rows.append(row)
            if len(rows) == _ROWS:
                writer.write_table(_table(arrow, schema, rows))
                rows = []
        writer.write_table(_table(arrow, schema, rows))


def _table(arrow: Any, schema: Any, rows: list[tuple[int, bytes]]) -> Any:
    places, records = [place for place, _ in rows], [record for _, record in rows]
    return arrow.table([places, [zlib.crc32(record) for record in records], records], schema=schema)


class ParquetRuns:
    """Reads a directory of runs. After reading, ``damage`` lists what was wrong; ``expected``, ``whole`` count."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._manifest = read_manifest(path, KIND)
        self.damage: list[Damage] = []
        self.whole = 0
        counted = self._manifest.facts.get("records")
        self.expected: int | None = counted if type(counted) is int else None

    def records(self, *, damaged: str = "raise") -> Iterator[bytes]:
        """The records of all runs in their order in the recording.

        A file that is missing or changed raises :class:`StoreCorruptError`; with ``damaged="skip"`` the records with
        a right checksum are given, and ``damage`` tells of the others.
        """
        skip = damaged == "skip"
        self.damage, self.whole = [], 0
        _, parquet = _pyarrow()
        files = [self.path / name for name in self._manifest.files if name.endswith(f"/{RECORDS}") and _inside(name)]
        for file in files:
            with self._telling(file, skip=skip):
                if checksum_of(file) != self._manifest.files[file.relative_to(self.path).as_posix()]:
                    raise StoreCorruptError(f"{file} is damaged: its checksum is not that of the manifest")
        for _, record in heapq.merge(*(self._read(parquet, file, skip=skip) for file in files)):
            self.whole += 1
            yield record
        if self.expected not in (None, self.whole):
            told = f"{self.whole} of {self.expected} records are whole"
            if not skip:
                raise StoreCorruptError(f'{self.path}: {told}; damaged="skip" gives them')
            self.damage.append(Damage(0, 0, told))

    def _read(self, parquet: Any, path: Path, *, skip: bool) -> Iterator[tuple[int, bytes]]:
        row = 0
        with self._telling(path, skip=skip), parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _check_shape(file, path)
            for batch in file.iter_batches(batch_size=_BATCH, columns=["place", "crc", "record"]):
                for place, crc, record in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    row += 1
                    if place is not None and record is not None and zlib.crc32(record) == crc:
                        yield place, record
                    elif skip:
                        self.damage.append(Damage(row, 0, f"{path}: its checksum does not match"))
                    else:
                        raise StoreCorruptError(f"{path}: record {row} is damaged (its checksum does not match)")

    @contextmanager
    def _telling(self, path: Path, *, skip: bool) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            problem = error
        except (OSError, ValueError, TypeError, LookupError, MemoryError, _pyarrow()[0].ArrowException) as error:
            run_id = original_name(path.parent.name.removeprefix("run_id="))
            problem = StoreCorruptError(f"{path} (run {run_id!r}) cannot be read: {error}")
        else:
            return
        if not skip:
            raise problem
        self.damage.append(Damage(0, 0, str(problem)))

    def statistics(self) -> dict[str, Any]:
        """What the last reading found: ``whole``, ``expected`` (None: not told), ``damaged`` (findings)."""
        return {"whole": self.whole, "expected": self.expected, "damaged": len(self.damage)}


def _check_shape(file: Any, path: Path) -> None:
    """Only what hexviz writes: a dictionary could stand for far more than its bytes, so none is unpacked."""
    found = {field.name: str(field.type) for field in file.schema_arrow}
    if (found.get("place"), found.get("crc"), found.get("record")) != ("int64", "uint32", "binary"):
        raise StoreCorruptError(f"{path} does not have the columns place, crc and record of a hexviz file")
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    for group in groups:
        if group.num_rows > _ROWS:
            raise StoreCorruptError(f"{path} holds a row group of more than {_ROWS} rows")
        if group.num_columns != file.metadata.num_columns:
            raise StoreCorruptError(f"{path} holds a row group without all of its columns")
    file.scan_contents()  # refuses odd descriptions of columns, which end the process when they are asked for below
    for group in groups:
        columns = [group.column(number) for number in range(group.num_columns)]
        if any(column.has_dictionary_page for column in columns):
            raise StoreCorruptError(f"{path} was written by something else: its columns have dictionaries")
        if sum(column.total_uncompressed_size for column in columns) > MAX_GROUP_BYTES:
            raise StoreCorruptError(f"{path} holds a row group of more than {MAX_GROUP_BYTES} bytes")


def _inside(name: str) -> bool:
    parts = Path(name).parts
    return len(parts) == 2 and ".." not in parts and not Path(name).is_absolute()  # noqa: PLR2004 - directory and file


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", purpose="reading and writing Parquet") from error
