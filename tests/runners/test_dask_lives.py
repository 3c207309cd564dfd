"""Clusters and clients that change, end or are used twice while runs go on."""

import asyncio
import logging
import threading

import pytest

from hexviz import Graph, ObserverManager, Orchestrator, PipelineError
from hexviz.dag import DaskRunner, SchedulerLostError, WorkerLostError
from hexviz.events import NodeCompleted, NodeFailed, NodePlaced
from hexviz.face import control_of
from hexviz.policies import Retry
from hexviz.testing import runner_nodes
from tests.runners import once_nodes as nodes
from tests.runners.dask_processes import Watched

pytestmark = pytest.mark.cluster


def many(node, count):
    graph = Graph("many")
    for number in range(count):
        graph.node(node, name=f"n{number}")
    return graph


def once(action, *args):
    """Does something in a thread when the first node of a run is placed."""
    threads = []

    def hear(_):
        if not threads:
            threads.append(threading.Thread(target=action, args=args))
            threads[0].start()

    hear.threads = threads
    return hear


def test_nodes_that_run_graphs_on_their_own_cluster_do_not_wait_for_each_other_for_ever(client):
    result = Watched(client).run(many(nodes.runs_another, 4), 1)  # as many as the cluster has threads
    assert list(result.values()) == [{"short0": 1, "short1": 1, "short2": 1}] * 4


def test_a_client_that_is_closed_in_mid_run_is_named(cluster):
    from distributed import Client

    client = Client(cluster, set_as_default=False)
    watched = Watched(client, on_placed=once(client.close))
    with pytest.raises(PipelineError) as failed:
        watched.run(many(runner_nodes.sleepy, 1))
    watched.on_placed.threads[0].join(30)
    (error,) = failed.value.exceptions
    assert type(error) is SchedulerLostError
    assert f"{cluster.scheduler_address} is lost: its client is closed" in str(error)
    with pytest.raises(PipelineError) as failed:
        Watched(client).run(many(nodes.short, 1), 1)
    assert "the Dask client of this run is closed: make another one" in str(failed.value.exceptions[0])


def test_an_asynchronous_client_that_was_not_awaited_is_named(cluster):
    from distributed import Client

    async def main():
        client = Client(cluster.scheduler_address, asynchronous=True, set_as_default=False)
        with pytest.raises(PipelineError) as failed:
            await Orchestrator(observers=ObserverManager(), runner=DaskRunner(client)).run(many(nodes.short, 1), 1)
        async with client:
            return failed.value.exceptions[0]

    error = asyncio.run(main())
    assert type(error) is SchedulerLostError
    assert "await Client(..., asynchronous=True)" in str(error)


def test_runs_of_two_runners_on_one_client_keep_to_themselves(client):
    home, stays = DaskRunner(client), DaskRunner(client, keep_remote=True)

    async def main():
        return await asyncio.gather(*(
            Orchestrator(observers=ObserverManager(), runner=runner).run(many(nodes.short, 5), value)
            for value, runner in enumerate((home, stays, home))
        ))  # fmt: skip

    first, second, third = asyncio.run(main())
    assert set(first.values()) == {0}
    assert set(client.gather(dict(second)).values()) == {1}
    assert set(third.values()) == {2}


def test_a_cluster_that_is_restarted_in_mid_run_fails_attempts_that_may_be_tried_again(client):
    watched = Watched(client, on_placed=once(client.restart))
    graph = many(nodes.short, 30)
    control = control_of([Retry(max_attempts=3)])
    result = watched.run(graph, 1, control=control, max_concurrent_nodes=50)
    watched.on_placed.threads[0].join(30)
    assert set(result.values()) == {1}
    failed = watched.heard.of(NodeFailed)
    assert {type(event.error) for event in failed} == {WorkerLostError}
    assert len(watched.heard.of(NodeCompleted)) == 30


def test_workers_come_and_go_in_mid_run(start):
    cluster, client = start(workers=1)

    def replace():
        cluster.workers.append(cluster.add_worker())
        client.wait_for_workers(2, timeout=30)
        first = watched.heard.of(NodePlaced)[0].worker
        client.retire_workers([first], close_workers=True)

    watched = Watched(client, on_placed=once(replace))
    control = control_of([Retry(max_attempts=3)])
    result = watched.run(many(nodes.short, 400), 1, control=control, max_concurrent_nodes=100)
    watched.on_placed.threads[0].join(30)
    assert set(result.values()) == {1}
    assert len({event.worker for event in watched.heard.of(NodePlaced)}) == 2
    assert {type(event.error) for event in watched.heard.of(NodeFailed)} <= {WorkerLostError}


def test_a_cluster_that_adapts_starts_workers_for_a_run_and_ends_them_after_it():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
    options = {"threads_per_worker": 2, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with (
        distributed.LocalCluster(n_workers=0, **options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        for _ in range(2):  # the second run begins where the first one's workers were sent away
            watched = Watched(client)
            assert watched.run(many(nodes.short, 8), 1) == {f"n{number}": 1 for number in range(8)}
            assert not watched.heard.of(NodeFailed)
            client.sync(gone, client)


async def gone(client):
    async with asyncio.timeout(30):
        while (await client.scheduler.identity())["workers"]:
            await asyncio.sleep(0.05)
