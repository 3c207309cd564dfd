"""Event -> CloudEvent -> event: the envelope says what CloudEvents 1.0 asks for, and nothing inside is changed."""

import contextlib
import json
import re
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.events.cloud_events import (
    batch_of,
    bodies_of,
    cloud_event_of,
    from_cloud_event,
    record_of,
    source_of,
    to_cloud_event,
    to_cloud_events,
    topic_of,
    wire_topic,
)
from hexviz.events.schema import GenericEvent, NewerRecordError, RecordError, to_record
from tests.recording.made_events import T0, ProgressMade, event, small_run, text

FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@given(event)
def test_record_to_cloud_event_to_record_gives_equal_bytes(event):
    record = to_record(event)
    body = to_cloud_event(event)
    assert record_of(body) == record
    assert cloud_event_of(record) == body
    assert to_record(from_cloud_event(body)) == record


@given(st.lists(event, max_size=5))
def test_many_at_once_are_the_same_as_one_by_one(events):
    assert to_cloud_events(events) == list(map(to_cloud_event, events))


@given(event)
def test_the_envelope_says_what_the_specification_asks_for(event):
    envelope = json.loads(to_cloud_event(event))
    assert envelope["specversion"] == "1.0"
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in envelope)
    for name in ("id", "source", "type", "subject", "time", "datacontenttype"):
        assert envelope[name], name
        assert not FORBIDDEN.search(envelope[name]), name
    assert re.fullmatch(r"/hexviz/runs/[A-Za-z0-9._~%-]*", envelope["source"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", envelope["time"])


@given(text, text, st.integers(), st.integers())
def test_source_and_id_name_an_event(run_a, run_b, seq_a, seq_b):
    def name(run_id, seq):
        body = json.loads(to_cloud_event(ev.WaveStarted(1, (), run_id=run_id, seq=seq, monotonic_ns=seq)))
        return body["source"], body["id"]

    assert (name(run_a, seq_a) == name(run_b, seq_b)) == ((run_a, seq_a) == (run_b, seq_b))


def test_the_source_holds_the_run_id_as_one_segment_of_a_path():
    for run_id in ("a/b", "..", "é ?#", "\ud800"):
        segment = source_of(run_id).removeprefix("/hexviz/runs/")
        assert "/" not in segment
        assert segment not in {".", ".."}
        assert unquote(segment, errors="surrogatepass") == run_id


def test_the_type_names_the_class_and_the_version():
    assert json.loads(to_cloud_event(ev.NodeRetrying("n", 1)))["type"] == "io.hexviz.NodeRetrying.v1"
    users = json.loads(to_cloud_event(ProgressMade("n", 0.5)))["type"]
    assert users == f"io.hexviz.{ProgressMade.__module__}.ProgressMade.v1"


def test_the_subject_is_the_topic():
    body = to_cloud_event(ev.NodeFailed("clean", 3, ValueError("x"), pipeline="etl"))
    assert topic_of(body) == "pipeline.etl.wave.3.node.clean.failed"
    odd = ev.NodeStarted("a\x00b\ud800", 1, pipeline="p")
    assert topic_of(to_cloud_event(odd)) == wire_topic(odd.topic) == "pipeline.p.wave.1.node.a%00b%ED%A0%80.started"


def test_an_event_whose_topic_raises_still_travels():
    class Shy(ev.Event, frozen=True):
        @property
        def topic(self):
            raise RuntimeError("no")

    assert topic_of(to_cloud_event(Shy(run_id="r", seq=1))) == "-"


def test_an_unknown_class_is_kept_and_sent_on_with_equal_bytes():
    kind = "other.\x07Thing.v9%"
    body = msgspec.json.encode({"type": kind, "v": 1, "data": {
        "x": 1, "timestamp": T0, "run_id": "r", "seq": 3, "monotonic_ns": 4, "pipeline": "p"}})  # fmt: skip
    sent = cloud_event_of(body)
    back = from_cloud_event(sent)
    assert isinstance(back, GenericEvent)
    assert back.type_name == kind
    assert to_cloud_event(back) == sent


def test_fields_that_this_version_does_not_know_stay_in_the_record():
    body = to_cloud_event(ev.NodeRetrying("n", 1, seq=1)).replace(b'"attempt":1,', b'"attempt":1,"new":[1],')
    assert b'"new":[1]' in record_of(body)
    assert from_cloud_event(body).attempt == 1


def test_extension_attributes_of_others_are_passed_over():
    body = b'{"traceparent":"00-ab",' + to_cloud_event(ev.NodeRetrying("n", 1))[1:]
    assert from_cloud_event(body).name == "n"


def test_a_newer_version_is_refused_by_name():
    body = to_cloud_event(ev.NodeRetrying("n", 1)).replace(b".v1", b".v2")
    for read in (record_of, from_cloud_event):
        with pytest.raises(NewerRecordError, match="newer version: update hexviz"):
            read(body)


GOOD = to_cloud_event(ev.NodeRetrying("n", 1))


@pytest.mark.parametrize(
    "bad",
    [b"", b"{}", b"[]", b"\x80\x04K\x01.", b"\x1f\x8b\x08", b"[" * 100_000, b'{"a":' * 100_000, b'"x"',
     GOOD.replace(b'"1.0"', b'"0.3"'), GOOD.replace(b"io.hexviz", b"com.other"), GOOD.replace(b".v1", b".vx"),
     GOOD.replace(b".v1", b".v" + b"9" * 5000), GOOD.replace(b'"data":', b'"data_base64":'),
     to_record(ev.NodeRetrying("n", 1))],
)  # fmt: skip
def test_what_is_no_cloud_event_of_ours_is_a_named_error(bad):
    with pytest.raises(RecordError):
        from_cloud_event(bad)


def test_what_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(RecordError, match="at most 10 are read"):
        from_cloud_event(GOOD, max_bytes=10)
    with pytest.raises(RecordError, match="at most 10 are read"):
        bodies_of(GOOD, max_bytes=10)


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.tuples(event, st.integers(0, 900), st.integers(0, 255)))
def test_damaged_bytes_give_an_event_or_a_record_error_and_nothing_else(damage):
    if isinstance(damage, tuple):
        told, place, byte = damage
        body = bytearray(to_cloud_event(told))
        body[place % len(body)] = byte
        damage = bytes(body)
    with contextlib.suppress(RecordError):
        assert isinstance(from_cloud_event(damage), ev.Event)


def test_a_batch_holds_its_events_unchanged():
    bodies = [to_cloud_event(event) for event in small_run()]
    assert bodies_of(batch_of(bodies)) == bodies
    assert bodies_of(batch_of([])) == []
    with pytest.raises(RecordError, match="not a batch"):
        bodies_of(GOOD)
