"""D9: what dies on a Dask cluster, and what is lost on the way, is told within 30 seconds; nothing hangs."""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime

import pytest

from hexviz import ControlManager, ControlResponse, Graph, ObserverManager, Orchestrator, PipelineError
from hexviz.dag import NoWorkersError, SchedulerLostError, WorkerLostError
from hexviz.events import EventsDropped, NodeFailed, NodePlaced, NodeStarted, ToolCalled
from hexviz.testing import runner_nodes as nodes
from tests.runners.dask_processes import MOST_S, Watched

pytestmark = pytest.mark.cluster


def endless():
    graph = Graph("endless")
    graph.node(nodes.sleepy)
    return graph


def test_d9_a_worker_that_is_killed_is_a_failed_attempt_with_its_address(start):
    _, client = start()
    pids = client.run(os.getpid)
    watched = Watched(client, on_placed=lambda event: os.kill(pids[event.worker], signal.SIGKILL))
    with pytest.raises(PipelineError) as failed:
        watched.run(endless())
    (failure,) = watched.heard.of(NodeFailed)
    (placed,) = watched.heard.of(NodePlaced)
    assert type(failure.error) is WorkerLostError
    assert failure.error.worker == placed.worker
    assert placed.worker in str(failed.value.exceptions[0])


def test_d9_a_scheduler_that_is_killed_ends_the_run_with_an_error_that_names_it(start):
    cluster, client = start(workers=1)
    watched = Watched(client, on_placed=lambda event: cluster.scheduler.kill())
    with pytest.raises(PipelineError) as failed:
        watched.run(endless())
    assert watched.took_s < MOST_S
    assert [type(error) for error in failed.value.exceptions] == [SchedulerLostError]
    assert cluster.address in str(failed.value.exceptions[0])
    assert watched.heard.names()[-1] == "PipelineFailed"
    again = Watched(client, lost_after_s=1.0)
    with pytest.raises(PipelineError) as failed:
        again.run(endless())
    assert [type(error) for error in failed.value.exceptions] == [SchedulerLostError]


def test_d9_a_scheduler_that_answers_nothing_ends_the_run_as_well(start):
    cluster, client = start(workers=1)
    watched = Watched(client, on_placed=lambda event: cluster.scheduler.send_signal(signal.SIGSTOP), lost_after_s=1.0)
    with pytest.raises(PipelineError) as failed:
        watched.run(endless())
    assert "has not answered" in str(failed.value.exceptions[0])
    assert watched.took_s < MOST_S
    cluster.scheduler.send_signal(signal.SIGCONT)


def test_d9_a_cluster_without_workers_fails_the_node_that_waits_for_one(start):
    _, client = start(workers=0)
    watched = Watched(client, lost_after_s=1.0)
    with pytest.raises(PipelineError) as failed:
        watched.run(endless())
    assert type(failed.value.exceptions[0].__cause__) is NoWorkersError
    assert watched.took_s < MOST_S


SKEWED = """
import os, time
real, skew_s = time.time, float(os.environ["SKEW_S"])
time.time = lambda: real() + skew_s
time.time_ns = lambda: int(time.time() * 1e9)
"""


def stamp_events_by_the_skewed_clock():
    from hexviz.events import events

    events._utc_now = lambda: datetime.fromtimestamp(time.time(), UTC)


def test_d9_events_of_two_workers_with_skewed_clocks_are_merged_by_the_clock_at_home(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SKEWED)
    cluster, client = start(workers=0)
    for skew_s in ("300", "-86400"):
        cluster.workers.append(cluster.add_worker(SKEW_S=skew_s, PYTHONPATH=str(tmp_path)))
    client.wait_for_workers(2, timeout=30)
    client.run(stamp_events_by_the_skewed_clock)
    clocks = client.run(time.time)
    assert max(clocks.values()) - min(clocks.values()) > 80_000
    addresses = set(clocks)
    graph = Graph("skewed")
    for number in range(6):
        graph.node(nodes.calls, name=f"calls{number}")
    watched = Watched(client)
    watched.run(graph, 5)
    moments = [event.timestamp for event in watched.heard]
    assert (max(moments) - min(moments)).total_seconds() < MOST_S
    assert [event.seq for event in watched.heard] == list(range(1, len(watched.heard) + 1))
    assert {event.worker for event in watched.heard.of(NodePlaced)} == addresses
    assert len(watched.heard.of(ToolCalled)) == 36
    assert watched.recorder.recording.diagnostics().empty


