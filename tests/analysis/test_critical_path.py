"""critical_path, slack and wave_barrier, against networkx and against recorded workflows."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from hexviz.analysis import critical_path, slack, wave_barrier, what_if
from hexviz.errors import SourceError
from tests.analysis.made_frames import WORKFLOWS, big_frames, diamond, made_frames, random_frames, workflow

FACTS = {
    "helloworld-chain-5-chameleon.json": (5, 4, 5, 501.240, 501.240, 501.240),
    "blast-chameleon-large-001.json": (103, 300, 3, 1819.117, 1819.117, 154331.156),
    "airrflow-dirt02-001.json.gz": (212, 327, 25, 438.061, 791.908, 3329.878),
    "epigenomics-chameleon-ilmn-6seq-50k-001.json.gz": (1695, 2108, 9, 1084.123, 1145.231, 26059.999),
    "montage-chameleon-dss-15d-001.json.gz": (2122, 6114, 8, 989.458, 1006.058, 78087.502),
}


def test_the_path_is_the_heaviest_chain_in_its_order():
    path = critical_path(diamond())
    assert path["node"].tolist() == ["a", "c", "d"]
    assert path["order"].tolist() == [1, 2, 3]
    assert path["earliest_ms"].tolist() == [0, 10, 60]
    assert path.attrs["total_ms"] == 65
    assert path["share"].sum() == pytest.approx(1)
    assert path["gap_ms"].tolist()[1:] == [1.0, 1.0]
    assert path["on_path"].all()


def test_slack_is_what_each_node_may_take_longer():
    nodes = slack(diamond()).set_index("node")
    assert nodes["slack_ms"].to_dict() == {"a": 0, "b": 30, "c": 0, "d": 0, "e": 35}
    assert nodes.index[nodes["on_path"]].tolist() == ["a", "c", "d"]


def test_all_attempts_count_where_asked():
    frames = diamond(failing=("b",))
    assert critical_path(frames).attrs["total_ms"] == 65
    assert critical_path(diamond(failing=("c",)), weight="total_ms").attrs["total_ms"] == 115


def test_the_barrier_is_the_sum_of_the_longest_of_each_wave():
    waves = wave_barrier(diamond())
    assert waves["longest_node"].tolist() == ["e", "c", "d"]
    assert waves["longest_ms"].tolist() == [30, 50, 5]
    assert waves["barrier_start_ms"].tolist() == [0, 30, 80]
    assert (waves.attrs["barrier_ms"], waves.attrs["critical_path_ms"]) == (85, 65)
    assert waves.attrs["ratio"] == pytest.approx(85 / 65)


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_agree_with_networkx(seed):
    rng = np.random.default_rng(seed)
    frames, graph, durations = random_frames(rng, 60)
    shape = nx.DiGraph((p, n, {"weight": durations[n]}) for n, parents in graph.items() for p in parents)
    shape.add_nodes_from(graph)
    for name, parents in graph.items():
        if not parents:
            shape.add_edge("the start", name, weight=durations[name])
    expected = nx.dag_longest_path_length(shape)
    path = critical_path(frames)
    assert path.attrs["total_ms"] == pytest.approx(expected)
    names = path["node"].tolist()
    assert all(p in graph[n] for p, n in itertools.pairwise(names))
    nodes = slack(frames).set_index("node")
    for name in rng.choice(sorted(graph), 10, replace=False):
        room = nodes.loc[name, "slack_ms"]
        for extra, longer in ((room, expected), (room + 1, expected + 1)):
            again = what_if(frames, durations_ms={name: durations[name] + extra})
            assert again.attrs["makespan_ms"] == pytest.approx(longer)


@pytest.mark.parametrize("file", FACTS)
def test_real_workflows_agree_with_their_facts(file):
    if not WORKFLOWS.is_dir():
        pytest.skip("the workflow files of WfInstances are not beside the project")
    graph, runtimes = workflow(WORKFLOWS / file)
    frames = made_frames(graph, runtimes)
    tasks, edges, waves, path_s, barrier_s, work_s = FACTS[file]
    assert (len(frames.nodes), len(frames.edges), frames.nodes["wave"].max()) == (tasks, edges, waves)
    barrier = wave_barrier(frames)
    assert barrier.attrs["critical_path_ms"] == pytest.approx(path_s * 1000, abs=1)
    assert barrier.attrs["barrier_ms"] == pytest.approx(barrier_s * 1000, abs=1)
    assert barrier["work_ms"].sum() == pytest.approx(work_s * 1000, abs=1)
    assert what_if(frames).attrs["makespan_ms"] == pytest.approx(path_s * 1000, abs=1)
    assert what_if(frames, schedule="wave").attrs["makespan_ms"] == pytest.approx(barrier_s * 1000, abs=1)
    assert what_if(frames, workers=1).attrs["makespan_ms"] == pytest.approx(work_s * 1000, abs=1)


def test_a_chain_of_14000_needs_no_recursion():
    frames = big_frames(14_000)
    names = frames.nodes["node"]
    frames.edges = pd.DataFrame({"run_id": "big", "source": names[:-1].to_numpy(), "target": names[1:].to_numpy()})
    assert len(critical_path(frames)) == 14_000


def test_100000_nodes_are_fine():
    frames = big_frames(100_000)
    path = critical_path(frames)
    assert len(path) == 1000
    assert what_if(frames, workers=64).attrs["makespan_ms"] >= path.attrs["total_ms"]


def test_a_run_without_nodes_has_no_path():
    frames = diamond()
    for name in ("nodes", "attempts", "edges"):
        setattr(frames, name, getattr(frames, name).iloc[:0])
    assert critical_path(frames).empty
    assert critical_path(frames).attrs["total_ms"] == 0
    assert wave_barrier(frames).attrs["ratio"] == 1.0
    assert what_if(frames).attrs["makespan_ms"] == 0.0


def test_nodes_that_never_ran_weigh_nothing():
    frames = diamond()
    frames.nodes.loc[frames.nodes["node"] == "c", ["duration_ms", "start_ms", "end_ms"]] = np.nan
    assert critical_path(frames)["node"].tolist() == ["a", "b", "d"]


def test_the_frames_stay_as_they_were():
    frames = diamond()
    before = frames.nodes.copy()
    slack(frames)
    wave_barrier(frames)
    what_if(frames, durations={"a": 1})
    pd.testing.assert_frame_equal(frames.nodes, before)


def test_missing_columns_and_frames_are_named():
    frames = diamond()
    frames.nodes = frames.nodes.drop(columns=["duration_ms", "wave"])
    with pytest.raises(SourceError, match="'nodes' lacks the columns wave, duration_ms"):
        critical_path(frames)
    with pytest.raises(SourceError, match="no frame 'nodes'"):
        critical_path(SimpleNamespace())


def test_several_runs_must_be_chosen_from():
    one, two = diamond(run_id="one"), diamond(run_id="two")
    both = SimpleNamespace(**{k: pd.concat([getattr(one, k), getattr(two, k)]) for k in ("nodes", "edges", "runs")})
    with pytest.raises(SourceError, match="2 runs; choose one with run_id=, such as 'one', 'two'"):
        critical_path(both)
    assert critical_path(both, run_id="two").attrs["total_ms"] == 65
    with pytest.raises(SourceError, match="no run 'three'"):
        critical_path(both, run_id="three")


def test_a_cycle_and_an_unknown_node_are_named():
    frames = diamond()
    frames.edges = pd.concat([frames.edges, pd.DataFrame({"run_id": ["run-1"], "source": ["d"], "target": ["b"]})])
    with pytest.raises(SourceError, match=r"cycle.*'[bd]'"):
        critical_path(frames)
    frames.edges = pd.DataFrame({"run_id": ["run-1"], "source": ["ghost"], "target": ["b"]})
    with pytest.raises(SourceError, match="ghost"):
        critical_path(frames)


def test_a_weight_must_be_a_known_one():
    with pytest.raises(ValueError, match="weight must be one of"):
        critical_path(diamond(), weight="cost")
