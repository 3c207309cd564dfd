"""Replay: the same events, in order, at any speed, to anything that listens."""

import asyncio

import pytest

from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.recording.replay import Replay, ReplayError
from tests.recording.made_events import small_run


class Clock:
    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def test_record_replay_record_gives_equal_bytes():
    recording = Recording(small_run())

    async def again():
        async with ObserverManager() as observers:
            with Recorder().attach(observers) as recorder:
                assert await Replay(recording).run(observers) == len(recording)
            return recorder.recording

    assert list(asyncio.run(again()).records()) == list(recording.records())


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 0.04), (10.0, 0.004), (0.5, 0.08)])
def test_speed_scales_the_recorded_time(speed, seconds):
    clock = Clock()
    asyncio.run(Replay(Recording(small_run()), speed, clock=clock, sleep=clock.sleep).run(lambda event: None))
    assert clock.now - 100.0 == pytest.approx(seconds)


def test_no_speed_means_no_waiting():
    clock = Clock()
    asyncio.run(Replay(Recording(small_run()), clock=clock, sleep=clock.sleep).run(lambda event: None))
    assert clock.slept == []


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
        asyncio.run(Replay(recording).run(target, after_seq=2))
        assert heard == list(range(3, len(recording) + 1))


def test_what_cannot_work_is_a_named_error():
    with pytest.raises(ReplayError, match="speed"):
        Replay(Recording(), speed=0)
    with pytest.raises(ReplayError, match="int"):
        asyncio.run(Replay(Recording()).run(3))
