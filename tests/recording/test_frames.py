"""Frames: fixed columns and dtypes, right values, and damaged recordings build all the same."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.events.summary import Summary
from hexviz.recording.frames import COLUMNS, describe
from hexviz.recording.layout import FRAME_SCHEMA
from hexviz.recording.recording import Recording, UnknownRunError
from tests.recording.made_events import ProgressMade, numbered, small_run

PAGE = Path(__file__).parents[2] / "docs" / "frames.md"


@pytest.fixture(scope="module")
def frames():
    return Recording(small_run()).frames


def row(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def kinds(frame):
    return {name: "category" if str(dtype) == "category" else str(dtype) for name, dtype in frame.dtypes.items()}


def test_the_page_about_the_columns_is_up_to_date():
    assert PAGE.read_text() == describe()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_frame_has_the_same_columns_and_dtypes_when_empty(name, frames):
    empty, full = getattr(Recording().frames, name), getattr(frames, name)
    assert list(empty) == list(full) == [col.name for col in COLUMNS[name]]
    assert kinds(empty) == kinds(full)
    assert len(empty) == 0
    assert full.attrs == {"hexviz_schema": FRAME_SCHEMA, "hexviz_frame": name}
    for col in COLUMNS[name]:
        if isinstance(col.kind, tuple):
            assert list(empty[col.name].cat.categories) == list(full[col.name].cat.categories) == list(col.kind)
        if col.kind == "time":
            assert str(full[col.name].dtype) == "datetime64[us, UTC]"


def test_attempts(frames):
    table = frames.attempts
    assert list(zip(table["node"], table["attempt"], table["status"], strict=True)) == [
        ("load", 1, "succeeded"),
        ("clean", 1, "failed"),
        ("clean", 2, "succeeded"),
        ("report", 1, "skipped"),
        ("chart", 1, "fell_back"),
    ]
    first = row(table, node="clean", attempt=1)
    assert (first.ready_ms, first.start_ms, first.end_ms) == (11.0, 12.0, 15.0)
    assert (first.parents_ms, first.backoff_ms, first.queued_ms, first.duration_ms) == (11.0, 0.0, 1.5, 2.5)
    second = row(table, node="clean", attempt=2)
    assert (second.ready_ms, second.start_ms, second.end_ms) == (20.0, 20.0, 30.0)
    assert (second.parents_ms, second.backoff_ms, second.queued_ms, second.duration_ms) == (0.0, 5.0, 1.0, 9.0)
    assert (first.error_type, first.error_message, first.reason, first.decided_by) == (
        "ValueError", "bad row", "flaky", "Retry",
    )  # fmt: skip
    assert row(table, node="load").worker == "loop"


def test_a_payload_holds_a_value_only_where_its_content_was_kept():
    started = ev.NodeStarted("a", 1, run_id="r", seq=1)
    results = [[1, 2], Summary("list", (), 2, content="[1,2]"), '"content":']
    events = [
        started,
        *(ev.NodeCompleted("a", 1, value, 1.0, run_id="r", seq=2 + i) for i, value in enumerate(results)),
    ]
    events.append(ev.ToolCalled("a", "search", {"q": 1}, run_id="r", seq=9))
    frames = Recording(events).frames
    assert frames.events["payload"].tolist()[1:] == [
        "{}",
        '{"result":{"type":"list","length":2,"content":"[1,2]"}}',
        "{}",
        '{"tool_name":"search"}',
    ]
    assert frames.nodes["result_summary"].tolist() == ["str[10]"]
    assert frames.calls["request"].tolist() == ["dict[1]"]


def test_the_same_runs_and_nodes_are_one_object_in_all_frames(frames):
    for name in ("run_id", "node"):
        built = [getattr(frames, frame) for frame in COLUMNS if frame not in {"observers", "diagnostics"}]
        shared = {id(frame[name].cat.categories) for frame in built if name in frame}
        assert len(shared) == 1


def test_nodes(frames):
    table = frames.nodes
    assert list(table["node"]) == ["load", "clean", "report", "chart", "tell"]
    assert list(table["status"]) == ["succeeded", "succeeded", "skipped", "fell_back", "skipped"]
    assert list(table["attempts"]) == [1, 2, 1, 1, 0]
    assert list(table["parents"]) == [0, 1, 1, 2, 1]
    clean = row(table, node="clean")
    assert (clean.total_ms, clean.duration_ms, clean.backoff_ms) == (11.5, 9.0, 5.0)
    assert (clean.start_ms, clean.end_ms) == (12.0, 30.0)
    assert clean.result_summary == "int 42"
    assert row(table, node="load").result_summary == "list[3]"
    assert row(table, node="chart").decided_by == "Fallback"
    assert row(table, node="tell").reason == "parent skipped"


def test_runs_waves_and_edges(frames):
    run = frames.runs.iloc[0]
    assert (run.status, run.duration_ms) == ("succeeded", 40.0)
    assert (run.waves, run.nodes, run.attempts, run.decisions) == (4, 5, 5, 1)
    assert (run.succeeded, run.failed, run.skipped, run.fell_back, run.tags) == (2, 0, 2, 1, "nightly,eu")
    waves = frames.waves
    assert list(waves["wave"]) == [1, 2, 3, 4]
    assert list(waves["nodes"]) == [1, 1, 2, 1]
    assert waves["end_ms"].tolist()[:3] == [11.0, 30.0, 40.0]
    edges = frames.edges
    assert set(zip(edges["source"], edges["target"], strict=True)) == {
        ("load", "clean"), ("clean", "report"), ("clean", "chart"), ("load", "chart"), ("report", "tell"),
    }  # fmt: skip


def test_decisions_have_one_row_per_vote(frames):
    table = frames.decisions
    assert list(table["handler"]) == ["Retry", "Watch"]
    assert list(table["vote"]) == ["retry", "skip"]
    assert list(table["decisive"]) == [True, False]
    assert list(table["shadow"]) == [False, True]
    assert table["latency_us"].tolist()[0] == 12.5


def test_calls_pair_their_events_and_hold_no_content(frames):
    table = frames.calls
    assert list(zip(table["kind"], table["name"], table["status"], table["duration_ms"], strict=True)) == [
        ("tool", "search", "succeeded", 2.0),
        ("llm", "m1", "failed", 1.0),
    ]
    assert list(table["request"]) == ["dict[1]", "list[1]"]
    assert table["error_type"].tolist()[1] == "TimeoutError"


def test_observers(frames):
    assert frames.observers[["observer", "event", "count"]].to_numpy().tolist() == [
        ["slow", "failed", 3],
        ["slow", "dropped", 2],
    ]


def test_events(frames):
    table = frames.events
    assert table["seq"].tolist() == list(range(1, len(small_run()) + 1))
    assert table["topic"].tolist()[2] == "pipeline.etl.wave.1.node.load.started"
    assert table["offset_ms"].tolist()[-1] == 40.0
    assert "canary" not in table.to_csv()


def test_nodes_without_any_event_stay_pending_and_running_ones_have_no_end():
    recording = Recording(small_run()[:3])
    assert recording.frames.nodes["status"].tolist() == ["running", "pending", "pending", "pending", "pending"]
    assert recording.frames.runs["status"].tolist() == ["running"]
    assert pd.isna(recording.frames.attempts["end_ms"]).all()


def test_a_sound_recording_has_no_diagnostics():
    assert len(Recording(small_run()).diagnostics()) == 0


def problems(events):
    recording = Recording(events)
    for name in COLUMNS:
        getattr(recording.frames, name)
    return dict(recording.diagnostics().groupby("problem", observed=True)["count"].sum())


def test_gaps_are_listed():
    run = small_run()
    assert problems(run[:5] + run[7:])["gap"] == 2


def test_duplicates_are_taken_out_and_listed():
    run = small_run()
    recording = Recording([*run, run[3]])
    assert problems([*run, run[3]])["duplicate"] == 1
    pd.testing.assert_frame_equal(recording.frames.nodes, Recording(run).frames.nodes)


def test_order_of_arrival_does_not_matter_for_nodes_and_attempts():
    run = small_run()
    shuffled = Recording(run[::-1])
    assert problems(run[::-1])["out of order"] == len(run) - 1
    for name in ("nodes", "attempts", "waves", "decisions", "calls"):
        pd.testing.assert_frame_equal(getattr(shuffled.frames, name), getattr(Recording(run).frames, name))


def test_a_missing_end_a_missing_start_and_an_end_before_its_start_are_listed():
    run = small_run()
    assert "no end" in problems(run[:-1])
    assert "end without start" in problems(run[:2] + run[3:])
    assert "no start of the run" in problems(run[1:])
    early = [e if e.seq != 4 else type(e)("load", 1, 1, -3.0, run_id=e.run_id, seq=4, monotonic_ns=1) for e in run]
    found = problems(early)
    assert found["end before start"] == 1
    assert found["negative duration"] == 1
    assert "clock step" in found


def test_two_runs_interleaved_are_kept_apart():
    one, two = small_run("run-1"), small_run("run-2")
    both = Recording([event for pair in zip(one, two, strict=True) for event in pair])
    assert both.run_ids == ("run-1", "run-2")
    assert len(both.diagnostics()) == 0
    for run_id, run in (("run-1", one), ("run-2", two)):
        for name in COLUMNS:
            expected = getattr(Recording(run).frames, name)
            pd.testing.assert_frame_equal(getattr(both.run(run_id).frames, name), expected)
        assert len(both.run(run_id)) == len(run)


def test_an_unknown_run_is_a_named_error():
    with pytest.raises(UnknownRunError, match="run-1"):
        Recording(small_run()).run("x")


def test_an_unknown_event_is_listed_and_kept():
    from hexviz.events.schema import from_record, to_record

    record = to_record(ProgressMade("n", 0.5, run_id="r", seq=1)).replace(b"ProgressMade", b"Gone")
    recording = Recording([from_record(record)])
    assert "unknown event" in problems(recording)
    assert list(recording.records()) == [record]


@settings(deadline=None, max_examples=60)
@given(numbered, st.randoms())
def test_frames_of_any_events_build_with_the_fixed_columns(events, random):
    random.shuffle(events)
    recording = Recording(events + events[:2])
    for name in COLUMNS:
        assert list(getattr(recording.frames, name)) == [col.name for col in COLUMNS[name]]
    assert len(recording.frames.events) == len(events)


def test_frames_are_made_anew_only_when_events_came():
    recording = Recording(small_run())
    assert recording.frames is recording.frames
