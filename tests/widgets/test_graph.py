"""The graph, layer by layer."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.recording.state import RunState
from hexviz.widgets.graph import graph_svg, layered


def crossings(layers, edges):
    place = {node: (layer, i) for layer, nodes in layers.items() for i, node in enumerate(nodes)}
    spans = [(place[a], place[b]) for a, b in edges]
    return sum(
        1
        for i, (a, b) in enumerate(spans)
        for c, d in spans[:i]
        if a[0] == c[0] and b[0] == d[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0
    )


def test_the_order_takes_crossings_away():
    edges = [(i, 10 + (9 - i)) for i in range(10)]
    assert crossings(layered([1] * 10 + [2] * 10, edges), edges) == 0


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.data())
def test_each_node_stands_once_in_its_own_layer_and_the_result_is_repeatable(layer_of, data):
    pairs = [(a, b) for a in range(len(layer_of)) for b in range(len(layer_of)) if layer_of[a] < layer_of[b]]
    edges = data.draw(st.lists(st.sampled_from(pairs), max_size=20)) if pairs else []
    layers = layered(layer_of, edges)
    assert sorted(node for nodes in layers.values() for node in nodes) == list(range(len(layer_of)))
    assert all(layer_of[node] == layer for layer, nodes in layers.items() for node in nodes)
    assert layers == layered(layer_of, edges)


@pytest.mark.parametrize(("nodes", "shapes"), [(30, "rect"), (200, "circle"), (2000, "rect")])
def test_nodes_are_boxes_then_dots_then_waves(runs, nodes, shapes):
    root = ET.fromstring(graph_svg(RunState.from_events(runs.many(nodes))))
    count = sum(1 for _ in root.iter(f"{{http://www.w3.org/2000/svg}}{shapes}"))
    assert count == nodes + 1 if nodes <= 500 else count >= 11


def test_a_run_without_nodes_has_no_graph():
    assert graph_svg(RunState()) == ""
