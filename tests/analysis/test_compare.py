"""compare: what is different between two runs or two sets of runs, and whether it is more than noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hexviz.analysis import compare
from hexviz.analysis.noise import noise_band, student_t
from hexviz.errors import SourceError
from tests.analysis.made_frames import diamond, made_frames
from tests.analysis.real_runs import failed_frames, shop, shop_frames, two_shops

GRAPH = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
PARTS = ("nodes", "attempts", "edges", "decisions", "calls", "runs")


def together(*several):
    return SimpleNamespace(**{name: pd.concat([getattr(one, name) for one in several]) for name in PARTS})


def runs_of(durations, name):
    """One run per list of durations of the nodes a to d."""
    made = [
        made_frames(GRAPH, dict(zip("abcd", times, strict=True)), run_id=f"{name}-{i}")
        for i, times in enumerate(durations)
    ]
    return together(*made)


def of(rows, kind, *, measure=None, node=None):
    chosen = rows[rows["kind"] == kind]
    chosen = chosen if measure is None else chosen[chosen["measure"] == measure]
    return chosen if node is None else chosen[chosen["node"] == node].iloc[0]


def verdicts(rows, kind, **which):
    chosen = of(rows, kind, **which)
    return dict(zip(chosen["node"], chosen["verdict"], strict=True))


# --- two single runs


def test_nodes_are_added_removed_and_rewired():
    before = made_frames({"a": [], "b": ["a"], "c": ["a"]}, dict.fromkeys("abc", 10))
    after = made_frames({"a": [], "b": ["a"], "d": ["b"], "c": ["a", "b"]}, dict.fromkeys("abcd", 10))
    rows = compare(before, after)
    assert verdicts(rows, "structure") == {"a": "same", "b": "same", "c": "rewired", "d": "added"}
    assert verdicts(compare(after, before), "structure")["d"] == "removed"
    wired = of(rows, "structure", node="c")
    assert (wired["before_words"], wired["after_words"]) == ("a", "a, b")
    assert "d" not in verdicts(rows, "timing", measure="duration_ms")
    assert "d" not in verdicts(rows, "status")


def test_a_status_becomes_better_or_worse_or_other():
    before, after = diamond(), diamond()
    for node, was, is_now in (("a", "failed", "succeeded"), ("b", "succeeded", "failed"), ("c", "skipped", "failed")):
        before.nodes.loc[before.nodes["node"] == node, "status"] = was
        after.nodes.loc[after.nodes["node"] == node, "status"] = is_now
    rows = compare(before, after)
    assert verdicts(rows, "status") == {"a": "better", "b": "worse", "c": "changed", "d": "same", "e": "same"}
    row = of(rows, "status", node="b")
    assert (row["before"], row["after"], row["before_words"], row["after_words"]) == (1, 0, "succeeded", "failed")


def test_between_single_runs_a_stated_floor_is_the_noise():
    after = made_frames(GRAPH, {"a": 10, "b": 21, "c": 61, "d": 4})
    before = made_frames(GRAPH, {"a": 10, "b": 20, "c": 50, "d": 10})
    rows = compare(before, after)
    expected = {"a": "same", "b": "noise", "c": "slower", "d": "faster"}
    assert verdicts(rows, "timing", measure="duration_ms") == expected | {}
    c = of(rows, "timing", node="c")
    assert c[["before", "after", "delta", "ratio", "noise"]].tolist() == [50, 61, 11, 1.22, 5.0]
    assert of(rows, "timing", node="a")["noise"] == 2.0
    wide = compare(before, after, noise_share=0.3, noise_ms=7)
    assert set(verdicts(wide, "timing", measure="duration_ms").values()) == {"same", "noise"}
    assert compare(before, after, noise_ms=0, noise_share=0).attrs["noise_ms"] == 0


def test_the_run_as_a_whole_has_rows_without_a_node():
    rows = compare(diamond(), diamond(failing=("c",)))
    whole = of(rows, "timing").set_index("measure").loc[["run_ms", "work_ms", "waited_ms"]]
    assert set(whole["node"]) == {""}
    assert whole["before"].tolist() == [67, 115, 5]
    assert whole["after"].tolist() == [122, 165, 10]
    assert rows.attrs["run_ms_before"] == 67


def test_attempts_decisions_calls_and_tokens_are_counted_exactly():
    before, after = diamond(), diamond(failing=("b",))
    after.calls = pd.concat([after.calls, after.calls.tail(1)])
    rows = compare(before, after)
    assert verdicts(rows, "attempts") == {"a": "same", "b": "more", "c": "same", "d": "same", "e": "same"}
    decided = of(rows, "decisions", node="b")
    assert decided[["measure", "before", "after", "verdict"]].tolist() == ["retry by Retry", 0, 1, "more"]
    assert of(rows, "calls", measure="calls of m-1").iloc[0][["before", "after"]].tolist() == [1, 2]
    tokens = of(rows, "tokens").set_index("measure")
    assert tokens.loc["input_tokens of m-1", ["before", "after", "verdict"]].tolist() == [7, 14, "more"]
    assert verdicts(compare(after, before), "decisions") == {"b": "fewer"}


def test_a_node_that_never_ran_on_one_side_has_an_unknown_time():
    before = diamond()
    before.nodes.loc[before.nodes["node"] == "b", "duration_ms"] = np.nan
    assert verdicts(compare(before, diamond()), "timing", measure="duration_ms")["b"] == "unknown"
    assert verdicts(compare(before, before), "timing", measure="duration_ms")["b"] == "same"


def test_the_largest_differences_of_a_kind_stand_first():
    rows = compare(
        made_frames(GRAPH, dict.fromkeys("abcd", 10)), made_frames(GRAPH, {"a": 10, "b": 9, "c": 60, "d": 40})
    )
    assert of(rows, "timing", measure="duration_ms")["node"].tolist() == ["c", "d", "b", "a"]
    kinds = rows["kind"].astype(str).tolist()
    assert list(dict.fromkeys(kinds)) == [kind for kind in rows["kind"].cat.categories if kind in set(kinds)]


# --- sets of runs


def test_the_noise_of_sets_is_their_own_spread():
    before = runs_of([(10, 20, 50, 5), (10, 24, 50, 5), (10, 22, 50, 5)], "x")
    after = runs_of([(10, 25, 52.5, 5), (10, 21, 52.5, 5), (10, 23, 52.5, 5)], "y")
    rows = compare(before, after)
    assert verdicts(rows, "timing", measure="duration_ms") == {"a": "same", "b": "noise", "c": "slower", "d": "same"}
    b = of(rows, "timing", node="b")
    assert b[["before", "after", "delta"]].tolist() == [22, 23, 1]
    # Each side: variance 4, three runs; by Welch 4 degrees of freedom, the standard error is the root of 4/3 + 4/3.
    assert b["noise"] == pytest.approx(4.604 * (8 / 3) ** 0.5)
    assert (rows.attrs["run_before"], rows.attrs["runs_before"], rows.attrs["runs_after"]) == ("3 runs", 3, 3)


def test_a_single_run_is_measured_by_the_spread_of_the_others():
    before = runs_of([(10, 20, 50, 5), (10, 30, 50, 5), (10, 25, 50, 5), (10, 25, 50, 5)], "x")
    inside, outside = runs_of([(10, 30, 50, 5)], "y"), runs_of([(10, 60, 50, 5)], "y")
    assert verdicts(compare(before, inside), "timing", measure="duration_ms")["b"] == "noise"
    assert verdicts(compare(before, outside), "timing", measure="duration_ms")["b"] == "slower"
    assert verdicts(compare(outside, before), "timing", measure="duration_ms")["b"] == "faster"


def test_where_nothing_changed_at_most_a_few_of_a_thousand_times_are_called_different():
    rng = np.random.default_rng(5)
    graph = {f"n{i}": [] for i in range(250)}

    def measured(name):
        return together(*(
            made_frames(graph, {node: rng.normal(100, 20) for node in graph}, run_id=f"{name}-{i}") for i in range(5)
        ))  # fmt: skip

    found = [compare(measured("x"), measured("y")) for _ in range(2)]
    rows = pd.concat([of(rows, "timing", measure="duration_ms") for rows in found])
    assert len(rows) == 500
    assert rows["verdict"].isin(["slower", "faster"]).sum() <= 15


def test_what_a_run_never_did_counts_as_nothing():
    before, after = together(diamond(run_id="x1"), diamond(run_id="x2", failing=("b",))), diamond(failing=("b",))
    row = of(compare(before, after), "decisions", node="b")
    assert row[["before", "after"]].tolist() == [0.5, 1.0]
    assert row["verdict"] == "noise"
    # 0 and 1: variance 1/2 of two runs, so 1 degree of freedom; the single run is taken to vary as much.
    assert row["noise"] == pytest.approx(63.657 * (0.5 / 2 + 0.5) ** 0.5)


def test_statuses_of_sets_are_told_in_words():
    before = together(*(diamond(run_id=f"x{i}") for i in range(4)))
    after = together(*(diamond(run_id=f"y{i}") for i in range(4)))
    after.nodes.loc[(after.nodes["node"] == "b"), "status"] = "failed"
    after.nodes.loc[(after.nodes["node"] == "c") & (after.nodes["run_id"] == "y1"), "status"] = "failed"
    rows = compare(before, after)
    b, c = (of(rows, "status", node=node) for node in "bc")
    assert (b["after_words"], b["verdict"]) == ("failed", "worse")
    assert (c["after_words"], c["after"], c["verdict"]) == ("succeeded 75 %, failed 25 %", 0.75, "noise")


def test_both_sides_may_be_runs_of_the_same_frames():
    frames = together(*(diamond(run_id=run) for run in "wxyz"))
    frames.nodes.loc[(frames.nodes["run_id"] == "y") & (frames.nodes["node"] == "c"), "duration_ms"] = 90.0
    rows = compare(frames, frames, run_before="w", run_after="y")
    assert verdicts(rows, "timing", measure="duration_ms")["c"] == "slower"
    assert (rows.attrs["run_before"], rows.attrs["run_after"]) == ("w", "y")
    sets = compare(frames, frames, run_before=["w", "x"], run_after=["z"])
    assert set(sets["verdict"]) == {"same"}
    with pytest.raises(SourceError, match="no run 'q'"):
        compare(frames, frames, run_before="q")


@pytest.mark.parametrize("change", [{"noise_ms": -1}, {"noise_share": float("nan")}, {"noise_ms": float("inf")}])
def test_a_floor_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match="must be a number, 0 or more"):
        compare(diamond(), diamond(), **change)


# --- real runs


def test_a_real_change_is_found_and_nothing_else_in_its_structure():
    rows = compare(shop_frames(), shop(extra_parent=True, slow_s=0.05).frames)
    wired = verdicts(rows, "structure")
    assert {node for node, verdict in wired.items() if verdict != "same"} == {"clean"}
    assert verdicts(rows, "timing", measure="duration_ms")["clean"] == "slower"
    assert set(verdicts(rows, "status").values()) == {"same"}
    assert set(of(rows, "decisions")["verdict"]) == {"same"}


def test_a_run_is_the_same_as_itself():
    for frames in (shop_frames(), two_shops(), failed_frames()):
        assert set(compare(frames, frames)["verdict"]) == {"same"}


def test_runs_that_share_no_node_are_all_added_and_removed():
    rows = compare(shop_frames(), failed_frames())
    shared = {"load"}
    changed = {node: verdict for node, verdict in verdicts(rows, "structure").items() if node not in shared}
    assert set(changed.values()) == {"added", "removed"}


# --- the band


def test_the_quantiles_are_those_of_student():
    stats = pytest.importorskip("scipy.stats", reason="needs scipy, which comes with scikit-learn")
    degrees = np.array([1, 1.5, 2, 2.7, 3, 5.5, 8, 11, 17, 25, 45, 100, 1e6])
    assert student_t(degrees) == pytest.approx(stats.t.ppf(0.995, degrees), rel=0.005)


def test_the_band_is_that_of_welch():
    stats = pytest.importorskip("scipy.stats", reason="needs scipy, which comes with scikit-learn")
    a, b = np.array([1.0, 2, 4, 3, 3]), np.array([9.0, 2, 5, 8, 1, 1, 4])
    sides = [pd.DataFrame({"var": [x.var(ddof=1)], "n": [len(x)]}) for x in (a, b)]
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.99)
    assert noise_band(*sides)[0] == pytest.approx((interval.high - interval.low) / 2, rel=0.005)


def test_two_single_runs_say_nothing_about_noise():
    alone = pd.DataFrame({"var": [np.nan], "n": [1]})
    assert np.isnan(noise_band(alone, alone))[0]
