"""A spooled sink holds up nobody, keeps order, and counts what it cannot keep."""

import logging
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from hexviz.events.cloud_events import from_cloud_event
from hexviz.recording.recorder import Recorder
from hexviz.spool import Spool
from hexviz.streams import MessageRefusedError, SpooledSink, TransportDownError, sink
from hexviz.testing.store_contract import contract_run
from hexviz.testing.stream_contracts import summarised


class Wire:
    """Collects what is sent; can be away, slow, or refuse some seqs."""

    def __init__(self):
        self.got, self.sizes = [], []
        self.up, self.refuses, self.connects = True, set(), 0
        self.gate = threading.Event()
        self.gate.set()

    def connect(self):
        self.connects += 1
        if not self.up:
            raise TransportDownError("nobody is there")

    def send(self, messages):
        self.gate.wait(30)
        if not self.up:
            raise TransportDownError("it went away")
        if self.refuses & {message.seq for message in messages}:
            raise MessageRefusedError("too large")
        self.sizes.append(len(messages))
        self.got += [message.seq for message in messages]

    def close(self):
        pass


@pytest.fixture
def wire():
    return Wire()


def tell(to, first, last):
    for event in summarised(contract_run(nodes=-(-last // 3)))[first - 1 : last]:
        to.put(event)


def wait_until(done):
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def test_making_a_sink_connects_nowhere(wire):
    made = SpooledSink(wire)
    assert (made.close(), wire.connects) == (0, 0)


def test_memory_is_bounded_and_what_finds_no_room_is_counted(wire):
    wire.up = False
    with SpooledSink(wire, max_bytes=100_000) as full:
        tell(full, 1, 2_000)
        left = full.flush(0.3)
        counts = full.statistics()
        assert 50 < left < 500
        assert counts["queued"] + counts["dropped"] == 2_000
        wire.up = True
        assert full.flush() == 0
    assert wire.got == list(range(1, left + 1))


def test_a_full_queue_drops_and_counts_and_never_waits(wire, monkeypatch):
    monkeypatch.setattr(sink, "MAX_QUEUED", 10)
    monkeypatch.setattr(sink, "GROUP_S", 0.3)
    with SpooledSink(wire) as full:
        tell(full, 1, 100)
        assert full.flush() == 0
        assert full.statistics()["dropped"] + full.statistics()["sent"] == 100
    assert wire.got == list(range(1, len(wire.got) + 1))


def test_what_is_not_sent_waits_on_disk_and_the_next_process_sends_it_first(wire, tmp_path):
    wire.up = False
    first = SpooledSink(wire, spool=tmp_path / "spool")
    tell(first, 1, 5_000)
    wait_until(lambda: first.statistics()["spooled"] == 5_000)
    assert first.close(0.1) == 5_000
    wire.up = True
    wire.gate.clear()
    with SpooledSink(wire, spool=tmp_path / "spool") as second:
        tell(second, 5_001, 5_100)
        assert second.flush(0.5) == 5_100
        wire.gate.set()
        assert second.flush() == 0
        assert second.statistics()["sent"] == 5_100
    assert wire.got == list(range(1, 5_101))
    assert not (tmp_path / "spool").exists()


def test_what_a_slow_other_side_does_not_take_goes_to_disk_before_anything_is_dropped(wire, tmp_path):
    wire.gate.clear()
    with SpooledSink(wire, spool=Spool(tmp_path / "spool"), max_bytes=50_000) as slow:
        tell(slow, 1, 3_000)
        slow.flush(0.5)
        assert slow.statistics()["spooled"] > 2_000
        wire.gate.set()
        assert slow.flush() == 0
        assert slow.statistics()["dropped"] == 0
    assert wire.got == list(range(1, 3_001))


def test_a_full_disk_loses_the_newest_and_counts_them(wire, tmp_path):
    wire.up = False
    with SpooledSink(wire, spool=Spool(tmp_path / "spool", max_bytes=100_000), max_bytes=50_000) as full:
        tell(full, 1, 2_000)
        full.flush(0.5)
        counts = full.statistics()
        assert counts["queued"] + counts["dropped"] == 2_000
        assert counts["dropped"] > 1_000
        wire.up = True
        assert full.flush() == 0
    assert wire.got == list(range(1, counts["queued"] + 1))


def test_a_refused_message_is_found_told_and_costs_only_itself(wire, caplog):
    caplog.set_level(logging.WARNING, "hexviz.streams")
    wire.refuses = {7, 400}
    with SpooledSink(wire, name="there") as refused:
        tell(refused, 1, 500)
        assert refused.flush() == 0
        assert refused.statistics() | {"sent": 498, "refused": 2, "failures": 0} == refused.statistics()
    assert wire.got == [seq for seq in range(1, 501) if seq not in wire.refuses]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"there: event {seq} of run 'run-1' cannot be sent: too large" for seq in (7, 400)]


def test_what_is_no_event_is_refused_and_costs_only_itself(wire, caplog):
    with SpooledSink(wire, name="there") as given:
        tell(given, 1, 10)
        for nothing in (1, None, "text", object):
            given.put(nothing)
        tell(given, 11, 20)
        assert given.flush() == 0
        assert given.statistics() | {"sent": 20, "refused": 4, "queued": 0} == given.statistics()
    assert wire.got == list(range(1, 21))
    assert len(caplog.records) == 4


def test_what_comes_while_others_are_made_into_messages_gathers_for_the_next_time(wire, monkeypatch):
    """A few at a time would cost most."""
    done, with_topics = [], sink.with_topics

    class Hurry(threading.Event):
        def wait(self, timeout=None):
            done.append("waits")
            return super().wait(0.01)

    def make(events):
        done.append(len(events))
        tell(busy, 100 + len(done), 100 + len(done))
        return with_topics(events)

    monkeypatch.setattr(sink, "with_topics", make)
    with SpooledSink(wire) as busy:
        busy._pump._hurry = Hurry()
        tell(busy, 1, 100)
        wait_until(lambda: len(done) >= 5)
        assert done[:5] == ["waits", 50, 50, "waits", 2]
        monkeypatch.undo()


def test_trouble_is_one_line_in_the_log_and_the_reason_is_at_hand(wire, caplog):
    caplog.set_level(logging.INFO, "hexviz.streams")
    wire.up = False
    with SpooledSink(wire, name="there") as away:
        tell(away, 1, 10)
        away.flush(0.5)
        assert str(away.error) == "nobody is there"
        assert away.statistics()["failures"] > 1
        wire.up = True
        assert away.flush() == 0
        assert away.error is None
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["there: nobody is there; 10 events wait and are sent again", "there: sending again"]


def test_a_transport_that_raises_anything_is_tried_again(wire):
    send, failures = wire.send, iter([RuntimeError("?"), RecursionError(), KeyError("x")])

    def hostile(messages):
        for error in failures:
            raise error
        send(messages)

    wire.send = hostile
    with SpooledSink(wire) as hurt:
        tell(hurt, 1, 100)
        assert hurt.flush() == 0
        assert hurt.statistics()["failures"] == 3
    assert wire.got == list(range(1, 101))


def test_a_line_that_is_too_slow_for_much_at_once_is_asked_for_less(wire):
    send = wire.send

    def slow(messages):
        if len(messages) > 100:
            raise TransportDownError("nothing was acknowledged in time")
        send(messages)

    wire.send, wire.up = slow, False
    with SpooledSink(wire) as asked:
        tell(asked, 1, 3_000)
        assert asked.flush(0.3) == 3_000
        wire.up = True
        assert asked.flush(60) == 0
    assert wire.got == list(range(1, 3_001))
    assert max(wire.sizes) > 16  # and for more where that goes well


def test_d5_closing_with_100_000_unsent_takes_its_time_and_says_how_many_are_left(wire):
    wire.up = False
    full = SpooledSink(wire, max_bytes=10**9)
    events = summarised(contract_run(nodes=3))
    for _ in range(10_000):
        for event in events[:10]:
            full.put(event)
    began = time.monotonic()
    assert full.close(0.2) == 100_000
    assert time.monotonic() - began < 10


def test_a_recorder_leaves_out_a_sink_that_raises_and_serves_the_others(wire, caplog):
    class Broken:
        def put(self, event):
            raise ZeroDivisionError

    with SpooledSink(wire) as good:
        recorder = Recorder(sinks=[Broken(), good, Broken()])
        for event in contract_run():
            recorder(event)
        assert good.flush() == 0
    assert len(wire.got) == len(recorder) == 17
    assert len(caplog.records) == 2


def test_what_a_recorder_hands_on_is_redacted(wire):
    bodies = []
    wire.send = lambda messages: bodies.extend(message.body for message in messages)
    with SpooledSink(wire) as told:
        recorder = Recorder(sinks=[told], capture="json", redact=[lambda _value: {"kept": "nothing"}])
        recorder(contract_run()[3])
        assert told.flush() == 0
    assert from_cloud_event(bodies[0]).result.content == '{"kept":"nothing"}'


def test_a_sink_that_nobody_closed_sends_at_exit_and_a_forked_child_sends_nothing(tmp_path):
    program = """
        import os, sys
        from pathlib import Path
        from hexviz.streams import SpooledSink
        from hexviz.testing.store_contract import contract_run
        class File:
            def connect(self): pass
            def send(self, messages):
                with Path("got").open("a") as got:
                    got.write("".join(f"{os.getpid()} {message.seq}\\n" for message in messages))
            def close(self): pass
        sink = SpooledSink(File())
        run = contract_run()
        sink.put(run[0])
        sink.flush()
        if not (child := os.fork()):
            for event in run:
                sink.put(event)
            sink.flush(1)
            sink.close(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        for event in run[1:]:
            sink.put(event)
        print(os.getpid())
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    pid = done.stdout.strip()
    assert (tmp_path / "got").read_text().split("\n")[:-1] == [f"{pid} {seq}" for seq in range(1, 18)]
