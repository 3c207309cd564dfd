"""The history of a server: what is in it, what is known of the events that are gone, and where those come from."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events.cloud_events import from_cloud_event
from hexviz.events.observer_manager import ObserverManager
from hexviz.events.schema import to_record
from hexviz.stores.sqlite import SQLiteStore
from hexviz.streams import StreamError, WebSocketBroadcaster
from hexviz.streams.event_log import EventLog, Wanted
from hexviz.streams.past import Span
from hexviz.testing import collected
from hexviz.testing.store_contract import contract_run
from hexviz.testing.stream_contracts import first_records, summarised
from tests.streams.test_websocket import PATIENCE_S, put, source_of, wait_until


def test_a_log_keeps_the_last_bytes_and_counts_what_is_gone():
    log = EventLog(10_000)
    for number in range(1_000):
        log.append("r", number + 1, b'{"n":%d}' % (number + 1_000))
    assert log.end == 1_000
    assert 9_000 < log.bytes <= 10_000
    frame, behind, events = log.frame(Wanted(), log.first, log.first, 1_000_000)
    told = json.loads(frame)
    assert (told["dropped"], behind, events) == (log.first, 1_000, 1_000 - log.first)
    assert told["events"][-1] == {"n": 1_999}


def test_events_that_never_came_leave_a_hole_and_what_was_before_it_is_kept():
    log = EventLog(10_000)
    for seq in (1, 2):
        log.append("r", seq, b'{"n":%d}' % seq)
    log.skip(5)
    assert (log.first, log.end, log.bytes) == (0, 7, 14)
    assert log.missing_at(2) == 5
    log.append("r", 8, b'{"n":8}')
    assert [log.missing_at(place) for place in (0, 1, 2, 4, 6, 7, 8)] == [0, 0, 5, 3, 1, 0, 0]
    assert [entry.seq for entry in log.after(0, 1_000)[0]] == [1, 2]
    assert [entry.seq for entry in log.after(7, 1_000)[0]] == [8]


def test_one_event_is_kept_however_large_it_is():
    log = EventLog(100)
    log.append("r", 1, b"1" * 50)
    log.append("r", 2, b"2" * 5_000)
    assert (log.first, log.end) == (1, 2)
    assert log.frame(Wanted(), 1, 0, 10)[2] == 1


@pytest.mark.parametrize(
    "cursor", ["", "x", "-", "1", "abc-1", "{epoch}-", "{epoch}-x", "{epoch}--1", "{epoch}-" + "9" * 40]
)
def test_what_is_no_cursor_of_this_log_begins_at_the_beginning(cursor):
    log = EventLog(100)
    assert log.position_of(cursor.format(epoch=log.epoch)) is None
    log.append("r", 1, b"{}")
    assert log.position_of(log.cursor(1)) == 1
    assert log.position_of(log.cursor(999)) == 1


RUN = st.sampled_from(["a", "b"])


@given(st.lists(st.tuples(RUN, st.integers(0, 40), st.integers(0, 3)), max_size=60), st.integers(100, 400))
def test_of_each_event_that_is_gone_a_log_knows_the_run_and_the_number_or_that_it_does_not(told, most_bytes):
    log, stood = EventLog(most_bytes), {}
    for run_id, seq, lost in told:
        if lost == 3:
            log.skip(lost)
        stood[log.end] = (run_id, seq)
        log.append(run_id, seq, b"x" * 50)
    position = 0
    while position < log.first:
        span, behind = log.gone_at(position)
        assert position < behind <= log.first
        for place in range(position, behind):
            known = None if span is None else (span.run_id, span.seq + place - position)
            assert known == (stood.get(place) if stood.get(place, ("", 0))[1] else None)
        position = behind


def test_a_log_forgets_what_it_knew_of_the_oldest(monkeypatch):
    monkeypatch.setattr("hexviz.streams.event_log.MOST_SPANS", 3)
    log = EventLog(10)
    for number in range(9):
        log.append(f"run-{number}", 1, b"x" * 10)
    assert log.gone_at(0) == (None, 5)
    assert log.gone_at(5) == (Span(5, "run-5", 1, 1), 6)


# --- what is no longer in the history


@pytest.fixture
def kept(tmp_path):
    """A store with a run of 602 events, and one of 17."""
    with SQLiteStore(tmp_path / "kept.db") as store:
        store.append([*summarised(contract_run("long", nodes=200)), *summarised(contract_run("short"))])
        store.flush()
        yield store


def test_who_comes_late_gets_from_the_store_what_the_history_no_longer_holds(kept):
    run = contract_run("long", nodes=200)
    with WebSocketBroadcaster(store=kept, history_bytes=20_000) as server:
        put(server, run)
        assert server._server.log.first > 400
        with source_of(server) as source:
            assert first_records(collected(source, 602)) == list(map(to_record, summarised(run)))
        assert source.dropped == server.statistics()["clients_dropped_events"] == 0


def test_from_the_store_too_a_client_gets_the_topics_of_the_run_that_it_asked_for(kept):
    with WebSocketBroadcaster(store=kept, history_bytes=5_000) as server:
        in_turns = zip(contract_run("long", nodes=200), itertools.cycle(contract_run("short")))
        put(server, itertools.chain.from_iterable(in_turns))
        wanted = {"run_id": "long", "topics": "pipeline.etl.**.failed"}
        with source_of(server, **wanted) as source:
            events = [from_cloud_event(body) for body in collected(source, 200)]
        expected = [event for event in contract_run("long", nodes=200) if type(event).__name__ == "NodeFailed"]
        assert [(e.run_id, e.seq) for e in events] == [("long", e.seq) for e in expected]
        assert source.dropped == 0


def test_what_neither_the_history_nor_the_store_holds_is_counted(kept):
    kept.delete("long")
    run = contract_run("long", nodes=200)
    for store in (kept, None):
        with WebSocketBroadcaster(store=store, history_bytes=20_000) as server:
            put(server, run)
            there = 602 - server._server.log.first
            with source_of(server) as source:
                assert len(collected(source, there)) == there
            assert source.dropped == server.statistics()["clients_dropped_events"] == 602 - there


def test_one_record_that_cannot_be_read_costs_a_late_client_only_itself(kept, caplog):
    run = contract_run("long", nodes=200)
    read = kept.read
    kept.read = lambda *args, **options: (
        record.replace(b'"v":1', b'"v":9') if b'"seq":7,' in record else record for record in read(*args, **options)
    )
    with WebSocketBroadcaster(store=kept, history_bytes=20_000) as server:
        put(server, run)
        with source_of(server) as source:
            seqs = [from_cloud_event(body).seq for body in collected(source, 601)]
        assert seqs == [seq for seq in range(1, 603) if seq != 7]
        assert source.dropped == server.statistics()["clients_dropped_events"] == 1
        assert server.statistics()["faults"] == 1
    assert "an event of run 'long' cannot be read from the store: NewerRecordError" in caplog.text


def test_events_that_came_too_fast_cost_a_late_client_only_themselves():
    run = contract_run("long", nodes=200)
    with WebSocketBroadcaster() as server:
        put(server, run[:300])
        server._server.dropped(100)
        put(server, run[400:])
        with source_of(server) as source:
            seqs = [from_cloud_event(body).seq for body in collected(source, 502)]
        assert seqs == [*range(1, 301), *range(401, 603)]
        assert source.dropped == server.statistics()["clients_dropped_events"] == 100


def test_what_is_gone_of_other_runs_is_not_counted_for_a_client_of_one():
    with WebSocketBroadcaster(history_bytes=20_000) as server:
        put(server, contract_run("long", nodes=200))
        put(server, contract_run("short"))
        with source_of(server, run_id="short") as source:
            assert len(collected(source, 17)) == 17
        assert source.dropped == 0


def test_a_flush_waits_for_who_still_reads_from_the_store(kept):
    with WebSocketBroadcaster(store=kept, history_bytes=5_000) as server:
        put(server, contract_run("long", nodes=200))
        with source_of(server).connect() as source:
            reading = iter(source)
            wait_until(lambda: server.statistics()["clients"] == 1)
            assert server.flush(PATIENCE_S) == 0
            assert server._server.behind() == 0
            assert len(collected(reading, 602)) == 602


def test_redacting_where_it_would_reach_nothing_is_refused(kept):
    for options in ({}, {"store": kept, "observers": ObserverManager()}):
        with pytest.raises(StreamError, match="give it to the recorder"):
            WebSocketBroadcaster(redact=[lambda value: value], **options)
