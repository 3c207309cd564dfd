"""What a run leaves on a Dask client when it has ended: nothing."""

import asyncio
import gc
import time
import warnings
from contextlib import suppress

import pytest

import hexviz
from hexviz import ControlManager, Graph, ObserverManager, Orchestrator, PipelineError
from hexviz.dag import DaskRunner

pytestmark = pytest.mark.cluster


def one():
    return 1


def two(one):
    return one + 1


def fail(one):
    raise ValueError(one)


def sleep():
    time.sleep(0.3)


def pair():
    graph = Graph("pair")
    graph.node(one)
    graph.node(two, after=["one"])
    return graph


def lasting():
    """Takes longer than until the run looks what became of its tasks."""
    graph = Graph("lasting")
    graph.node(lambda value=None: time.sleep(0.3) or 1, name="a")
    graph.node(lambda value: time.sleep(0.3) or 2, name="b", after=["a"])
    return graph


def failing():
    graph = Graph("failing")
    graph.node(one)
    graph.node(fail, after=["one"])
    return graph


def slow():
    graph = Graph("slow")
    graph.node(sleep)
    return graph


def run_on(client, *, keep_remote=False, graph=None):
    runner = DaskRunner(client, keep_remote)
    return Orchestrator(observers=ObserverManager(), control=ControlManager(), runner=runner).run(graph or pair())


@pytest.mark.parametrize("keep_remote", [False, True])
@pytest.mark.parametrize("graph", [pair, lasting, failing])
def test_a_client_keeps_nothing_of_a_run_whose_result_nobody_holds(client, graph, keep_remote):
    """Without the garbage collector: what waits for it waits on the cluster, in the workers' memory."""
    gc.collect()
    gc.disable()
    try:
        with suppress(PipelineError):
            asyncio.run(run_on(client, keep_remote=keep_remote, graph=graph()))
        end_s = time.monotonic() + 10.0
        while client.futures and time.monotonic() < end_s:  # the client lets go of them on its own loop
            time.sleep(0.01)
            if graph is failing:  # an exception and its frames are a cycle
                gc.collect()
        assert not client.futures
    finally:
        gc.enable()


def test_a_client_keeps_nothing_of_a_recording(client):
    with hexviz.record_dask(client):
        client.submit(one).result()
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found).__name__ == "DaskRecording"]


def test_a_run_that_ends_while_its_scheduler_is_asked_leaves_no_task_and_no_socket(client, monkeypatch):
    monkeypatch.setattr("hexviz.dag.runners.dask_session._PING_EVERY_S", 0.0)
    left = []

    async def run():
        await run_on(client)
        left.extend(task for task in asyncio.all_tasks() if task is not asyncio.current_task())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            asyncio.run(run())
        gc.collect()
    assert left == []


def test_a_client_sends_as_often_as_before_when_two_runs_at_once_have_ended(client):
    before_s = client.scheduler_comm.interval

    async def both():
        first = asyncio.create_task(run_on(client))
        await asyncio.sleep(0.02)
        await run_on(client, graph=slow())
        await first

    asyncio.run(both())
    assert client.scheduler_comm.interval == before_s