def test_d9_events_that_are_lost_on_the_way_are_shown_as_a_gap(client, monkeypatch):
    from hexviz.dag.runners.dask_session import DaskSession

    hear = DaskSession._hear
    monkeypatch.setattr(DaskSession, "_hear", lambda self, event: None if event[1][2:3] == (3,) else hear(self, event))
    graph = Graph("lossy")
    graph.node(nodes.calls)
    watched = Watched(client)
    assert watched.run(graph, 5)["calls"] == 5
    (gap,) = watched.heard.of(EventsDropped)
    assert gap.count == 1
    assert "node 'calls'" in gap.reason
    assert len(watched.heard.of(ToolCalled)) == 5


def test_d9_a_task_whose_end_is_lost_is_brought_home_without_it(client, monkeypatch):
    from hexviz.dag.runners import dask_session

    hear = dask_session.DaskSession._hear
    monkeypatch.setattr(dask_session, "_MESSAGES_S", 0.1)
    monkeypatch.setattr(
        dask_session.DaskSession, "_hear", lambda self, event: None if event[1][1] == "end" else hear(self, event)
    )
    graph = Graph("mute")
    graph.node(nodes.load)
    watched = Watched(client)
    assert watched.run(graph, 1)["load"] == [1, 2, 3]
    assert len(watched.heard.of(EventsDropped)) == 1


def test_a_large_result_comes_home_and_goes_out_again(client):
    import numpy as np

    graph = Graph("large")
    graph.node(np.arange, name="many")
    graph.node(np.sum, name="total", after=["many"])
    result = Watched(client).run(graph, 300_000)
    assert len(result["many"]) == 300_000
    assert result["total"] == 300_000 * 299_999 // 2


@pytest.mark.parametrize("keep_remote", [False, True])
def test_an_asynchronous_client_on_the_loop_of_the_run_serves_as_well(cluster, keep_remote):
    from distributed import Client

    from hexviz.dag import DaskRunner

    graph = Graph("same loop")
    graph.node(nodes.load)
    graph.node(nodes.many, after=["load"])

    async def main():
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            runner = DaskRunner(client, keep_remote)
            result = await Orchestrator(observers=ObserverManager(), runner=runner).run(graph, 1)
            return await client.gather(dict(result)) if keep_remote else result

    assert asyncio.run(main()) == {"load": [1, 2, 3], "many": [[1, 2, 3]] * 50_000}


def test_results_that_stay_travel_as_futures_and_can_be_gathered(client):
    from distributed import Future

    graph = Graph("stay")
    graph.node(nodes.load)
    graph.node(nodes.double, after=["load"])
    graph.node(nodes.size, after=["load"])
    graph.node(nodes.join, after=["double", "size"])
    result = Watched(client, keep_remote=True).run(graph, 1)
    assert {type(value) for value in result.values()} == {Future}
    assert client.gather(dict(result))["join"] == {"double": [2, 4, 6], "size": "3"}


def test_an_inner_function_takes_a_result_that_stayed(client):
    def size(values):
        return len(values)

    graph = Graph("inner")
    graph.node(nodes.load)
    graph.node(size, after=["load"])
    result = Watched(client, keep_remote=True).run(graph, 1)
    assert client.gather(result["size"]) == 3


def test_a_result_that_was_left_on_a_worker_that_died_is_computed_again_and_that_is_counted(start):
    _, client = start()
    pids = client.run(os.getpid)

    def lose_it(event, context):
        if event.name == "takes":
            os.kill(pids[watched.heard.of(NodePlaced)[0].worker], signal.SIGKILL)
            time.sleep(0.3)
        return ControlResponse()

    control = ControlManager()
    control.register(lose_it, event_types=(NodeStarted,))
    graph = Graph("again")
    graph.node(nodes.load)
    graph.node(nodes.takes, after=["load"])
    watched = Watched(client, keep_remote=True)
    result = watched.run(graph, 1, control)
    assert client.gather(dict(result)) == {"load": [1, 2, 3], "takes": "list"}
    assert watched.runner.recomputed == 1


def test_without_distributed_the_error_names_the_extra(monkeypatch):
    from hexviz.dag import DaskRunner
    from hexviz.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"hexviz\[dask\]"):
        DaskRunner(object())


def test_what_is_no_client_is_refused():
    from hexviz.dag import DaskRunner, RunnerSettingError

    with pytest.raises(RunnerSettingError, match=r"takes a distributed.Client, not str"):
        DaskRunner("tcp://127.0.0.1:8786")
