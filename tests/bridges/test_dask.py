"""Any Dask computation as a run: what the frames say is what Dask ran."""

import time

import pytest

from hexviz import ObserverManager, Recorder
from hexviz.bridges import dask as bridge
from hexviz.bridges.told_run import waves_of
from hexviz.errors import SourceError
from hexviz.events import EventsDropped, NodeFailed, PipelineStarted
from hexviz.testing import capture_events

dask = pytest.importorskip("dask", reason="dask is not installed: pip install -e '.[dask]'")
on_cluster = pytest.mark.cluster


class Told:
    """One recording: its frames, its events, and what was raised inside."""

    def __init__(self, client, compute, **options):
        observers, recorder = ObserverManager(), Recorder()
        recorder.attach(observers)
        self.error = None
        with capture_events(observers) as self.heard, bridge.record(client, observers, **options) as self.told:
            try:
                self.result = compute()
            except Exception as error:
                self.error = error
        self.recording = recorder.recording
        self.frames = self.recording.frames
        assert self.recording.diagnostics().empty
        assert self.told.run_ids == tuple(self.frames.runs["run_id"])


@dask.delayed
def nap(number):
    time.sleep(0.01)
    return number


@dask.delayed
def total(*numbers):
    return sum(numbers)


@dask.delayed
def broken(number):
    raise ValueError("no such row")


def naps(count=6):
    return total(*[nap(number) for number in range(count)])


@on_cluster
def test_a_delayed_computation_is_one_run_with_its_tasks_edges_durations_and_workers(client):
    told = Told(client, lambda: client.compute(naps()).result())
    assert told.result == 15
    nodes, attempts = told.frames.nodes, told.frames.attempts
    names = ["nap", *(f"nap-{number}" for number in range(2, 7))]
    assert sorted(nodes["node"]) == sorted([*names, "total"])
    assert set(nodes["status"]) == {"succeeded"}
    assert dict(zip(nodes["node"], nodes["wave"], strict=True)) == {**dict.fromkeys(names, 1), "total": 2}
    edges = told.frames.edges
    assert sorted(zip(edges["source"], edges["target"], strict=True)) == sorted((name, "total") for name in names)
    assert (attempts[attempts["node"] != "total"]["duration_ms"] >= 10).all()
    assert (attempts["duration_ms"] > 0).all()
    assert set(attempts["worker"]) <= set(client.scheduler_info(n_workers=-1)["workers"])
    assert list(told.frames.runs["status"]) == ["succeeded"]


@on_cluster
def test_chunks_of_an_array_are_named_by_what_they_do_and_where_they_are(client):
    array = pytest.importorskip("dask.array", reason="numpy is not installed")
    ones = array.ones((40, 40), chunks=(20, 20))
    told = Told(client, lambda: client.compute((ones + 1).sum()).result())
    assert told.result == 3200
    names = set(told.frames.nodes["node"])
    assert any(name.endswith("[0, 1]") for name in names)
    assert not any(len(name) > 60 for name in names)
    assert set(told.frames.nodes["status"]) == {"succeeded"}
    assert told.frames.nodes["wave"].max() >= 2


@on_cluster
def test_a_bag_is_recorded_like_everything_else(client):
    bag = pytest.importorskip("dask.bag", reason="dask.bag is not installed")
    told = Told(client, lambda: client.compute(bag.from_sequence(range(10), npartitions=3).map(str).count()).result())
    assert told.result == 10
    assert set(told.frames.nodes["status"]) == {"succeeded"}


@on_cluster
def test_a_task_that_fails_is_told_with_its_error_and_takes_its_children_along(client):
    told = Told(client, lambda: client.compute(total(broken(1))).result())
    assert type(told.error) is ValueError
    assert dict(zip(told.frames.nodes["node"], told.frames.nodes["status"], strict=True)) == {
        "broken": "failed",
        "total": "skipped",
    }
    (failed,) = told.heard.of(NodeFailed)
    assert (failed.error.type_name, failed.error.message) == ("ValueError", "no such row")
    assert "broken" in failed.error.traceback_text
    assert list(told.frames.runs["status"]) == ["failed"]


@on_cluster
def test_two_computations_one_after_the_other_are_two_runs(client):
    def both():
        client.compute(naps(2)).result()
        time.sleep(0.3)
        client.compute(naps(3)).result()

    told = Told(client, both)
    assert list(told.frames.runs["status"]) == ["succeeded", "succeeded"]
    assert [len(event.nodes) for event in told.heard.of(PipelineStarted)] == [3, 4]


@on_cluster
def test_what_has_not_ended_with_the_block_counts_as_cancelled(client):
    futures = []
    told = Told(client, lambda: futures.append(client.submit(time.sleep, 30)) or time.sleep(0.3))
    client.cancel(futures, force=True)
    assert list(told.frames.nodes["status"]) == ["cancelled"]
    assert list(told.frames.runs["status"]) == ["cancelled"]


@on_cluster
def test_a_large_graph_is_bounded_and_what_is_left_out_is_counted(client):
    told = Told(client, lambda: client.gather(client.map(str, range(300))), max_tasks=100)
    assert len(told.frames.nodes) == 100
    assert told.told.left_out == 200
    assert sum(event.count for event in told.heard.of(EventsDropped)) in {0, 200}  # 0 where the run had ended by then


@on_cluster
def test_the_scheduler_is_left_as_it_was(client):
    def plugins(dask_scheduler=None):
        return [name for name in dask_scheduler.plugins if name.startswith("hexviz-tasks-")]

    Told(client, lambda: client.compute(naps(1)).result())
    assert client.run_on_scheduler(plugins) == []


@on_cluster
def test_an_asynchronous_client_is_refused_by_name(cluster):
    import asyncio

    from distributed import Client

    async def main():
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(SourceError, match="synchronous"), bridge.record(client, ObserverManager()):
                pass

    asyncio.run(main())


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_local_schedulers_are_recorded_without_a_cluster(scheduler):
    told = Told(None, lambda: naps().compute(scheduler=scheduler))
    assert told.result == 15
    assert len(told.frames.nodes) == 7
    assert len(told.frames.edges) == 6
    attempts = told.frames.attempts
    assert (attempts[attempts["node"] != "total"]["duration_ms"] >= 10).all()
    assert list(told.frames.runs["status"]) == ["succeeded"]


def test_a_local_computation_that_fails_is_a_failed_run():
    told = Told(None, lambda: total(broken(1)).compute(scheduler="sync"))
    assert type(told.error) is ValueError
    assert list(told.frames.runs["status"]) == ["failed"]
    assert dict(zip(told.frames.nodes["node"], told.frames.nodes["status"], strict=True)) == {
        "broken": "failed",
        "total": "cancelled",
    }


def test_waves_are_the_longest_way_from_the_start():
    assert waves_of({"d": ["b", "a"], "b": ["a"], "a": [], "c": []}) == {"a": 1, "c": 1, "b": 2, "d": 3}
