"""B12: graphs of any shape and size run, or are refused by name; waves and paths are those that networkx finds."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import networkx as nx
import pytest

from hexviz.analysis import critical_path
from hexviz.bridges.wfformat import read_wfformat
from hexviz.dag import (
    CycleDetectedError,
    DuplicateNodeError,
    Graph,
    GraphError,
    MissingDependencyError,
    NodeSpec,
    Orchestrator,
)
from hexviz.events import NodeStarted, ObserverManager, WaveStarted
from hexviz.recording.recorder import Recorder
from hexviz.testing import capture_events

WORKFLOWS = Path(__file__).parents[3] / "shared" / "data" / "workflows"
FILES = sorted(path.name for path in WORKFLOWS.glob("*.json*")) or ["none"]


async def nothing(value=None):
    return None


def chain(length):
    return Graph("deep", [NodeSpec(f"n{i}", nothing, deps=[f"n{i - 1}"] if i else []) for i in range(length)])


@pytest.mark.parametrize(
    ("nodes", "error", "words"),
    [
        ([("a", ["b"]), ("b", ["a"])], CycleDetectedError, "cycle"),
        ([("a", ["a"])], CycleDetectedError, "a -> a"),
        ([("a", ["nobody"])], MissingDependencyError, "nobody"),
        ([("a", []), ("a", [])], DuplicateNodeError, "'a'"),
    ],
    ids=["cycle", "self-edge", "unknown parent", "duplicate"],
)
def test_b12_a_graph_that_cannot_run_is_refused_by_name_before_anything_runs(nodes, error, words):
    observers = ObserverManager()

    def run():
        graph = Graph("g", [NodeSpec(name, nothing, deps=deps) for name, deps in nodes])
        return asyncio.run(Orchestrator(observers=observers).run(graph))

    with capture_events(observers) as events, pytest.raises(error, match=words) as caught:
        run()
    assert isinstance(caught.value, GraphError)
    assert events == []


@pytest.mark.parametrize("size", [0, 1])
def test_b12_a_graph_of_none_or_one_node_runs(size):
    assert len(asyncio.run(Orchestrator().run(chain(size)))) == size


def test_b12_a_fan_in_of_1100_parents_gets_them_all():
    graph = Graph("wide")
    for number in range(1_100):
        graph.node(lambda number=number: number, name=f"n{number}")
    graph.node(lambda values: sum(values.values()), name="sum", after=[f"n{number}" for number in range(1_100)])
    assert asyncio.run(Orchestrator().run(graph))["sum"] == sum(range(1_100))


def test_b12_a_recorded_chain_of_14000_has_its_frames_and_its_path_without_recursion():
    observers = ObserverManager()
    recorder = Recorder().attach(observers)
    asyncio.run(Orchestrator(observers=observers).run(chain(14_000)))
    frames = recorder.recording.frames
    assert len(frames.waves) == 14_000
    assert set(frames.nodes["status"]) == {"succeeded"}
    assert len(critical_path(frames)) == 14_000


def test_b12_memory_grows_in_line_with_the_nodes_up_to_100000(in_process):
    program = """
import asyncio, json, resource
from hexviz.dag import Graph, NodeSpec, Orchestrator

async def nothing(value=None): return None

def peak_mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def layered(size):
    return Graph("g", [NodeSpec(f"n{i}", nothing, deps=[f"n{i - 1000}"] if i >= 1000 else []) for i in range(size)])

asyncio.run(Orchestrator().run(layered(1_000)))
grown = []
for size in (25_000, 100_000):
    before = peak_mb()
    assert len(asyncio.run(Orchestrator().run(layered(size)))) == size
    grown.append(peak_mb() - before)
print(json.dumps(grown))
"""
    small, large = json.loads(in_process(program, dev=False))
    assert large < 6 * max(small, 32)


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflow files of shared/data are not beside the project")
@pytest.mark.parametrize("file", FILES)
def test_b12_order_waves_and_longest_path_of_a_real_workflow_are_those_of_networkx(file):
    raw = (WORKFLOWS / file).read_bytes()
    tasks = read_wfformat(gzip.decompress(raw) if file.endswith(".gz") else raw).tasks
    graph, reference = Graph(file), nx.DiGraph()
    for task in tasks:
        graph.node(nothing, name=task.name, after=task.parents)
        reference.add_node(task.name)
        reference.add_edges_from((parent, task.name) for parent in task.parents)
    generations = [sorted(level) for level in nx.topological_generations(reference)]
    assert graph.waves() == generations
    observers = ObserverManager()
    with capture_events(observers) as events:
        asyncio.run(Orchestrator(observers=observers, schedule="wave").run(graph))
    assert [sorted(event.nodes) for event in events.of(WaveStarted)] == generations
    started = {event.name: place for place, event in enumerate(events.of(NodeStarted))}
    assert all(started[parent] < started[child] for parent, child in reference.edges)
    assert len(generations) == nx.dag_longest_path_length(reference, default_weight=1) + 1
