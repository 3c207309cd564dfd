"""The frames ``runs`` and ``waves``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events import events as ev
from hexviz.recording.arrays import build, shown, words_of
from hexviz.recording.attempts import scatter
from hexviz.recording.columns import NULL
from hexviz.recording.frames.attempts import error_facts
from hexviz.recording.layout import RUN_STATUSES, STATUSES
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.attempts import Attempts
    from hexviz.recording.frames.nodes import NodeFacts
    from hexviz.recording.shape import Shape
    from hexviz.recording.snapshot import Snapshot

_END_STATUS: dict[type[ev.Event], str] = {
    ev.PipelineCompleted: "succeeded",
    ev.PipelineFailed: "failed",
    ev.PipelineCancelled: "cancelled",
    ev.PipelineSkipped: "skipped",
}


class _Runs:
    """One entry per run, of what its first PipelineStarted and its last end say."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.size = len(snapshot.run_codes)
        starts = snapshot.run_starts
        self.started_at = snapshot.timestamp[starts]
        self.ended_at = np.full(self.size, NULL)
        self.duration_ms = np.full(self.size, np.nan)
        self.status = np.zeros(self.size, dtype=np.int8)
        self.pipeline = [snapshot.texts_list[code] for code in snapshot.pipeline[starts].tolist()]
        self.schedule, self.tags = [""] * self.size, [""] * self.size
        self.errors = [("", "")] * self.size
        self.waves: Array = np.full(self.size, -1)
        self.nodes: Array = np.full(self.size, -1)
        self._read_starts()
        self._read_ends()

    def _read_starts(self) -> None:
        s, table = self._snapshot, self._snapshot.table(ev.PipelineStarted)
        if table is None:
            return
        at = s.run[table.place]
        texts = {name: table.coded(name) for name in ("name", "schedule", "tags")}
        for place, run in enumerate(at.tolist()):
            name, schedule, tags = (values[codes[place]] for codes, values in texts.values())
            self.pipeline[run], self.schedule[run] = shown(name), shown(schedule)
            self.tags[run] = ",".join(map(shown, tags)) if type(tags) is tuple else shown(tags)
        self.started_at = self.started_at.copy()
        self.started_at[at] = s.timestamp[table.place]
        self.waves[at], self.nodes[at] = table.column("total_waves"), table.column("total_nodes")

    def _read_ends(self) -> None:
        """The end that is told last counts."""
        s = self._snapshot
        last = np.full(self.size, -1)
        for cls, word in _END_STATUS.items():
            table = s.table(cls)
            if table is None:
                continue
            run = s.run[table.place]
            final = scatter(self.size, run, np.arange(len(table)), default=-1)
            later = np.flatnonzero(final >= 0)
            later = later[table.place[final[later]] > last[later]]
            rows = final[later]
            last[later] = table.place[rows]
            self.status[later] = RUN_STATUSES.index(word)
            self.ended_at[later] = s.timestamp[table.place[rows]]
            self.duration_ms[later] = table.column("duration_ms")[rows]
            causes = self._causes(table)
            for at, row in zip(later.tolist(), rows.tolist(), strict=True):
                self.errors[at] = causes(row)

    def _causes(self, table: Any) -> Any:
        """What a row of an end says of why: the error, or the reason as a message."""
        fields = table.block.columns
        errors = table.coded("error") if "error" in fields else None
        reasons = table.coded("reason") if "reason" in fields else None

        def cause(row: int) -> tuple[str, str]:
            if errors is not None:
                return error_facts(errors[1][errors[0][row]])
            return ("", "" if reasons is None else shown(reasons[1][reasons[0][row]]))

        return cause


def runs_frame(snapshot: Snapshot, shape: Shape, attempts: Attempts, nodes: NodeFacts) -> pd.DataFrame:
    """One row per run."""
    runs = _Runs(snapshot)
    waves, _ = _wave_keys(shape.run, shape.wave)
    wave_run = waves[:, 0]
    counts = _counts(shape.run, nodes.status, runs.size)
    known_waves, known_nodes = np.bincount(wave_run, minlength=runs.size), np.bincount(shape.run, minlength=runs.size)
    decided = snapshot.table(ev.ControlDecided)
    decision_run = snapshot.run[decided.place] if decided is not None else np.zeros(0, dtype=np.int64)
    return build("runs", {
        "run_id": snapshot.run_ids(np.arange(runs.size)), "pipeline": words_of(runs.pipeline), "status": runs.status,
        "started_at": runs.started_at, "ended_at": runs.ended_at, "clock_ns": snapshot.base_ns,
        "duration_ms": runs.duration_ms,
        "waves": np.where(runs.waves < 0, known_waves, runs.waves),
        "nodes": np.where(runs.nodes < 0, known_nodes, runs.nodes),
        **{word: counts[:, code] for code, word in enumerate(STATUSES)},
        "attempts": np.bincount(attempts.run, minlength=runs.size),
        "decisions": np.bincount(decision_run, minlength=runs.size),
        "error_type": words_of([kind for kind, _ in runs.errors]),
        "error_message": words_of([message for _, message in runs.errors]),
        "tags": words_of(runs.tags), "schedule": words_of(runs.schedule),
    })  # fmt: skip


def _counts(row: Array, status: Array, size: int) -> Array:
    """How many nodes of each row have each status."""
    flat = np.bincount(row * len(STATUSES) + status, minlength=size * len(STATUSES))
    return flat.reshape(size, len(STATUSES))


def _wave_keys(run: Array, wave: Array) -> tuple[Array, Array]:
    """(the distinct pairs of run and wave, in order; of each entry the number of its pair)."""
    waves, distinct = factorised(wave)
    rank = np.argsort(np.argsort(distinct))
    keys, row = np.unique(run * max(1, len(distinct)) + rank[waves], return_inverse=True)
    in_order = np.sort(distinct)
    pairs = np.stack([keys // max(1, len(distinct)), in_order[keys % max(1, len(distinct))]], axis=1)
    return pairs.reshape(-1, 2), row


def waves_frame(snapshot: Snapshot, shape: Shape, nodes: NodeFacts) -> pd.DataFrame:
    """One row per wave of each run."""
    s = snapshot
    tables = [s.table(cls) for cls in (ev.WaveStarted, ev.WaveCompleted)]
    places = [table.place if table is not None else np.zeros(0, dtype=np.int64) for table in tables]
    told = [table.column("wave_index") if table is not None else np.zeros(0, dtype=np.int64) for table in tables]
    pairs, row = _wave_keys(
        np.concatenate([shape.run, *(s.run[place] for place in places)]), np.concatenate([shape.wave, *told])
    )
    size, known = len(pairs), len(shape)
    row_of_start, row_of_end = np.split(row[known:], [len(places[0])])
    counts = _counts(row[:known], nodes.status, size)

    def at(rows: Array, values: Array, default: Any) -> Array:
        return scatter(size, rows, values, default=default)

    ended = tables[1].column("duration_ms") if tables[1] is not None else np.zeros(0)
    return build("waves", {
        "run_id": s.run_ids(pairs[:, 0]), "wave": pairs[:, 1], "nodes": np.bincount(row[:known], minlength=size),
        "started_at": at(row_of_start, s.timestamp[places[0]], NULL),
        "start_ms": at(row_of_start, s.offset_ms[places[0]], np.nan),
        "end_ms": at(row_of_end, s.offset_ms[places[1]], np.nan),
        "duration_ms": at(row_of_end, ended, np.nan),
        **{word: counts[:, code] for code, word in enumerate(STATUSES)},
    })  # fmt: skip
