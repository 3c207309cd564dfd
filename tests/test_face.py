"""What people type: run, start, run_sync, and what they are told when they mistype."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import inspect
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import pytest

import hexviz
from hexviz.dag import (
    CycleDetectedError,
    MissingDependencyError,
    NodeExecutionError,
    NodeSpec,
    NotRecordedError,
    WorkerLostError,
)
from hexviz.errors import HexvizError, MissingExtraError, SettingError, WrongCallError
from hexviz.events import ControlResponse, ControlSignal, NodeFailed
from hexviz.stores.errors import StoreWriteError
from hexviz.testing import sample_graph


def broken_graph():
    graph = hexviz.Graph("broken")

    @graph.node
    def good():
        return 1

    @graph.node(after=["good"])
    def bad(value):
        raise ValueError("no good")

    return graph


def waiting_graph(started, nodes=1):
    graph = hexviz.Graph("waiting")

    async def wait(value=None):
        started.set()
        await asyncio.sleep(0.25 if nodes > 1 else 3600)

    for i in range(nodes):
        graph.node(wait, name=f"n{i}", after=[f"n{i - 1}"] if i else [])
    return graph


def test_a_run_gives_results_its_recording_and_is_kept():
    async def main():
        return await hexviz.run(sample_graph(), [1, 2, 3])

    result = asyncio.run(main())
    assert result["join"] == {"kept": 1, "of": 3}
    assert list(result.recording.frames.nodes["status"]) == ["succeeded"] * 4
    with hexviz.open_store() as store:
        assert [info.run_id for info in store.list_runs()] == [result.run_id]
        kept = store.recording(result.run_id)
    assert list(kept.records()) == list(result.recording.records())


def test_asyncio_run_takes_a_run_as_it_is():
    assert asyncio.run(hexviz.run(sample_graph(), store=False)).status == "succeeded"


def test_store_false_keeps_nothing(tmp_path):
    hexviz.run_sync(sample_graph(), store=False)
    assert not (tmp_path / "runs.db").exists()


def test_a_failed_run_carries_its_recording_and_is_kept_too():
    with pytest.raises(hexviz.PipelineError) as caught:
        hexviz.run_sync(broken_graph())
    assert caught.value.results == {"good": 1}
    assert list(caught.value.recording.frames.runs["status"]) == ["failed"]
    with hexviz.open_store() as store:
        assert [(info.run_id, info.status) for info in store.list_runs()] == [(caught.value.run_id, "failed")]


def test_policies_are_asked_by_their_own_priority_and_two_of_a_kind_get_names():
    tries = []

    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return "done"

    graph = hexviz.Graph("flaky", [NodeSpec("n", flaky)])
    retry = hexviz.policies.Retry(max_attempts=3, initial_interval_s=0.001)
    result = hexviz.run_sync(graph, policies=[retry, hexviz.policies.Retry(max_attempts=2, initial_interval_s=0.001)])
    assert result["n"] == "done"
    assert len(result.recording.frames.attempts) == 3


def test_observers_hear_a_run():
    heard = []
    hexviz.run_sync(sample_graph(), observers=[heard.append])
    assert len(heard) == 16


def test_a_graph_that_cannot_run_is_refused_by_name():
    graph = hexviz.Graph("loop", [NodeSpec("a", len, deps=["b"]), NodeSpec("b", len, deps=["a"])])
    with pytest.raises(CycleDetectedError):
        hexviz.run_sync(graph)


def test_a_run_that_was_never_awaited_names_the_right_call():
    with pytest.warns(RuntimeWarning, match=r"never awaited.*await hexviz\.run\(.*hexviz\.run_sync\("):
        hexviz.run(sample_graph())


def test_a_run_that_failed_to_begin_does_not_warn_as_well():
    async def main():
        with pytest.raises(HexvizError):
            await hexviz.run(sample_graph(), schedule="soon")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_run_sync_inside_a_coroutine_names_the_right_call():
    async def main():
        hexviz.run_sync(sample_graph())

    with pytest.raises(WrongCallError, match=r"coroutine 'main'.*await hexviz\.run"):
        asyncio.run(main())


def test_start_returns_at_once_and_gives_the_result_in_every_way():
    handle = hexviz.start(sample_graph(), [1, 2])
    assert handle.result(20)["count"] == 2
    assert handle.done()
    assert handle.status == "succeeded"

    async def main():
        return await hexviz.start(sample_graph(), [1, 2])

    assert asyncio.run(main())["count"] == 2


def test_start_hands_on_what_the_run_raised():
    with pytest.raises(hexviz.PipelineError):
        hexviz.start(broken_graph()).result(20)


def test_a_started_run_can_be_cancelled():
    started = threading.Event()
    handle = hexviz.start(waiting_graph(started))
    assert started.wait(20)
    assert handle.cancel() is True
    with pytest.raises(concurrent.futures.CancelledError):
        handle.result(20)
    assert handle.status == "cancelled"
    assert handle.cancel() is False


def test_a_started_run_can_be_paused_and_resumed():
    started = threading.Event()
    handle = hexviz.start(waiting_graph(started, nodes=4))
    assert started.wait(20)
    assert handle.pause() is True
    time.sleep(0.2)
    assert not handle.done()
    assert len(handle.recording.frames.attempts) < 4
    assert handle.resume() is True
    handle.result(20)
    assert not handle.paused


def test_every_signal_leaves_its_decision_in_the_frames():
    def decide(event, context):
        return (
            ControlResponse(ControlSignal.FALLBACK, 0, "stands in")
            if isinstance(event, NodeFailed)
            else ControlResponse()
        )

    result = hexviz.run_sync(broken_graph(), policies=[decide])
    decisions = result.recording.frames.decisions
    assert list(decisions["signal"]) == ["fallback"]
    assert list(decisions["reason"]) == ["stands in"]
    assert result["bad"] == 0


def test_a_report_is_one_file_that_names_the_run(tmp_path):
    result = hexviz.run_sync(sample_graph())
    path = hexviz.report(result, tmp_path / "report.html")
    assert "sample" in path.read_text(encoding="utf-8")
    assert hexviz.report(result.run_id, tmp_path / "again.html").exists()


def test_a_source_that_is_no_run_is_named():
    with pytest.raises(WrongCallError, match="int"):
        hexviz.report(3, "report.html")


@pytest.mark.parametrize("touch", ["", "hexviz.events", "hexviz.dag", "hexviz.policies"])
def test_importing_the_core_loads_nothing_heavy(touch):
    code = (
        f"import sys, hexviz{f', {touch}' if touch else ''}\n"
        "heavy = {'pandas', 'numpy', 'plotly', 'ipywidgets', 'IPython', 'rich', 'sqlite3'}\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_face_is_there():
    assert [name for name in hexviz.__all__ if not hasattr(hexviz, name)] == []
    with pytest.raises(AttributeError, match="nothing"):
        hexviz.nothing  # noqa: B018 - touching it is the test


def test_a_budget_of_tokens_is_kept_without_further_ado():
    graph = hexviz.Graph("chat")

    async def ask(value=None):
        async with hexviz.llm_call(["hi"]) as call:
            call.result, call.output_tokens = "hello", 60
        return "answered"

    for i in range(4):
        graph.node(ask, name=f"n{i}", after=[f"n{i - 1}"] if i else [])
    budget = hexviz.policies.Budget(tokens=100, when_spent="skip")
    assert list(hexviz.run_sync(graph, policies=[budget])) == ["n0", "n1"]


def test_a_misspelt_option_is_refused_with_those_that_there_are():
    with pytest.raises(WrongCallError, match=r"'on_eror' is neither.*on_error"):
        hexviz.run_sync(sample_graph(), on_eror="continue")


def test_a_single_policy_needs_no_list_and_orchestrator_options_are_passed_on():
    decisions = hexviz.run_sync(
        sample_graph(), policies=hexviz.policies.Retry(), decisions="all", max_attempts=2
    ).recording.frames.decisions
    assert len(decisions) == 0
    assert len(
        hexviz.run_sync(
            sample_graph(), policies=lambda e, c: ControlResponse(), decisions="all"
        ).recording.frames.decisions
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"live": 1}, "panels are named"),
        ({"sinks": 3}, "sinks= takes sinks"),
        ({"policies": 3}, "several in a list, not 3"),
        ({"observers": "print"}, "several in a list, not 'print'"),
        ({"tags": 3}, "tags= takes texts"),
        ({"tags": ["nightly", None]}, "not None"),
        ({"run_id": 3}, "run_id= is a text, not 3"),
        ({"sinks": ["kafka"]}, "not 'kafka'"),
        ({"store": 3}, "a store is named by a path"),
        ({"store": "mysql://ana:secret@db/runs"}, "no store is kept at mysql://"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named_before_anything_runs(options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HexvizError, match=re.escape(says)) as caught:
        hexviz.run_sync(sample_graph(), [1], **options)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_graph_is_named():
    with pytest.raises(WrongCallError, match=r"takes a hexviz\.Graph first, not function"):
        hexviz.run_sync(lambda: 1)  # type: ignore[arg-type]


def test_a_misspelt_result_lists_those_that_there_are():
    result = hexviz.run_sync(sample_graph(), [1, 2, 3], store=False)
    with pytest.raises(KeyError, match=r"no result of a node 'jion'.*'join'") as caught:
        result["jion"]
    assert isinstance(caught.value, HexvizError)
    assert result.get("jion") is None


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    result = hexviz.run_sync(sample_graph(), [1], store=False)
    with pytest.raises(HexvizError, match="cannot be written: No such file or directory"):
        hexviz.report(result, tmp_path / "no" / "report.html")


def test_what_cannot_be_replayed_is_named_at_once():
    with pytest.raises(HexvizError, match=r"Replay takes a recording.*not RunResult"):
        hexviz.Replay(hexviz.run_sync(sample_graph(), [1], store=False))


def test_a_run_that_nobody_recorded_says_how_to_record_it():
    result = asyncio.run(hexviz.Orchestrator().run(sample_graph(), [1]))
    with pytest.raises(NotRecordedError, match=rf"nothing recorded run {result.run_id}: use hexviz\.run"):
        _ = result.recording
    with pytest.raises(NotRecordedError, match="nothing recorded"):
        hexviz.report(result, "report.html")


def test_each_part_of_a_failed_run_knows_its_recording():
    with pytest.raises(hexviz.PipelineError) as caught:
        hexviz.run_sync(broken_graph(), store=False)
    part = caught.value.subgroup(lambda error: not isinstance(error, ExceptionGroup))
    assert part is not caught.value
    assert part.recording is caught.value.recording


def test_what_is_asked_of_a_run_that_was_not_awaited_says_what_to_write():
    pending = hexviz.run(sample_graph(), [1], store=False)
    for ask in (lambda: pending["join"], lambda: pending.recording):
        with pytest.raises((WrongCallError, AttributeError), match=r"result = await hexviz\.run"):
            ask()
    assert asyncio.run(pending).status == "succeeded"


def test_frames_are_looked_for_where_they_are():
    result = hexviz.run_sync(sample_graph(), [1], store=False)
    for part in ("frames", "attempts"):
        with pytest.raises(AttributeError, match=rf"no '{part}'; .* result\.recording\.frames"):
            getattr(result, part)
    assert copy.copy(result) == result
    assert copy.copy(result).recording is result.recording


def test_a_failed_run_is_told_without_the_way_through_threads_and_loops():
    handle = hexviz.start(broken_graph(), store=False)
    for _ in range(3):  # asking again makes it no longer
        with pytest.raises(hexviz.PipelineError) as caught:
            handle.result()
    assert len(caught.traceback) == 2


def test_help_shows_every_option_where_it_is_taken():
    options = inspect.signature(hexviz.run).parameters
    assert list(inspect.signature(hexviz.start).parameters) == list(options)
    assert set(inspect.signature(hexviz.run_sync).parameters) == {*options, "loop"}


def test_a_run_of_the_store_is_named_by_the_beginning_of_its_id_or_as_the_last(tmp_path):
    first, last = (hexviz.run_sync(sample_graph(), [1], run_id=name) for name in ("run-a", "run-b"))
    for named, run in (("run-a", first), ("run-b", last), ("last", last)):
        written = hexviz.export(named, tmp_path / f"{named}.jsonl")
        assert hexviz.load(written).run_ids == run.recording.run_ids
    with pytest.raises(HexvizError, match="several runs begin with 'run'"):
        hexviz.report("run", tmp_path / "report.html")


@pytest.mark.parametrize(
    "error",
    [
        CycleDetectedError("g", ["a", "b", "a"]),
        MissingDependencyError("g", "a", "b", ["a"]),
        NodeExecutionError("a", ValueError("x"), 2),
        MissingExtraError("distributed", "dask", purpose="this"),
        SettingError("at least 1"),
        StoreWriteError("the disk is full"),
        WorkerLostError("gone", "tcp://worker"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_out_of_another_process_as_it_went_in(error):
    error.add_note("told by a worker")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.__notes__) == (type(error), str(error), error.__notes__)
    assert vars(back).keys() == vars(error).keys()


def test_a_result_and_a_failure_can_be_handed_to_another_process():
    result = hexviz.run_sync(sample_graph(), [1], store=False)
    with pytest.raises(hexviz.PipelineError) as caught:
        hexviz.run_sync(broken_graph(), store=False)
    for told in (result, caught.value):
        back = pickle.loads(pickle.dumps(told))
        assert (type(back), back.run_id) == (type(told), told.run_id)
        assert list(back.recording.records()) == list(told.recording.records())
