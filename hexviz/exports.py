"""Recordings to and from files: which format a path means, and who writes and reads it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.bridges.chrome_trace import chrome_trace
from hexviz.bridges.csv_tables import csv_lines
from hexviz.bridges.ocel import ocel
from hexviz.bridges.opentelemetry import otlp
from hexviz.bridges.wfformat import MAX_BYTES, read_wfformat, wfformat
from hexviz.errors import HexvizError
from hexviz.recording.recording import Recording
from hexviz.stores.files import new_directory, read_whole, write_file
from hexviz.stores.jsonl import JsonLines, write_jsonl
from hexviz.stores.parquet import FRAMES, ParquetRuns, write_parquet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    PathLike = str | os.PathLike[str]

_DAMAGED = ("raise", "skip")


class FormatError(HexvizError, ValueError):
    """The path, or ``format=``, names no format that can do what was asked; the message lists those that can."""


class Format(NamedTuple):
    """One file format: its name, its suffix, who writes it, who reads it (None: it is written only)."""

    name: str
    suffix: str
    write: Callable[..., object]
    read: Callable[[Path, str], Recording] | None = None


# --- writing ------------------------------------------------------------------------------------------------------


def write_recording(
    recording: Recording,
    path: PathLike,
    *,
    format: str | None = None,  # noqa: A002 - the word of the face
    safe: bool = True,
    frame: str | None = None,
) -> Path:
    """Write ``recording`` to ``path``: see :func:`hexviz.export`."""
    target = Path(path)
    chosen = chosen_format(target, format)
    options = {} if safe and frame is None else {"safe": safe, "frame": frame}
    if options and chosen.name != "csv":
        raise FormatError(f"safe= and frame= are for CSV, and {str(target)!r} is to be {chosen.name}")
    chosen.write(recording, target, **options)
    return target


def chosen_format(path: Path, name: str | None, *, reading: bool = False) -> Format:
    """The format of that name, or the one whose suffix ``path`` has. Raises :class:`FormatError`."""
    able = [known for known in FORMATS if known.read is not None or not reading]
    for known in able:
        if known.name == name or (name is None and path.name.lower().endswith(known.suffix)):
            return known
    what = f"the format {name!r}" if name is not None else f"a file called {path.name!r}"
    listed = ", ".join(f"{known.suffix} ({known.name})" for known in able)
    verb = "read" if reading else "write"
    raise FormatError(f"hexviz does not {verb} {what}. Known are: {listed}. Give another path, or format=")


def _stable_records(recording: Recording) -> tuple[int, Iterator[bytes]]:
    """How many records there are now, and just those: a recording may grow while it is written."""
    count = len(recording)
    return count, (record for record, _ in zip(recording.records(), range(count), strict=False))


def _write_jsonl(recording: Recording, path: Path) -> None:
    count, records = _stable_records(recording)
    write_jsonl(path, records, count)


def _write_parquet(recording: Recording, path: Path) -> None:
    count, records = _stable_records(recording)
    placed = _placed(recording, records)

    def runs() -> Iterator[tuple[str, dict[str, Any], Iterable[tuple[int, bytes]]]]:
        for run_id, rows in placed.items():
            frames = recording.run(run_id).frames
            yield run_id, {name: getattr(frames, name) for name in FRAMES}, rows

    ids = [run_id.encode("utf-8", "backslashreplace").decode() for run_id in placed]
    write_parquet(path, runs(), {"records": count, "run_ids": ids})


def _placed(recording: Recording, records: Iterator[bytes]) -> dict[str, Iterable[tuple[int, bytes]]]:
    """By run its records with their place; those of a single run are not held in memory."""
    if len(recording.run_ids) == 1:
        return {recording.run_ids[0]: enumerate(records)}
    placed: dict[str, list[tuple[int, bytes]]] = {}
    for place, (event, record) in enumerate(zip(recording.events(), records, strict=False)):
        placed.setdefault(event.run_id, []).append((place, record))
    return dict(placed)


def _write_csv(recording: Recording, path: Path, *, safe: bool = True, frame: str | None = None) -> None:
    frames = recording.frames
    if frame is not None:
        if frame not in FRAMES:
            raise FormatError(f"there is no frame {frame!r}; there are: {', '.join(FRAMES)}")
        write_file(path, csv_lines(getattr(frames, frame), safe=safe))
        return
    with new_directory(path, "csv", {"safe": safe}) as scratch:
        for name in FRAMES:
            with (scratch / f"{name}.csv").open("wb") as file:
                file.writelines(csv_lines(getattr(frames, name), safe=safe))


# --- reading ------------------------------------------------------------------------------------------------------


def read_recording(path: PathLike, *, format: str | None = None, damaged: str = "raise") -> Recording:  # noqa: A002 - the word of the face
    """The recording in a file: see :func:`hexviz.load`."""
    if damaged not in _DAMAGED:
        raise FormatError(f"damaged is 'raise' or 'skip', not {damaged!r}")
    source = Path(path)
    chosen = chosen_format(source, format, reading=True)
    if chosen.read is None:  # pragma: no cover - chosen_format gives no such one
        raise FormatError(f"hexviz does not read {chosen.name}")
    return chosen.read(source, damaged)


def _read_jsonl(path: Path, damaged: str) -> Recording:
    return _read_records(JsonLines(path), damaged)


def _read_parquet(path: Path, damaged: str) -> Recording:
    return _read_records(ParquetRuns(path), damaged)


def _read_records(reader: JsonLines | ParquetRuns, damaged: str) -> Recording:
    recording = Recording.from_records(reader.records(damaged=damaged))
    if reader.damage:
        some = "; ".join(finding.problem for finding in reader.damage[-2:])
        facts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in reader.statistics().items())
        warnings.warn(f"{reader.path} is not whole: {facts} ({some})", RuntimeWarning, stacklevel=5)
    return recording


def _read_wfformat(path: Path, _damaged: str) -> Recording:
    return Recording(read_wfformat(read_whole(path, most_bytes=MAX_BYTES), where=str(path)).events())


def _document(made: Callable[[Any], Iterator[bytes]]) -> Callable[[Recording, Path], object]:
    return lambda recording, path: write_file(path, made(recording.frames))


FORMATS: tuple[Format, ...] = (
    Format("jsonl", ".jsonl", _write_jsonl, _read_jsonl),
    Format("parquet", ".parquet", _write_parquet, _read_parquet),
    Format("csv", ".csv", _write_csv),
    Format("trace", ".trace.json", _document(chrome_trace)),
    Format("otlp", ".otlp.json", _document(otlp)),
    Format("ocel", ".ocel.json", _document(ocel)),
    Format("wfformat", ".wfformat.json", _document(wfformat), _read_wfformat),
)
"""Every format. The suffix names it in full: a plain ``.json`` could be any of four."""
