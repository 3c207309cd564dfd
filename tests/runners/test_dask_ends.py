"""What a run leaves on a Dask client when it has ended: nothing."""

import asyncio
import gc
import time
import warnings

import pytest

import hexviz
from hexviz import ControlManager, Graph, ObserverManager, Orchestrator
from hexviz.dag import DaskRunner

pytestmark = pytest.mark.cluster


def one():
    return 1


def two(one):
    return one + 1


def sleep():
    time.sleep(0.3)


def pair():
    graph = Graph("pair")
    graph.node(one)
    graph.node(two, after=["one"])
    return graph


def slow():
    graph = Graph("slow")
    graph.node(sleep)
    return graph


def run_on(client, *, keep_remote=False, graph=None):
    runner = DaskRunner(client, keep_remote)
    return Orchestrator(observers=ObserverManager(), control=ControlManager(), runner=runner).run(graph or pair())


@pytest.mark.parametrize("keep_remote", [False, True])
def test_a_client_keeps_nothing_of_a_run_whose_result_nobody_holds(client, keep_remote):
    asyncio.run(run_on(client, keep_remote=keep_remote))

    end_s = time.monotonic() + 10.0
    while client.futures and time.monotonic() < end_s:  # the client lets go of them on its own loop
        gc.collect()
        time.sleep(0.01)
    assert not client.futures


def test_a_client_keeps_nothing_of_a_recording(client):
    with hexviz.record_dask(client):
        client.submit(one).result()
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found).__name__ == "DaskRecording"]


def test_a_run_that_ends_while_its_scheduler_is_asked_leaves_no_task_and_no_socket(client, monkeypatch):
    monkeypatch.setattr("hexviz.dag.runners.dask._PING_EVERY_S", 0.0)
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
