"""Graphs: what is wrong with one is said by name, and what is right has waves."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import weakref
from functools import partial
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.dag import (
    CycleDetectedError,
    DirectedGraph,
    DuplicateNodeError,
    Graph,
    GraphError,
    MissingDependencyError,
    NodeSpec,
    Orchestrator,
    SchemaCompatibilityError,
)

WORKFLOWS = Path(__file__).parents[3] / "shared" / "data" / "workflows"


def nothing(value=None):
    return None


def generator(value=None):
    yield value


async def async_generator(value=None):
    yield value


def test_a_node_is_added_by_decorator_by_call_and_by_spec():
    graph = Graph("etl")

    @graph.node
    def load(path):
        return path

    @graph.node(after=["load"])
    async def clean(rows):
        return rows

    graph.node(nothing, name="report", after=["clean"])
    graph.add(NodeSpec("last", nothing).after("report", "clean"))
    assert graph.waves() == [["load"], ["clean"], ["report"], ["last"]]
    assert graph.get_dependencies("last") == ("report", "clean")
    assert graph.get_dependents("clean") == ("report", "last")
    assert load("x") == "x"


def test_a_cycle_is_named_along_its_path():
    graph = Graph("loop")
    for name, after in (("a", ["c"]), ("b", ["a"]), ("c", ["b"])):
        graph.node(nothing, name=name, after=after)
    with pytest.raises(CycleDetectedError, match=r"'loop' has a cycle: .* -> .* -> .* -> ") as caught:
        graph.validate()
    assert caught.value.path[0] == caught.value.path[-1]
    assert set(caught.value.path) == {"a", "b", "c"}


def test_an_unknown_parent_is_named_with_the_ones_that_there_are():
    graph = Graph("etl", [NodeSpec("a", nothing), NodeSpec("b", nothing, deps=["aa"])])
    with pytest.raises(MissingDependencyError, match=r"node 'b' of graph 'etl' comes after 'aa'.*there are: 'a', 'b'"):
        graph.validate()


def test_a_duplicate_node_is_refused_when_it_is_added():
    graph = Graph("etl", [NodeSpec("a", nothing)])
    with pytest.raises(DuplicateNodeError, match="'etl' has a node 'a' already"):
        graph.add(NodeSpec("a", nothing))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"name": "a", "fn": 3}, "'a' is not callable: int"),
        ({"name": "a", "fn": generator}, "'a' is a generator"),
        ({"name": "a", "fn": async_generator}, "'a' is a generator"),
        ({"name": "", "fn": nothing}, "needs a name"),
        ({"name": "a", "fn": nothing, "timeout_s": -1}, "timeout_s of node 'a'"),
        ({"name": "a", "fn": nothing, "timeout_s": float("nan")}, "timeout_s of node 'a'"),
        ({"name": "a", "fn": nothing, "run_if": "some"}, "run_if of node 'a'"),
        ({"name": "a", "fn": nothing, "deps": "load"}, r"list of names, such as \['load'\]"),
    ],
)
def test_a_node_that_cannot_work_is_refused_by_name(facts, words):
    with pytest.raises(GraphError, match=words):
        NodeSpec(**facts)


def test_types_that_do_not_fit_are_named():
    graph = DirectedGraph([NodeSpec("a", nothing, out_model=int), NodeSpec("b", nothing, in_model=str, deps=["a"])])
    with pytest.raises(SchemaCompatibilityError, match="'b' takes str, but its parent 'a' returns int"):
        graph.validate()
    graph.validate(check_type_compatibility=False)


def test_a_chain_of_14000_added_last_first_has_its_waves():
    graph = Graph("deep")
    for i in reversed(range(14_000)):
        graph.node(nothing, name=f"n{i:05}", after=[f"n{i - 1:05}"] if i else [])
    assert len(graph.waves()) == 14_000


@given(st.data())
def test_waves_are_the_topological_generations(data):
    size = data.draw(st.integers(0, 25))
    edges = {i: data.draw(st.sets(st.integers(0, i - 1), max_size=4)) if i else set() for i in range(size)}
    graph = Graph("random", [NodeSpec(str(i), nothing, deps={str(j) for j in after}) for i, after in edges.items()])
    reference = nx.DiGraph()
    reference.add_nodes_from(map(str, edges))
    reference.add_edges_from((str(j), str(i)) for i, after in edges.items() for j in after)
    assert graph.waves() == [sorted(level) for level in nx.topological_generations(reference)]


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflow files of shared/data are not beside the project")
@pytest.mark.parametrize(
    ("file", "tasks", "waves"),
    [
        ("helloworld-chain-5-chameleon.json", 5, 5),
        ("blast-chameleon-large-001.json", 103, 3),
        ("airrflow-dirt02-001.json.gz", 212, 25),
        ("epigenomics-chameleon-ilmn-6seq-50k-001.json.gz", 1695, 9),
        ("montage-chameleon-dss-15d-001.json.gz", 2122, 8),
    ],
)
def test_real_workflows_have_their_waves(file, tasks, waves):
    raw = (WORKFLOWS / file).read_bytes()
    facts = json.loads(gzip.decompress(raw) if file.endswith(".gz") else raw)
    graph = Graph(file)
    for task in facts["workflow"]["specification"]["tasks"]:
        graph.node(nothing, name=task["id"], after=task["parents"])
    assert (len(graph), len(graph.waves())) == (tasks, waves)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"after": 3}, "takes a list of names"),
        ({"after": [len]}, "write 'len'"),
        ({"after": [3]}, "takes names, not the int"),
        ({"timeout_s": "3"}, "must be a positive number of seconds, not '3'"),
    ],
)
def test_an_option_of_a_node_of_the_wrong_kind_is_named(options, says):
    with pytest.raises(GraphError, match=says):
        Graph().node(lambda: 1, name="load", **options)


@pytest.mark.parametrize(
    "wrap", [lambda table: partial(take, table), lambda table: table.take], ids=["partial", "method"]
)
def test_what_a_node_function_holds_goes_with_the_graph_that_ran_it(wrap):
    table = Table()
    graph = Graph("once", [NodeSpec("take", wrap(table))])
    assert asyncio.run(Orchestrator().run(graph, 1)) == {"take": 1}
    held = weakref.ref(table)
    del graph, table
    gc.collect()
    assert held() is None


class Table:
    """Stands for much memory."""

    def take(self, value):
        return value


def take(table, value):
    return value


def test_a_graph_is_named_by_a_string():
    with pytest.raises(GraphError, match=r"Graph\('etl'\)"):
        Graph(3)  # type: ignore[arg-type]
