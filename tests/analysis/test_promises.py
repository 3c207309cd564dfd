"""What every analysis keeps: its input is never changed, its columns and dtypes are the same for every run."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pandas as pd
import pytest

from hexviz import Recording, analysis
from hexviz.dag import RunResult
from hexviz.errors import SourceError
from hexviz.recording.layout import COLUMNS
from tests.analysis.real_runs import empty_frames, failed_frames, shop_frames, two_shops, unfinished_frames

OF_ONE_RUN = {
    "concurrency": analysis.concurrency,
    "critical_path": analysis.critical_path,
    "path_by_clock": analysis.path_by_clock,
    "slack": analysis.slack,
    "wave_barrier": analysis.wave_barrier,
    "what_if": lambda frames, **run: analysis.what_if(
        frames, durations=dict.fromkeys(frames.nodes["node"][:1], 2), workers=2, **run
    ),
    "what_if wave": lambda frames, **run: analysis.what_if(frames, schedule="wave", **run),
    "scaling": analysis.scaling,
}
OF_ALL_RUNS = {
    "calls": analysis.calls,
    "calls by run": lambda frames, **run: analysis.calls(frames, by=("run_id", "node", "status"), **run),
    "decisions": analysis.decisions,
    "decision_counts": analysis.decision_counts,
    "decision_counts by node": lambda frames, **run: analysis.decision_counts(frames, by=("decided_by", "node"), **run),
    "handler_votes": analysis.handler_votes,
    "failures": analysis.failures,
    "failure_counts": analysis.failure_counts,
    "retries": analysis.retries,
    "timeline": analysis.timeline,
    "waits": analysis.waits,
    "wait_causes": analysis.wait_causes,
    "compare": lambda frames, run_id=None: analysis.compare(frames, frames, run_before=run_id, run_after=run_id),
}
EVERY = OF_ONE_RUN | OF_ALL_RUNS
NAMES = [name for name in COLUMNS if name != "diagnostics"]


def parts(frames):
    return SimpleNamespace(**{name: getattr(frames, name) for name in NAMES})


@pytest.mark.parametrize("name", EVERY)
def test_the_frames_stay_as_they_were(name):
    frames = parts(shop_frames() if name in OF_ONE_RUN else two_shops())
    before = {part: frame.copy(deep=True) for part, frame in vars(frames).items()}
    attrs = {part: copy.deepcopy(frame.attrs) for part, frame in vars(frames).items()}
    result = EVERY[name](frames)
    for column in result.columns:
        result[column] = None
    for part, frame in vars(frames).items():
        pd.testing.assert_frame_equal(frame, before[part])
        assert frame.attrs == attrs[part]


@pytest.mark.parametrize("other", [empty_frames, failed_frames, unfinished_frames])
@pytest.mark.parametrize("name", EVERY)
def test_columns_and_dtypes_are_the_same_for_every_run(name, other):
    result, same = EVERY[name](shop_frames()), EVERY[name](other())
    assert same.dtypes.astype(str).to_dict() == result.dtypes.astype(str).to_dict()
    assert {c: list(same[c].cat.categories) for c in same if same[c].dtype == "category"} == {
        c: list(result[c].cat.categories) for c in result if result[c].dtype == "category"
    }
    assert same.index.equals(pd.RangeIndex(len(same)))
    assert same.attrs["hexviz_frame"] == result.attrs["hexviz_frame"]


@pytest.mark.parametrize("name", EVERY)
def test_what_it_returns_can_be_kept_in_a_file(name, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow, of the extra hexviz[parquet]")
    result = EVERY[name](shop_frames())
    result.to_parquet(tmp_path / "result.parquet")
    assert len(pd.read_parquet(tmp_path / "result.parquet")) == len(result)


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_one_run_must_be_chosen_where_only_one_can_be_told_of(name):
    both = two_shops()
    with pytest.raises(SourceError, match="2 runs; choose one with run_id="):
        EVERY[name](both)
    for run_id in both.runs["run_id"]:
        assert EVERY[name](both, run_id=run_id).attrs["run_id"] == run_id


@pytest.mark.parametrize("name", [name for name in OF_ALL_RUNS if name != "compare"])
def test_several_runs_are_told_of_together_and_one_by_one(name):
    both = two_shops()
    runs = both.runs["run_id"].tolist()
    alone = [EVERY[name](both, run_id=run) for run in runs]
    result = EVERY[name](both)
    assert (result.attrs["run_id"], [one.attrs["run_id"] for one in alone]) == ("", runs)
    if "run_id" in result:
        assert len(result) == len(alone[0]) + len(alone[1])
        for run, one in zip(runs, alone, strict=True):
            mine = result[result["run_id"] == run].drop(columns="run_id").reset_index(drop=True)
            pd.testing.assert_frame_equal(mine, one.drop(columns="run_id"))
    else:
        for column in ("calls", "decisions", "votes", "attempts", "total_ms", "nodes"):
            if column in result:
                assert result[column].sum() == pytest.approx(sum(one[column].sum() for one in alone))
    with pytest.raises(SourceError, match="no run 'ghost'"):
        EVERY[name](both, run_id="ghost")


@pytest.mark.parametrize(
    "name", [name for name in EVERY if name != "what_if"]
)  # which looks into the frames itself, above
@pytest.mark.parametrize(
    ("made", "to_write"),
    [
        (lambda recording: RunResult({}, run_id="r", status="succeeded", recording=recording), r"\.recording\.frames"),
        (lambda recording: recording, r"not Recording: pass its \.frames"),
        (lambda recording: recording.frames.attempts, r"all of them, such as result\.recording\.frames"),
        (lambda _: "last", r"frames = store\.recording\(RUN_ID\)\.frames"),
        (lambda _: None, r"not NoneType, .* such as result\.recording\.frames"),
    ],
    ids=["result", "recording", "one frame", "run id", "nothing"],
)
def test_what_has_no_frames_is_refused_with_what_to_write(name, made, to_write):
    with pytest.raises(SourceError, match=to_write):
        EVERY[name](made(Recording()))


def test_a_backtest_of_a_result_and_policies_names_the_function_that_takes_them():
    result = RunResult({}, run_id="r", status="succeeded", recording=Recording())
    with pytest.raises(SourceError, match=r"not RunResult and list: hexviz\.backtest"):
        analysis.backtest(result, [])
    with pytest.raises(SourceError, match=r"takes the frame of hexviz\.backtest"):
        analysis.backtest_summary(result)


def test_the_same_node_in_two_runs_is_two_nodes():
    assert analysis.calls(two_shops()).set_index("name").loc["m-1", ["calls", "nodes"]].tolist() == [2, 2]
    assert analysis.failure_counts(two_shops())["nodes"].tolist() == [2, 2]
    assert analysis.decision_counts(two_shops(), by="node")["nodes"].tolist() == [2, 2, 2]
