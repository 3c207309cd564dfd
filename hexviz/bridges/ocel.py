"""A recording as an object-centric event log: OCEL 2.0, JSON (ocel-standard.org), for process mining.

Objects are runs, nodes and waves; each event points to those that it is about. Values are texts, as the published JSON
Schema has them; the declared type of an attribute (string, integer, float, boolean) says how to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.bridges.source import iso, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.bridges.source import FramesLike

_EVENT = (
    "run_id", "seq", "timestamp", "offset_ms", "event_type", "node", "wave", "attempt", "duration_ms", "payload",
)  # fmt: skip
_START = "1970-01-01T00:00:00Z"  # the standard's own mark for a value that an object has from the beginning
_OBJECTS = {
    "run": {"pipeline": "string", "status": "string", "tags": "string", "schedule": "string", "duration_ms": "float"},
    "node": {"name": "string", "wave": "integer", "status": "string", "attempts": "integer", "total_ms": "float"},
    "wave": {"wave": "integer", "nodes": "integer"},
}
_TYPES = {bool: "boolean", int: "integer", float: "float"}


def ocel(frames: FramesLike) -> Iterator[bytes]:
    """The document, in pieces. Equal frames give equal bytes."""
    objects = {entry["id"]: entry for entry in _objects(frames)}
    for entry in objects.values():  # a damaged recording may name parents and waves that it does not hold
        entry["relationships"] = [related for related in entry["relationships"] if related["objectId"] in objects]
    types: dict[str, dict[str, str]] = {}
    events = list(_events(frames, objects, types))
    document = {
        "objectTypes": [_declared(name, attributes) for name, attributes in _OBJECTS.items()],
        "eventTypes": [_declared(name, types[name]) for name in sorted(types)],
        "objects": list(objects.values()),
        "events": events,
    }
    yield b"{"
    for place, (name, items) in enumerate(document.items()):
        yield (b",\n" if place else b"\n") + msgspec.json.encode(name) + b":["
        for number, item in enumerate(items):
            yield (b",\n" if number else b"\n") + msgspec.json.encode(item)
        yield b"\n]"
    yield b"\n}\n"


def _declared(name: str, attributes: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "attributes": [{"name": key, "type": kind} for key, kind in attributes.items()]}


# --- objects ------------------------------------------------------------------------------------------------------


def _id(kind: str, run: str, part: str = "") -> str:
    owner = run.replace("%", "%25").replace("/", "%2F")
    return f"{kind}:{owner}" if kind == "run" else f"{kind}:{owner}/{part}"


def _object(kind: str, key: str, facts: dict[str, Any], related: list[dict[str, str]]) -> dict[str, Any]:
    attributes = [
        {"name": name, "time": _START, "value": _text(facts[name])}
        for name in _OBJECTS[kind]
        if facts.get(name) not in (None, "")
    ]
    return {"id": key, "type": kind, "attributes": attributes, "relationships": related}


def _objects(frames: FramesLike) -> Iterator[dict[str, Any]]:
    names = ("run_id", *_OBJECTS["run"])
    for values in rows(frames.runs, *names):
        facts = dict(zip(names, values, strict=True))
        yield _object("run", _id("run", facts["run_id"]), facts, [])
    for run, wave, nodes in rows(frames.waves, "run_id", "wave", "nodes"):
        related = [_related(_id("run", run), "part of")]
        yield _object("wave", _id("wave", run, str(wave)), {"wave": wave, "nodes": nodes}, related)
    parents: dict[tuple[str, str], list[str]] = {}
    for run, source, target in rows(frames.edges, "run_id", "source", "target"):
        parents.setdefault((run, target), []).append(source)
    names = ("run_id", "node", "wave", "status", "attempts", "total_ms")
    for values in rows(frames.nodes, *names):
        facts = dict(zip(names, values, strict=True))
        run, node = facts["run_id"], facts["node"]
        related = [_related(_id("run", run), "part of"), _related(_id("wave", run, str(facts["wave"])), "in wave")]
        related += [_related(_id("node", run, parent), "depends on") for parent in parents.get((run, node), ())]
        yield _object("node", _id("node", run, node), {**facts, "name": node}, related)


def _related(key: str, qualifier: str) -> dict[str, str]:
    return {"objectId": key, "qualifier": qualifier}


# --- events -------------------------------------------------------------------------------------------------------


def _events(
    frames: FramesLike, objects: dict[str, dict[str, Any]], types: dict[str, dict[str, str]]
) -> Iterator[dict[str, Any]]:
    taken: dict[str, int] = {}
    elsewhere = _elsewhere(frames)
    for values in rows(frames.events, *_EVENT):
        facts = dict(zip(_EVENT, values, strict=True))
        run, kind = facts["run_id"], str(facts["event_type"])
        key = f"{_id('run', run)}/{facts['seq']}"
        taken[key] = taken.get(key, 0) + 1
        own = _own(facts, elsewhere)
        known = types.setdefault(kind, {})
        for name, value in own.items():
            known[name] = _joined(known.get(name), _TYPES.get(type(value), "string"))
        yield {
            "id": key if taken[key] == 1 else f"{key}#{taken[key]}",
            "type": kind,
            "time": iso(facts["timestamp"]),
            "attributes": [{"name": name, "value": _text(value)} for name, value in own.items()],
            "relationships": _about(facts, objects),
        }


def _elsewhere(frames: FramesLike) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the frame of events leaves to other frames, by what tells the event there."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run, seq, checked in rows(frames.decisions, "run_id", "seq", "checked_seq"):
        found["ControlDecided", run, seq] = {"checked_seq": checked}
    waits = ("ready_ms", "queued_ms", "backoff_ms")
    for run, node, attempt, ready, queued, backoff in rows(frames.attempts, "run_id", "node", "attempt", *waits):
        found["NodeStarted", run, node, attempt] = {"ready_ms": ready, "queued_ms": queued}
        found["NodeRetrying", run, node, attempt - 1] = {"backoff_ms": backoff}
    for run, node, attempts, result in rows(frames.nodes, "run_id", "node", "attempts", "result_summary"):
        found["NodeCompleted", run, node, attempts] = {"result": result}
    told = ("start_ms", "end_ms", "call_id", "input_tokens", "output_tokens", "request", "response")
    for run, node, start, end, call_id, sent, received, request, response in rows(
        frames.calls, "run_id", "node", *told
    ):
        found["call", run, node, start] = {"call_id": call_id, "request": request}
        found["call", run, node, end] = {
            "call_id": call_id, "input_tokens": sent, "output_tokens": received, "response": response,
        }  # fmt: skip
    return found


def _key(facts: dict[str, Any]) -> tuple[Any, ...]:
    kind, run, node = str(facts["event_type"]), facts["run_id"], facts["node"]
    if kind == "ControlDecided":
        return kind, run, facts["seq"]
    if kind.startswith(("Tool", "LLM")):
        return "call", run, node, facts["offset_ms"]
    return kind, run, node, facts["attempt"]


def _own(facts: dict[str, Any], elsewhere: dict[tuple[Any, ...], dict[str, Any]]) -> dict[str, Any]:
    own = {"attempt": facts["attempt"] or None, "duration_ms": facts["duration_ms"]}
    own |= elsewhere.get(_key(facts), {})
    payload = msgspec.json.decode(facts["payload"] or "{}")
    own |= {name: value for name, value in payload.items() if name not in own}
    return {name: value for name, value in own.items() if value not in (None, "", [], {})}


def _about(facts: dict[str, Any], objects: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    run, node, wave = facts["run_id"], facts["node"], facts["wave"]
    about = [(_id("run", run), "in run"), (_id("wave", run, str(wave)), "in wave"), (_id("node", run, node), "of node")]
    told = {"run": True, "wave": bool(wave), "node": bool(node)}
    return [
        _related(key, word) for (key, word), known in zip(about, told.values(), strict=True) if known and key in objects
    ]


def _joined(before: str | None, now: str) -> str:
    if before in (None, now):
        return now
    return "float" if {before, now} == {"integer", "float"} else "string"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return msgspec.json.encode(value).decode()
