"""Analysis and figures on a real recording: the columns that they read are the columns that recordings have."""

from __future__ import annotations

import asyncio

import pytest

import hexviz
from hexviz import analysis, figures
from hexviz.policies import Fallback, Retry


@pytest.fixture(scope="module")
def frames():
    graph = hexviz.Graph("recorded")
    tries = []

    async def work(*args):
        await asyncio.sleep(0.005)

    async def flaky():
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("<b>gone</b>")

    async def broken():
        async with hexviz.tool_call("search", {"q": "secret"}):
            raise TimeoutError("late")

    graph.node(work, name="load")
    graph.node(flaky)
    graph.node(broken)
    graph.node(work, name="clean", after=["load", "flaky"])
    graph.node(work, name="report", after=["clean", "broken"])
    policies = [Retry(2, initial_interval_s=0.002), Fallback(0, on=TimeoutError)]
    return hexviz.run_sync(graph, policies=policies, store=False).recording.frames


def test_the_critical_path_of_a_recording_is_no_longer_than_the_run(frames):
    path = analysis.critical_path(frames)
    assert path["node"].tolist()[-2:] == ["clean", "report"]
    assert 0 < path.attrs["total_ms"] <= frames.runs["duration_ms"].iloc[0]
    assert analysis.wave_barrier(frames).attrs["ratio"] >= 1.0
    assert analysis.what_if(frames).attrs["makespan_ms"] == pytest.approx(path.attrs["total_ms"])


def test_every_analysis_reads_a_recording(frames):
    assert analysis.concurrency(frames).attrs["peak"] >= 1
    assert analysis.waits(frames)["backoff_ms"].sum() > 0
    assert analysis.decision_counts(frames)["decisions"].sum() == len(analysis.decisions(frames)) == 3
    assert set(analysis.handler_votes(frames)["handler"]) == {"Retry", "Fallback"}
    assert set(analysis.failures(frames)["node"]) == {"flaky", "broken"}
    assert analysis.failures(frames)["recovered"].all()
    assert analysis.failure_counts(frames)["attempts"].sum() == 3
    assert analysis.calls(frames)[["name", "calls", "failed"]].iloc[0].tolist() == ["search", 2, 2]
    assert (analysis.compare(frames, frames)["verdict"] == "same").all()
    assert analysis.slack(frames)["slack_ms"].max() > 0
    assert len(analysis.scaling(frames, workers=(1, 2))) == 4


@pytest.mark.parametrize("name", figures.__all__)
def test_every_figure_draws_a_recording(frames, name):
    args = (frames, frames) if name == "plot_comparison" else (frames,)
    assert getattr(figures, name)(*args).to_json()


def test_a_recording_of_nothing_is_fine():
    empty = hexviz.run_sync(hexviz.Graph("empty"), store=False).recording.frames
    assert analysis.critical_path(empty).empty
    for name in figures.__all__:
        args = (empty, empty) if name == "plot_comparison" else (empty,)
        getattr(figures, name)(*args).to_json()
