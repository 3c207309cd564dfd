"""A recording as a trace in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Each run is a process. Its attempts are complete events (``X``) in lanes, so that no two overlap in one; edges are flows
(``s``, ``f``) from a parent's last attempt to a child's first; waves, waits, back-offs and calls are async pairs
(``b``, ``e``); decisions are instants; running nodes and tokens are counters. Times are microseconds since the first
run began. The format: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.bridges.source import Span, finite, in_lines, last_offsets, micros, rows, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.bridges.source import FramesLike

_ATTEMPT = (
    "run_id", "node", "attempt", "wave", "status", "start_ms", "end_ms", "duration_ms", "ready_ms", "parents_ms",
    "queued_ms", "backoff_ms", "worker", "error_type", "error_message", "reason", "decided_by",
)  # fmt: skip
_LEAST_US = 0.001
"""The shortest that a slice is drawn: one nanosecond, since nothing can be bound to a slice of no length."""


def chrome_trace(frames: FramesLike) -> Iterator[bytes]:
    """The document, in pieces. Equal frames give equal bytes."""
    trace = _Trace(frames)
    about = {"producer": "hexviz", "runs": list(trace.pids)}
    opening = b'{"displayTimeUnit":"ms","otherData":' + msgspec.json.encode(about) + b',"traceEvents":['
    return in_lines(opening, iter(trace.events()), b"]}\n")


class _Trace:
    """Collects the events of all runs; ids are unique in the whole trace."""

    def __init__(self, frames: FramesLike) -> None:
        self._frames = frames
        self._last = last_offsets(frames)
        begun = {run: micros(at) for run, at in rows(frames.runs, "run_id", "started_at")}
        first = min(begun.values(), default=0)
        self.pids = {run: number for number, run in enumerate(begun, 1)}
        self._base_us = {run: float(at - first) for run, at in begun.items()}
        self._named: list[dict[str, Any]] = []
        self._timed: list[dict[str, Any]] = []
        self._ids = 0
        self._slices: dict[tuple[str, str], list[tuple[float, int]]] = {}

    def events(self) -> list[dict[str, Any]]:
        """Names first, then everything in order of time."""
        self._runs()
        self._waves()
        self._attempts()
        self._edges()
        self._calls()
        self._decisions()
        self._timed.sort(key=_time_of)
        early = min(self._timed[0]["ts"], 0.0) if self._timed else 0.0
        for event in self._timed if early else ():  # a damaged recording may hold times before its start
            event["ts"] = round(event["ts"] - early, 3)
        return [*self._named, *self._timed]

    def _add(self, phase: str, run: str, tid: int, name: str, at_ms: float, **facts: Any) -> None:
        ts = round(self._base_us[run] + at_ms * 1e3, 3)
        self._timed.append({"ph": phase, "pid": self.pids[run], "tid": tid, "name": name, "ts": ts, **facts})

    def _name(self, run: str, what: str, tid: int, value: str) -> None:
        event = {"ph": "M", "pid": self.pids[run], "tid": tid, "name": what, "ts": 0, "args": {"name": value}}
        self._named.append(event)

    def _pair(self, run: str, category: str, name: str, of: Span, args: dict[str, Any]) -> None:
        self._ids += 1
        shared = {"cat": category, "id": f"{self._ids:#x}"}
        self._add("b", run, 0, name, of.start_ms, **shared, args=args)
        self._add("e", run, 0, name, of.end_ms, **shared)

    # --- what there is to tell ---

    def _runs(self) -> None:
        columns = ("run_id", "pipeline", "status", "duration_ms", "tags", "schedule")
        for run, pipeline, status, duration_ms, tags, schedule in rows(self._frames.runs, *columns):
            self._name(run, "process_name", 0, f"{pipeline} {run}")
            self._name(run, "thread_name", 0, "run")
            took = span(0.0, duration_ms, duration_ms, self._last[run]) or Span(0.0, 0.0)
            args = _args(run_id=run, status=status, tags=tags, schedule=schedule)
            self._slice(run, 0, pipeline, took, "run", args)

    def _slice(self, run: str, tid: int, name: str, of: Span, category: str, args: dict[str, Any]) -> None:
        dur = max(round((of.end_ms - of.start_ms) * 1e3, 3), _LEAST_US)
        if of.open:
            args["unfinished"] = True
        self._add("X", run, tid, name, of.start_ms, dur=dur, cat=category, args=args)

    def _waves(self) -> None:
        columns = ("run_id", "wave", "start_ms", "end_ms", "duration_ms", "nodes")
        for run, wave, start, end, duration, nodes in rows(self._frames.waves, *columns):
            of = span(start, end, duration, self._last[run])
            if of is not None:
                self._pair(run, "wave", f"wave {wave}", of, _args(nodes=nodes))

    def _attempts(self) -> None:
        found: dict[str, list[tuple[Span, dict[str, Any]]]] = {run: [] for run in self.pids}
        for values in rows(self._frames.attempts, *_ATTEMPT):
            facts = dict(zip(_ATTEMPT, values, strict=True))
            run = facts["run_id"]
            of = span(facts["start_ms"], facts["end_ms"], facts["duration_ms"], self._last[run])
            if of is not None:
                found[run].append((of, facts))
        for run, attempts in found.items():
            attempts.sort(key=lambda pair: pair[0].start_ms)
            lanes = _lanes([of for of, _ in attempts])
            for lane in range(1, max(lanes, default=0) + 1):
                self._name(run, "thread_name", lane, f"lane {lane}")
            for (of, facts), lane in zip(attempts, lanes, strict=True):
                self._attempt(run, of, facts, lane)
            self._running(run, [of for of, _ in attempts])

    def _attempt(self, run: str, of: Span, facts: dict[str, Any], lane: int) -> None:
        node = facts["node"]
        told = {key: facts[key] for key in _ATTEMPT[2:5] + _ATTEMPT[9:]}
        self._slice(run, lane, node, of, "node", _args(**told))
        self._slices.setdefault((run, node), []).append((of.start_ms, lane))
        ready, backoff = finite(facts["ready_ms"]), finite(facts["backoff_ms"])
        if ready is None:
            return
        if ready < of.start_ms:
            self._pair(run, "queued", node, Span(ready, of.start_ms), {})
        if backoff is not None and backoff > 0:
            self._pair(run, "backing off", node, Span(ready - backoff, ready), {})

    def _running(self, run: str, spans: list[Span]) -> None:
        changes: dict[float, int] = {}
        for of in spans:
            changes[of.start_ms] = changes.get(of.start_ms, 0) + 1
            changes[of.end_ms] = changes.get(of.end_ms, 0) - 1
        running = 0
        for at_ms in sorted(changes):
            running += changes[at_ms]
            self._add("C", run, 0, "running nodes", at_ms, args={"running": running})

    def _edges(self) -> None:
        for run, source, target in rows(self._frames.edges, "run_id", "source", "target"):
            parent, child = self._slices.get((run, source)), self._slices.get((run, target))
            if not parent or not child or parent[-1][0] > child[0][0]:
                continue  # one of them never ran, or the clock of a damaged recording went back
            self._ids += 1
            shared = {"cat": "edge", "id": self._ids}
            self._add("s", run, parent[-1][1], "edge", parent[-1][0], **shared)
            self._add("f", run, child[0][1], "edge", child[0][0], **shared, bp="e")

    def _calls(self) -> None:
        columns = ("run_id", "node", "attempt", "kind", "name", "status", "start_ms", "end_ms", "duration_ms",
                   "input_tokens", "output_tokens", "error_type")  # fmt: skip
        tokens: list[tuple[str, float, int, int]] = []
        for run, node, attempt, kind, name, status, start, end, took, sent, received, error in rows(
            self._frames.calls, *columns
        ):
            of = span(start, end, took, self._last[run])
            if of is None:
                continue
            args = _args(node=node, attempt=attempt, status=status, input_tokens=sent, output_tokens=received)
            self._pair(run, str(kind), name or str(kind), of, args | _args(error_type=error))
            if sent or received:
                tokens.append((run, of.end_ms, sent or 0, received or 0))
        self._tokens(sorted(tokens))

    def _tokens(self, tokens: list[tuple[str, float, int, int]]) -> None:
        totals: dict[str, tuple[int, int]] = {}
        for run, at_ms, sent, received in tokens:
            before = totals.get(run, (0, 0))
            totals[run] = (before[0] + sent, before[1] + received)
            self._add("C", run, 0, "tokens", at_ms, args={"input": totals[run][0], "output": totals[run][1]})

    def _decisions(self) -> None:
        columns = ("run_id", "offset_ms", "node", "attempt", "signal", "decided_by", "reason", "event_type", "seq")
        told: set[tuple[str, int]] = set()
        for run, offset, node, attempt, signal, by, reason, kind, seq in rows(self._frames.decisions, *columns):
            at_ms = finite(offset)
            if at_ms is None or (run, seq) in told:
                continue
            told.add((run, seq))
            args = _args(node=node, attempt=attempt, decided_by=by, reason=reason, event_type=kind)
            name = f"{signal} {node}" if node else str(signal)
            self._add("i", run, 0, name, at_ms, cat="decision", s="t", args=args)


def _time_of(event: dict[str, Any]) -> float:
    return event["ts"]  # type: ignore[no-any-return]


def _args(**facts: Any) -> dict[str, Any]:
    """What is worth showing: no empty texts, nothing missing, no zeros of waits."""
    return {key: value for key, value in facts.items() if value not in (None, "", 0.0)}


def _lanes(spans: list[Span]) -> list[int]:
    """A lane from 1 for each span, in order of start: the lowest that is free, so that none overlaps another."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes: list[int] = []
    for of in spans:
        while busy and busy[0][0] <= of.start_ms:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy) + 1
        heapq.heappush(busy, (max(of.end_ms, of.start_ms + _LEAST_US / 1e3), lane))
        lanes.append(lane)
    return lanes
