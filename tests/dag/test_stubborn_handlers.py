"""Control handlers that do not come back: the run goes on, or ends, all the same."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from hexviz.dag import Graph, Orchestrator, PipelineError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    ExecutionContext,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObserverManager,
    PipelineCancelled,
    PipelineFailed,
    PipelineStarted,
    WaveStarted,
)
from hexviz.recording.recorder import Recorder


def one_node(fn=lambda value: 1):
    graph = Graph("g")
    graph.node(fn, name="n")
    return graph


def test_a_sync_handler_that_never_returns_is_left_behind_when_its_limit_is_over():
    for_ever = threading.Event()
    control = ControlManager()
    control.register(lambda event, context: for_ever.wait(), name="stuck", event_types=NodeStarted, timeout_s=0.05)
    try:
        result = asyncio.run(Orchestrator(control=control).run(one_node(), 0))
    finally:
        for_ever.set()
    assert dict(result) == {"n": 1}


def test_a_critical_one_ends_the_run_and_is_named():
    for_ever = threading.Event()
    control = ControlManager()
    control.register(lambda event, context: for_ever.wait(), name="stuck", priority=1, timeout_s=0.05)
    try:
        with pytest.raises(PipelineError, match="stuck"):
            asyncio.run(Orchestrator(control=control).run(one_node(), 0))
    finally:
        for_ever.set()


def test_the_loop_goes_on_beside_a_sync_handler_with_a_limit():
    beats = []
    control = ControlManager()
    control.register(lambda event, context: time.sleep(0.2) or PROCEED, event_types=NodeStarted, timeout_s=5)

    async def beat():
        while True:
            beats.append(1)
            await asyncio.sleep(0.005)

    async def main():
        beating = asyncio.create_task(beat())
        await Orchestrator(control=control).run(one_node(), 0)
        beating.cancel()

    asyncio.run(main())
    assert len(beats) > 5


def test_a_sync_handler_with_a_limit_answers_and_raises_like_any_other():
    def refuse(event, context):
        return ControlResponse(ControlSignal.FAIL, reason="no")

    def broken(event, context):
        raise ValueError("broken")

    async def main():
        control = ControlManager()
        control.register(broken, name="broken", timeout_s=5)
        control.register(refuse, name="refuse", timeout_s=5, priority=200)
        return await control.decide(NodeStarted("n", 1), ExecutionContext("g"))

    decision = asyncio.run(main())
    assert decision.decided_by.name == "refuse"
    assert [vote.error for vote in decision.votes] == ["ValueError: broken", ""]


async def ignores_cancellation(event, context):
    until = asyncio.get_running_loop().time() + 30
    while asyncio.get_running_loop().time() < until:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)


def fails(value):
    raise ValueError


@pytest.mark.parametrize("place", [PipelineStarted, WaveStarted, NodeStarted, NodeCompleted, NodeFailed])
def test_a_run_is_cancelled_within_its_grace_while_a_handler_ignores_that(place):
    control, observers = ControlManager(), ObserverManager()
    control.register(ignores_cancellation, event_types=place, timeout_s=60)
    recorder = Recorder().attach(observers)
    orchestrator = Orchestrator(observers=observers, control=control, cancel_grace_s=0.05)
    graph = one_node(fails) if place is NodeFailed else one_node()

    async def main():
        running = asyncio.create_task(orchestrator.run(graph, 0))
        while not any(isinstance(event, place) for event in recorder.recording):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        orchestrator.cancel(orchestrator.run_ids[0])
        done, _ = await asyncio.wait([running], timeout=10)
        assert done, "the run did not end"
        with pytest.raises((asyncio.CancelledError, PipelineError)):
            await running

    asyncio.run(main())
    events = list(recorder.recording)
    assert type(events[-1]) is (PipelineFailed if place is NodeFailed else PipelineCancelled)
