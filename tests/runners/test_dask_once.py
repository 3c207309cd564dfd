"""The code of an attempt begins once on a Dask cluster, whatever makes Dask run its task again."""

import os
import signal
import threading

import pytest

from hexviz import Graph, PipelineError
from hexviz.dag import WorkerLostError
from hexviz.events import NodeCompleted, NodeFailed
from tests.runners import once_nodes as nodes
from tests.runners.dask_processes import Watched

pytestmark = pytest.mark.cluster


def lost(watched, node, marks, **options):
    """The error of a run of one node that loses its worker."""
    graph = Graph("once")
    graph.node(node)
    with pytest.raises(PipelineError) as failed:
        watched.run(graph, str(marks), **options)
    (error,) = failed.value.exceptions
    assert type(error.__cause__) is WorkerLostError
    return error.__cause__


@pytest.fixture
def killed(client):
    """A client of the cluster of all tests, whose workers come again after they were killed."""
    yield client
    client.wait_for_workers(2, timeout=30)


@pytest.mark.parametrize("first", [True, False], ids=["the first node of its worker", "a later node"])
def test_a_node_that_kills_its_worker_at_once_has_run_once(killed, tmp_path, first):
    if not first:  # the begin of the first is told in another way
        graph = Graph("warm")
        for number in range(20):
            graph.node(nodes.short, name=f"short{number}")
        Watched(killed).run(graph, 1)
    for number in range(2):
        marks = tmp_path / str(number)
        assert "died while it ran node 'dies'" in str(lost(Watched(killed), nodes.dies, marks))
        assert nodes.begins(marks) == 1


def test_nodes_that_wait_on_a_worker_that_dies_run_elsewhere_in_the_same_attempt(killed, tmp_path):
    graph = Graph("innocent")
    graph.node(nodes.dies)
    for number in range(30):
        graph.node(nodes.short, name=f"short{number}")
    watched = Watched(killed)
    with pytest.raises(PipelineError):
        watched.run(graph, str(tmp_path / "marks"), on_error="continue", max_concurrent_nodes=50)
    threads = max(facts["nthreads"] for facts in killed.scheduler_info(n_workers=-1)["workers"].values())
    failed = watched.heard.of(NodeFailed)
    assert "dies" in {event.name for event in failed}
    assert len(failed) <= threads
    assert {event.attempt for event in watched.heard.of(NodeCompleted)} == {1}
    assert len(failed) + len(watched.heard.of(NodeCompleted)) == 31


def test_a_node_whose_worker_is_retired_is_a_failed_attempt_and_does_not_begin_again(start, tmp_path):
    _, client = start()
    retiring = []

    def retire(event):
        retiring.append(threading.Thread(target=client.retire_workers, kwargs={"workers": [event.worker]}))
        retiring[0].start()

    marks = tmp_path / "marks"
    error = lost(Watched(client, on_placed=retire), nodes.waits, marks)
    retiring[0].join(30)
    assert "left the cluster" in str(error)
    assert error.worker
    assert nodes.begins(marks) == 1


def test_a_result_that_is_lost_before_it_comes_home_is_not_computed_again(start, monkeypatch, tmp_path):
    from hexviz.dag.runners.dask_session import DaskSession

    _, client = start()
    pids = client.run(os.getpid)
    fetched = DaskSession._fetched

    def lose_it(self, task):
        os.kill(pids[task.attempt.worker], signal.SIGKILL)
        return fetched(self, task)

    monkeypatch.setattr(DaskSession, "_fetched", lose_it)
    marks = tmp_path / "marks"
    assert "left the cluster" in str(lost(Watched(client), nodes.large, marks))
    assert nodes.begins(marks) == 1
