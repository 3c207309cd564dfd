"""The recorder keeps everything, from any thread, and hands it to its store."""

import gc
import sys
import threading
import weakref

import msgspec
import pytest
from hypothesis import given

from hexviz.events import events as ev
from hexviz.events.observer_manager import ObserverManager
from hexviz.events.schema import to_record
from hexviz.events.summary import Summary
from hexviz.recording.recorder import Recorder
from tests.recording.made_events import Hostile, ProgressMade, numbered, small_run


@given(numbered)
def test_what_was_told_is_what_is_recorded(events):
    recorder = Recorder()
    for event in events:
        recorder(event)
    assert list(recorder.recording.records()) == [to_record(event) for event in events]
    assert len(recorder) == len(recorder.recording) == len(events)


def test_events_told_by_hand_get_the_run_id_of_the_recorder_and_gap_free_numbers():
    recorder = Recorder()
    for _ in range(3):
        recorder(ProgressMade("n", 0.5))
    assert [(e.run_id, e.seq) for e in recorder.recording] == [(recorder.run_id, n) for n in (1, 2, 3)]


def test_eight_threads_lose_nothing():
    recorder = Recorder()

    def tell(thread):
        for number in range(1, 2001):
            recorder(ev.NodeCompleted(f"n{number}", 1, number, 1.0, run_id=f"r{thread}", seq=number))

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorder) == 16_000
    for thread in range(8):
        assert [e.seq for e in recorder.recording_of(f"r{thread}").events()] == list(range(1, 2001))


def test_threads_that_tell_by_hand_get_distinct_numbers():
    recorder = Recorder()
    threads = [
        threading.Thread(target=lambda: [recorder(ProgressMade("n", 1.0)) for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(e.seq for e in recorder.recording) == list(range(1, 2001))


def test_a_recording_may_be_read_while_it_grows():
    recorder = Recorder()
    stop = threading.Event()

    def tell():
        for number in range(1, 20_001):
            if stop.is_set():
                return
            recorder(ev.NodeStarted(f"n{number}", 1, run_id="r", seq=number))

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        for _ in range(5):
            frame = recorder.recording.frames.events
            assert frame["seq"].tolist() == list(range(1, len(frame) + 1))
    finally:
        stop.set()
        thread.join()


def test_neither_results_nor_exceptions_are_held_on_to():
    recorder = Recorder()
    thing, error = Hostile(), type("Own", (ValueError,), {})("x")
    alive = weakref.ref(thing), weakref.ref(error)
    recorder(ev.NodeCompleted("n", 1, thing, 1.0))
    recorder(ev.NodeFailed("n", 1, error))
    del thing, error
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


def test_recording_leaves_the_event_itself_as_it_was():
    result = [1]
    event = ev.NodeCompleted("n", 1, result, 1.0)
    Recorder()(event)
    assert event.result is result
    assert event.seq == 0


def test_attach_hears_everything_in_line_and_detach_ends_it():
    observers = ObserverManager()
    recorder = Recorder().attach(observers)

    async def tell():
        for event in small_run():
            await observers.notify(event)
        count = len(recorder)
        recorder.detach()
        await observers.notify(ProgressMade("n", 1.0))
        await observers.close()
        return count

    import asyncio

    assert asyncio.run(tell()) == len(recorder) == len(small_run())


def test_closing_twice_is_fine_and_the_recording_stays():
    with Recorder() as recorder:
        recorder(ProgressMade("n", 1.0))
    recorder.close()
    assert len(recorder.recording) == 1


def test_the_columns_hold_about_a_hundred_bytes_per_event():
    recorder = Recorder()
    for number in range(1, 10_001, 2):
        base = {"run_id": "r", "pipeline": "p"}
        recorder(ev.NodeStarted(f"n{number % 500}", 3, ("a", "b"), worker="w", seq=number, **base))
        recorder(ev.NodeCompleted(f"n{number % 500}", 3, number, 1.5, seq=number + 1, **base))
    assert recorder.statistics()["bytes"] / 10_000 <= 120


def test_importing_the_recorder_loads_neither_pandas_nor_numpy():
    import subprocess

    code = (
        "import sys, hexviz.recording.recorder, hexviz.recording.replay; print({'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_capture_json_is_kept_beside_the_summary():
    recorder = Recorder(capture="json")
    recorder(ev.NodeCompleted("n", 1, {"rows": 3, "token": "canary"}, 1.0))
    (event,) = recorder.recording
    assert msgspec.json.decode(event.result.content) == {"rows": 3, "token": "[redacted]"}
    assert event.result.type == "dict"


def test_results_are_summaries_by_default():
    recorder = Recorder()
    recorder(ev.NodeCompleted("n", 1, "canary", 1.0))
    (event,) = recorder.recording
    assert event.result == Summary("str", length=6)


@pytest.mark.parametrize("make", [Hostile, lambda: Hostile, lambda: type("X", (str,), {})("x"), lambda: print])
def test_no_result_can_break_the_recorder(make):
    hostile = make()
    recorder = Recorder()
    recorder(ev.NodeCompleted("n", 1, hostile, 1.0))
    recorder(ProgressMade("n", 1.0, hostile))
    assert len(recorder.recording.frames.events) == 2


def test_news_about_a_run_that_is_over_go_on_with_its_numbers():
    recorder = Recorder()
    for seq in (1, 2, 3):
        recorder(ev.NodeStarted("a", 1, run_id="r", seq=seq))
    recorder(ev.ObserverFailed("slow", "TimeoutError", run_id="r"))
    recorder(ev.ObserverFailed("slow", "TimeoutError", run_id="r"))
    assert [event.seq for event in recorder.recording] == [1, 2, 3, 4, 5]


def test_what_was_kept_is_let_go_of_with_the_recorder_without_waiting_for_the_garbage_collector():
    observers = ObserverManager()
    gc.collect()
    gc.disable()
    try:
        recorder = Recorder().attach(observers)
        for event in small_run():
            observers.notify_nowait(event)
            recorder(event)
        columns = weakref.ref(recorder.recording._columns)
        recorder.close()
        del recorder
        assert columns() is None
    finally:
        gc.enable()
