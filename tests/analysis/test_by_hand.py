"""Examples small enough to be worked out by hand: idle places, retries, quantiles, groups, factors, running nodes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from hexviz import analysis
from tests.analysis.made_frames import STATUSES, WORKFLOWS, diamond, made_frames, random_frames, workflow
from tests.analysis.real_runs import failed_frames, shop_frames, unfinished_frames


def tries(*spans):
    """Attempts of one run from (ready, start, end)."""
    frame = pd.DataFrame(spans, columns=["ready_ms", "start_ms", "end_ms"]).astype("float64")
    return SimpleNamespace(attempts=frame.assign(run_id="r"), nodes=pd.DataFrame({"run_id": ["r"]}))


# --- concurrency


def test_idle_places_are_those_that_nothing_fills():
    steps = analysis.concurrency(tries((0, 0, 10), (0, 10, 30), (0, 0, 20)), slots=3)
    assert steps["offset_ms"].tolist() == [0, 10, 20, 30]
    assert steps["running"].tolist() == [2, 2, 1, 0]
    assert steps["idle"].tolist() == [1, 1, 2, 3]
    facts = steps.attrs
    assert (facts["slots"], facts["peak"], facts["busy_ms"], facts["span_ms"]) == (3, 2, 50, 30)
    assert facts["idle_ms"] == 3 * 30 - 50
    assert facts["idle_while_queued_ms"] == 10
    assert facts["utilisation"] == pytest.approx(50 / 90)


def test_by_default_the_most_that_ever_ran_are_the_places():
    facts = analysis.concurrency(tries((0, 0, 10), (0, 0, 20))).attrs
    assert (facts["slots"], facts["idle_ms"]) == (2, 10)


@pytest.mark.parametrize("slots", [0, -1, True, 2.0, 1])
def test_places_that_cannot_be_are_refused(slots):
    with pytest.raises(ValueError, match="slots must be"):
        analysis.concurrency(tries((0, 0, 10), (0, 0, 20)), slots=slots)


@pytest.mark.parametrize("seed", range(4))
def test_idle_and_busy_fill_all_places_of_the_span(seed):
    frames, *_ = random_frames(np.random.default_rng(seed), 40)
    facts = analysis.concurrency(frames, slots=40).attrs
    assert facts["idle_ms"] + facts["busy_ms"] == pytest.approx(facts["slots"] * facts["span_ms"])
    assert facts["mean"] * facts["span_ms"] == pytest.approx(facts["busy_ms"])


# --- failures and retries


def test_retries_tell_what_trying_again_cost():
    rows = analysis.retries(diamond(failing=("b", "c"))).set_index("node")
    assert rows.index.tolist() == ["c", "b"]
    assert rows.loc["c", ["attempts", "failed", "lost_ms", "backoff_ms", "last_error"]].tolist() == [
        2, 1, 50.0, 5.0, "ConnectionError: it <b>broke</b>",
    ]  # fmt: skip
    assert rows["recovered"].all()
    assert analysis.retries(diamond()).empty


def test_all_time_is_lost_of_a_node_that_never_succeeded():
    frames = diamond(failing=("b",))
    frames.nodes.loc[frames.nodes["node"] == "b", "status"] = "failed"
    row = analysis.retries(frames).iloc[0]
    assert (row["lost_ms"], row["recovered"], str(row["outcome"])) == (40.0, False, "failed")


def test_failures_of_a_real_run_tell_retry_fallback_and_end_apart():
    rows = analysis.failures(shop_frames()).set_index("node")
    assert rows.loc["flaky", ["attempt", "attempts", "retried", "outcome"]].tolist() == [1, 2, True, "succeeded"]
    assert rows.loc["broken", ["attempt", "attempts", "retried", "outcome"]].tolist() == [1, 1, False, "fell_back"]
    assert rows["recovered"].all()
    end = analysis.failures(failed_frames()).iloc[0]
    assert end[["node", "outcome", "recovered", "retried"]].tolist() == ["bad", "failed", False, False]


# --- calls and decisions


def test_quantiles_of_calls_are_those_of_numpy():
    rng = np.random.default_rng(2)
    frames = diamond()
    times = rng.exponential(100, 50)
    frames.calls = pd.DataFrame(
        {
            "run_id": "run-1",
            "node": "a",
            "kind": pd.Categorical(["llm"] * 51),
            "name": "m",
            "status": pd.Categorical(["succeeded"] * 50 + ["running"], STATUSES),
            "duration_ms": [*times, np.nan],
            "input_tokens": pd.array([1] * 51, "Int64"),
            "output_tokens": pd.array([None] * 51, "Int64"),
        }
    )
    row = analysis.calls(frames).iloc[0]
    assert row[["calls", "failed", "unfinished", "nodes"]].tolist() == [51, 0, 1, 1]
    assert row[["p50_ms", "p95_ms"]].tolist() == pytest.approx(np.quantile(times, [0.5, 0.95]))
    assert row[["mean_ms", "max_ms", "total_ms"]].tolist() == pytest.approx([times.mean(), times.max(), times.sum()])
    assert row[["input_tokens", "output_tokens"]].tolist() == [51, 0]


def test_calls_are_grouped_by_what_is_asked_for():
    rows = analysis.calls(diamond(), by=["node", "status"])
    assert list(rows.columns[:2]) == ["node", "status"]
    assert rows.set_index(["node", "status"])["calls"].to_dict() == {
        ("a", "failed"): 1, ("a", "succeeded"): 1, ("b", "succeeded"): 1,
    }  # fmt: skip


def test_decisions_are_counted_by_policy_and_node():
    rows = analysis.decision_counts(shop_frames(), by=("decided_by", "node"))
    assert rows.to_numpy().tolist() == [["Fallback", "broken", 1, 1], ["Gate", "off", 1, 1], ["Retry", "flaky", 1, 1]]


@pytest.mark.parametrize("by", ["moon", (), ("node", "node")])
@pytest.mark.parametrize("function", [analysis.calls, analysis.decision_counts])
def test_groups_that_are_not_there_are_refused(function, by):
    with pytest.raises(ValueError, match="by takes one or several of"):
        function(diamond(), by=by)


# --- what if


def test_factors_scale_the_recorded_time_and_milliseconds_replace_it():
    frames = diamond()  # a 10, b 20, c 50, d 5, e 30; the path is a, c, d
    half = analysis.what_if(frames, durations={"c": 0.5})
    assert (half.attrs["makespan_ms"], half.attrs["baseline_ms"]) == (40, 65)
    assert analysis.what_if(frames, durations={"[bc]": 2}).attrs["makespan_ms"] == 115
    assert analysis.what_if(frames, durations={"[bc]": 2, "c": 0}).attrs["makespan_ms"] == 55
    assert analysis.what_if(frames, durations={"*": 0}, durations_ms={"c": 7}).attrs["makespan_ms"] == 7
    assert analysis.what_if(frames, durations={"c": np.float64(0.5)}).attrs["makespan_ms"] == 40


def test_the_question_of_the_guide_is_answered():
    plan = analysis.what_if(diamond(), durations={"c": 0.5}, workers=2, schedule="wave")
    # waves: a and e side by side (30), b and c side by side (25), d (5)
    assert plan.attrs["makespan_ms"] == 60
    assert plan.set_index("node").loc["d", ["ready_ms", "start_ms", "end_ms"]].tolist() == [55, 55, 60]
    assert plan["worker"].max() == 1


def test_a_simulation_with_enough_workers_agrees_with_the_longest_path_of_networkx():
    rng = np.random.default_rng(11)
    frames, graph, durations = random_frames(rng, 60)
    factor = {name: float(rng.random() * 2) for name in graph}
    shape = nx.DiGraph()
    for name, parents in graph.items():
        shape.add_edge("the start", name, weight=durations[name] * factor[name])
        shape.add_edges_from((parent, name, {"weight": durations[name] * factor[name]}) for parent in parents)
    plan = analysis.what_if(frames, durations=factor, workers=60)
    assert plan.attrs["makespan_ms"] == pytest.approx(nx.dag_longest_path_length(shape))


@pytest.mark.parametrize("file", ["airrflow-dirt02-001.json.gz", "blast-chameleon-large-001.json"])
def test_fewer_workers_never_beat_the_bounds_of_a_real_workflow(file):
    if not WORKFLOWS.is_dir():
        pytest.skip("the workflow files of WfInstances are not beside the project")
    frames = made_frames(*workflow(WORKFLOWS / file))
    for workers in (1, 3, 8):
        facts = analysis.what_if(frames, workers=workers).attrs
        bound = max(facts["critical_path_ms"], facts["work_ms"] / workers)
        # Graham: no list schedule takes longer than this.
        assert bound - 1e-6 <= facts["makespan_ms"] <= facts["critical_path_ms"] + facts["work_ms"] / workers


# --- by the clock


def test_the_chain_by_the_clock_goes_back_from_the_end_to_those_who_were_waited_for():
    path = analysis.path_by_clock(diamond())
    assert path["node"].tolist() == ["a", "c", "d"]
    assert path["duration_ms"].tolist() == [10, 50, 5]
    assert path["earliest_ms"].tolist() == [0, 10, 60]
    assert path["gap_ms"].tolist()[1:] == [1.0, 1.0]
    assert path.attrs["total_ms"] == 65


def test_a_back_off_can_make_another_chain_than_the_heaviest():
    frames = made_frames({"a": [], "b": [], "c": ["a", "b"]}, {"a": 30, "b": 27, "c": 5}, failing=("b",))
    assert analysis.critical_path(frames)["node"].tolist() == ["a", "c"]
    assert analysis.path_by_clock(frames)["node"].tolist() == ["b", "c"]


def test_the_chain_by_the_clock_is_a_path_of_the_graph_that_ends_with_the_run():
    for seed in range(4):
        frames, graph, _ = random_frames(np.random.default_rng(seed), 60)
        path = analysis.path_by_clock(frames)
        names = path["node"].tolist()
        assert all(before in graph[name] for before, name in itertools.pairwise(names))
        assert not graph[names[0]]
        assert path["end_ms"].iloc[-1] == frames.nodes["end_ms"].max()
        assert path["gap_ms"].iloc[1:].tolist() == pytest.approx([1.0] * (len(path) - 1))


def test_who_ended_at_the_same_moment_in_a_later_wave_was_not_waited_for():
    frames = diamond()  # c ends at 62, which makes d ready
    frames.nodes.loc[frames.nodes["node"] == "e", ["wave", "end_ms"]] = [3, 62.0]
    assert frames.nodes["node"].tolist().index("e") < frames.nodes["node"].tolist().index("c")
    assert analysis.path_by_clock(frames)["node"].tolist() == ["a", "c", "d"]


def test_a_chain_whose_moments_do_not_fit_is_told_as_far_as_they_do():
    frames = diamond()
    frames.nodes.loc[frames.nodes["node"] == "a", "end_ms"] -= 3.0
    assert analysis.path_by_clock(frames)["node"].tolist() == ["c", "d"]


# --- weights


def test_elapsed_time_counts_attempts_and_back_off():
    frames = diamond(failing=("b", "c"))
    assert analysis.critical_path(frames, weight="elapsed_ms").attrs["total_ms"] == 10 + (50 + 5 + 50) + 5
    assert analysis.critical_path(frames, weight="total_ms").attrs["total_ms"] == 10 + 100 + 5


def test_a_node_that_still_runs_weighs_what_it_has_run_until_the_last_known_moment():
    frames = diamond()  # c runs from 12 to 62, e from 1 to 31
    c = frames.nodes["node"] == "c"
    frames.nodes.loc[c, ["duration_ms", "end_ms"]] = np.nan
    frames.nodes.loc[c, ["total_ms"]] = 0.0
    frames.nodes.loc[frames.nodes["node"] == "d", ["start_ms", "end_ms", "duration_ms"]] = np.nan
    frames.nodes.loc[frames.nodes["node"] == "e", "end_ms"] = 50.0
    path = analysis.critical_path(frames)
    assert path["node"].tolist() == ["a", "c", "d"]
    assert path["duration_ms"].tolist() == [10, 38, 0]


def test_a_run_that_has_not_ended_is_told_as_far_as_it_went():
    frames = unfinished_frames()
    assert analysis.timeline(frames)["open"].sum() == 1
    assert analysis.concurrency(frames)["running"].iloc[-1] == 0
    assert analysis.what_if(frames).attrs["makespan_ms"] == analysis.critical_path(frames).attrs["total_ms"]
    assert len(analysis.slack(frames)) == len(frames.nodes)
