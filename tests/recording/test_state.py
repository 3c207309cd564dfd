"""RunState: what is known of a run, folded from its events."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.recording.state import FAILED, RETRYING, RUNNING, STATUSES, SUCCEEDED, RunState
from hexviz.recording.workers import worker_rows

NODES = tuple(ev.NodeInfo(name, wave) for name, wave in (("a", 1), ("b", 1), ("c", 2)))


def told(*entries, run_id="r"):
    origin = time.monotonic_ns()
    return [
        kind(*args, **kwargs, run_id=run_id, seq=seq, monotonic_ns=origin + int(at_ms * 1e6))
        for seq, (at_ms, kind, args, kwargs) in enumerate(entries, 1)
    ]


def started(at_ms=0):
    return (at_ms, ev.PipelineStarted, ("p", 2, 3, NODES), {})


def test_the_state_imports_without_pandas_numpy_or_widgets():
    code = (
        "import sys, hexviz.recording.state; "
        "print([m for m in ('pandas', 'numpy', 'ipywidgets', 'plotly', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pandas" not in done.stdout
    assert "numpy" not in done.stdout
    assert "ipywidgets" not in done.stdout


def test_all_nodes_are_pending_from_the_start():
    state = RunState.from_events(told(started()))
    assert state.counts_by_status["pending"] == 3
    assert (state.pipeline, state.status, state.total_nodes, state.total_waves) == ("p", "running", 3, 2)
    assert {index: wave.nodes for index, wave in state.waves.items()} == {1: 2, 2: 1}


def test_one_row_per_attempt_with_its_wait_and_its_backoff():
    state = RunState.from_events(
        told(
            started(),
            (10, ev.NodeStarted, ("a", 1), {"queued_ms": 4.0}),
            (20, ev.NodeFailed, ("a", 1, ValueError("x")), {}),
            (20, ev.NodeRetrying, ("a", 1), {"attempt": 1, "delay_s": 0.03}),
            (55, ev.NodeStarted, ("a", 1), {"attempt": 2, "queued_ms": 5.0}),
            (60, ev.NodeCompleted, ("a", 1, None, 5.0), {"attempt": 2}),
        )
    )
    rows = state.attempts
    assert list(rows.attempt) == [1, 2]
    assert list(rows.status) == [RETRYING, SUCCEEDED]
    assert list(rows.ready_ms) == pytest.approx([6.0, 50.0])
    assert list(rows.start_ms) == pytest.approx([10.0, 55.0])
    assert list(rows.end_ms) == pytest.approx([20.0, 60.0])
    assert list(rows.backoff_ms) == pytest.approx([30.0, 0.0])


def test_an_attempt_begins_when_it_is_placed_and_its_worker_is_dead_until_it_is_heard_of_again():
    lost = ev.RecordedError("WorkerLostError", "worker x died")
    events = told(
        started(),
        (1, ev.NodeStarted, ("a", 1), {"worker": "dask"}),
        (5, ev.NodePlaced, ("a", 1, "x"), {}),
        (9, ev.NodeFailed, ("a", 1, lost), {}),
        (9, ev.NodeFailed, ("b", 1, lost), {}),
        (12, ev.NodeStarted, ("a", 1), {"attempt": 2, "worker": "dask"}),
        (14, ev.NodePlaced, ("a", 1, "x"), {"attempt": 2}),
    )
    state = RunState.from_events(events[:5])
    assert [state.workers.names[code] for code in state.attempts.worker] == ["x", ""]
    assert (state.attempts.ready_ms[0], state.attempts.start_ms[0]) == (1, 5)
    assert state.workers.lost_ms == {2: 9}
    assert RunState.from_events(events).workers.lost_ms == {}


def test_what_ends_before_it_is_placed_has_not_run_and_what_lay_on_its_worker_ran_as_long_as_it_says():
    events = told(
        started(),
        (1, ev.NodeStarted, ("a", 1), {"worker": "mine"}),
        (2, ev.NodeStarted, ("b", 1), {"worker": "mine"}),
        (5, ev.NodePlaced, ("a", 1, "x"), {}),
        (9, ev.NodeCancelled, ("b", 1), {}),
        (9, ev.NodeStarted, ("b", 1), {"attempt": 2, "worker": "x"}),
        (29, ev.NodeCompleted, ("b", 1, None, 12.0), {"attempt": 2}),
    )
    state = RunState.from_events(events)
    assert [state.workers.names[code] for code in state.workers.labels] == ["mine"]
    assert list(zip(state.attempts.start_ms, state.attempts.end_ms, strict=True)) == [(5, -1), (9, 9), (17, 29)]
    assert [row.name for row in worker_rows(state)] == ["x"]


def test_what_waits_for_a_worker_is_pending_until_it_is_placed_also_where_the_word_is_learned_only_then():
    events = told(
        started(),
        (1, ev.NodeStarted, ("a", 1), {"worker": "dask"}),
        (2, ev.NodeStarted, ("b", 1), {"worker": "dask"}),
        (5, ev.NodePlaced, ("b", 1, "x"), {}),
        (6, ev.NodeCompleted, ("b", 1, None, 1.0), {}),
        (9, ev.PipelineCancelled, ("p", 9.0), {}),
    )
    states = [RunState.from_events(events[:count]) for count in range(2, 7)]
    seen = [(s.counts_by_status["pending"], s.counts_by_status["running"], s.waiting) for s in states]
    assert [of[1:] for of in seen] == [(0, 1), (0, 2), (1, 1), (0, 1), (0, 0)]
    assert {sum(s.counts) for s in states} == {len(states[0].nodes)}
    learned = told(
        started(),
        (1, ev.NodeStarted, ("a", 1), {"worker": "mine"}),
        (2, ev.NodeStarted, ("b", 1), {"worker": "mine"}),
        (5, ev.NodePlaced, ("a", 1, "x"), {}),
    )
    before, after = RunState.from_events(learned[:3]), RunState.from_events(learned)
    assert [(s.counts[RUNNING], s.waiting, [s.waits(row) for row in (0, 1)]) for s in (before, after)] == [
        (2, 0, [False, False]),
        (1, 1, [False, True]),
    ]


def test_a_thread_of_the_runs_own_process_is_no_worker():
    state = RunState.from_events(told(started(), (1, ev.NodeStarted, ("a", 1), {"worker": "thread"})))
    assert (len(state.workers), list(state.attempts.worker)) == (0, [0])


def test_a_retried_node_keeps_its_lane():
    state = RunState.from_events(
        told(
            started(),
            (1, ev.NodeStarted, ("a", 1), {}),
            (2, ev.NodeFailed, ("a", 1, ValueError("x")), {}),
            (2, ev.NodeRetrying, ("a", 1), {"attempt": 1, "delay_s": 0.01}),
            (3, ev.NodeStarted, ("b", 1), {}),
            (14, ev.NodeStarted, ("a", 1), {"attempt": 2}),
        )
    )
    assert list(state.attempts.lane) == [0, 1, 0]


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ((ev.NodeSkipped, ("a", 1), {}), "skipped"),
        ((ev.NodeFellBack, ("a", 1), {}), "fell_back"),
        ((ev.NodeCancelled, ("a", 1), {}), "cancelled"),
        ((ev.NodeFailed, ("a", 1, ValueError("x")), {}), "failed"),
    ],
)
def test_the_final_status_is_that_of_the_last_event(last, status):
    state = RunState.from_events(
        told(started(), (1, ev.NodeStarted, ("a", 1), {}), (2, ev.NodeCompleted, ("a", 1, 0, 1.0), {}), (3, *last))
    )
    assert state.counts_by_status[status] == 1
    assert STATUSES[state.attempts.status[0]] == status
    assert state.attempts.end_ms[0] == pytest.approx(2.0)


def test_a_node_that_never_started_has_no_row():
    state = RunState.from_events(told(started(), (5, ev.NodeSkipped, ("c", 2), {"reason": "its parent failed"})))
    assert len(state.attempts) == 0
    assert state.counts_by_status["skipped"] == 1
    assert state.nodes.settled_ms[state.nodes.code["c"]] == pytest.approx(5.0)


def test_no_bar_grows_after_the_run_has_ended():
    state = RunState.from_events(
        told(started(), (1, ev.NodeStarted, ("a", 1), {}), (9, ev.PipelineCancelled, ("p", 9.0, "by hand"), {}))
    )
    assert state.done
    assert state.status == "cancelled"
    assert state.error == "by hand"
    assert list(state.attempts.end_ms) == pytest.approx([9.0])
    assert state.now_ms() == pytest.approx(9.0)


def test_a_failed_run_is_listed_among_the_failures():
    state = RunState.from_events(told(started(), (3, ev.PipelineFailed, ("p", 3.0, RuntimeError("no disk")), {})))
    assert (state.status, state.error) == ("failed", "RuntimeError: no disk")
    assert [(f.node, f.error_type) for f in state.failures] == [("", "RuntimeError")]


def test_events_of_another_run_and_events_seen_before_change_nothing():
    events = told(started(), (1, ev.NodeStarted, ("a", 1), {}))
    state = RunState.from_events(
        [*events, *events, *told(started(), (1, ev.NodeStarted, ("b", 1), {}), run_id="other")]
    )
    assert state.run_id == "r"
    assert state.events == 2
    assert len(state.attempts) == 1


def test_a_run_can_be_chosen_among_several():
    mixed = [*told(started()), *told(started(), (1, ev.NodeStarted, ("b", 1), {}), run_id="second")]
    assert len(RunState.from_events(mixed, "second").attempts) == 1


def test_a_shadow_decision_tells_what_the_shadow_would_have_done():
    votes = (ev.Vote("Budget", 10, "error", "too dear", shadow=True),)
    decided = ev.ControlDecided("NodeStarted", 2, "proceed", node_name="a", votes=votes, shadow=True, run_id="r")
    (decision,) = RunState.from_events([decided]).decisions
    assert (decision.signal, decision.decided_by, decision.reason) == ("proceed", "Budget", "would error: too dear")


def test_calls_are_paired_by_their_id():
    state = RunState.from_events(
        told(
            started(),
            (1, ev.ToolCalled, ("a", "search", {}), {"call_id": "1"}),
            (2, ev.LLMPromptSent, ("a", []), {"call_id": "2", "model": "m"}),
            (5, ev.LLMResponseReceived, ("a", "x", 3.0), {"call_id": "2", "input_tokens": 7, "output_tokens": 2}),
            (6, ev.ToolFailed, ("a", "search", OSError("down")), {"call_id": "1"}),
        )
    )
    assert [(c.kind, c.name, c.status, c.tokens) for c in state.calls] == [
        ("tool", "search", "failed", 0),
        ("llm", "m", "succeeded", 9),
    ]


def test_a_subclass_of_an_event_is_folded_like_its_base_and_unknown_events_are_let_through():
    class Slow(ev.NodeStarted, frozen=True):
        pass

    class Mine(ev.Event, frozen=True):
        pass

    state = RunState.from_events([Slow("a", 1), Mine()])
    assert len(state.attempts) == 1
    assert state.events == 2


def test_a_delta_holds_what_changed_since_the_last_one_and_nothing_else():
    first, second, third = told(
        started(), (1, ev.NodeStarted, ("a", 1), {}), (2, ev.NodeCompleted, ("a", 1, 0, 1.0), {})
    )
    state = RunState.from_events([first])
    assert (state.delta().nodes, state.dirty) == ([0, 1, 2], False)
    state.fold(second)
    assert (state.dirty, state.delta().rows) == (True, [0])
    state.fold(third)
    delta = state.delta()
    assert (delta.rows, delta.nodes, delta.first_name) == ([0], [0], 3)
    assert state.delta(full=True).rows == [0]
    assert state.delta().rows == []


def test_the_clock_of_a_replayed_run_stands_at_its_last_event():
    long_ago = [
        ev.PipelineStarted("p", 1, 1, run_id="r", seq=1, monotonic_ns=time.monotonic_ns() + 10**15),
        ev.NodeStarted("a", 1, run_id="r", seq=2, monotonic_ns=time.monotonic_ns() + 10**15 + 5_000_000),
    ]
    assert RunState.from_events(long_ago).now_ms() == pytest.approx(5.0, abs=0.1)


KINDS = st.sampled_from(
    [
        lambda n, k: ev.NodeStarted(n, 1, attempt=k),
        lambda n, k: ev.NodeCompleted(n, 1, None, 1.0, attempt=k),
        lambda n, k: ev.NodeFailed(n, 1, ValueError("x"), attempt=k),
        lambda n, k: ev.NodeRetrying(n, 1, attempt=k, delay_s=0.1),
        lambda n, k: ev.NodeSkipped(n, 1, attempt=k),
        lambda n, k: ev.NodeFellBack(n, 1, attempt=k),
        lambda n, k: ev.NodeCancelled(n, 1, attempt=k),
    ]
)


@given(st.lists(st.tuples(KINDS, st.sampled_from("abcd"), st.integers(1, 3))))
def test_whatever_is_told_in_whatever_order_the_books_balance(steps):
    state = RunState.from_events(make(node, attempt) for make, node, attempt in steps)
    assert sum(state.counts) == len(state.nodes)
    assert all(count >= 0 for count in state.counts)
    rows = state.attempts
    for row in range(len(rows)):
        assert rows.ready_ms[row] <= rows.start_ms[row]
        assert (rows.end_ms[row] < 0) == (rows.status[row] == RUNNING) or rows.end_ms[row] >= rows.start_ms[row]
    assert len({(node, attempt) for node, attempt in zip(rows.node, rows.attempt, strict=True)}) == len(rows)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20), st.floats(0, 10)), max_size=40))
def test_attempts_in_one_lane_never_overlap_their_waits_included(spans):
    entries = [started()]
    for i, (start, length, wait) in enumerate(spans):
        entries.append((start + wait, ev.NodeStarted, (f"n{i}", 1), {"queued_ms": wait}))
        entries.append((start + wait + length, ev.NodeCompleted, (f"n{i}", 1, None, length), {}))
    entries.sort(key=lambda entry: entry[0])
    rows = RunState.from_events(told(*entries)).attempts
    lanes = {}
    for lane, ready, end in sorted(zip(rows.lane, rows.ready_ms, rows.end_ms, strict=True)):
        assert ready >= lanes.get(lane, 0.0) - 1e-3
        lanes[lane] = end


def test_failures_keep_the_traceback_as_text():
    try:
        raise ValueError("deep")
    except ValueError as error:
        state = RunState.from_events([ev.NodeFailed("a", 1, error)])
    (failure,) = state.failures
    assert "test_failures_keep_the_traceback_as_text" in failure.traceback
    assert state.attempts.status[0] == FAILED
