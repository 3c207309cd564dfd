"""Files of JSON lines as ``verify`` and ``salvage`` take them: what is wrong with one, and what of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hexviz.events.schema import RecordError, from_record
from hexviz.stores.files import plain_file
from hexviz.stores.jsonl import JsonLines, write_jsonl
from hexviz.stores.run_info import STATUS, Problem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable


class CheckedLines(NamedTuple):
    """What a file holds: problems, runs, and records that are whole."""

    problems: list[Problem]
    runs: int
    records: int


def is_jsonl(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a file of JSON lines: by its suffix, or since it begins with a brace."""
    source = Path(path)
    if source.suffix == ".jsonl":
        return True
    try:
        with plain_file(source).open("rb") as file:
            return file.read(1) == b"{"
    except (OSError, ValueError):
        return False


def verify_jsonl(path: str | os.PathLike[str]) -> CheckedLines:
    """Read every line: damaged ones, those that are missing, numbers with two records, runs without an end.

    Raises :class:`NotAStoreError` where the file holds no record of hexviz at all, and NewerStoreError.
    """
    lines, runs = JsonLines(path), _Runs()
    for record in lines.records(damaged="skip"):
        runs.take(record)
    problems = _told(lines) + runs.problems
    problems += [Problem(run_id, 0, "unclean end") for run_id, ended in runs.ended.items() if not ended]
    return CheckedLines(problems, len(runs.ended), lines.whole)


def salvage_jsonl(path: str | os.PathLike[str], goal: Path) -> CheckedLines:
    """Write every line of ``path`` that is whole to the new file ``goal``; the problems say what is lost."""
    lines, runs = JsonLines(path), _Runs()
    count = sum(1 for _ in lines.records(damaged="skip"))
    write_jsonl(goal, runs.passed(lines.records(damaged="skip")), count)
    return CheckedLines(_told(lines), len(runs.ended), count)


def _told(lines: JsonLines) -> list[Problem]:
    return [
        Problem("", found.seq, f"line {found.line}: {found.problem}" if found.line else found.problem)
        for found in lines.damage
    ]


class _Runs:
    """The runs of a file: whether each has ended, and what is odd about its records."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}
        self.problems: list[Problem] = []
        self._known: dict[tuple[str, int], int] = {}

    def take(self, record: bytes) -> None:
        try:
            event = from_record(record)
        except RecordError as error:
            self.problems.append(Problem("", 0, f"a whole line is no record: {error}"))
            return
        status = STATUS.get(type(event), "running")
        self.ended[event.run_id] = self.ended.get(event.run_id, False) or status != "running"
        if self._known.setdefault((event.run_id, event.seq), hash(record)) != hash(record):
            self.problems.append(Problem(event.run_id, event.seq, "there is another record of this number"))

    def passed(self, records: Iterable[bytes]) -> Iterable[bytes]:
        """The records, each taken on its way."""
        for record in records:
            self.take(record)
            yield record
