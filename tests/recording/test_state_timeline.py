"""StateTimeline: any moment of a run, equal to a fold of the events up to there."""

import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.recording.recording import Recording
from hexviz.recording.state import RunState
from hexviz.recording.state_timeline import MomentError, StateTimeline
from tests.recording.made_events import T0, Run, small_run


def shown(state):
    """All that a state shows, as plain values."""
    nodes, rows = state.nodes, state.attempts
    facts = ("run_id", "pipeline", "status", "error", "schedule", "tags", "started_at", "total_nodes", "total_waves")
    return {
        **{name: getattr(state, name) for name in (*facts, "seq", "events", "last_ms", "duration_ms", "end_ms")},
        "nodes": [list(x) for x in (nodes.name, nodes.wave, nodes.status, nodes.settled_ms, nodes.parents)],
        "edges": nodes.edges(),
        "attempts": [list(getattr(rows, name)) for name in type(rows).__slots__],
        "waves": dict(state.waves),
        "counts": state.counts,
        "lists": (state.decisions, state.failures, state.calls),
        "workers": ([state.workers.names[code] for code in rows.worker], state.workers.lost_ms),
    }


def test_every_moment_of_a_run_is_what_folding_up_to_there_gives():
    events = small_run()
    timeline = StateTimeline(Recording(events))
    for seq in range(len(events) + 1):
        assert shown(timeline.at(seq=seq)) == shown(RunState.from_events(events[:seq]))


NAMES = st.sampled_from("abcd")
TRIES = st.integers(1, 3)
LOST = ev.RecordedError("WorkerLostError", "worker x died")
STEPS = st.one_of(
    st.builds(
        lambda n, k, w: (ev.NodeStarted, (n, w), {"attempt": k, "queued_ms": 3.0}), NAMES, TRIES, st.integers(1, 3)
    ),
    st.builds(lambda n, k, w: (ev.NodePlaced, (n, 1, w), {"attempt": k}), NAMES, TRIES, st.sampled_from("xy")),
    st.builds(lambda n, k: (ev.NodeCompleted, (n, 1, None, 1.0), {"attempt": k}), NAMES, TRIES),
    st.builds(lambda n, k: (ev.NodeFailed, (n, 1, ValueError("x")), {"attempt": k}), NAMES, TRIES),
    st.builds(lambda n, k: (ev.NodeFailed, (n, 1, LOST), {"attempt": k}), NAMES, TRIES),
    st.builds(lambda n, k: (ev.NodeRetrying, (n, 1), {"attempt": k, "delay_s": 0.1}), NAMES, TRIES),
    st.builds(lambda n, k: (ev.NodeSkipped, (n, 1), {"attempt": k}), NAMES, TRIES),
    st.builds(lambda n, i: (ev.ToolCalled, (n, "t", {}), {"call_id": i}), NAMES, st.sampled_from("12")),
    st.builds(lambda n, i: (ev.ToolCompleted, (n, "t", 1, 1.0), {"call_id": i}), NAMES, st.sampled_from("12")),
    st.builds(lambda n: (ev.ControlDecided, ("NodeStarted", 1, "skip"), {"node_name": n}), NAMES),
    st.builds(lambda w: (ev.WaveStarted, (w, ("a",)), {}), st.integers(1, 3)),
    st.builds(lambda w: (ev.WaveCompleted, (w, 1.0), {}), st.integers(1, 3)),
    st.just((ev.PipelineStarted, ("p", 2, 3, (ev.NodeInfo("a", 1), ev.NodeInfo("z", 2, ("a", "b")))), {})),
    st.just((ev.PipelineFailed, ("p", 9.0, ValueError("end")), {})),
)


@given(st.lists(st.tuples(STEPS, st.integers(-2, 9)), max_size=30), st.data())
def test_whatever_was_told_in_whatever_order_the_past_is_the_fold_of_the_past(steps, data):
    run, now = Run("r"), 10
    for (kind, args, fields), later_ms in steps:
        now += later_ms
        run.at(now).tell(kind, *args, **fields)
    timeline = StateTimeline(run.events)
    for seq in data.draw(st.lists(st.integers(0, len(run.events)), max_size=5)):
        assert shown(timeline.at(seq=seq)) == shown(RunState.from_events(run.events[:seq]))


def test_a_moment_is_a_number_of_milliseconds_or_a_time():
    timeline = StateTimeline(small_run())
    assert timeline.at(12.0).seq == 7
    assert timeline.at(T0 + timedelta(milliseconds=12)).seq == 7
    assert timeline.at((T0 + timedelta(milliseconds=12)).replace(tzinfo=None)).seq == 7
    assert timeline.at(-1).events == 0
    assert timeline.at(1e9).status == "succeeded"


def test_a_past_state_shows_its_own_moment_even_where_the_run_goes_on():
    timeline = StateTimeline(small_run()[:8])
    assert timeline.at(13.5).now_ms() == pytest.approx(13.5)
    assert timeline.at(1e9).now_ms() == pytest.approx(15.0)


@pytest.mark.parametrize(
    "moment", [{}, {"moment": 1.0, "seq": 1}, {"moment": "noon"}, {"moment": True}, {"moment": float("nan")}]
)
def test_a_moment_that_says_nothing_is_a_named_error(moment):
    with pytest.raises(MomentError):
        StateTimeline(small_run()).at(**moment)


def test_what_comes_later_changes_no_state_that_was_given_out():
    first, *rest = small_run()
    timeline = StateTimeline([first])
    then = timeline.at(seq=1)
    before = shown(then)
    for event in rest:
        timeline.fold(event)
    assert shown(then) == before
    with pytest.raises(MomentError, match="fold it into the StateTimeline"):
        then.fold(rest[0])


def test_a_moment_is_found_without_reading_or_folding_an_event_again(monkeypatch):
    timeline = StateTimeline(small_run())
    monkeypatch.setattr(RunState, "fold", None)
    assert [timeline.at(seq=seq).seq for seq in (20, 3, 19, 4)] == [20, 3, 19, 4]


def test_one_run_of_several_can_be_chosen():
    timeline = StateTimeline([*small_run("one"), *small_run("two")[:5]], "two")
    assert (len(timeline), timeline.at(seq=99).run_id) == (5, "two")


def test_the_state_itself_needs_no_numpy():
    code = "import sys, hexviz.recording.state, hexviz.recording.replay; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
