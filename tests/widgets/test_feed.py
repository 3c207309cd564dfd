"""Tap and pump: from the run's path to a sink."""

import threading
import time

import pytest

from hexviz.events import events as ev
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.state import RunState
from hexviz.widgets.feed import Pump, Tap


class Sink:
    """Remembers what was pushed."""

    def __init__(self, *, ready=True, greeted=True):
        self.pushed, self.is_ready, self.greeted, self.told = [], ready, greeted, False
        self.asked = []

    def ready(self):
        return self.is_ready

    def news(self):
        return self.told

    def push(self, state, *, full, done, asked):
        delta = state.delta(full=full)
        self.pushed.append((len(delta.rows), full, done))
        self.asked.append(asked)


def pump_of(sink, **options):
    pump = Pump(Tap(), RunState(), sink, **options)
    return pump, pump.tap


def test_the_tap_keeps_the_order_of_the_manager_and_is_called_in_line():
    observers, tap = ObserverManager(), Tap()
    observers.register(tap.put, lossless=True, observer_id="tap")
    events = [ev.NodeStarted(f"n{i}", 1) for i in range(100)]
    for event in events:
        observers.notify_nowait(event)
    assert len(tap) == 100
    assert tap.drain() == events
    assert tap.drain() == []


def test_a_view_that_came_late_gets_all_of_it_anew_when_its_history_has_been_taken_in(runs):
    sink, events = Sink(), runs.many(300)
    pump = Pump(Tap(history=events), RunState(), sink)
    pump.tap.put(events[-1])
    while pump.tap.late:
        pump.tick()
    assert (sink.asked[-1], sink.pushed[-1][1]) == (True, True)
    assert pump.state.events == len(events)
    before = len(sink.pushed)
    pump.tick()
    assert len(sink.pushed) == before


def test_a_tick_sends_one_message_however_many_events_came(runs):
    sink = Sink()
    pump, tap = pump_of(sink)
    for event in runs.many(300):
        tap.put(event)
    pump.tick()
    pump.tick()
    assert len(sink.pushed) == 1


def test_nothing_is_sent_while_nothing_happens_unless_there_is_news():
    sink = Sink()
    pump, _ = pump_of(sink)
    pump.tick()
    assert sink.pushed == []
    sink.told = True
    pump.tick()
    assert sink.pushed == [(0, False, False)]


def test_a_view_that_lags_is_waited_for_and_then_gets_all_that_changed(runs):
    sink = Sink(ready=False)
    pump, tap = pump_of(sink)
    for event in runs.story():
        tap.put(event)
        pump.tick()
    assert (sink.pushed, pump.skipped) == ([], 17)
    sink.is_ready = True
    pump.tick()
    assert sink.pushed == [(4, False, False)]


def test_the_last_word_is_sent_even_to_a_view_that_lags(runs):
    sink = Sink(ready=False)
    pump, tap = pump_of(sink)
    pump.start()
    for event in runs.story():
        tap.put(event)
    pump.close()
    pump.close()
    assert sink.pushed[0] == (4, False, True)


def test_a_view_that_comes_back_gets_everything_also_after_the_end(runs):
    sink = Sink()
    pump, tap = pump_of(sink)
    for event in runs.story():
        tap.put(event)
    pump.tick()
    pump.resync()
    pump.tick()
    assert sink.pushed[-1] == (4, True, False)
    assert sink.asked == [False, True]
    pump.close()
    pump.resync()
    assert sink.pushed[-1] == (4, True, True)


def test_whoever_ends_a_run_does_not_fold_it(runs):
    """The thread of the view takes in what is left and says that it has ended; ``finish`` only asks for it."""
    ended = threading.Event()
    folding = []
    pump, tap = pump_of(Sink(), hz=0.1, ended=ended.set)
    fold = pump.state.fold
    pump.state.fold = lambda event: (folding.append(threading.current_thread().name), fold(event))
    pump._ended = lambda: (pump.close(), ended.set())
    pump.start()
    for event in runs.story()[:5]:
        tap.put(event)
    assert pump.finish()
    assert ended.wait(5)
    assert folding == ["hexviz-pump"] * 5
    pump._thread.join(5)
    assert not pump.finish()


def test_a_new_sink_begins_with_everything_within_its_budget(runs):
    pump, tap = pump_of(None)
    for event in runs.story()[:5]:
        tap.put(event)
    pump.tick()
    sink = Sink()
    pump.attach(sink)
    pump.tick()
    assert (sink.pushed, sink.asked) == ([(1, True, False)], [False])


def test_until_a_view_has_said_hello_everything_is_sent(runs):
    sink = Sink(greeted=False)
    pump, tap = pump_of(sink)
    for event in runs.story()[:4]:
        tap.put(event)
    pump.tick()
    assert sink.pushed == [(1, True, False)]


def test_an_event_that_cannot_be_folded_is_counted_and_stops_nothing(runs):
    pump, tap = pump_of(Sink())
    tap.put(ev.NodeStarted(name=["not", "a", "name"], wave_index=1))
    for event in runs.story():
        tap.put(event)
    pump.tick()
    assert pump.faults == 1
    assert pump.state.run_id in {"", "run-1"}


def test_the_pump_ends_by_itself_when_the_run_has_ended(runs):
    ended = threading.Event()
    pump, tap = pump_of(Sink(), hz=20, ended=ended.set)
    pump.start()
    for event in runs.story():
        tap.put(event)
    assert ended.wait(5)
    pump.close()
    assert not any(thread.name == "hexviz-pump" and thread is pump._thread for thread in threading.enumerate())


def test_a_flood_becomes_a_few_messages():
    sink = Sink()
    pump, tap = pump_of(sink, hz=10)
    pump.start()
    until = time.monotonic() + 0.5
    count = 0
    while time.monotonic() < until:
        for _ in range(100):
            tap.put(ev.NodeStarted(f"n{count % 500}", 1))
            count += 1
        time.sleep(0.001)
    pump.close()
    assert pump.state.events == count
    assert len(sink.pushed) <= 8


def test_one_refresh_takes_in_only_so_much_as_leaves_the_run_its_time_and_the_rest_follows():
    pump, tap = pump_of(Sink(), hz=10)
    for i in range(60_000):
        tap.put(ev.NodeStarted(f"n{i}", 1))
    pump.tick()
    assert 0 < pump.state.events < 60_000
    pump.tick(done=True)
    assert pump.state.events == 60_000


@pytest.mark.parametrize(("asked", "period_s"), [(1000, 0.1), (10, 0.1), (2, 0.5), (0.001, 10.0)])
def test_no_pace_is_beyond_ten_refreshes_a_second(asked, period_s):
    pump, _ = pump_of(Sink())
    pump.pace(asked)
    assert pump._period_s == period_s


def test_a_view_that_appears_is_served_at_once(runs):
    sink = Sink()
    pump, tap = pump_of(sink, hz=0.1)
    pump.start()
    for event in runs.story()[:5]:
        tap.put(event)
    pump.resync()
    until = time.monotonic() + 5
    while not sink.pushed:
        assert time.monotonic() < until
        time.sleep(0.005)
    pump.close()
    assert sink.pushed[0] == (1, True, False)
