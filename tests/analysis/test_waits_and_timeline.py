"""Waits by cause, and the timeline: every millisecond of an attempt has one place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hexviz import analysis
from tests.analysis.made_frames import diamond
from tests.analysis.real_runs import empty_frames, shop_frames, two_shops, unfinished_frames


def test_waits_know_four_causes_per_node():
    rows = analysis.waits(diamond(failing=("b",))).set_index("node")
    times = ["parents_ms", "queued_ms", "backoff_ms", "running_ms", "waited_ms"]
    assert rows.loc["b", times].tolist() == [11, 1, 5, 40, 6]
    assert rows.loc["d", times].tolist() == [62, 1, 0, 5, 1]
    assert rows.index[0] == "b"


def test_causes_sum_up_the_nodes():
    rows = analysis.wait_causes(diamond(failing=("b",))).set_index("cause")
    assert rows["total_ms"].tolist() == [11 + 11 + 62, 5, 5, 135]
    assert rows["nodes"].tolist() == [3, 5, 1, 5]
    assert rows["share"].sum() == pytest.approx(1)
    assert rows.loc["running", ["mean_ms", "longest_ms", "longest_node"]].tolist() == [27, 50, "c"]
    assert rows.loc["parents", "longest_node"] == "d"


def test_causes_of_nothing_are_four_rows_of_nothing():
    rows = analysis.wait_causes(empty_frames())
    assert rows["cause"].tolist() == ["parents", "queued", "backoff", "running"]
    assert rows[["nodes", "total_ms", "share"]].to_numpy().sum() == 0
    assert (rows["longest_node"] == "").all()


def test_the_four_times_of_the_nodes_of_a_real_run_reach_from_its_start_to_their_end():
    frames = shop_frames()
    times = analysis.waits(frames).set_index("node")
    spent = times[["parents_ms", "queued_ms", "backoff_ms", "running_ms"]].sum(axis=1)
    ends = frames.nodes.set_index("node")["end_ms"].rename_axis(None)
    assert spent.rename_axis(None)[ends.index.astype(str)].to_numpy() == pytest.approx(ends.to_numpy(), abs=0.01)


def tries(rows):
    columns = ["run_id", "node", "attempt", "ready_ms", "start_ms", "end_ms", "backoff_ms"]
    frame = pd.DataFrame(rows, columns=columns).assign(wave=1, status="succeeded")
    return SimpleNamespace(attempts=frame, nodes=frame[["run_id", "node"]])


def test_the_timeline_has_a_row_per_stretch_of_time():
    rows = analysis.timeline(tries([("r", "a", 1, 0.0, 2.0, 5.0, 0.0), ("r", "a", 2, 8.0, 9.0, 10.0, 3.0)]))
    assert rows[["attempt", "kind", "start_ms", "end_ms", "duration_ms"]].to_numpy().tolist() == [
        [1, "queued", 0, 2, 2],
        [1, "running", 2, 5, 3],
        [2, "backoff", 5, 8, 3],
        [2, "queued", 8, 9, 1],
        [2, "running", 9, 10, 1],
    ]
    assert not rows["open"].any()


def test_an_attempt_without_an_end_is_open_until_the_last_moment_of_its_own_run():
    rows = analysis.timeline(tries([
        ("r", "a", 1, 0.0, 0.0, np.nan, 0.0), ("r", "b", 1, 1.0, 1.0, 7.0, 0.0),
        ("s", "a", 1, 0.0, 0.0, 100.0, 0.0), ("s", "b", 1, np.nan, np.nan, np.nan, 0.0),
    ]))  # fmt: skip
    first = rows.iloc[0]
    assert first[["run_id", "node", "end_ms", "open"]].tolist() == ["r", "a", 7.0, True]
    assert rows["open"].sum() == 1
    assert "b" not in rows.loc[rows["run_id"] == "s", "node"].tolist()


def test_stretches_of_an_attempt_never_overlap_and_leave_no_gap():
    for frames in (shop_frames(), two_shops(), unfinished_frames(), diamond(failing=("b", "c"))):
        rows = analysis.timeline(frames)
        assert (rows["duration_ms"] >= 0).all()
        for _, own in rows.groupby(["run_id", "node", "attempt"]):
            ends, starts = own["end_ms"].to_numpy()[:-1], own["start_ms"].to_numpy()[1:]
            assert starts == pytest.approx(ends)
        assert (rows["kind"] == "running").sum() == frames.attempts["start_ms"].notna().sum()
