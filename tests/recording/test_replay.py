"""Replay: the same events, in order, at any speed, to anything that listens."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

import hexviz
from hexviz.dag import Graph, Orchestrator, OrchestratorError, tool_call
from hexviz.events import events as ev
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.recording.replay import Replay, ReplayError
from hexviz.testing import FakeClock, capture_events, sample_graph
from tests.dag.test_workflows import FACTS, WORKFLOWS, JumpingLoop, workflow
from tests.recording.made_events import MS, T0, Run, small_run
from tests.recording.random_runs import record_random


def recorded_again(recording):
    async def again():
        async with ObserverManager() as observers:
            recorder = Recorder().attach(observers)
            assert await Replay(recording, None).run(observers) == len(recording)
            return recorder.recording

    return asyncio.run(again())


def seqs(recording, *, speed=None, steer=None, **options):
    """The numbers that a function heard; ``steer`` gets the replay first."""
    heard = []
    replay = Replay(recording, speed, **options)
    if steer:
        steer(replay)
    asyncio.run(replay.run(lambda event: heard.append(event.seq)))
    return heard


# --- the same facts


def test_record_replay_record_gives_equal_bytes_for_a_hundred_random_runs():
    statuses = set()
    for seed in range(100):
        recording = record_random(seed, max_concurrent_nodes=3)
        assert list(recorded_again(recording).records()) == list(recording.records())
        statuses |= {type(event).__name__ for event in recording}
    assert {
        "NodeRetrying",
        "NodeSkipped",
        "NodeFellBack",
        "PipelineFailed",
        "PipelineSkipped",
        "ToolFailed",
    } <= statuses


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflow files of shared/data are not beside the project")
@pytest.mark.parametrize("file", [facts[0] for facts in FACTS], ids=[facts[0].split("-")[0] for facts in FACTS])
def test_record_replay_record_gives_equal_bytes_for_a_real_workflow(file):
    async def run():
        observers = ObserverManager()
        recorder = Recorder().attach(observers)
        await Orchestrator(max_concurrent_nodes=10_000, observers=observers).run(workflow(file))
        return recorder.recording

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        recording = runner.run(run())
    assert list(recorded_again(recording).records()) == list(recording.records())


# --- speed


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 0.04), (10.0, 0.004), (0.1, 0.4), (1000, 0.000_04)])
def test_speed_scales_the_recorded_time(speed, seconds):
    clock = FakeClock(100.0)
    seqs(Recording(small_run()), speed=speed, clock=clock, sleep=clock.sleep)
    assert clock.now_s - 100.0 == pytest.approx(seconds)


def test_without_a_word_about_speed_a_run_plays_as_fast_as_it_was():
    assert Replay(Recording()).speed == 1.0


def test_no_speed_means_no_waiting():
    clock = FakeClock()
    seqs(Recording(small_run()), clock=clock, sleep=clock.sleep)
    assert clock.slept == []


def test_the_speed_may_change_while_it_plays():
    clock = FakeClock()
    replay = Replay(Recording(small_run()), 1.0, clock=clock, sleep=clock.sleep)

    def hear(event):
        if event.seq == 4:  # at 11 ms; 29 ms are left
            replay.speed = 0.1

    asyncio.run(replay.run(hear))
    assert clock.now_s == pytest.approx(0.011 + 0.29)


def test_a_clock_that_steps_back_costs_no_time_and_changes_no_order():
    events = [
        msgspec.structs.replace(e, monotonic_ns=e.monotonic_ns - (3600 * 1000 * MS if e.seq > 10 else 0))
        for e in small_run()
    ]
    clock = FakeClock()
    assert seqs(Recording(events), speed=1.0, clock=clock, sleep=clock.sleep) == list(range(1, len(events) + 1))
    assert clock.now_s == pytest.approx(0.015)


# --- who may be fed


def test_functions_coroutines_and_observers_may_be_fed():
    heard = []

    class Observer:
        async def handle(self, event):
            heard.append(event.seq)

    async def function(event):
        heard.append(event.seq)

    recording = Recording(small_run())
    for target in (Observer(), function, lambda event: heard.append(event.seq)):
        heard.clear()
        asyncio.run(Replay(recording, None).run(target))
        assert heard == list(range(1, len(recording) + 1))


def test_a_target_that_raises_ends_the_replay_and_the_next_run_goes_on_from_there():
    heard = []

    def hear(event):
        heard.append(event.seq)
        if len(heard) == 3:
            raise OSError("full")

    replay = Replay(Recording(small_run()[:5]), None)
    with pytest.raises(OSError, match="full"):
        asyncio.run(replay.run(hear))
    asyncio.run(replay.run(hear))
    assert heard == [1, 2, 3, 4, 5]
    assert replay.state == "ready"


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan"), "fast", True])
def test_a_speed_that_cannot_be_is_a_named_error(speed):
    with pytest.raises(ReplayError, match="speed"):
        Replay(Recording(), speed)


def test_what_cannot_be_fed_is_a_named_error():
    with pytest.raises(ReplayError, match="int cannot be fed"):
        asyncio.run(Replay(Recording()).run(3))


# --- steering


def playing(test):
    """Run ``test(replay, heard, clock)`` beside a replay whose clock only moves by hand."""

    async def main():
        clock, heard = FakeClock(jumps=False), []
        replay = Replay(Recording(small_run()), 1.0, clock=clock, sleep=clock.sleep)
        playing = asyncio.create_task(replay.run(lambda event: heard.append(event.seq)))
        await clock.advance(0)
        try:
            await test(replay, heard, clock)
        finally:
            replay.stop()
            await asyncio.wait_for(playing, 5)

    asyncio.run(main())


def test_a_paused_replay_tells_nothing_and_goes_on_where_it_stood():
    async def test(replay, heard, clock):
        await clock.advance(0.0115)
        assert heard == [1, 2, 3, 4, 5, 6]
        replay.pause()
        await clock.advance(3600)
        assert (heard[-1], replay.state, replay.offset_ms) == (6, "paused", pytest.approx(11.5))
        replay.resume()
        await clock.advance(0.0004)
        assert (heard[-1], replay.state) == (6, "playing")
        await clock.advance(0.0002)
        assert (heard[-1], replay.position, replay.seq) == (7, 7, 7)

    playing(test)


def test_steps_tell_so_many_events_and_pause():
    async def test(replay, heard, clock):
        replay.step()
        await clock.advance(0)
        assert (heard, replay.state) == ([1, 2, 3], "paused")
        replay.step(3)
        replay.step(2)
        await clock.advance(3600)
        assert (heard, replay.offset_ms) == (list(range(1, 9)), pytest.approx(15.0))

    playing(test)


def test_seeking_goes_both_ways_by_number_by_milliseconds_and_by_time():
    async def test(replay, heard, clock):
        for where, expected in (
            ({"seq": 19}, [19, 20]),
            ({"at": 12.0}, [7]),
            ({"at": T0 + timedelta(milliseconds=15)}, [8, 9, 10]),
            ({"at": 11.5}, []),
            ({"seq": 1}, [1, 2]),
        ):
            heard.clear()
            replay.seek(**where)
            await clock.advance(0)
            assert heard == expected

    playing(test)


def test_a_moment_between_two_events_keeps_its_distance_to_the_next():
    async def test(replay, heard, clock):
        heard.clear()
        replay.seek(11.5)
        await clock.advance(0.0004)
        assert heard == []
        await clock.advance(0.0002)
        assert heard == [7]

    playing(test)


def test_a_replay_can_be_steered_from_another_thread():
    heard, replay = [], Replay(Recording(small_run()), 1e-6)
    steps = [lambda: replay.step(3), lambda: replay.seek(seq=26), replay.resume, lambda: setattr(replay, "speed", None)]

    def steer():
        for step in steps:
            step()
            threading.Event().wait(0.02)

    thread = threading.Thread(target=steer)
    thread.start()
    asyncio.run(asyncio.wait_for(replay.run(lambda event: heard.append(event.seq)), 10))
    thread.join()
    assert heard[-1] == len(small_run())
    assert heard[:3] == [1, 2, 3]


def test_seeking_before_it_plays_leaves_out_the_beginning():
    assert seqs(Recording(small_run()), steer=lambda replay: replay.seek(seq=26)) == [26, 27, 28, 29]
    assert seqs(Recording(small_run()), steer=lambda replay: replay.seek(1e9)) == list(range(1, 30))


@pytest.mark.parametrize("where", [{}, {"at": 1, "seq": 1}, {"at": "noon"}])
def test_a_place_that_says_nothing_is_a_named_error(where):
    with pytest.raises(ReplayError):
        Replay(Recording(small_run())).seek(**where)


def test_a_number_that_several_runs_share_is_a_named_error():
    with pytest.raises(ReplayError, match=r"recording\.run\(run_id\)"):
        Replay(Recording([*small_run("one"), *small_run("two")])).seek(seq=3)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_a_step_that_cannot_be_is_a_named_error(n):
    with pytest.raises(ReplayError, match="step"):
        Replay(Recording()).step(n)


def test_a_loop_begins_again_until_it_is_stopped():
    heard, replay = [], Replay(Recording(small_run()[:3]), None, loop=True)

    def hear(event):
        heard.append(event.seq)
        if len(heard) == 7:
            replay.stop()

    asyncio.run(replay.run(hear))
    assert heard == [1, 2, 3, 1, 2, 3, 1]


def test_a_cancelled_replay_ends_at_once_and_can_go_on():
    async def main():
        heard, replay = [], Replay(Recording(small_run()), 1e-6)
        task = asyncio.create_task(replay.run(heard.append))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        replay.speed = None
        await replay.run(heard.append)
        return [event.seq for event in heard]

    assert asyncio.run(main()) == list(range(1, 30))


def test_one_replay_plays_once_at_a_time():
    async def main():
        replay = Replay(Recording(small_run()), 1e-6)
        task = asyncio.create_task(replay.run(lambda event: None))
        await asyncio.sleep(0)
        with pytest.raises(ReplayError, match="playing already"):
            await replay.run(lambda event: None)
        replay.stop()
        await task

    asyncio.run(main())


def test_an_empty_recording_is_over_at_once():
    assert seqs(Recording(), loop=True) == []
    assert Replay(Recording()).seq == 0


@pytest.mark.parametrize("target", ["manager", "view"])
def test_a_dashboard_shows_what_is_replayed(target):
    async def main():
        async with ObserverManager() as observers:
            view = hexviz.dashboard(observers)
            await Replay(Recording(small_run()), None).run(observers if target == "manager" else view)
            view.close()
            return view

    view = asyncio.run(main())
    assert (view.statistics()["events"], view.state.status) == (29, "succeeded")


# --- nothing new happens inside


def test_a_run_that_is_begun_inside_a_replay_is_a_named_error():
    async def start_a_run(event):
        await Orchestrator().run(sample_graph())

    with pytest.raises(ReplayError, match=r"Orchestrator\.run\('sample'\)"):
        asyncio.run(Replay(Recording(small_run()), None).run(start_a_run))


def test_a_call_of_a_node_that_replays_is_a_named_error():
    graph, told = Graph("g"), []

    @graph.node
    async def watch():
        def call_a_tool(event):
            with tool_call("search"):
                pass

        with pytest.raises(ReplayError, match="tool_call"):
            await Replay(Recording(small_run()), None).run(call_a_tool)
        async with tool_call("later") as call:
            call.result = 1

    async def main():
        observers = ObserverManager()
        with capture_events(observers) as events:
            await Orchestrator(observers=observers).run(graph)
        told.extend(event.tool_name for event in events.of(ev.ToolCalled))

    asyncio.run(main())
    assert told == ["later"]


def test_no_other_event_can_be_told_to_a_manager_that_is_fed():
    async def main():
        observers, refused = ObserverManager(), []
        replay = Replay(Recording(small_run()), None)

        async def tell_more(event):
            try:
                await observers.notify(ev.NodeStarted("new", 1))
            except ReplayError as error:
                refused.append(error)

        observers.register(tell_more, event_types=ev.PipelineStarted)
        recorder = Recorder().attach(observers)
        await replay.run(observers)
        await observers.notify(ev.NodeStarted("after", 1, run_id="run-1"))
        await observers.close()
        assert [str(error)[:8] for error in refused] == ["a replay"]
        return [event.name for event in recorder.recording if isinstance(event, ev.NodeStarted)][-2:]

    assert asyncio.run(main()) == ["chart", "after"]


def test_a_run_with_a_manager_that_is_fed_is_refused_and_the_replay_goes_on():
    async def main():
        observers = ObserverManager()
        replay = Replay(Recording(small_run()), 1e-6)
        task = asyncio.create_task(replay.run(observers))
        await asyncio.sleep(0)
        with pytest.raises(ReplayError, match="live and recorded"):
            await Orchestrator(observers=observers).run(sample_graph())
        with pytest.raises(ReplayError, match="another replay"):
            await Replay(Recording(small_run()), None).run(observers)
        replay.speed = None
        assert await task == 29
        assert (await Orchestrator(observers=observers).run(sample_graph())).status == "succeeded"

    asyncio.run(main())


def test_a_replay_into_the_manager_of_a_run_under_way_is_refused():
    async def main():
        observers, graph = ObserverManager(), Graph("g")

        @graph.node
        async def replay():
            await Replay(Recording(small_run()), None).run(observers)

        with pytest.raises(OrchestratorError) as failed:
            await Orchestrator(observers=observers).run(graph)
        return failed.value.exceptions[0].original_error

    error = asyncio.run(main())
    assert isinstance(error, ReplayError)
    assert "is telling this observer manager" in str(error)


def test_an_observer_that_fails_in_a_replay_is_reported_and_stops_nothing():
    async def main():
        observers = ObserverManager()

        def broken(event):
            raise OSError("broken")

        observers.register(broken, observer_id="broken", lossless=True)
        recorder = Recorder().attach(observers)
        assert await Replay(Recording(small_run()), None).run(observers) == 29
        await observers.close()
        return [event.observer for event in recorder.recording if isinstance(event, ev.ObserverFailed)]

    assert "broken" in asyncio.run(main())


# --- several runs in true order


def clocked(run_id, offsets_ms, *, wall=T0, monotonic_ns=0):
    events = Run(run_id)
    for ms in offsets_ms:
        events.at(ms).tell(ev.NodeStarted, "n", 1)
    shift = wall - T0
    return [
        msgspec.structs.replace(e, timestamp=e.timestamp + shift, monotonic_ns=e.monotonic_ns + monotonic_ns)
        for e in events.events
    ]


def order(*runs):
    heard = []
    asyncio.run(
        Replay(Recording([e for run in runs for e in run]), None).run(lambda e: heard.append((e.run_id, e.seq)))
    )
    return heard


def test_runs_of_one_machine_follow_its_monotonic_clock_even_if_the_wall_clock_was_set_back_in_one():
    one = clocked("one", [0, 10, 20, 30])
    two = clocked("two", [15, 25, 35])
    an_hour = timedelta(hours=1)
    back = [msgspec.structs.replace(e, timestamp=e.timestamp - an_hour) if e.seq > 2 else e for e in one]
    later = [msgspec.structs.replace(e, timestamp=e.timestamp - an_hour) for e in two]
    expected = [("one", 1), ("one", 2), ("two", 1), ("one", 3), ("two", 2), ("one", 4), ("two", 3)]
    assert order(one, two) == order(two, one) == order(back, later) == order(later, back) == expected


def test_runs_of_two_machines_follow_the_wall_clock_whatever_their_monotonic_clocks_say():
    one = clocked("one", [0, 10, 20])
    two = clocked("two", [5, 15], monotonic_ns=-6_000 * MS)
    assert order(one, two) == [("one", 1), ("two", 1), ("one", 2), ("two", 2), ("one", 3)]


def test_the_skew_of_a_second_machine_shifts_its_run_as_a_whole():
    one = clocked("one", [0, 10])
    two = clocked("two", [0, 10], wall=T0 - timedelta(minutes=5), monotonic_ns=10**12)
    assert order(one, two) == [("two", 1), ("two", 2), ("one", 1), ("one", 2)]


def test_within_a_run_the_number_counts_whatever_the_clocks_say():
    events = clocked("one", [0, 10, 20, 30])
    frozen = [msgspec.structs.replace(e, timestamp=datetime(2000, 1, 1, tzinfo=UTC)) for e in events]
    jumped = [msgspec.structs.replace(e, timestamp=e.timestamp + timedelta(days=3650 * (e.seq % 2))) for e in events]
    for told in (events[::-1], [events[i] for i in (2, 0, 3, 1)], frozen[::-1], jumped[::-1]):
        assert order(told) == [("one", 1), ("one", 2), ("one", 3), ("one", 4)]


def test_gaps_and_duplicates_are_told_as_they_were_recorded():
    events = clocked("one", [0, 10, 20, 30])
    assert order([events[0], events[3], events[3], events[1]]) == [("one", 1), ("one", 2), ("one", 4), ("one", 4)]


def test_one_run_of_several_can_be_replayed():
    recording = Recording([*small_run("one"), *small_run("two")])
    heard = []
    asyncio.run(Replay(recording.run("two"), None).run(heard.append))
    assert ({event.run_id for event in heard}, len(heard)) == ({"two"}, 29)
