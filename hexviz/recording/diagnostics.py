"""What is odd about a recording: damage, foreign order, missing ends. Frames are built all the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events import events as ev
from hexviz.events.summary import GenericEvent
from hexviz.recording.arrays import shown
from hexviz.recording.columns import NULL
from hexviz.recording.typed_columns import ArrayColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.recording.arrays import Array
    from hexviz.recording.attempts import Attempts
    from hexviz.recording.snapshot import Snapshot

_CLOCK_STEP_MS = 1000.0
_RUN_ENDS = (ev.PipelineCompleted, ev.PipelineFailed, ev.PipelineCancelled, ev.PipelineSkipped)

Row = tuple[str, str, int, int, str, str]


def find_problems(snapshot: Snapshot, attempts: Attempts) -> list[Row]:
    """One row per finding, in the order of the columns of ``diagnostics``, sorted by run."""
    rows = [*_order(snapshot), *_ends(snapshot), *_attempts(snapshot, attempts)]
    rows += [*_durations(snapshot), *_clocks(snapshot), *_unknown(snapshot)]
    rank = {snapshot.run_name(run): run for run in range(len(snapshot.run_codes))}
    return sorted(rows, key=lambda row: (rank[row[0]], row[3]))


def _order(s: Snapshot) -> Iterator[Row]:
    for (run, seq), count in Counter(zip(s.duplicate_run.tolist(), s.duplicate_seq.tolist(), strict=True)).items():
        yield s.run_name(run), "duplicate", count, seq, "", f"seq {seq} came more than once; the first is kept"
    before = np.where(np.diff(s.run, prepend=-1) != 0, np.minimum(s.seq, 0), np.roll(s.seq, 1))
    for at in np.flatnonzero(s.seq - before > 1).tolist():
        first, last = int(before[at]) + 1, int(s.seq[at]) - 1
        first = max(first, 1)
        yield s.run_name(s.run[at]), "gap", last - first + 1, first, "", f"events {first} to {last} are missing"
    yield from _arrival(s)


def _arrival(s: Snapshot) -> Iterator[Row]:
    """Runs whose events came with a lower seq than the one before."""
    by_run = np.argsort(s.arrival_run, kind="stable")
    run, seq = s.arrival_run[by_run], s.arrival_seq[by_run]
    back = np.flatnonzero((np.diff(run) == 0) & (np.diff(seq) < 0)) + 1
    runs, first, counts = np.unique(run[back], return_index=True, return_counts=True)
    for of, at, count in zip(runs.tolist(), back[first].tolist(), counts.tolist(), strict=True):
        yield (s.run_name(of), "out of order", count, int(seq[at]), "",
               "events arrived with a lower seq than the one before; frames are ordered by seq")  # fmt: skip


def _ends(s: Snapshot) -> Iterator[Row]:
    runs = np.arange(len(s.run_codes))
    for run in np.setdiff1d(runs, _runs_with(s, (ev.PipelineStarted,))).tolist():
        yield s.run_name(run), "no start of the run", 1, 1, "", "there is no PipelineStarted"
    for problem, classes in (("second start of the run", (ev.PipelineStarted,)), ("second end", _RUN_ENDS)):
        for run, seqs in _told_again(s, classes):
            detail = "two runs under one id, or the pieces of two: the first start and the last end count"
            yield s.run_name(run), problem, len(seqs), int(seqs[0]), "", detail
    last = np.append(s.run_starts[1:], len(s)) - 1
    for run in np.setdiff1d(runs, _runs_with(s, _RUN_ENDS)).tolist():
        seq = max(0, int(s.seq[last[run]]))
        yield s.run_name(run), "no end", 1, seq, "", "the run goes on, or its end was lost"


def _told_again(s: Snapshot, classes: tuple[type[ev.Event], ...]) -> Iterator[tuple[int, Array]]:
    """(run, seqs) of what is told of a run more than once, but for the first time."""
    tables = [table for table in (s.table(cls) for cls in classes) if table is not None]
    places = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *(table.place for table in tables)]))
    again = places[np.flatnonzero(np.diff(s.run[places]) == 0) + 1]
    for run in np.unique(s.run[again]).tolist():
        yield run, s.seq[again[s.run[again] == run]]


def _runs_with(s: Snapshot, classes: tuple[type[ev.Event], ...]) -> Array:
    tables = [table for table in (s.table(cls) for cls in classes) if table is not None]
    return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(s.run[table.place] for table in tables)]))


def _attempts(s: Snapshot, a: Attempts) -> Iterator[Row]:
    ended_runs = np.isin(a.run, _runs_with(s, _RUN_ENDS))
    no_start, no_end = a.started_at == NULL, np.isnan(a.end_ms)
    seq = s.seq[a.events.place[a.first]]
    for problem, found, detail in (
        ("end without start", no_start & ~no_end, "attempt {}: its NodeStarted is missing"),
        ("no end", no_end & ended_runs, "attempt {}: the run ended, this attempt did not"),
        ("end before start", a.end_ms < a.start_ms, "attempt {}: its end is earlier than its start"),
    ):
        for row in np.flatnonzero(found).tolist():
            yield (s.run_name(a.run[row]), problem, 1, int(seq[row]), s.texts_list[a.node[row]],
                   detail.format(int(a.attempt[row])))  # fmt: skip


def _durations(s: Snapshot) -> Iterator[Row]:
    """Whatever tells a duration below zero: it stands in the frames as it was told."""
    for cls in s.classes:
        table = s.table(cls)
        if table is None or not isinstance(table.block.columns.get("duration_ms"), ArrayColumn):
            continue
        told = table.column("duration_ms")
        for at in np.flatnonzero(told < 0).tolist():
            place, node = int(table.place[at]), ""
            for name in ("name", "node_name"):
                if name in table.block.columns and "Pipeline" not in cls.__name__:
                    node = s.texts_list[table.column(name)[at]]
            detail = f"{cls.__name__} tells a duration of {told[at]:g} ms"
            yield s.run_name(s.run[place]), "negative duration", 1, int(s.seq[place]), node, detail


def _clocks(s: Snapshot) -> Iterator[Row]:
    """Where the wall clock and the monotonic clock of neighbours disagree, or the latter goes back, by a second."""
    if len(s) < 2:  # noqa: PLR2004 - a pair is needed
        return
    same = s.run[1:] == s.run[:-1]
    clock = np.diff(s.monotonic_ns.astype(float)) / 1e6
    drift = np.diff(s.timestamp.astype(float)) / 1000.0 - clock
    for at in np.flatnonzero(same & ((np.abs(drift) > _CLOCK_STEP_MS) | (clock < -_CLOCK_STEP_MS))).tolist():
        detail = f"the wall clock stepped by {drift[at] / 1000.0:+.3f} s against the monotonic clock"
        if clock[at] < -_CLOCK_STEP_MS:
            detail = (
                f"the monotonic clock went back by {-clock[at] / 1000.0:.3f} s: another process, or another machine"
            )
        yield s.run_name(s.run[at + 1]), "clock step", 1, int(s.seq[at + 1]), "", detail


def _unknown(s: Snapshot) -> Iterator[Row]:
    table: Any = s.table(GenericEvent)
    if table is None:
        return
    counts: dict[tuple[int, str], list[int]] = {}
    for place, facts in zip(table.place.tolist(), table.events(), strict=True):
        counts.setdefault((int(s.run[place]), shown(facts["type_name"])), []).append(int(s.seq[place]))
    for (run, name), seqs in counts.items():
        yield s.run_name(run), "unknown event", len(seqs), seqs[0], "", f"events of the unknown class {name!a}"
