"""Real runs: recorded live, stored, read back, replayed; all the same."""

import asyncio

import pandas as pd
import pytest

import hexviz
from hexviz.recording.frames import COLUMNS


def failing_once():
    calls = []

    def step(load):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("flaky")
        return load + 1

    return step


def fails(clean):
    raise RuntimeError("for good")


def run(path, *, broken):
    graph = hexviz.Graph("etl")
    graph.node(lambda: 1, name="load")
    graph.node(failing_once(), name="clean", after=["load"])
    if broken:
        graph.node(fails, name="end", after=["clean"])
    with hexviz.open_store(path) as store:
        try:
            result = hexviz.run_sync(graph, policies=[hexviz.policies.Retry(max_attempts=2)], store=store)
        except hexviz.PipelineError as error:
            result = error
        return result.run_id, result.recording


@pytest.mark.parametrize("broken", [False, True])
def test_a_run_read_back_has_the_same_records_and_frames(tmp_path, broken):
    run_id, live = run(tmp_path / "runs.db", broken=broken)
    with hexviz.open_store(tmp_path / "runs.db") as store:
        back = store.recording(run_id)
        assert store.list_runs()[0].status == ("failed" if broken else "succeeded")
        assert store.verify() == []
    assert list(back.records()) == list(live.records())
    assert len(back.diagnostics()) == 0
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(back.frames, name), getattr(live.frames, name))
    assert list(live.frames.attempts.query("node == 'clean'")["status"]) == ["failed", "succeeded"]


@pytest.mark.parametrize("broken", [False, True])
def test_record_replay_record_gives_equal_bytes(tmp_path, broken):
    _, live = run(tmp_path / "runs.db", broken=broken)

    async def again():
        async with hexviz.ObserverManager() as observers:
            with hexviz.Recorder().attach(observers) as recorder:
                await hexviz.Replay(live).run(observers)
            return recorder.recording

    assert list(asyncio.run(again()).records()) == list(live.records())
