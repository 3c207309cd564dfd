"""Files of JSON lines as ``verify`` and ``salvage`` take them: what is wrong with one, and what of it is whole."""

from __future__ import annotations

from array import array
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hexviz.events.schema import RecordError, from_record
from hexviz.stores.errors import NothingToSalvageError
from hexviz.stores.files import plain_file
from hexviz.stores.jsonl import JsonLines, write_jsonl
from hexviz.stores.run_info import STATUS, Problem
from hexviz.stores.segments import MAX_SEQ

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
    for run_id, run in runs.by_id.items():
        problems += [Problem(run_id, seq, "there is another record of this number") for seq in run.twice()]
        problems += [] if run.ended else [Problem(run_id, 0, "unclean end")]
    return CheckedLines(problems, len(runs.by_id), lines.whole)


def salvage_jsonl(path: str | os.PathLike[str], goal: Path) -> CheckedLines:
    """Write every line of ``path`` that is whole to the new file ``goal``; the problems say what is lost."""
    lines, runs = JsonLines(path), _Runs()
    count = sum(1 for _ in lines.records(damaged="skip"))
    if not count and not lines.damage:
        raise NothingToSalvageError(path)
    write_jsonl(goal, runs.passed(lines.records(damaged="skip")), count)
    return CheckedLines(_told(lines), len(runs.by_id), count)


def _told(lines: JsonLines) -> list[Problem]:
    return [
        Problem("", found.seq, f"line {found.line}: {found.problem}" if found.line else found.problem)
        for found in lines.damage
    ]


class _Run:
    """The numbers of one run's records and what stands for their bytes, 16 bytes for each record."""

    def __init__(self) -> None:
        self.ended = False
        self.in_order = True
        self.seqs = array("q")
        self.hashes = array("q")

    def take(self, seq: int, record: bytes) -> None:
        seq = max(-MAX_SEQ, min(seq, MAX_SEQ))
        self.in_order = self.in_order and (not self.seqs or seq > self.seqs[-1])
        self.seqs.append(seq)
        self.hashes.append(hash(record))

    def twice(self) -> list[int]:
        """The numbers under which there are two different records."""
        if self.in_order:
            return []
        distinct = sorted(set(zip(self.seqs, self.hashes, strict=True)))
        return sorted({seq for (seq, _), (after, _) in pairwise(distinct) if seq == after})


class _Runs:
    """The runs of a file, and what is odd about its lines."""

    def __init__(self) -> None:
        self.by_id: dict[str, _Run] = {}
        self.problems: list[Problem] = []

    def take(self, record: bytes) -> None:
        try:
            event = from_record(record)
        except RecordError as error:
            self.problems.append(Problem("", 0, f"a whole line is no record: {error}"))
            return
        run = self.by_id.get(event.run_id) or self.by_id.setdefault(event.run_id, _Run())
        run.ended = run.ended or STATUS.get(type(event), "running") != "running"
        run.take(event.seq, record)

    def passed(self, records: Iterable[bytes]) -> Iterable[bytes]:
        """The records, each taken on its way."""
        for record in records:
            self.take(record)
            yield record
