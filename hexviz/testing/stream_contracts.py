"""What every sink and every source promises, as tests: subclass and define two fixtures."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hexviz.events import events as ev
from hexviz.events.cloud_events import from_cloud_event, to_cloud_event
from hexviz.events.schema import to_record
from hexviz.events.summary import Summariser
from hexviz.recording.recorder import Recorder
from hexviz.streams.reader import Reader
from hexviz.testing.store_contract import HOSTILE_NAMES, HOSTILE_VALUES, ValueMade, contract_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from hexviz.streams.models import Sink, Source

PATIENCE_S = 30.0
POISON = (b"", b"garbage", b"\x80\x04\x95.", b'{"specversion":"1.0"}', b"[" * 100_000, b"\x1f\x8b\x08" + b"\0" * 99)


UNSENDABLE: Any = ev.NodeStarted("a", 1, run_id=7, seq=99)  # type: ignore[arg-type]
"""No message can be made of it: its run has no name."""


def summarised(events: Iterable[ev.Event]) -> list[ev.Event]:
    """The events as a recorder hands them on."""
    return list(map(Summariser(), events))


def first_records(bodies: Iterable[bytes]) -> list[bytes]:
    """The records in message bodies, each event once, in order of first arrival."""
    events = [from_cloud_event(body) for body in bodies]
    return [to_record(event) for event in {(event.run_id, event.seq): event for event in reversed(events)}.values()][
        ::-1
    ]


def collected(source: Iterable[Any], count: int, timeout_s: float = PATIENCE_S) -> list[Any]:
    """The first ``count`` items of something that may wait for ever; fewer where they do not come in time."""
    found: list[Any] = []
    full = threading.Event()

    def collect() -> None:
        for item in source:
            found.append(item)
            if len(found) >= count:
                break
        full.set()

    threading.Thread(target=collect, name="collects", daemon=True).start()
    full.wait(timeout_s)
    return found[:count]


class SinkContract:
    """Subclass it and define the fixtures ``open_sink`` and ``arrived``.

    ``open_sink()`` gives one more sink to the test's one place, which is empty in the beginning; the fixture closes
    them. ``arrived(count)`` gives the message bodies that have arrived there, in order, and waits for ``count`` of
    them. ``outage``, a fixture too, gives a context manager within which the place cannot be reached; without it the
    tests of outages are skipped.

    ::

        class TestMySink(hexviz.testing.SinkContract):
            @pytest.fixture
            def open_sink(self, tmp_path):
                with contextlib.ExitStack() as stack:
                    yield lambda: stack.enter_context(SpooledSink(MyTransport(tmp_path)))

            @pytest.fixture
            def arrived(self, tmp_path):
                return lambda count: read_until(tmp_path, count)
    """

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[Any]]:
        """Skips what needs one."""
        pytest.skip("this sink defines no outage")

    def test_what_was_put_arrives_in_order_and_is_what_it_was(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink, run = open_sink(), summarised(contract_run())
        for event in run:
            sink.put(event)
        assert sink.flush(PATIENCE_S) == 0
        assert first_records(arrived(len(run))) == [to_record(event) for event in run]
        assert sink.statistics() | {"sent": 17, "queued": 0, "dropped": 0, "refused": 0} == sink.statistics()

    def test_runs_from_several_threads_keep_their_own_order(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sinks = [open_sink(), open_sink()]
        runs = [summarised(contract_run(f"run-{number}", nodes=50)) for number in range(4)]

        def tell(number: int) -> None:
            for event in runs[number]:
                sinks[number % 2].put(event)

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [sink.flush(PATIENCE_S) for sink in sinks] == [0, 0]
        bodies = arrived(4 * 152)
        for number, run in enumerate(runs):
            mine = [body for body in bodies if from_cloud_event(body).run_id == f"run-{number}"]
            assert first_records(mine) == [to_record(event) for event in run]

    def test_hostile_names_and_values_arrive_as_they_are(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink = open_sink()
        events: list[ev.Event] = [
            ev.NodeStarted(name, 1, run_id=name or "-", pipeline=name, seq=seq)
            for seq, name in enumerate(HOSTILE_NAMES, 1)
        ]
        events += [ValueMade(run_id="values", seq=seq, value=value) for seq, value in enumerate(HOSTILE_VALUES, 1)]
        for event in summarised(events):
            sink.put(event)
        assert sink.flush(PATIENCE_S) == 0
        told = sorted(first_records(arrived(len(events))))
        assert told == sorted(to_record(event) for event in summarised(events))

    def test_an_event_of_many_megabytes_arrives_whole_or_is_counted_as_refused(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink, run = open_sink(), contract_run()
        nodes = tuple(ev.NodeInfo(f"node {number} {'x' * 100}", 1) for number in range(20_000))
        run[0] = msgspec.structs.replace(run[0], nodes=nodes)
        for event in summarised(run):
            sink.put(event)
        assert sink.flush(PATIENCE_S) == 0
        refused = sink.statistics()["refused"]
        assert refused in {0, 1}
        assert first_records(arrived(len(run) - refused)) == [to_record(event) for event in summarised(run)[refused:]]

    def test_an_event_that_no_message_can_be_made_of_costs_only_itself(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink, run = open_sink(), summarised(contract_run())
        for event in run:
            sink.put(event)
            sink.put(UNSENDABLE)
        assert sink.flush(PATIENCE_S) == 0
        assert first_records(arrived(17)) == [to_record(event) for event in run]
        assert sink.statistics()["refused"] == 17

    def test_closing_sends_what_waits_and_later_events_are_counted_as_dropped(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink, run = open_sink(), summarised(contract_run())
        for event in run:
            sink.put(event)
        assert sink.close(PATIENCE_S) == 0
        assert sink.close(PATIENCE_S) == 0
        sink.put(run[0])
        assert sink.flush(1.0) == 0
        assert sink.statistics()["dropped"] == 1
        assert first_records(arrived(17)) == [to_record(event) for event in run]

    def test_a_recorder_hands_on_what_it_keeps(
        self, open_sink: Callable[[], Sink], arrived: Callable[[int], list[bytes]]
    ) -> None:
        sink = open_sink()
        recorder = Recorder(sinks=[sink])
        for event in contract_run():
            recorder(event)
        assert sink.flush(PATIENCE_S) == 0
        assert first_records(arrived(17)) == [to_record(event) for event in recorder.recording.events()]

    def test_what_was_put_during_an_outage_arrives_after_it_each_once_and_in_order(
        self,
        open_sink: Callable[[], Sink],
        arrived: Callable[[int], list[bytes]],
        outage: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        sink, run = open_sink(), summarised(contract_run(nodes=100))
        for event in run[:100]:
            sink.put(event)
        assert sink.flush(PATIENCE_S) == 0
        with outage():
            for event in run[100:]:
                sink.put(event)
            assert sink.flush(0.3) == len(run) - 100
        assert sink.flush(PATIENCE_S) == 0
        assert first_records(arrived(len(run))) == [to_record(event) for event in run]
        assert sink.statistics()["dropped"] == 0

    def test_closing_during_an_outage_says_how_many_are_left_and_does_not_wait_for_ever(
        self, open_sink: Callable[[], Sink], outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        with outage():
            sink = open_sink()
            for event in summarised(contract_run()):
                sink.put(event)
            began = time.monotonic()
            assert sink.close(0.5) == 17
            assert time.monotonic() - began < PATIENCE_S


class SourceContract:
    """Subclass it and define the fixtures ``open_source`` and ``send``.

    ``send(bodies)`` puts message bodies of one run, in order, at the test's one place, which is empty in the
    beginning. ``open_source()`` gives one more source that reads there from the beginning or, where ``resumes`` is
    True, from behind what was committed; the fixture closes them.
    """

    resumes = False
    """Whether a source begins behind what an earlier one has committed."""

    def test_bodies_come_in_order_and_are_what_was_sent(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        bodies = list(map(to_cloud_event, contract_run(nodes=100)))
        send(bodies)
        assert collected(open_source(), len(bodies)) == bodies

    def test_what_is_sent_later_comes_too(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        bodies = list(map(to_cloud_event, contract_run()))
        source = iter(open_source())
        for body in bodies:
            send([body])
            assert collected(source, 1) == [body]

    def test_closing_ends_the_reading_of_another_thread(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        send(list(map(to_cloud_event, contract_run())))
        source = open_source()
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.extend(source))
        thread.start()
        time.sleep(0.2)
        source.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        source.close()

    def test_messages_that_are_no_events_cost_only_themselves(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        run, buried = contract_run(), []
        bodies = list(map(to_cloud_event, run))
        send([bodies[0], *POISON, *bodies[1:]])
        reader = Reader(open_source(), dead_letter=lambda body, _error: buried.append(body))
        events = collected(reader, 17)
        assert [event.seq for event in events] == list(range(1, 18))
        assert tuple(buried) == POISON
        assert reader.statistics()["poison"] == len(POISON)

    def test_what_comes_twice_is_given_once(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        bodies = list(map(to_cloud_event, contract_run()))
        send([*bodies[:9], *bodies[4:], *bodies])
        reader = Reader(open_source())
        assert [event.seq for event in collected(reader, 17)] == list(range(1, 18))
        assert reader.gaps("run-1") == []

    def test_what_was_not_committed_comes_again(
        self, open_source: Callable[[], Source], send: Callable[[list[bytes]], None]
    ) -> None:
        bodies = list(map(to_cloud_event, contract_run()))
        send(bodies)
        first = open_source()
        reading = iter(first)
        assert [next(reading) for _ in range(5)] == bodies[:5]
        first.commit()
        assert [next(reading) for _ in range(5)] == bodies[5:10]
        first.close()
        with contextlib.closing(open_source()) as second:
            expected = bodies[5:] if self.resumes else bodies
            assert collected(second, len(expected)) == expected
