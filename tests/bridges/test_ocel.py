"""The log is OCEL 2.0: it has the shape of the published schema, and everything it names exists."""

from datetime import datetime

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

import hexviz
from hexviz.events import events as ev
from tests.bridges.made_runs import HOSTILE, broken, exported, hostile, shown, small
from tests.recording.made_events import Run, numbered, small_run

TEXT = {"type": "string"}


def _list(required, **more):
    properties = dict.fromkeys(required, TEXT) | more
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": required}}


_TYPES = _list(["name", "attributes"], attributes=_list(["name", "type"]))
_RELATED = _list(["objectId", "qualifier"])
# What ocel20-schema-json.json of ocel-standard.org requires, written down here.
SCHEMA = {
    "type": "object",
    "properties": {
        "eventTypes": _TYPES,
        "objectTypes": _TYPES,
        "events": _list(["id", "type", "time"], attributes=_list(["name", "value"]), relationships=_RELATED),
        "objects": _list(["id", "type"], attributes=_list(["name", "value", "time"]), relationships=_RELATED),
    },
    "required": ["eventTypes", "objectTypes", "events", "objects"],
}
READ = {"string": str, "integer": int, "float": float, "boolean": {"true": True, "false": False}.__getitem__}


def check(document):
    """The schema, and what a schema cannot say: unique ids, declared types, relations that lead somewhere."""
    jsonschema.validate(document, SCHEMA)
    objects = {entry["id"] for entry in document["objects"]}
    for kind in ("events", "objects"):
        ids = [entry["id"] for entry in document[kind]]
        assert len(ids) == len(set(ids))
        declared = {
            entry["name"]: {a["name"]: READ[a["type"]] for a in entry["attributes"]}
            for entry in document["eventTypes" if kind == "events" else "objectTypes"]
        }
        for entry in document[kind]:
            if kind == "events":
                assert datetime.fromisoformat(entry["time"]).tzinfo
            for attribute in entry["attributes"]:
                declared[entry["type"]][attribute["name"]](attribute["value"])
            assert {related["objectId"] for related in entry["relationships"]} <= objects
    return document


def test_every_event_points_to_the_run_the_wave_and_the_node_that_it_is_about(tmp_path):
    document = check(exported(small(), "ocel", tmp_path))
    assert len(document["events"]) == 2 * len(small_run())
    failed = next(event for event in document["events"] if event["type"] == "NodeFailed")
    assert failed["id"] == "run:run-1/8"
    assert failed["time"] == "2026-01-02T03:04:05.015000Z"
    assert [(r["qualifier"], r["objectId"]) for r in failed["relationships"]] == [
        ("in run", "run:run-1"),
        ("in wave", "wave:run-1/2"),
        ("of node", "node:run-1/clean"),
    ]
    told = {a["name"]: a["value"] for a in failed["attributes"]}
    assert (told["attempt"], told["duration_ms"]) == ("1", "2.5")
    assert '"bad row"' in told["error"]


def test_objects_are_runs_waves_and_nodes_with_their_dependencies(tmp_path):
    document = check(exported(small(), "ocel", tmp_path))
    objects = {entry["id"]: entry for entry in document["objects"]}
    assert sorted(entry["type"] for entry in objects.values()) == ["node"] * 10 + ["run"] * 2 + ["wave"] * 8
    chart = objects["node:run-1/chart"]
    depends = [r["objectId"] for r in chart["relationships"] if r["qualifier"] == "depends on"]
    assert depends == ["node:run-1/clean", "node:run-1/load"]
    assert {a["name"]: a["value"] for a in chart["attributes"]}["status"] == "fell_back"


def test_hostile_names_stay_text_and_ids_stay_apart(tmp_path):
    document = check(exported(hostile(), "ocel", tmp_path))
    names = [
        a["value"] for o in document["objects"] if o["type"] == "node" for a in o["attributes"] if a["name"] == "name"
    ]
    assert set(names) == {shown(name) for name in HOSTILE if name}


def test_events_without_numbers_keep_ids_of_their_own(tmp_path):
    events = [ev.NodeStarted(name, 1, run_id="r") for name in "abc"]
    document = check(exported(hexviz.Recording(events), "ocel", tmp_path))
    assert [event["id"] for event in document["events"]] == ["run:r/0", "run:r/0#2", "run:r/0#3"]


@pytest.mark.parametrize("made", [small, hostile, broken])
def test_the_same_recording_gives_the_same_bytes(made, tmp_path):
    first, second = (hexviz.export(made(), tmp_path / f"{i}.ocel.json").read_bytes() for i in (1, 2))
    assert first == second


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=numbered)
def test_any_recording_gives_a_valid_log(events, tmp_path):
    check(exported(hexviz.Recording(events), "ocel", tmp_path))


def test_a_broken_recording_gives_a_valid_log(tmp_path):
    assert check(exported(broken(), "ocel", tmp_path))


def test_what_other_frames_hold_of_an_event_is_among_its_attributes(tmp_path):
    run = Run().tell(ev.PipelineStarted, "p", 1, 1, (ev.NodeInfo("a", 1),))
    run.at(2).tell(ev.NodeStarted, "a", 1)
    run.at(3).tell(ev.LLMPromptSent, "a", ["x"], "c7", "m")
    run.at(5).tell(ev.LLMResponseReceived, "a", "y", 2.0, "c7", "m", 11, 4)
    run.at(6).tell(ev.NodeFailed, "a", 1, ValueError("x"), 1, 4.0)
    run.tell(ev.ControlDecided, "NodeFailed", 5, "retry", "a", 1, 1, "Retry")
    run.tell(ev.NodeRetrying, "a", 1, 1, 0.001).at(9).tell(ev.NodeStarted, "a", 1, (), 2)
    document = check(exported(hexviz.Recording(run.events), "ocel", tmp_path))
    own = [{a["name"]: a["value"] for a in event["attributes"]} for event in document["events"]]
    assert (own[1]["ready_ms"], own[1]["queued_ms"]) == ("0.0", "2.0")
    assert (own[2]["call_id"], own[3]["call_id"]) == ("c7", "c7")
    assert (own[3]["input_tokens"], own[3]["output_tokens"]) == ("11", "4")
    assert own[5]["checked_seq"] == "5"
    assert own[6]["backoff_ms"] == "1.0"
