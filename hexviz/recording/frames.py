"""The only birthplace of DataFrames from events. Every column is described in :mod:`hexviz.recording.layout`.

``python -m hexviz.recording.frames`` prints the page docs/frames.md.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from hexviz.events import events as ev
from hexviz.events.schema import BASE_FIELDS, to_record
from hexviz.recording.attempts import (
    COMPLETED,
    FELL_BACK,
    RETRYING,
    SKIPPED,
    Attempts,
    NodeEvents,
    Shape,
    error_facts,
    last_errors,
    node_status,
    scatter,
)
from hexviz.recording.columns import NULL
from hexviz.recording.diagnostics import find_problems
from hexviz.recording.layout import COLUMNS, STATUSES, build, describe, from_rows, texts
from hexviz.recording.snapshot import Array, Snapshot
from hexviz.wiring import WITH_FRAMES

if TYPE_CHECKING:
    from hexviz.recording.recording import Recording

__all__ = ["COLUMNS", "Frames", "describe"]

_END_STATUS: dict[type[ev.Event], str] = {
    ev.PipelineCompleted: "succeeded",
    ev.PipelineFailed: "failed",
    ev.PipelineCancelled: "cancelled",
    ev.PipelineSkipped: "skipped",
}
_CALLS: tuple[type[ev.Event], ...] = (
    ev.ToolCalled,
    ev.ToolCompleted,
    ev.ToolFailed,
    ev.LLMPromptSent,
    ev.LLMResponseReceived,
    ev.LLMFailed,
)
_NAME_FIELDS = ("name", "node_name")


class Frames:
    """The frames of a recording as it stood when this was made, each built when first asked for.

    ``events, runs, waves, nodes, attempts, edges, decisions, calls, observers`` and ``diagnostics``. Columns and
    dtypes are the same when empty. Rows are ordered by run (in order of first event), then by ``seq``.
    """

    def __init__(self, recording: Recording) -> None:
        for bring in WITH_FRAMES:
            bring()
        self._snapshot = Snapshot(recording)
        self.length = self._snapshot.length

    def __repr__(self) -> str:
        return f"<Frames of {len(self._snapshot)} events: {', '.join(COLUMNS)}>"

    @cached_property
    def _node_events(self) -> NodeEvents:
        return NodeEvents(self._snapshot)

    @cached_property
    def _attempts(self) -> Attempts:
        return Attempts(self._node_events)

    @cached_property
    def _shape(self) -> Shape:
        return Shape(self._node_events)

    @cached_property
    def _node_rows(self) -> Array:
        return self._shape.rows_of(self._node_events)

    @cached_property
    def _node_status(self) -> Array:
        return node_status(self._node_events, self._node_rows, len(self._shape.rows))

    # --- events ---

    @cached_property
    def events(self) -> pd.DataFrame:
        """Every event, one row each."""
        s = self._snapshot
        size = len(s)
        node, wave = np.zeros(size, dtype=np.int64), np.full(size, NULL)
        attempt, duration = np.full(size, NULL), np.full(size, np.nan)
        topic, payload = np.empty(size, dtype=object), np.empty(size, dtype=object)
        for cls in s.classes:
            table = s.table(cls)
            if table is None:
                continue
            topic[table.place], payload[table.place] = _words(s, cls)
            if cls not in ev.EVENT_CLASSES:
                continue
            own = table.block.columns
            for target, fields in ((node, _NAME_FIELDS), (wave, ("wave_index",)), (attempt, ("attempt",)),
                                  (duration, ("duration_ms",))):  # fmt: skip
                for name in fields:
                    if name in own and not (name == "name" and "Pipeline" in cls.__name__):
                        target[table.place] = table.column(name)
        names = [cls.__name__ for cls in s.classes]
        categories = list(dict.fromkeys(names))
        code_of = np.array([categories.index(name) for name in names] or [0])
        found: Any = pd.Index(categories, dtype=object)
        kinds = pd.Categorical.from_codes(code_of[s.class_codes] if size else [], categories=found)
        return build("events", {
            "run_id": s.run_ids(s.run), "seq": s.seq, "timestamp": s.timestamp, "monotonic_ns": s.monotonic_ns,
            "offset_ms": s.offset_ms, "event_type": kinds, "topic": texts(topic), "pipeline": s.text(s.pipeline),
            "node": s.text(node), "wave": wave, "attempt": attempt, "duration_ms": duration, "payload": texts(payload),
        })  # fmt: skip

    # --- runs and waves ---

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        s = self._snapshot
        rows = [self._run_row(run) for run in range(len(s.run_codes))]
        return from_rows("runs", rows)

    def _run_row(self, run: int) -> list[Any]:
        facts = self._run_facts.get(run, {})
        start: Any = facts.get("start")
        end: Any = facts.get("end")
        counts = np.bincount(self._node_status[self._node_run == run], minlength=len(STATUSES)).tolist()
        error = error_facts(getattr(end, "error", None))
        if end is not None and not error[1] and getattr(end, "reason", None):
            error = (error[0], end.reason)
        nodes = [row for row in self._shape.rows if row[0] == run] if start is None else start.nodes
        waves = {info.wave_index for (of, _), info in self._shape.infos.items() if of == run}
        s = self._snapshot
        return [
            s.run_name(run),
            start.name if start else facts["pipeline"],
            _END_STATUS[type(end)] if end else "running",
            facts["started_at"],
            facts["ended_at"],
            end.duration_ms if end else float("nan"),
            start.total_waves if start else len(waves),
            start.total_nodes if start else len(nodes),
            *counts[3:],
            int((self._attempts.run == run).sum()),
            facts["decisions"],
            *error,
            ",".join(start.tags) if start else "",
            start.schedule if start else "",
        ]

    @cached_property
    def _node_run(self) -> Array:
        return np.array([run for run, _ in self._shape.rows], dtype=np.int64)

    @cached_property
    def _run_facts(self) -> dict[int, dict[str, Any]]:
        s = self._snapshot
        facts: dict[int, dict[str, Any]] = {}
        for place in np.flatnonzero(np.diff(s.run, prepend=-1)).tolist():
            name = s.texts_list[s.pipeline[place]]
            facts[int(s.run[place])] = {
                "started_at": int(s.timestamp[place]), "ended_at": NULL, "pipeline": name, "decisions": 0,
            }  # fmt: skip
        decisions = s.table(ev.ControlDecided)
        for run in s.run[decisions.place].tolist() if decisions is not None else ():
            facts[run]["decisions"] += 1
        told: tuple[type[ev.Event], ...] = (ev.PipelineStarted, *_END_STATUS)
        for cls in told:
            table = s.table(cls)
            for row, place in zip(table.rows.tolist(), table.place.tolist(), strict=True) if table is not None else ():
                run_facts = facts[int(s.run[place])]
                event = cls(**table.block.row(row))  # type: ignore[union-attr]
                first = cls is ev.PipelineStarted
                run_facts["start" if first else "end"] = event
                run_facts["started_at" if first else "ended_at"] = int(s.timestamp[place])
        return facts

    @cached_property
    def waves(self) -> pd.DataFrame:
        """One row per wave of each run."""
        s = self._snapshot
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for row, (run, name) in enumerate(self._shape.rows):
            wave = self._shape.infos[run, name].wave_index
            facts = found.setdefault((run, wave), {"counts": [0] * len(STATUSES), "nodes": 0})
            facts["nodes"] += 1
            facts["counts"][self._node_status[row]] += 1
        for cls, word in ((ev.WaveStarted, "start"), (ev.WaveCompleted, "end")):
            table = s.table(cls)
            if table is None:
                continue
            for place, wave in zip(table.place.tolist(), table.values("wave_index"), strict=True):
                facts = found.setdefault((int(s.run[place]), wave), {"counts": [0] * len(STATUSES), "nodes": 0})
                facts[word] = place
            if cls is ev.WaveCompleted:
                for place, wave, ms in zip(
                    table.place.tolist(), table.values("wave_index"), table.values("duration_ms"), strict=True
                ):
                    found[int(s.run[place]), wave]["ms"] = ms
        return from_rows("waves", [self._wave_row(run, wave, found[run, wave]) for run, wave in sorted(found)])

    def _wave_row(self, run: int, wave: int, facts: dict[str, Any]) -> list[Any]:
        s = self._snapshot
        start, end = facts.get("start"), facts.get("end")
        nan = float("nan")
        return [
            s.run_name(run),
            wave,
            facts["nodes"],
            NULL if start is None else s.timestamp[start],
            NULL if end is None else s.timestamp[end],
            nan if start is None else s.offset_ms[start],
            nan if end is None else s.offset_ms[end],
            facts.get("ms", nan),
            *facts["counts"][3:],
        ]

    # --- nodes, attempts, edges ---

    @cached_property
    def attempts(self) -> pd.DataFrame:
        """One row per try of a node, in order of start."""
        a, s = self._attempts, self._snapshot
        error_type, error_message = a.errors()
        return build("attempts", {
            "run_id": s.run_ids(a.run), "node": s.text(a.node), "wave": a.wave, "attempt": a.attempt,
            "status": a.status, "ready_at": a.ready_at, "started_at": a.started_at, "ended_at": a.ended_at,
            "ready_ms": a.ready_ms, "start_ms": a.start_ms, "end_ms": a.end_ms, "queued_ms": a.queued_ms,
            "duration_ms": a.duration_ms, "backoff_ms": a.backoff_ms, "worker": s.text(a.worker),
            "error_type": texts(error_type), "error_message": texts(error_message),
            "reason": s.text(a.reason), "decided_by": s.text(a.decided_by),
        })  # fmt: skip

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """One row per node of each run, also for nodes that never started."""
        e, a, s, shape, rows = self._node_events, self._attempts, self._snapshot, self._shape, self._node_rows
        size = len(shape.rows)
        infos = [shape.infos[pair] for pair in shape.rows]
        of = rows[a.first]
        settles = e.kind >= RETRYING
        types, summaries = self._results(rows, size)
        errors = last_errors(e, size, np.arange(len(e.kind)), rows)
        sums = {name: np.bincount(of, _finite(getattr(a, name)), size) for name in
                ("duration_ms", "queued_ms", "backoff_ms")}  # fmt: skip
        ended = scatter(size, of, a.ended_at, default=NULL).astype(np.int64)
        return build("nodes", {
            "run_id": s.run_ids(self._node_run), "node": texts([info.name for info in infos]),
            "wave": [info.wave_index for info in infos], "status": self._node_status,
            "attempts": np.bincount(of, minlength=size), "parents": [len(info.dependencies) for info in infos],
            "ready_at": scatter(size, of, a.ready_at, default=NULL, last=False).astype(np.int64),
            "started_at": scatter(size, of, a.started_at, default=NULL, last=False).astype(np.int64),
            "ended_at": ended,
            "start_ms": scatter(size, of, a.start_ms, default=np.nan, last=False),
            "end_ms": scatter(size, of, a.end_ms, default=np.nan),
            "duration_ms": scatter(size, of, a.duration_ms, default=np.nan),
            "total_ms": sums["duration_ms"], "queued_ms": sums["queued_ms"], "backoff_ms": sums["backoff_ms"],
            "result_type": texts(types), "result_summary": texts(summaries),
            "error_type": texts(errors[0]), "error_message": texts(errors[1]),
            "reason": s.text(scatter(size, rows[settles], e.reason[settles], default=0).astype(np.int64)),
            "decided_by": s.text(scatter(size, rows[settles], e.decided_by[settles], default=0).astype(np.int64)),
        })  # fmt: skip

    def _results(self, rows: Array, size: int) -> tuple[list[str], list[str]]:
        e = self._node_events
        types, summaries = [""] * size, [""] * size
        found = {kind: e.details(kind, "result", _result_facts) for kind in (COMPLETED, FELL_BACK, SKIPPED)}
        for row, kind, index in zip(rows.tolist(), e.kind.tolist(), e.row.tolist(), strict=True):
            if kind in found:
                types[row], summaries[row] = found[kind][index]
        return types, summaries

    @cached_property
    def edges(self) -> pd.DataFrame:
        """One row per dependency."""
        name = self._snapshot.run_name
        rows = [(name(run), parent, node) for run, node in self._shape.rows
                for parent in self._shape.infos[run, node].dependencies]  # fmt: skip
        return from_rows("edges", rows)

    # --- decisions, calls, observers ---

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row per vote of each decision that was told; a decision without votes has one row."""
        s, table = self._snapshot, self._snapshot.table(ev.ControlDecided)
        rows: list[list[Any]] = []
        for row, place in zip(table.rows.tolist(), table.place.tolist(), strict=True) if table is not None else ():
            told = ev.ControlDecided(**table.block.row(row))  # type: ignore[union-attr]
            head = [
                s.run_name(s.run[place]), int(s.seq[place]), s.offset_ms[place], told.checked_seq, told.event_type,
                told.node_name, told.wave_index, told.attempt, told.signal, told.decided_by, told.reason,
            ]  # fmt: skip
            unknown = ev.Vote(told.decided_by, told.priority or 0, told.signal, told.reason)
            for vote in told.votes or (unknown,):
                decisive = vote.handler == told.decided_by and vote.signal == told.signal and not vote.shadow
                rows.append([*head, vote.handler, vote.priority, vote.signal, vote.reason, vote.latency_us, vote.error,
                             vote.shadow, decisive and bool(told.decided_by)])  # fmt: skip
        return from_rows("decisions", rows)

    @cached_property
    def calls(self) -> pd.DataFrame:
        """One row per tool or model call inside a node."""
        s = self._snapshot
        told: list[tuple[int, ev.Event]] = []
        for cls in _CALLS:
            table = s.table(cls)
            for row, place in zip(table.rows.tolist(), table.place.tolist(), strict=True) if table is not None else ():
                told.append((place, cls(**table.block.row(row))))  # type: ignore[union-attr]
        calls: list[dict[str, Any]] = []
        open_calls: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for place, event in sorted(told, key=lambda pair: pair[0]):
            self._fold_call(place, event, calls, open_calls)
        return from_rows("calls", [[call.get(col.name) for col in COLUMNS["calls"]] for call in calls])

    def _fold_call(
        self,
        place: int,
        event: Any,
        calls: list[dict[str, Any]],
        open_calls: dict[tuple[Any, ...], list[dict[str, Any]]],
    ) -> None:
        s, kind = self._snapshot, "llm" if type(event).__name__.startswith("LLM") else "tool"
        run, name = int(s.run[place]), getattr(event, "tool_name", "") or getattr(event, "model", "")
        key = (run, kind, event.call_id) if event.call_id else (run, kind, event.node_name, event.attempt, name)
        starts = isinstance(event, (ev.ToolCalled, ev.LLMPromptSent))
        waiting = open_calls.setdefault(key, [])
        if starts or not waiting:
            call: dict[str, Any] = {
                "run_id": s.run_name(run), "node": event.node_name, "attempt": event.attempt, "call_id": event.call_id,
                "kind": kind, "name": name, "status": "running", "started_at": NULL, "start_ms": float("nan"),
                "end_ms": float("nan"), "duration_ms": float("nan"), "error_type": "", "error_message": "",
                "request": "", "response": "",
            }  # fmt: skip
            calls.append(call)
            if starts:
                waiting.append(call)
                sent = event.params if kind == "tool" else event.messages
                call.update(started_at=s.timestamp[place], start_ms=s.offset_ms[place], request=str(sent))
                return
        else:
            call = waiting.pop(0)
        call.update(end_ms=s.offset_ms[place], duration_ms=event.duration_ms, name=name or call["name"])
        if isinstance(event, (ev.ToolFailed, ev.LLMFailed)):
            call["error_type"], call["error_message"] = error_facts(event.error)
            call["status"] = "failed"
            return
        call.update(status="succeeded", response=str(event.result if kind == "tool" else event.response))
        if kind == "llm":
            call.update(input_tokens=event.input_tokens, output_tokens=event.output_tokens)

    @cached_property
    def observers(self) -> pd.DataFrame:
        """What befell observers: failures and lost events."""
        s, rows = self._snapshot, []
        for cls, word in ((ev.ObserverFailed, "failed"), (ev.EventsDropped, "dropped")):
            table = s.table(cls)
            for row, place in zip(table.rows.tolist(), table.place.tolist(), strict=True) if table is not None else ():
                facts = table.block.row(row)  # type: ignore[union-attr]
                values = [facts[name] for name in ("observer", "reason", "count", "first_seq", "last_seq")]
                rows.append((place, [s.run_name(s.run[place]), values[0], word, *values[1:]]))
        return from_rows("observers", [row for _, row in sorted(rows, key=lambda pair: pair[0])])

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """What is odd about the recording (see ``Recording.diagnostics``)."""
        return from_rows("diagnostics", find_problems(self._snapshot, self._attempts))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, 0.0)


