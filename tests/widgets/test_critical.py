"""The chain that kept a run from being shorter, marked when it ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.analysis import critical_path
from hexviz.events import events as ev
from hexviz.recording.recording import Recording
from hexviz.recording.state import RunState
from hexviz.widgets.critical import critical_nodes
from tests.widgets import conftest as made


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 400), st.sets(st.integers(0, 6), max_size=3)), min_size=1, max_size=7))
def test_it_is_as_heavy_as_the_path_of_the_analysis(nodes):
    infos, entries, ended = [], [], []
    for i, (took, parents) in enumerate(nodes):
        deps = tuple(f"n{p}" for p in sorted(parents) if p < i)
        wave = 1 + max((infos[int(d[1:])].wave_index for d in deps), default=0)
        infos.append(ev.NodeInfo(f"n{i}", wave, deps))
        start = max((ended[int(d[1:])] for d in deps), default=1)
        ended.append(start + took)
        entries.append((start, ev.NodeStarted, (f"n{i}", wave, deps), {}))
        entries.append((start + took, ev.NodeCompleted, (f"n{i}", wave, None, float(took)), {}))
    entries.sort(key=lambda entry: entry[0])
    begun = (0, ev.PipelineStarted, ("p", 7, len(infos), tuple(infos)), {})
    events = made.tell([begun, *entries, (9_999, ev.PipelineCompleted, ("p", 9_999.0), {})])
    state = RunState.from_events(events)
    rows = {node: row for row, node in enumerate(state.attempts.node)}
    weight = sum(state.attempts.end_ms[rows[n]] - state.attempts.start_ms[rows[n]] for n in critical_nodes(state))
    assert abs(weight - critical_path(Recording(events).frames).attrs["total_ms"]) < 0.01


def test_a_run_without_nodes_has_none():
    assert critical_nodes(RunState()) == []


def test_a_large_run_has_one_too():
    state = RunState()
    infos = (ev.NodeInfo(f"n{i}", 1 + i // 30_000, ("n7",) if i >= 30_000 else ()) for i in range(60_000))
    state.nodes.extend(infos)
    for node in (7, 8, 40_000):
        row = state.attempts.append(node, 1, 0, 0.0, 0.0)
        state.attempts.end_ms[row] = 5.0
    assert critical_nodes(state) == [7, 40_000]
