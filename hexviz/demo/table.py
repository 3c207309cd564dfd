"""A workflow as a table of facts: one row per task, read from a CSV file and checked before anything runs."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from hexviz.errors import SourceError
from hexviz.events.events import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable

COLUMNS = ("task_id", "name", "parents", "runtime_s")
"""The columns that the table must have; others are welcome and ignored."""


@dataclass(frozen=True, slots=True)
class Task:
    """One row: a unique id, the name of its process, the ids that it waits for, its runtime in seconds."""

    task_id: str
    name: str
    parents: tuple[str, ...]
    runtime_s: float

    @property
    def process(self) -> str:
        """The last part of the dotted name, such as ``FASTP``: tasks of one process do the same work."""
        return self.name.rpartition(".")[2]


def airrflow_csv() -> Path | Traversable:
    """Where the table of the demo is: inside an installed package, or in ``notebooks/data`` of a checkout."""
    packaged = resources.files("hexviz.demo") / "airrflow.csv"
    checkout = Path(__file__).parents[2] / "notebooks" / "data" / "airrflow.csv"
    return packaged if packaged.is_file() else checkout


def read_tasks(path: str | Path | Traversable) -> tuple[Task, ...]:
    """Read the tasks of ``path`` in file order. ``parents`` may be separated by spaces or semicolons.

    Raises :class:`hexviz.errors.SourceError` for a file that cannot be read, a missing column, an id that is empty or
    given twice, a parent that is not in the table and a runtime that is not a finite number of at least 0. The
    message names the file, the row and what to do.
    """
    file = Path(path) if isinstance(path, str) else path
    tasks = tuple(_rows(file))
    known = {task.task_id for task in tasks}
    for task in tasks:
        for parent in task.parents:
            if parent not in known:
                raise SourceError(
                    f"{_called(file)}: task {task.task_id!r} waits for {parent!r}, which is no task of this table. "
                    "Add a row for it, or take it out of the column 'parents'."
                )
    return tasks


def _rows(file: Path | Traversable) -> Iterator[Task]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{_called(file)} cannot be read ({printable(error)}). It must be a CSV file in UTF-8 "
            f"with the columns {', '.join(COLUMNS)}."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    try:
        _check_columns(file, reader.fieldnames or [])
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise SourceError(f"{_called(file)}, line {reader.line_num + 1}: not a row of CSV ({error})") from error
    lines: dict[str, int] = {}
    for line, row in numbered:
        task = _task(file, line, row)
        if task.task_id in lines:
            raise SourceError(
                f"{_called(file)}, line {line}: the task id {task.task_id!r} was given before, "
                f"in line {lines[task.task_id]}. Every task needs an id of its own."
            )
        lines[task.task_id] = line
        yield task


def _check_columns(file: Path | Traversable, found: Sequence[str]) -> None:
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise SourceError(
            f"{_called(file)} has no column {', '.join(map(repr, missing))}. It has: "
            f"{', '.join(repr(printable(name)) for name in found) or 'nothing at all'}. "
            f"The first line must name the columns {', '.join(COLUMNS)}."
        )


def _task(file: Path | Traversable, line: int, row: dict[str, str]) -> Task:
    task_id = row["task_id"].strip()
    if not task_id:
        raise SourceError(f"{_called(file)}, line {line}: the task id is empty. Every task needs one.")
    try:
        runtime_s = float(row["runtime_s"])
    except ValueError:
        runtime_s = -1.0
    if not 0.0 <= runtime_s < float("inf"):
        raise SourceError(
            f"{_called(file)}, line {line}: the runtime_s of task {task_id!r} is {row['runtime_s']!r}. "
            "It must be a number of seconds, 0 or more."
        )
    parents = tuple(dict.fromkeys(row["parents"].replace(";", " ").split()))
    return Task(task_id, row["name"].strip() or task_id, parents, runtime_s)


def _called(file: Path | Traversable) -> str:
    return printable(file)