def _result_facts(summary: Any) -> tuple[str, str]:
    return ("", "") if summary is None else (str(getattr(summary, "type", "")), str(summary))


def _words(snapshot: Snapshot, cls: type[ev.Event]) -> tuple[list[str], list[str]]:
    """The topic and the payload of every event of a class; topics are made once per distinct subject."""
    table = snapshot.table(cls)
    if table is None:
        return [], []
    topics: list[str] = []
    payloads: list[str] = []
    known: dict[tuple[Any, ...], str] = {}
    dropped = {*BASE_FIELDS, *_NAME_FIELDS, "wave_index", "attempt", "duration_ms"}
    if "Pipeline" in cls.__name__:
        dropped.discard("name")
    ours = cls in ev.EVENT_CLASSES
    rest = [(name, column) for name, column in table.block.columns.items() if name not in dropped]
    subject = [column for name, column in table.block.columns.items() if name in _SUBJECTS]
    for row, place in zip(table.rows.tolist(), table.place.tolist(), strict=True):
        key = (snapshot.pipeline[place], *(column[row] for column in subject))
        if ours and key in known:
            topics.append(known[key])
        else:
            event = cls(**table.block.row(row), pipeline=snapshot.texts_list[snapshot.pipeline[place]])
            topics.append(_topic(event))
            known[key] = topics[-1]
            if not ours:
                payloads.append(_user_payload(event))
                continue
        payloads.append(_payload({name: column[row] for name, column in rest}))
    return topics, payloads


_SUBJECTS = frozenset({"name", "node_name", "tool_name", "observer", "wave_index"})


def _topic(event: ev.Event) -> str:
    try:
        return str(event.topic)
    except Exception:  # noqa: BLE001 - the topic of a user's class is a user's code
        return ""


def _error_text(value: Any) -> Any:
    if isinstance(value, ev.RecordedError):
        return {"type_name": value.type_name, "message": value.message}
    return repr(value)


_encode = msgspec.json.Encoder(enc_hook=_error_text).encode


def _payload(values: dict[str, Any]) -> str:
    try:
        return _encode(values).decode()
    except (ValueError, TypeError, OverflowError):
        return _encode({name: ascii(value) for name, value in values.items()}).decode()


def _user_payload(event: ev.Event) -> str:
    record = msgspec.json.decode(to_record(event))["data"]
    return _payload({name: value for name, value in record.items() if name not in BASE_FIELDS})


if __name__ == "__main__":
    sys.stdout.write(describe())
