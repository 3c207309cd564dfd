"""concurrency, waits, decisions, failures, compare, what_if, calls: by value, on frames made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hexviz import analysis
from hexviz.errors import SourceError
from hexviz.palette import SIGNAL_COLORS, STATUS_COLORS, signal_color, status_color
from tests.analysis.made_frames import SIGNALS, STATUSES, diamond, random_frames


def test_concurrency_counts_what_runs_and_what_waits():
    steps = analysis.concurrency(diamond())
    assert steps["offset_ms"].is_monotonic_increasing
    assert steps["offset_ms"].is_unique
    assert steps.iloc[0].tolist() == [0.0, 0, 2, 3]
    assert steps[["running", "queued"]].iloc[-1].tolist() == [0, 0]
    assert steps.attrs["peak"] == 3
    assert steps.attrs["busy_ms"] == 115


def test_an_attempt_that_still_runs_counts_to_the_last_known_moment():
    frames = diamond()
    frames.attempts.loc[frames.attempts["node"] == "e", "end_ms"] = np.nan
    steps = analysis.concurrency(frames)
    assert (steps["running"].iloc[1:-1] >= 1).all()
    assert steps["offset_ms"].iloc[-1] == frames.nodes["end_ms"].max()


def test_concurrency_never_counts_below_zero_and_agrees_with_counting_by_hand():
    frames, *_ = random_frames(np.random.default_rng(3), 80)
    steps = analysis.concurrency(frames)
    assert (steps[["running", "queued"]] >= 0).all().all()
    tries = frames.attempts
    for at, running in zip(steps["offset_ms"], steps["running"], strict=True):
        assert running == ((tries["start_ms"] <= at) & (tries["end_ms"] > at)).sum()


def test_waits_stand_by_what_the_time_was_spent_on():
    nodes = analysis.waits(diamond(failing=("b",)))
    first = nodes.iloc[0]
    assert (first["node"], first["backoff_ms"], first["queued_ms"], first["running_ms"]) == ("b", 5, 1, 40)
    assert first["wait_share"] == pytest.approx(6 / 46)
    assert nodes.attrs["queued_ms"] == 5


def test_decisions_are_one_row_each_whatever_the_number_of_votes():
    frames = diamond(failing=("b", "c"))
    fallen = analysis.decisions(frames)
    assert fallen["node"].tolist() == ["b", "c"]
    assert fallen["votes"].tolist() == [2, 2]
    assert fallen["latency_us"].tolist() == [5.0, 5.0]
    assert fallen["signal"].astype(str).tolist() == ["retry", "retry"]
    counts = analysis.decision_counts(frames)
    assert counts.iloc[0].tolist() == ["Retry", "retry", 2, 2]


def test_votes_are_counted_by_handler_in_order_of_priority():
    votes = analysis.handler_votes(diamond(failing=("b", "c")))
    assert votes["handler"].tolist() == ["CircuitBreaker", "Retry"]
    assert votes["decisive"].tolist() == [0, 2]
    assert votes["mean_latency_us"].tolist() == [2.0, 3.0]


def test_shadow_votes_are_marked():
    frames = diamond(failing=("b",))
    frames.decisions.loc[1, ["shadow", "decisive"]] = [True, False]
    assert analysis.decisions(frames)["shadow"].tolist() == [True]


def test_failures_say_what_became_of_the_node():
    failed = analysis.failures(diamond(failing=("b",)))
    assert failed[["node", "attempt", "attempts", "recovered"]].iloc[0].tolist() == ["b", 1, 2, True]
    counts = analysis.failure_counts(diamond(failing=("b", "c")))
    assert counts.iloc[0].tolist() == ["ConnectionError", 2, 2, 2, 70.0, "it <b>broke</b>"]


def test_calls_are_summed_by_tool_and_model():
    rows = analysis.calls(diamond()).set_index("name")
    assert rows.loc["search", ["calls", "failed", "total_ms", "input_tokens"]].tolist() == [2, 1, 4.0, 0]
    assert rows.loc["m-1", ["kind", "output_tokens"]].tolist() == ["llm", 5]


def test_what_if_answers_for_durations_workers_and_barriers():
    frames = diamond()
    assert analysis.what_if(frames).attrs["makespan_ms"] == 65
    assert analysis.what_if(frames, durations_ms={"c": 20}).attrs["makespan_ms"] == 35
    assert analysis.what_if(frames, schedule="wave").attrs["makespan_ms"] == 85
    alone = analysis.what_if(frames, workers=1)
    assert alone.attrs["makespan_ms"] == 115
    assert alone.attrs["utilisation"] == 1.0
    assert set(alone["worker"]) == {0}


@pytest.mark.parametrize("workers", [1, 2, 5, None])
@pytest.mark.parametrize("schedule", ["ready", "wave"])
def test_a_simulated_schedule_keeps_every_rule(workers, schedule):
    frames, graph, durations = random_frames(np.random.default_rng(7), 80)
    plan = analysis.what_if(frames, workers=workers, schedule=schedule).set_index("node")
    for name, parents in graph.items():
        assert all(plan.loc[p, "end_ms"] <= plan.loc[name, "start_ms"] for p in parents)
        assert plan.loc[name, "end_ms"] - plan.loc[name, "start_ms"] == pytest.approx(durations[name])
    for _, own in plan.sort_values(["start_ms", "end_ms"]).groupby("worker"):
        assert (own["start_ms"].to_numpy()[1:] >= own["end_ms"].to_numpy()[:-1]).all()
    if workers:
        assert plan["worker"].max() < workers
    if schedule == "wave":
        ends = plan.groupby("wave")["end_ms"].max()
        begins = plan.groupby("wave")["start_ms"].min()
        assert (begins.to_numpy()[1:] >= ends.to_numpy()[:-1]).all()


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        ({"workers": 0}, ValueError, "workers must be"),
        ({"workers": True}, ValueError, "workers must be"),
        ({"schedule": "soon"}, ValueError, "'ready' or 'wave'"),
        ({"durations": {"ghost": 1}}, SourceError, "ghost"),
        ({"durations": {"a": float("nan")}}, ValueError, r"durations\['a'\] must be a factor"),
        ({"durations": {"a": "half"}}, ValueError, r"durations\['a'\] must be a factor"),
        ({"durations_ms": {"a": -1}}, ValueError, r"durations_ms\['a'\] must be a number of milliseconds"),
        ({"durations_ms": {"x*": 1}}, SourceError, r"x\*"),
    ],
)
def test_questions_that_have_no_answer_are_refused(question, error, words):
    with pytest.raises(error, match=words):
        analysis.what_if(diamond(), **question)


@pytest.mark.parametrize(
    ("function", "frame", "column"),
    [
        (analysis.concurrency, "attempts", "ready_ms"),
        (analysis.waits, "nodes", "queued_ms"),
        (analysis.decisions, "decisions", "latency_us"),
        (analysis.handler_votes, "decisions", "decisive"),
        (analysis.failures, "attempts", "error_type"),
        (analysis.calls, "calls", "input_tokens"),
    ],
)
def test_a_missing_column_is_named(function, frame, column):
    frames = diamond()
    setattr(frames, frame, getattr(frames, frame).drop(columns=[column]))
    with pytest.raises(SourceError, match=f"'{frame}' lacks the columns {column}"):
        function(frames)


@pytest.mark.parametrize(
    "function",
    [
        analysis.concurrency,
        analysis.waits,
        analysis.decisions,
        analysis.decision_counts,
        analysis.handler_votes,
        analysis.failures,
        analysis.failure_counts,
        analysis.retries,
        analysis.calls,
        analysis.slack,
        analysis.timeline,
    ],
)
def test_an_empty_run_gives_an_empty_frame_with_the_same_columns(function):
    full, empty = diamond(failing=("b",)), diamond()
    for name in ("nodes", "attempts", "edges", "decisions", "calls"):
        setattr(empty, name, getattr(full, name).iloc[:0])
    result = function(empty)
    assert result.empty
    assert list(result.columns) == list(function(full).columns)
    assert isinstance(result, pd.DataFrame)


def test_every_status_and_signal_has_a_colour():
    assert list(STATUS_COLORS) == STATUSES
    assert list(SIGNAL_COLORS) == SIGNALS
    assert status_color("of another world") == signal_color("of another world")
