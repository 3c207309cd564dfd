"""The table beside the notebooks holds the facts that its note states, and its graph has the same shape."""

import asyncio

import networkx as nx
import pytest

from hexviz.dag import Orchestrator
from hexviz.demo.airrflow import AIRRFLOW_FAULTS, AIRRFLOW_PATH_S, Fault, InstrumentError, airrflow, workflow_from_csv
from hexviz.demo.table import airrflow_csv, read_tasks
from hexviz.errors import SourceError
from hexviz.events import ControlManager, ControlResponse, ControlSignal, NodeFailed, ObserverManager
from hexviz.policies import Retry


@pytest.fixture(scope="module")
def facts():
    graph = nx.DiGraph()
    for task in read_tasks(airrflow_csv()):
        graph.add_node(task.task_id, runtime_s=task.runtime_s)
        graph.add_edges_from((parent, task.task_id) for parent in task.parents)
    return graph


def finish_times(facts):
    finish = {}
    for node in nx.topological_sort(facts):
        finish[node] = facts.nodes[node]["runtime_s"] + max((finish[p] for p in facts.predecessors(node)), default=0.0)
    return finish


def test_the_table_has_212_tasks_327_edges_25_waves_and_the_stated_times(facts):
    waves = list(nx.topological_generations(facts))
    runtimes = nx.get_node_attributes(facts, "runtime_s")
    assert (facts.number_of_nodes(), facts.number_of_edges(), len(waves)) == (212, 327, 25)
    assert AIRRFLOW_PATH_S == 438.061
    assert max(finish_times(facts).values()) == pytest.approx(AIRRFLOW_PATH_S, abs=5e-4)
    assert sum(runtimes.values()) == pytest.approx(3329.878, abs=5e-4)
    assert sum(max(runtimes[n] for n in wave) for wave in waves) == pytest.approx(791.908, abs=5e-4)


def test_the_graph_has_the_nodes_edges_and_waves_of_the_table(facts):
    graph = airrflow()
    assert {(parent, node.name) for node in graph for parent in node.deps} == set(facts.edges)
    assert [set(wave) for wave in graph.waves()] == [set(wave) for wave in nx.topological_generations(facts)]


def test_no_fault_of_the_demo_comes_near_the_critical_path(facts):
    longest = max(finish_times(facts).values())
    reverse = finish_times(facts.reverse())
    finish = finish_times(facts)
    for node in AIRRFLOW_FAULTS:
        through = finish[node] + reverse[node] - facts.nodes[node]["runtime_s"]
        assert through < 0.8 * longest, node


def results_of(graph):
    """What every node hands on, with an empty report in the place of the one that always fails."""
    control = ControlManager()
    control.register(Retry(max_attempts=3, initial_interval_s=0.0), priority=60)
    control.register(
        lambda event, context: ControlResponse(ControlSignal.FALLBACK, {"reads": 0}), event_types=[NodeFailed]
    )
    return asyncio.run(Orchestrator(control=control, observers=ObserverManager()).run(graph))


def test_the_results_depend_on_the_seed_and_on_nothing_else():
    first, again, other = (results_of(airrflow(speed=1e6, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first["MULTIQC_212"]["reads"] > 0
    assert all(result for result in first.values())


def test_a_flaky_node_fails_as_often_as_told_and_then_succeeds_and_can_be_run_again(tmp_path):
    path = tmp_path / "flow.csv"
    path.write_text("task_id,name,parents,runtime_s\na,x.A,,0\n", encoding="utf-8")
    node = workflow_from_csv(path, speed=1, faults={"a": Fault("not today", failures=2)}).nodes["a"]
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(InstrumentError, match="not today"):
                asyncio.run(node.fn())
        assert asyncio.run(node.fn())


def test_some_nodes_are_plain_functions_and_most_are_coroutines():
    asynchronous = [asyncio.iscoroutinefunction(node.fn) for node in airrflow()]
    assert 0 < asynchronous.count(False) < asynchronous.count(True)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_no_positive_number_is_refused(speed):
    with pytest.raises(SourceError, match="speed must be a positive number"):
        airrflow(speed=speed)


def test_a_fault_of_an_unknown_task_is_refused(tmp_path):
    path = tmp_path / "flow.csv"
    path.write_text("task_id,name,parents,runtime_s\na,x.A,,0\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no task 'b'"):
        workflow_from_csv(path, faults={"b": Fault("x")})
