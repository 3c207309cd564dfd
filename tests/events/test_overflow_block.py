"""overflow="block": a slow observer holds the emitter, for as long as was agreed and no longer."""

import asyncio
import threading
import time

import pytest

from hexviz.dag import Graph, Orchestrator
from hexviz.errors import RegistrationError
from hexviz.events import NodeStarted, ObserverManager


def event(i):
    return NodeStarted(f"n{i}", 1)


def test_a_slow_observer_with_block_loses_nothing_that_it_can_work_off_in_time():
    heard = []

    async def slow(told):
        await asyncio.sleep(0.001)
        heard.append(told.name)

    async def main():
        observers = ObserverManager()
        observers.register(slow, observer_id="slow", queue_size=5, overflow="block", block_ms=5_000)
        for i in range(100):
            await observers.notify(event(i))
        await observers.flush()
        return observers.statistics()["slow"]

    statistics = asyncio.run(main())
    assert heard == [f"n{i}" for i in range(100)]
    assert statistics["dropped"] == {}


def test_the_same_observer_without_block_loses_what_does_not_fit():
    async def slow(told):
        await asyncio.sleep(0.001)

    async def main():
        observers = ObserverManager()
        observers.register(slow, observer_id="slow", event_types=NodeStarted, queue_size=5)
        for i in range(100):
            await observers.notify(event(i))
        await observers.flush()
        return observers.statistics()["slow"]

    statistics = asyncio.run(main())
    assert statistics["delivered"] + statistics["dropped"]["queue_full"] == 100
    assert statistics["dropped"]["queue_full"] > 50


def test_an_observer_that_does_not_catch_up_costs_the_emitter_its_limit_and_the_event_is_counted():
    async def hangs(told):
        await asyncio.Event().wait()

    async def main():
        observers = ObserverManager(observer_timeout=60)
        observers.register(
            hangs, observer_id="hangs", event_types=NodeStarted, queue_size=1, overflow="block", block_ms=20
        )
        for i in range(5):
            await observers.notify(event(i))
        statistics = observers.statistics()["hangs"]
        await observers.close(timeout=0.05)
        return statistics

    statistics = asyncio.run(main())
    assert statistics["dropped"] == {"queue_full": 4}


def test_the_loop_goes_on_while_an_emitter_waits():
    beats = []

    async def hangs(told):
        await asyncio.Event().wait()

    async def beat():
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.005)

    async def main():
        observers = ObserverManager(observer_timeout=60)
        observers.register(hangs, queue_size=1, overflow="block", block_ms=200)
        beating = asyncio.create_task(beat())
        await observers.notify(event(0))
        await asyncio.sleep(0)
        before = len(beats)
        await observers.notify(event(1))
        assert len(beats) - before > 5
        beating.cancel()
        await observers.close(timeout=0.05)

    asyncio.run(main())


def test_a_thread_without_a_loop_is_held_until_there_is_room():
    heard, may_go = [], threading.Event()

    def slow(told):
        may_go.wait(10)
        heard.append(told.name)

    with ObserverManager() as observers:
        observers.register(slow, observer_id="slow", queue_size=1, overflow="block", block_ms=5_000)
        observers.notify_nowait(event(0))
        threading.Timer(0.1, may_go.set).start()
        observers.notify_nowait(event(1))
        assert may_go.is_set()
        observers.notify_nowait(event(2))
    assert heard == ["n0", "n1", "n2"]


def test_a_run_waits_for_an_observer_with_block_and_it_hears_everything():
    heard = []

    async def slow(told):
        await asyncio.sleep(0.001)
        heard.append(told.seq)

    async def step(value=None):
        return value

    graph = Graph("g")
    for i in range(60):
        graph.node(step, name=f"n{i}")

    async def main():
        observers = ObserverManager()
        observers.register(slow, observer_id="slow", queue_size=20, overflow="block", block_ms=5_000)
        await Orchestrator(observers=observers).run(graph)
        await observers.flush()
        return observers.statistics()["slow"]

    statistics = asyncio.run(main())
    assert statistics["dropped"] == {}
    assert heard == sorted(heard)
    assert len(heard) == 124


@pytest.mark.parametrize("block_ms", [0, -1, float("nan"), 1e9])
def test_a_limit_that_cannot_work_is_refused_by_name(block_ms):
    with pytest.raises(RegistrationError, match="block_ms"):
        ObserverManager().register(print, overflow="block", block_ms=block_ms)
