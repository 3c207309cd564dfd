"""Columns as bytes: they come back equal; what is anything else gives None, or a recording that can be looked at."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from hexviz.events import events as ev
from hexviz.events import schema
from hexviz.events.schema import to_record
from hexviz.events.summary import GenericEvent
from hexviz.recording import condensed
from hexviz.recording.frames import COLUMNS
from hexviz.recording.recording import Recording
from tests.benchmarks.made_recording import runs
from tests.recording.made_events import MS, ProgressMade, numbered
from tests.recording.random_runs import record_random


@pytest.fixture(autouse=True, scope="module")
def any_part_may_stand_as_records():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(condensed, "MOST_ASIDE", 1.0)
        yield


def made(count=2_000):
    """One run of 100 nodes, again and again under one id."""
    events = (event for event in runs(count) if type(event) is not ev.PipelineStarted)
    return [msgspec.structs.replace(event, run_id="r", seq=seq) for seq, event in enumerate(events, 1)]


def looked_at(recording):
    for name in COLUMNS:
        getattr(recording.frames, name)
    return list(recording.records())


@pytest.mark.parametrize("recording", [*map(record_random, range(6)), Recording(made())], ids=[*"012345", "made"])
def test_a_run_comes_back_with_equal_records_and_frames(recording):
    back = Recording.from_columns(recording.to_columns())
    assert list(back.records()) == list(recording.records())
    assert back.run_ids == recording.run_ids
    for name in COLUMNS:
        assert_frame_equal(getattr(back.frames, name), getattr(recording.frames, name))


@given(numbered)
def test_any_stored_run_comes_back_equal(events):
    recording = Recording.from_records(map(to_record, events))
    parts = recording.to_columns()
    assert (parts is None) == (not events)
    if parts is not None:
        back = Recording.from_columns(parts)
        assert list(back.records()) == list(recording.records())
        for name in COLUMNS:
            assert_frame_equal(getattr(back.frames, name), getattr(recording.frames, name))


@given(numbered)
def test_a_run_as_it_was_heard_comes_back_as_its_records_or_not_at_all(events):
    parts = Recording(events).to_columns()
    if parts is not None:
        assert list(Recording.from_columns(parts).records()) == [to_record(event) for event in events]


@pytest.mark.parametrize("seed", range(4))
def test_the_beginning_of_a_run_comes_back_and_goes_on_with_the_pages_after_it(seed):
    whole = record_random(seed)
    records = list(whole.records())
    for count in {1, 2, len(records) // 3, len(records) - 1, len(records)}:
        back = Recording.from_columns(whole.to_columns(count))
        assert list(back.records()) == records[:count]
        back.add_pages([b"[" + b",".join(records[count:]) + b"]"])
        assert list(back.records()) == records
        for name in COLUMNS:
            assert_frame_equal(getattr(back.frames, name), getattr(whole.frames, name))


@given(numbered, st.data())
def test_the_beginning_of_any_stored_run_comes_back_equal(events, data):
    recording = Recording.from_records(map(to_record, events))
    count = data.draw(st.integers(1, len(events))) if events else 0
    parts = recording.to_columns(count)
    assert parts is None or list(Recording.from_columns(parts).records()) == list(recording.records())[:count]
    assert list(recording.records()) == list(map(to_record, events))


def test_a_recording_that_came_back_goes_on():
    events = made(300)
    back = Recording.from_columns(Recording(events[:200]).to_columns())
    back.columns.extend(list(Recording(events[200:]).events()))
    assert list(back.records()) == list(Recording(events).records())


@pytest.mark.parametrize(
    "events",
    [
        [],
        [ev.NodeStarted("a", 1, run_id="r", seq=seq) for seq in (2, 1)],
        [ev.NodeStarted("a", 1, run_id="r", seq=1)] * 2,
        [ev.NodeStarted("a", 1, run_id=run_id, seq=1) for run_id in "rs"],
        [ev.NodeStarted("a", None, run_id="r", seq=1)],
        [ev.NodeStarted("a", 1, run_id="r", seq=2**63)],
    ],
    ids=["nothing", "not in order", "twice", "two runs", "a value of another type", "a seq of more than 64 bits"],
)
def test_what_is_not_one_plain_run_in_order_is_not_condensed(events):
    assert Recording(events).to_columns() is None


@pytest.mark.parametrize("seqs", [[2], [1, 3, 4], [-5, 0, 7, 2**40], [-(2**63) + 1, 2**63 - 1]])
def test_a_run_with_gaps_comes_back_too(seqs):
    recording = Recording([ev.NodeStarted("a", 1, run_id="r", seq=seq, monotonic_ns=MS) for seq in seqs])
    assert list(Recording.from_columns(recording.to_columns()).records()) == list(recording.records())


def mixed():
    """A run with events of a user's class, and with a value that its column has no place for."""
    run_id, events = "r", made(400)
    events[10] = ProgressMade("a", done=0.5, run_id=run_id, seq=11)
    events[20] = ev.NodeStarted("a", 2**70, run_id=run_id, seq=21)
    events[30] = ev.NodeStarted("\ud800", 1, run_id=run_id, seq=31)
    return [*events, ProgressMade("b", done=1.0, run_id=run_id, seq=401)]


