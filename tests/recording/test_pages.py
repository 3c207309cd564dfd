"""Stored records become columns page by page, and nothing that the slow way refuses gets through."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.events.schema import NewerRecordError, RecordError, from_records, to_record
from hexviz.recording import pages
from hexviz.recording.recording import Recording
from tests.recording.made_events import ProgressMade, event, small_run
from tests.recording.random_runs import record_random

RECORD = to_record(ev.NodeCompleted("n", 1, [1, 2], 1.0, run_id="r", seq=1))


@given(st.lists(event, max_size=20))
def test_records_of_any_events_come_back_with_equal_bytes(events):
    records = [to_record(e) for e in events]
    assert list(Recording.from_records(records).records()) == records


def test_a_page_without_anything_special_is_read_at_once():
    records = [to_record(e) for e in small_run()]
    columns = Recording().columns
    assert pages._read_at_once(columns, pages._decode_each, records)
    assert [to_record(e) for e in columns.events(len(columns))] == records


def test_of_a_page_with_events_of_a_user_only_those_are_made_into_events(monkeypatch):
    told, made = small_run(), []
    told[3:3] = [ProgressMade("n", done=0.5, run_id="r", seq=100)]
    told.append(ProgressMade("n", done=1.0, run_id="r", seq=101))
    monkeypatch.setattr(pages, "_summarise", lambda event: made.append(event) or event)
    records = [to_record(e) for e in told]
    assert list(Recording.from_pages([b"[" + b",".join(records) + b"]"]).records()) == records
    assert made == [event for event in told if type(event) is ProgressMade]


def test_many_pages_are_read_in_order(monkeypatch):
    monkeypatch.setattr(pages, "_PAGE", 3)
    records = list(record_random(5).records())
    assert list(Recording.from_records(records).records()) == records


def test_a_value_that_is_written_otherwise_comes_back_in_the_one_canonical_form():
    loose = RECORD.replace(b'{"type":"list","length":2}', b'{ "length": 2, "type": "list" }')
    assert loose != RECORD
    recording = Recording.from_records([loose, RECORD, loose])
    assert list(recording.records()) == [RECORD] * 3


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        RECORD[:-1],
        RECORD + RECORD,
        RECORD + b"\n" + RECORD,
        RECORD.replace(b'"length":2', b'"length":"two"'),
        RECORD.replace(b'"type":"list"', b'"kind":"list"'),
        RECORD.replace(b'"seq":1', b'"seq":"1"'),
        b"null",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_an_error_wherever_it_stands(damaged):
    for records in ([damaged], [RECORD, damaged, RECORD]):
        with pytest.raises(RecordError):
            Recording.from_records(records)
        with pytest.raises(RecordError):
            list(from_records(records))


def test_a_record_cut_in_two_is_not_put_together_again():
    half = RECORD.index(b'"seq"')
    for cut in (half, half - 1):
        with pytest.raises(RecordError):
            Recording.from_records([RECORD[:cut], RECORD[cut:], RECORD + b"\n" + RECORD])


def test_a_newer_record_is_refused_by_name():
    with pytest.raises(NewerRecordError, match="format 9"):
        Recording.from_records([RECORD, RECORD.replace(b'"v":1', b'"v":9')])


def test_a_field_that_an_older_hexviz_did_not_write_has_its_default():
    record = msgspec.json.decode(to_record(ev.NodeSkipped("n", 1, run_id="r", seq=1)))
    for name in ("result", "reason", "attempt"):
        del record["data"][name]
    (event,) = Recording.from_records([msgspec.json.encode(record)])
    assert (event.result, event.reason, event.attempt) == (None, "", 1)


# --- pages as a store gives them: JSON arrays


@given(st.lists(event, max_size=8), st.lists(event, max_size=8))
def test_arrays_of_records_give_what_the_records_give(first, second):
    records = [[to_record(e) for e in events] for events in (first, second)]
    arrays = [b"[%b]" % b",".join(page) for page in records]
    assert list(Recording.from_pages(arrays).records()) == [record for page in records for record in page]


@pytest.mark.parametrize("page", [b"", b"{}", b"[1]", b"[", b'[{"type":"NodeStarted"}]', b"[" * 10_000])
def test_an_array_that_is_none_is_a_named_error(page):
    with pytest.raises(RecordError):
        Recording.from_pages([page])


def test_an_array_with_a_newer_record_is_refused_by_name():
    with pytest.raises(NewerRecordError, match="newer version"):
        Recording.from_pages([b'[{"type":"NodeStarted","v":9,"data":{}}]'])
