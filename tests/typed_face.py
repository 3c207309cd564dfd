"""What an editor and a type checker know of the first lines that people write: mypy checks it, nobody runs it."""

from typing import assert_type

import pandas as pd

import hexviz
from hexviz.dag import RunResult
from hexviz.events.models import BaseEventManager
from hexviz.recording.frames import Frames
from hexviz.serving import StoreServer
from hexviz.stores.store import Store
from hexviz.widgets.compare import CompareView
from hexviz.widgets.dashboard import LiveView
from hexviz.widgets.recorded import RecordedView

graph = hexviz.Graph("typed")


@graph.node
def load(path: str) -> list[int]:
    return [len(path)]


@graph.node(after=["load"])
async def count(rows: list[int]) -> int:
    return len(rows)


assert_type(load("a"), list[int])  # what a node is stays the function that it was


async def in_a_cell() -> None:
    result = await hexviz.run(graph, "data.csv")
    assert_type(result, RunResult)
    assert_type(result.recording, hexviz.Recording)
    assert_type(result.recording.frames, Frames)
    assert_type(result.recording.frames.attempts, pd.DataFrame)
    run = hexviz.start(graph, "data.csv")
    assert_type(run, hexviz.RunHandle)
    assert_type(await run, RunResult)
    assert_type(run.recording, hexviz.Recording)
    assert_type(run.live_view(), LiveView)


def in_a_script() -> None:
    try:
        assert_type(hexviz.run_sync(graph), RunResult)
    except hexviz.PipelineError as failed:
        assert_type(failed.recording, hexviz.Recording)
    hexviz.run_sync(graph, "data.csv", on_error="continue", loop="nested")
    hexviz.start(graph, on_error="go on")  # type: ignore[arg-type]  # the options of run are known here too
    with hexviz.open_store() as store:
        assert_type(store, Store)
        assert_type(store.runs(status="failed"), pd.DataFrame)
        assert_type(store.recording("last"), hexviz.Recording)
        hexviz.Recorder(store=store)
    with hexviz.watch("runs.db") as watch:
        assert_type(watch.recording, hexviz.Recording)
        assert_type(watch.dashboard, LiveView)
    assert_type(hexviz.Recorder().observers, BaseEventManager | None)
    with hexviz.serve(False) as server:
        hexviz.run_sync(graph, sinks=[server])
    assert_type(hexviz.serve("runs.db", follow=True), StoreServer)


def looked_at(recording: hexviz.Recording) -> None:
    assert_type(hexviz.dashboard(recording), LiveView | RecordedView)
    assert_type(hexviz.compare_view(recording, recording), CompareView)
    assert_type(hexviz.load("run.jsonl"), hexviz.Recording)
    assert_type(hexviz.backtest(recording, []), pd.DataFrame)
    assert_type(hexviz.analysis.critical_path(recording.frames), pd.DataFrame)
