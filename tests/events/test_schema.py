"""Event -> record -> event: equal bytes, nothing lost, nothing executed."""

import contextlib
import json
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.events.schema import (
    GenericEvent,
    NewerRecordError,
    RecordError,
    from_record,
    from_records,
    to_record,
    to_records,
)
from hexviz.events.summary import Summary
from tests.recording.made_events import T0, Hostile, ProgressMade, event, small_run


@given(event)
def test_a_record_read_and_written_again_has_the_same_bytes(event):
    record = to_record(event)
    back = from_record(record)
    assert type(back) is type(event)
    assert to_record(back) == record
    json.loads(record)


@given(event)
def test_names_and_numbers_survive(event):
    back = from_record(to_record(event))
    for name in ("run_id", "seq", "monotonic_ns", "pipeline", "timestamp", "wave_index", "reason"):
        assert getattr(back, name, None) == getattr(event, name, None)


def test_a_whole_run_survives():
    events = small_run()
    records = [to_record(event) for event in events]
    assert [to_record(event) for event in from_records(records)] == records


@pytest.mark.parametrize("odd", ["\ud800x", "a\x00b", "\u2028", "😀", "'\"\\"])
def test_odd_texts_survive(odd):
    assert from_record(to_record(ev.NodeStarted(odd, 1, (odd,)))).dependencies == (odd,)


@pytest.mark.parametrize(
    "odd", [float("inf"), float("-inf"), float("nan"), 10**5000, -(2**64), b"\xff", {1: 2}, {"$x": 1}], ids=range(8)
)
def test_values_that_json_cannot_say_survive_in_events_of_users(odd):
    back = from_record(to_record(ProgressMade("n", 0.5, odd))).extra
    assert repr(back) == repr(odd) if isinstance(odd, float) else back == odd


def test_errors_come_back_as_recorded_errors():
    back = from_record(to_record(ev.NodeFailed("n", 1, ValueError("bad"))))
    assert (back.error.type_name, back.error.message) == ("ValueError", "bad")


def test_values_come_back_as_summaries():
    assert from_record(to_record(ev.NodeCompleted("n", 1, Hostile(), 1.0))).result == Summary("Hostile")


def test_whole_numbers_for_floats_give_the_same_bytes_as_floats():
    def told(ms):
        return ev.WaveCompleted(1, ms, timestamp=T0, monotonic_ns=1)

    assert to_record(told(5)) == to_record(told(5.0))


def test_times_are_written_in_utc():
    local = T0.astimezone(__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))
    assert b"2026-01-02T03:04:05Z" in to_record(ev.WaveStarted(1, (), timestamp=local))


def test_an_unknown_class_is_kept_and_written_back():
    record = b'{"type":"other.Thing","v":1,"data":{"x":[1,{"$float":"nan"}],"timestamp":"2026-01-02T03:04:05Z",'
    record += b'"run_id":"r","seq":3,"monotonic_ns":4,"pipeline":"p"},"tagged":true}'
    back = from_record(record)
    assert isinstance(back, GenericEvent)
    assert (back.type_name, back.seq, back.run_id) == ("other.Thing", 3, "r")
    assert to_record(back) == record


def test_a_class_whose_fields_changed_since_is_kept_as_generic():
    record = to_record(ProgressMade("n", 0.5)).replace(b'"done"', b'"gone"')
    assert isinstance(from_record(record), GenericEvent)


def test_fields_added_by_a_later_version_are_ignored_and_missing_ones_get_defaults():
    record = to_record(ev.NodeRetrying("n", 1)).replace(b'"attempt":1,', b'"new":[1],')
    assert from_record(record).attempt == 1


def test_a_newer_format_is_refused_by_name():
    with pytest.raises(NewerRecordError, match="newer"):
        from_record(to_record(ev.NodeRetrying("n", 1)).replace(b'"v":1', b'"v":2'))


@pytest.mark.parametrize(
    "bad",
    [b"", b"{}", b"[]", b"\x80\x04K\x01.", b'{"type":"NodeStarted","v":1,"data":{}}', b"[" * 100_000, b'"x"',
     b'{"type":"NodeStarted","v":1,"data":{"name":{"$str":"!"}},"tagged":true}', b'{"type":"x.Y","v":1,"data":3}'],
)  # fmt: skip
def test_what_is_no_record_is_a_named_error(bad):
    with pytest.raises(RecordError):
        from_record(bad)


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.tuples(event, st.integers(0, 400), st.integers(0, 255)))
def test_damaged_bytes_give_an_event_or_a_record_error_and_nothing_else(damage):
    if isinstance(damage, tuple):
        event, place, byte = damage
        record = bytearray(to_record(event))
        record[place % len(record)] = byte
        damage = bytes(record)
    with contextlib.suppress(RecordError):
        assert isinstance(from_record(damage), ev.Event)


def test_reading_imports_and_executes_nothing():
    seen = []
    armed = [True]
    watched = {"import", "exec", "pickle.find_class"}
    sys.addaudithook(lambda name, args: armed[0] and name in watched and seen.append(name))
    try:
        from_record(to_record(ev.NodeRetrying("n", 1)).replace(b'"NodeRetrying"', b'"os.system"'))
    finally:
        armed[0] = False
    assert seen == []


def test_every_class_of_ours_has_a_record():
    assert len({msgspec.json.decode(to_record(e))["type"] for e in small_run()}) >= 15


def test_an_unknown_event_is_kept_whole_however_large():
    record = msgspec.json.encode(
        {
            "type": "other.Big",
            "v": 1,
            "data": {"x": list(range(1000)), "api_key": "theirs", "timestamp": T0, "run_id": "r", "seq": 1,
                     "monotonic_ns": 2, "pipeline": ""},
        }
    )  # fmt: skip
    assert to_record(from_record(record)) == record


def test_a_number_too_long_for_a_float_is_written_as_it_is():
    assert b"0" * 400 in to_record(ev.WaveCompleted(1, 10**400))


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=8))
def test_many_events_written_together_give_the_bytes_of_each_alone(events):
    assert to_records(events) == [to_record(event) for event in events]
