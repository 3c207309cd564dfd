"""What a makespan becomes when nodes take other times."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.analysis.longest import LongestPaths
from hexviz.analysis.shape import Shape


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 9))
    parents = [draw(st.lists(st.integers(0, node - 1), unique=True)) if node else [] for node in range(size)]
    children = [[child for child in range(size) if node in parents[child]] for node in range(size)]
    times = draw(st.lists(st.integers(0, 20).map(float), min_size=size, max_size=size))
    return Shape(pd.DataFrame(), parents, children, list(range(size))), times


def makespan(shape, times):
    ends = []
    for node, time in enumerate(times):
        ends.append(time + max((ends[parent] for parent in shape.parents[node]), default=0.0))
    return max(ends)


@settings(deadline=None)
@given(graphs(), st.data())
def test_one_other_time_gives_the_makespan_of_a_walk_through_the_whole_graph(graph, data):
    shape, times = graph
    node, time = data.draw(st.integers(0, len(times) - 1)), data.draw(st.integers(0, 40).map(float))
    changed = [time if number == node else old for number, old in enumerate(times)]
    paths = LongestPaths(shape, times)
    assert paths.makespan_ms == makespan(shape, times)
    assert paths.later_ms({node: time}) == makespan(shape, changed) - makespan(shape, times)


@settings(deadline=None)
@given(graphs(), st.data())
def test_several_other_times_are_taken_together(graph, data):
    shape, times = graph
    changed = data.draw(st.dictionaries(st.integers(0, len(times) - 1), st.integers(0, 40).map(float)))
    new = [changed.get(node, old) for node, old in enumerate(times)]
    assert LongestPaths(shape, times).later_ms(changed) == pytest.approx(makespan(shape, new) - makespan(shape, times))


def test_no_node_takes_no_time():
    assert LongestPaths(Shape(pd.DataFrame(), [], [], []), []).makespan_ms == 0.0
