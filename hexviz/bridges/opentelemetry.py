"""A recording as OpenTelemetry spans, in the JSON form of OTLP (a TracesData message), which collectors take.

One trace per run; ids are made from the run id, so the same recording gives the same spans. The run is the root span,
each attempt a child of it, each call a child of its attempt. Dependencies are links to the last attempt of each parent;
decisions and failures are span events. See the OTLP specification, "JSON Protobuf Encoding": ids are hexadecimal,
64-bit numbers are texts, enumerations are numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.bridges.source import Span, finite, in_lines, last_offsets, micros, rows, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.bridges.source import FramesLike

_INTERNAL, _CLIENT = 1, 3
_UNSET, _OK, _ERROR = 0, 1, 2
_MAX_NANOS = 2**63 - 1
_STATUS = {"succeeded": _OK, "fell_back": _OK, "failed": _ERROR}

Attributes = list[dict[str, Any]]


def otlp(frames: FramesLike) -> Iterator[bytes]:
    """The document, in pieces: one ``resourceSpans`` per run. Equal frames give equal bytes."""
    return in_lines(b'{"resourceSpans":[', _Spans(frames).resources(), b"]}\n")


class _Spans:
    """Makes the spans of all runs."""

    def __init__(self, frames: FramesLike) -> None:
        self._frames = frames
        self._last = last_offsets(frames)
        self._base_ns: dict[str, int] = {}
        self._by_run: dict[str, list[dict[str, Any]]] = {}
        self._last_attempt: dict[tuple[str, str], str] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def resources(self) -> Iterator[dict[str, Any]]:
        """Each run with its spans."""
        columns = ("run_id", "pipeline", "status", "started_at", "duration_ms", "nodes", "waves", "tags", "schedule",
                   "error_type", "error_message")  # fmt: skip
        told = [dict(zip(columns, values, strict=True)) for values in rows(self._frames.runs, *columns)]
        for facts in told:
            self._run(facts)
        self._attempts()
        self._links()
        self._calls()
        self._decisions()
        for facts in told:
            resource = {"attributes": _attributes({"service.name": facts["pipeline"] or "hexviz"})}
            scope = {"name": "hexviz"}
            yield {
                "resource": resource,
                "scopeSpans": [{"scope": scope, "spans": self._by_run[facts["run_id"]]}],
            }

    def _add(self, run: str, key: str, parent: str, name: str, kind: int, of: Span) -> dict[str, Any]:
        made: dict[str, Any] = {"traceId": trace_id(run), "spanId": key}
        if parent:
            made["parentSpanId"] = parent
        made |= {
            "name": name, "kind": kind, "startTimeUnixNano": self._nanos(run, of.start_ms),
            "endTimeUnixNano": self._nanos(run, of.end_ms), "attributes": [], "events": [], "links": [], "status": {},
        }  # fmt: skip
        if of.open:
            made["attributes"] += _attributes({"hexviz.unfinished": True})
        self._by_run[run].append(made)
        self._found[key] = made
        return made

    def _nanos(self, run: str, at_ms: float) -> str:
        return str(min(max(self._base_ns[run] + round(at_ms * 1e6), 0), _MAX_NANOS))

    def _run(self, facts: dict[str, Any]) -> None:
        run = facts["run_id"]
        self._by_run[run] = []
        self._base_ns[run] = micros(facts["started_at"]) * 1_000
        took = span(0.0, facts["duration_ms"], facts["duration_ms"], self._last[run]) or Span(0.0, 0.0)
        made = self._add(run, span_id(run), "", facts["pipeline"] or "run", _INTERNAL, took)
        made["attributes"] += _attributes({
            "hexviz.run_id": run, "hexviz.status": facts["status"], "hexviz.nodes": facts["nodes"],
            "hexviz.waves": facts["waves"], "hexviz.schedule": facts["schedule"], "hexviz.tags": facts["tags"],
        })  # fmt: skip
        made["status"] = _status(facts["status"], facts["error_message"] or facts["error_type"])

    def _attempts(self) -> None:
        columns = ("run_id", "node", "attempt", "wave", "status", "start_ms", "end_ms", "duration_ms", "parents_ms",
                   "queued_ms", "backoff_ms", "worker", "error_type", "error_message", "reason",
                   "decided_by")  # fmt: skip
        for values in rows(self._frames.attempts, *columns):
            facts = dict(zip(columns, values, strict=True))
            run, node = facts["run_id"], facts["node"]
            of = span(facts["start_ms"], facts["end_ms"], facts["duration_ms"], self._last[run])
            if of is None:
                continue
            key = span_id(run, node, facts["attempt"])
            made = self._add(run, key, span_id(run), node or "node", _INTERNAL, of)
            self._last_attempt[run, node] = key
            named = ("node", "attempt", "wave", "status", "parents_ms", "queued_ms", "backoff_ms", "worker", "reason",
                     "decided_by")  # fmt: skip
            made["attributes"] += _attributes({f"hexviz.{name}": facts[name] for name in named})
            made["status"] = _status(facts["status"], facts["error_message"] or facts["error_type"])
            if facts["error_type"]:
                self._event(made, run, of.end_ms, "exception", {
                    "exception.type": facts["error_type"], "exception.message": facts["error_message"],
                })  # fmt: skip

    def _event(self, made: dict[str, Any], run: str, at_ms: float, name: str, facts: dict[str, Any]) -> None:
        event = {"timeUnixNano": self._nanos(run, at_ms), "name": name, "attributes": _attributes(facts)}
        made["events"].append(event)

    def _links(self) -> None:
        parents: dict[tuple[str, str], list[str]] = {}
        for run, source, target in rows(self._frames.edges, "run_id", "source", "target"):
            parents.setdefault((run, target), []).append(source)
        for run, node, attempt in rows(self._frames.attempts, "run_id", "node", "attempt"):
            made = self._found.get(span_id(run, node, attempt))
            known = [self._last_attempt.get((run, source)) for source in parents.get((run, node), ())]
            if made is not None:
                made["links"] += [{"traceId": trace_id(run), "spanId": key} for key in known if key is not None]

    def _calls(self) -> None:
        columns = ("run_id", "node", "attempt", "kind", "name", "status", "start_ms", "end_ms", "duration_ms",
                   "input_tokens", "output_tokens", "error_type", "error_message")  # fmt: skip
        for number, values in enumerate(rows(self._frames.calls, *columns)):
            facts = dict(zip(columns, values, strict=True))
            run = facts["run_id"]
            of = span(facts["start_ms"], facts["end_ms"], facts["duration_ms"], self._last[run])
            if of is None:
                continue
            attempt = span_id(run, facts["node"], facts["attempt"])
            parent = attempt if attempt in self._found else span_id(run)
            name = facts["name"] or facts["kind"]
            made = self._add(run, span_id(run, "call", number), parent, name, _CLIENT, of)
            word = "gen_ai.request.model" if facts["kind"] == "llm" else "gen_ai.tool.name"
            made["attributes"] += _attributes({
                word: facts["name"], "gen_ai.usage.input_tokens": facts["input_tokens"],
                "gen_ai.usage.output_tokens": facts["output_tokens"], "hexviz.node": facts["node"],
            })  # fmt: skip
            made["status"] = _status(facts["status"], facts["error_message"] or facts["error_type"])

    def _decisions(self) -> None:
        columns = ("run_id", "seq", "offset_ms", "node", "attempt", "event_type", "signal", "decided_by", "reason")
        told: set[tuple[str, int]] = set()
        for run, seq, offset, node, attempt, kind, signal, by, reason in rows(self._frames.decisions, *columns):
            at_ms = finite(offset)
            if at_ms is None or (run, seq) in told:
                continue
            told.add((run, seq))
            made = self._found.get(span_id(run, node, attempt), self._found[span_id(run)])
            facts = {"signal": signal, "decided_by": by, "reason": reason, "event_type": kind, "node": node}
            self._event(made, run, at_ms, "decision", {f"hexviz.{name}": value for name, value in facts.items()})


def trace_id(run_id: str) -> str:
    """The 16 bytes of a run's trace, hexadecimal."""
    return _digest("trace", run_id)[:32]


def span_id(run_id: str, *parts: Any) -> str:
    """The 8 bytes of a span of a run, hexadecimal: of the run itself, or of a node and attempt."""
    return _digest("span", run_id, *map(str, parts))[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _status(word: Any, message: str | None) -> dict[str, Any]:
    code = _STATUS.get(str(word), _UNSET)
    if code == _ERROR:
        return {"code": code, "message": message or ""}
    return {"code": code} if code else {}


def _attributes(facts: dict[str, Any]) -> Attributes:
    """Key and value as OTLP has them; what is missing or empty is left out."""
    return [{"key": key, "value": _value(value)} for key, value in facts.items() if value not in (None, "")]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value} if finite(value) is not None else {"stringValue": repr(value)}
    return {"stringValue": str(value)}
