"""How nodes reach a Dask cluster, and how their begin is told."""

import pytest

from hexviz import Graph, PipelineError
from hexviz.dag import NodeTransferError
from hexviz.events import NodePlaced
from hexviz.testing import runner_nodes as nodes
from tests.runners.dask_processes import Watched

pytestmark = pytest.mark.cluster


def chain(length=6):
    graph = Graph("chain")
    for number in range(length):
        graph.node(
            nodes.load if not number else nodes.double, name=f"n{number}", after=[f"n{number - 1}"] * (number > 0)
        )
    return graph


def set_telling(by_thread, dask_worker=None):
    """Let the threads of nodes tell that these begin, or make that fail."""
    from hexviz.dag.runners.dask_worker import _Line

    if by_thread:
        _Line._begin = _Line.__dict__["_kept"]
        del _Line._kept
    else:
        _Line._kept = _Line._begin
        del _Line._begin


def test_after_its_first_node_a_worker_tells_from_its_loop_that_nodes_begin(client):
    for address in client.scheduler_info(n_workers=-1)["workers"]:
        with_worker(client, address, chain())
    client.run(set_telling, by_thread=False)
    try:
        watched = Watched(client)
        assert watched.run(chain(), 1)["n5"] == [32, 64, 96]
        assert len(watched.heard.of(NodePlaced)) == 6
    finally:
        client.run(set_telling, by_thread=True)


def with_worker(client, address, graph):
    import dask

    watched = Watched(client)
    with dask.annotate(workers=[address]):
        watched.run(graph, 1)
    return watched


def test_annotations_of_the_user_go_with_the_nodes(client):
    for address in client.scheduler_info(n_workers=-1)["workers"]:
        watched = with_worker(client, address, chain())
        assert {event.worker for event in watched.heard.of(NodePlaced)} == {address}


def test_nodes_go_as_a_graph_where_the_scheduler_takes_nothing_else(client, monkeypatch):
    monkeypatch.setattr("hexviz.dag.runners.dask_plugin.takes_tasks", lambda: False)
    assert Watched(client).run(chain(), 1)["n5"] == [32, 64, 96]


def refuse_tasks(refusing, dask_scheduler):
    if refusing:
        dask_scheduler._create_taskstate_from_graph = None
    else:
        del dask_scheduler._create_taskstate_from_graph


def test_a_scheduler_that_cannot_take_a_node_fails_it_and_says_why(client):
    from hexviz.dag.runners.dask_plugin import takes_tasks

    if not takes_tasks():
        pytest.skip("this release of distributed is given graphs")
    Watched(client).run(chain(1), 1)
    client.run_on_scheduler(refuse_tasks, True)
    try:
        with pytest.raises(PipelineError) as failed:
            Watched(client).run(chain(1), 1)
    finally:
        client.run_on_scheduler(refuse_tasks, False)
    error = failed.value.exceptions[0].__cause__
    assert type(error) is NodeTransferError
    assert "'NoneType' object is not callable" in str(error)


def test_a_node_whose_parent_the_cluster_has_lost_fails(client):
    import asyncio

    from hexviz import ControlManager, ControlResponse, ObserverManager, Orchestrator
    from hexviz.dag import DaskRunner, WorkerLostError
    from hexviz.events import NodeStarted

    def forget_it(event, context):
        if event.name == "n1":
            client.run_on_scheduler(forget_all)
        return ControlResponse()

    control = ControlManager()
    control.register(forget_it, event_types=(NodeStarted,))
    runner = DaskRunner(client, keep_remote=True)
    with pytest.raises(PipelineError) as failed:
        asyncio.run(Orchestrator(observers=ObserverManager(), control=control, runner=runner).run(chain(2), 1))
    error = failed.value.exceptions[0].__cause__
    assert type(error) is WorkerLostError
    assert "was taken from the cluster" in str(error)


def forget_all(dask_scheduler):
    tasks = list(dask_scheduler.tasks)
    for name in list(dask_scheduler.clients):
        dask_scheduler.client_releases_keys(keys=tasks, client=name, stimulus_id="test")