MIXED = mixed()


def test_of_a_mixed_run_only_what_is_odd_stands_as_records():
    parts = Recording(MIXED).to_columns()
    assert sum(part.count(b'"seq":') for part in parts[1:]) == 3
    assert list(Recording.from_columns(parts).records()) == list(map(to_record, MIXED))


def test_a_run_of_which_more_than_a_tenth_would_stand_as_records_is_not_condensed(monkeypatch):
    monkeypatch.setattr(condensed, "MOST_ASIDE", 0.1)
    events = [ev.NodeStarted("a", 2**70 if seq % 10 == 5 else 1, run_id="r", seq=seq) for seq in range(1, 101)]
    assert Recording(events).to_columns() is not None
    events.append(ProgressMade("a", done=1.0, run_id="r", seq=101))
    assert Recording(events).to_columns() is None


def test_a_copy_is_read_where_the_class_of_a_user_is_not_known(monkeypatch):
    parts = Recording(MIXED).to_columns()
    monkeypatch.setattr(schema, "_subclasses", lambda _: iter(()))
    back = Recording.from_columns(parts)
    assert list(back.records()) == list(map(to_record, MIXED))
    assert [block.cls for block in back.columns.blocks].count(GenericEvent) == 1


PARTS = Recording(MIXED).to_columns()


@given(st.data())
def test_any_change_gives_none_or_a_recording_that_can_be_looked_at(data):
    parts = list(PARTS)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts) - 1))
        changed = bytearray(parts[at])
        if changed and data.draw(st.booleans()):
            changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
        else:
            del changed[data.draw(st.integers(0, len(changed))) :]
        parts[at] = bytes(changed)
    recording = Recording.from_columns(parts)
    assert recording is None or looked_at(recording)


HEAD = json.loads(PARTS[0])
NUMBERS = st.integers(-3, 500) | st.sampled_from([2**31, 2**40, 2**63 - 1, -(2**63)])


@given(st.data())
def test_any_other_number_in_the_head_gives_none_or_a_recording_that_can_be_looked_at(data):
    head = json.loads(PARTS[0])
    blocks = list(head["blocks"].values())
    packed = [head["classes"], *(column[0] for columns, _ in blocks for column in columns.values())]
    packed += [column[1][2] for columns, _ in blocks for column in columns.values() if column[1]]
    chosen = data.draw(st.sampled_from(packed))
    chosen[data.draw(st.integers(2, 4))] = data.draw(NUMBERS)
    if data.draw(st.booleans()):
        chosen[1] = data.draw(st.sampled_from(["same", "steps", "values", "?"]))
    recording = Recording.from_columns([json.dumps(head).encode(), *PARTS[1:]])
    assert recording is None or looked_at(recording)


@pytest.mark.parametrize("parts", [[], [b""], [b"{}"], [b"\x80\x04."], [b"[" * 100_000], PARTS[:1], PARTS[1:]])
def test_what_is_no_copy_gives_none(parts):
    assert Recording.from_columns(parts) is None


@pytest.mark.parametrize("name", ["format", "schema"])
def test_a_copy_of_another_version_is_passed_over(name):
    assert expand_with(**{name: HEAD[name] + 1}) is None


def test_a_field_that_the_class_does_not_have_is_no_copy():
    columns, records = HEAD["blocks"]["NodeStarted"]
    columns = columns | {"more": [["", "same", 1, 0, 0], None, None, []]}
    assert expand_with(blocks=HEAD["blocks"] | {"NodeStarted": [columns, records]}) is None


def expand_with(**changed):
    return Recording.from_columns([json.dumps(HEAD | changed).encode(), *PARTS[1:]])


@pytest.mark.parametrize("odd", [[0], [10**6], [-1], [1, 1], [2, 1], ["1"]])
def test_other_rows_that_were_kept_aside_are_no_copy(odd):
    columns, records = HEAD["blocks"]["NodeStarted"]
    assert columns["wave_index"][3]
    assert expand_with() is not None
    data, texts, tuples, _ = columns["attempt"]
    columns = columns | {"attempt": [data, texts, tuples, odd]}
    assert expand_with(blocks=HEAD["blocks"] | {"NodeStarted": [columns, records]}) is None
