"""Older, newer and unknown: what becomes of events that other versions wrote, on the wire and in a store."""

import json

import jsonschema
import pytest

import hexviz
from hexviz.events import events as ev
from hexviz.events.cloud_events import cloud_event_of, from_cloud_event, record_of, to_cloud_event
from hexviz.events.json_schema import event_schema
from hexviz.events.schema import GenericEvent, NewerRecordError, from_record, to_record
from hexviz.streams import Reader
from tests.recording.made_events import T0

BASE = {
    "timestamp": T0.isoformat().replace("+00:00", "Z"),
    "run_id": "r",
    "seq": 1,
    "monotonic_ns": 5,
    "pipeline": "etl",
}


def record(kind, version=1, **data):
    return json.dumps({"type": kind, "v": version, "data": data | BASE}, separators=(",", ":")).encode()


OLDER = {
    "a start without attempt, queue and worker": (
        record("NodeStarted", name="n", wave_index=1),
        ev.NodeStarted("n", 1),
    ),
    "a failure without its time": (
        record("NodeFailed", name="n", wave_index=1, error={"type_name": "E"}),
        ev.NodeFailed("n", 1, ev.RecordedError("E")),
    ),
    "a run without its graph": (
        record("PipelineStarted", name="etl", total_waves=1, total_nodes=2),
        ev.PipelineStarted("etl", 1, 2),
    ),
    "a decision without votes": (
        record("ControlDecided", event_type="NodeFailed", checked_seq=1, signal="retry"),
        ev.ControlDecided("NodeFailed", 1, "retry"),
    ),
}


@pytest.mark.parametrize("case", OLDER)
def test_what_an_older_version_left_out_has_its_default(case):
    old, expected = OLDER[case]
    for event in (from_record(old), from_cloud_event(cloud_event_of(old))):
        assert type(event) is type(expected)
        for name in type(event).__struct_fields__:
            if name not in BASE:
                assert getattr(event, name) == getattr(expected, name), name
        assert (event.run_id, event.seq, event.timestamp) == ("r", 1, T0)
    jsonschema.validate(json.loads(cloud_event_of(old)), event_schema())


LATER = {
    "a field": record("NodeRetrying", name="n", wave_index=1, mood="sunny"),
    "a field of a vote": record("ControlDecided", event_type="X", checked_seq=1, signal="skip",
                                votes=[{"handler": "h", "priority": 1, "signal": "skip", "mood": 1}]),
    "a field of a node": record("PipelineStarted", name="etl", total_waves=1, total_nodes=1,
                                nodes=[{"name": "n", "wave_index": 1, "mood": [1]}]),
    "a class": record("NodeDreamt", name="n", of=["sheep"]),
    "a class of a user that is not here": record("their.module.Uploaded", path="/x"),
}  # fmt: skip


@pytest.mark.parametrize("case", LATER)
def test_what_is_not_known_is_read_past_and_stays_in_what_is_kept(case, tmp_path):
    later = LATER[case]
    body = cloud_event_of(later)
    event = from_cloud_event(body)
    assert (event.run_id, event.seq) == ("r", 1)
    assert isinstance(event, GenericEvent) == case.startswith("a class")
    assert record_of(body) == later
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append([record_of(body)])
        store.flush()
        assert list(store.read("r")) == [later]


def test_a_class_that_is_not_known_is_sent_on_unchanged():
    body = cloud_event_of(LATER["a class"])
    assert to_cloud_event(from_cloud_event(body)) == body


class Wire(list):
    def commit(self):
        """Nothing is kept."""

    close = commit


def test_a_newer_version_is_refused_with_a_sentence_and_costs_a_reader_only_itself():
    newer = to_cloud_event(ev.NodeRetrying("n", 1, run_id="r", seq=2)).replace(b".v1", b".v2")
    for read in (from_cloud_event, record_of):
        with pytest.raises(NewerRecordError, match=r"format 2, this hexviz reads up to 1\. .* update hexviz"):
            read(newer)
    with pytest.raises(NewerRecordError, match="update hexviz"):
        from_record(to_record(ev.NodeRetrying("n", 1)).replace(b'"v":1', b'"v":2'))
    assert not jsonschema.Draft202012Validator(event_schema()).is_valid(json.loads(newer))
    buried = []
    reader = Reader(Wire([newer, cloud_event_of(LATER["a field"])]), dead_letter=lambda *letter: buried.append(letter))
    assert [event.seq for event in reader] == [1]
    assert "update hexviz" in str(buried[0][1])
