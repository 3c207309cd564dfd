"""Columns hold any event and give it back unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from hexviz.events.events import ControlDecided, NodeStarted, Vote, WaveCompleted
from hexviz.events.schema import to_record
from hexviz.events.summary import Summariser
from hexviz.recording.columns import EventColumns
from tests.recording.made_events import event


@given(st.lists(event, max_size=20), st.integers(1, 7))
def test_events_come_back_with_equal_bytes_however_they_were_chunked(events, chunk):
    columns = EventColumns()
    kept = [Summariser()(e) for e in events]
    for start in range(0, len(kept), chunk):
        columns.extend(kept[start : start + chunk])
    assert len(columns) == len(kept)
    assert [to_record(e) for e in columns.events(len(columns))] == [to_record(e) for e in kept]


def test_values_of_a_wrong_type_are_kept_aside_not_lost():
    odd = [
        NodeStarted(3, "two", attempt=None, queued_ms="x", worker=b"w"),
        WaveCompleted(1, "long", succeeded=2**70),
        ControlDecided("X", 1, "retry", votes=(Vote("h", 1, None),), priority=-(2**63)),
    ]
    columns = EventColumns()
    columns.extend(odd)
    assert list(columns.events(3)) == odd
