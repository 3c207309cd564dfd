"""df.hexviz: there with the first frame, going by columns alone, and saying what it lacks."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz import analysis
from hexviz.errors import SourceError
from hexviz.recording.layout import COLUMNS
from hexviz.recording.moments import MomentError
from tests.analysis.made_frames import diamond
from tests.analysis.real_runs import empty_frames, failed_frames, shop_frames, two_shops, unfinished_frames

FRAMES = [name for name in COLUMNS if name != "diagnostics"]
T0 = pd.Timestamp("2026-01-01", tz="UTC")


def as_if_read_from_a_file(frame):
    """The same rows without attrs, categories and the first index, as a CSV or a join leaves them."""
    plain = pd.DataFrame({name: frame[name].astype(object).to_numpy() for name in frame}, index=frame.index + 100)
    for name in frame:
        if name.endswith("_at") or name == "timestamp":
            plain[name] = pd.to_datetime(plain[name], utc=True)
        elif name.endswith("_ms"):
            plain[name] = plain[name].astype("float64")
    return plain


# --- being there


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_importing_hexviz_loads_no_pandas_and_the_first_frame_brings_the_accessor():
    code = (
        "import sys, hexviz\n"
        "from hexviz.recording.recording import Recording\n"
        "print('pandas' in sys.modules, 'hexviz.analysis' in sys.modules)\n"
        "print(len(Recording([]).frames.attempts.hexviz.failed()))\n"
    )
    assert run(code).split() == ["False", "False", "0"]


def test_frames_from_a_file_need_the_analysis_to_be_imported_and_no_recording():
    code = "import pandas as pd, hexviz.analysis\nprint(len(pd.DataFrame({'node': ['a', 'b']}).hexviz.node('b')))"
    assert run(code).split() == ["1"]


def test_loading_the_module_anew_warns_of_nothing():
    code = (
        "import importlib, pandas as pd, hexviz.analysis.accessor as a\n"
        "importlib.reload(a)\n"
        "print(len(pd.DataFrame({'node': ['a']}).hexviz.node('a')), pd.DataFrame.hexviz is a.HexvizAccessor)"
    )
    assert run(code).split() == ["1", "True"]


def test_the_accessor_says_what_it_can_do():
    assert "slowest()" in repr(shop_frames().nodes.hexviz)


# --- selections


def test_node_gives_the_rows_of_one_node_as_they_are():
    attempts = shop_frames().attempts
    rows = attempts.hexviz.node("flaky")
    pd.testing.assert_frame_equal(rows, attempts[attempts["node"] == "flaky"])
    assert rows["attempt"].tolist() == [1, 2]


def test_node_takes_a_pattern_and_a_name_goes_before_it():
    frame = pd.DataFrame({"node": ["fetch_a", "fetch_b", "fetch_*", "other", None]})
    assert frame.hexviz.node("fetch_?")["node"].tolist() == ["fetch_a", "fetch_b", "fetch_*"]
    assert frame.hexviz.node("fetch_*")["node"].tolist() == ["fetch_*"]
    assert frame.hexviz.node("[a]").empty


def test_the_edges_of_a_node_are_those_at_either_end():
    rows = shop_frames().edges.hexviz.node("clean")
    assert sorted(zip(rows["source"], rows["target"], strict=True)) == [
        ("clean", "ask"), ("flaky", "clean"), ("load", "clean"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "column", "expected"),
    [
        ("attempts", "node", ["broken", "flaky"]),
        ("nodes", "node", []),
        ("calls", "name", ["search"]),
        ("events", "event_type", ["NodeFailed", "NodeFailed", "ToolFailed"]),
        ("runs", "status", []),
        ("waves", "wave", []),
        ("decisions", "node", []),
        ("observers", "observer", []),
    ],
)
def test_failed_finds_what_raised_also_where_something_made_up_for_it(frame, column, expected):
    assert sorted(getattr(shop_frames(), frame).hexviz.failed()[column].astype(str)) == expected


def test_failed_finds_what_failed_in_the_end():
    frames = failed_frames()
    assert frames.nodes.hexviz.failed()["node"].tolist() == ["bad"]
    assert frames.waves.hexviz.failed()["wave"].tolist() == [2]
    assert len(frames.runs.hexviz.failed()) == 1
    assert "PipelineFailed" in frames.events.hexviz.failed()["event_type"].tolist()


def test_failed_votes_are_those_of_handlers_that_failed():
    votes = pd.DataFrame({"event_type": ["NodeFailed"] * 2, "vote": ["proceed", "retry"], "error": ["boom", ""]})
    assert votes.hexviz.failed()["error"].tolist() == ["boom"]
    observers = pd.DataFrame({"observer": ["a", "b"], "event": ["failed", "dropped"]})
    assert observers.hexviz.failed()["observer"].tolist() == ["a"]


def test_slowest_stands_longest_first_and_leaves_out_what_has_not_ended():
    frame = pd.DataFrame({"node": list("abcd"), "duration_ms": [2.0, np.nan, 3.0, 3.0]})
    assert frame.hexviz.slowest(2)["node"].tolist() == ["c", "d"]
    assert frame.hexviz.slowest()["node"].tolist() == ["c", "d", "a"]
    assert frame.hexviz.slowest(0).empty
    for n in (-1, True, 2.5):
        with pytest.raises(SourceError, match="number of rows"):
            frame.hexviz.slowest(n)


SPANS = pd.DataFrame(
    {
        "node": list("abcde"),
        "start_ms": [0.0, 10.0, 20.0, 30.0, np.nan],
        "end_ms": [10.0, 10.0, 25.0, np.nan, np.nan],
    }
).assign(started_at=lambda f: T0 + pd.to_timedelta(f["start_ms"], unit="ms"))
SPANS["ended_at"] = T0 + pd.to_timedelta(SPANS["end_ms"], unit="ms")


@pytest.mark.parametrize(
    ("t0", "t1", "expected"),
    [
        (None, None, "abcd"),
        (10, 20, "b"),
        (10, 21, "bc"),
        (5, None, "abcd"),
        (12, 13, ""),
        (24, 25, "c"),
        (25, 30, ""),
        (500, None, "d"),
        (None, 10, "a"),
        (0, 0, ""),
    ],
)
def test_between_gives_what_touches_a_time(t0, t1, expected):
    by_offset = SPANS.hexviz.between(t0, t1)
    assert "".join(by_offset["node"]) == expected
    clock = [None if t is None else T0.to_pydatetime() + timedelta(milliseconds=t) for t in (t0, t1)]
    assert SPANS.hexviz.between(*clock).index.tolist() == by_offset.index.tolist()
    naive = [None if t is None else str(t.replace(tzinfo=None)) for t in clock]
    assert SPANS.hexviz.between(*naive).index.tolist() == by_offset.index.tolist()
    waits = [None if t is None else timedelta(milliseconds=t) for t in (t0, t1)]
    assert SPANS.hexviz.between(*waits).index.tolist() == by_offset.index.tolist()


times = st.integers(0, 6).map(float)


@settings(deadline=None)
@given(st.lists(st.tuples(times, times | st.none()), max_size=6), times, times)
def test_between_agrees_with_looking_at_each_row(spans, a, b):
    rows = [(min(s, e) if e is not None else s, max(s, e) if e is not None else None) for s, e in spans]
    frame = pd.DataFrame(rows, columns=["start_ms", "end_ms"]).astype("float64")
    t0, t1 = sorted((a, b))
    expected = [
        i for i, (s, e) in enumerate(rows) if s < t1 and (e is None or e > t0 or s >= t0)
    ]  # fmt: skip
    assert frame.hexviz.between(t0, t1).index.tolist() == expected


def test_between_takes_moments_of_events_and_calls():
    frames = shop_frames()
    assert len(frames.events.hexviz.between(0, 1e9)) == len(frames.events)
    assert len(frames.calls.hexviz.between(datetime(2020, 1, 1, tzinfo=UTC))) == len(frames.calls)
    assert frames.decisions.hexviz.between(1e9).empty
    with pytest.raises(SourceError, match=r"'started_at'.*runs, waves, nodes, attempts, calls have"):
        frames.decisions.hexviz.between("2026-01-01")


@pytest.mark.parametrize(
    ("t0", "t1", "words"),
    [
        (True, None, "a moment is"),
        (float("nan"), None, "a moment is"),
        ("soon", None, "is not a time"),
        (pd.NaT, None, "a moment is"),
        (0, "2026-01-01", "two numbers or two times"),
        (2, 1, "ends before it begins"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(t0, t1, words):
    with pytest.raises(MomentError, match=words):
        SPANS.hexviz.between(t0, t1)


# --- new frames


def test_runs_tells_of_every_run_that_stands_in_a_frame():
    frames = two_shops()
    for name in FRAMES:
        runs = getattr(frames, name).hexviz.runs()
        assert runs["run_id"].tolist() == ([] if name == "observers" else frames.runs["run_id"].tolist())
        assert runs["rows"].sum() == len(getattr(frames, name))
    assert frames.runs.hexviz.runs()["status"].astype(str).tolist() == ["succeeded"] * 2
    assert frames.attempts.hexviz.runs()[["nodes", "failed"]].to_numpy().tolist() == [[7, 2], [7, 2]]
    assert (frames.nodes.hexviz.runs()["duration_ms"] > 0).all()
    assert frames.edges.hexviz.runs()["failed"].isna().all()


def test_the_timeline_of_attempts_is_that_of_the_analysis_and_others_have_one_bar_a_row():
    frames = shop_frames()
    pd.testing.assert_frame_equal(frames.attempts.hexviz.timeline(), analysis.timeline(frames))
    for name in ("nodes", "waves", "calls"):
        bars = getattr(frames, name).hexviz.timeline()
        assert len(bars) == len(getattr(frames, name))
        assert set(bars["kind"]) == {"running"}


def test_the_critical_path_takes_the_edges_and_is_that_of_the_analysis():
    frames = shop_frames()
    expected = analysis.critical_path(frames)
    pd.testing.assert_frame_equal(frames.nodes.hexviz.critical_path(frames.edges), expected)
    pd.testing.assert_frame_equal(frames.attempts.hexviz.critical_path(frames.edges), expected)
    with pytest.raises(SourceError, match="2 runs; choose one with run_id="):
        two_shops().nodes.hexviz.critical_path(two_shops().edges)
    with pytest.raises(SourceError, match="'edges' lacks the columns source, target"):
        frames.nodes.hexviz.critical_path(frames.nodes)


def test_without_edges_the_critical_path_is_told_by_the_clock():
    frames = shop_frames()
    expected = analysis.path_by_clock(frames)
    for frame in (frames.nodes, frames.attempts):
        pd.testing.assert_frame_equal(frame.hexviz.critical_path(), expected)
    parents = dict(zip(expected["node"][1:], expected["node"][:-1], strict=True))
    edges = set(zip(frames.edges["source"], frames.edges["target"], strict=True))
    assert edges >= {(parent, node) for node, parent in parents.items()}
    with pytest.raises(SourceError, match=r"'parents_ms'.* nodes, attempts have"):
        frames.nodes.drop(columns="parents_ms").hexviz.critical_path()


def test_compare_of_attempts_and_of_nodes_tell_the_same_of_the_nodes():
    one, two = shop_frames(), two_shops()
    of_nodes = one.nodes.hexviz.compare(two.nodes)
    of_attempts = one.attempts.hexviz.compare(two.attempts)
    assert set(of_nodes["kind"]) == {"status", "attempts", "timing"}
    known = of_nodes[of_nodes["measure"] != "run_ms"].drop(columns="noise").reset_index(drop=True)
    same = of_attempts[of_attempts["measure"] != "run_ms"].drop(columns="noise").reset_index(drop=True)
    columns = ["kind", "node", "measure", "before", "after"]
    assert known[columns].sort_values(columns[:3]).round(9).to_numpy().tolist() == (
        same[columns].sort_values(columns[:3]).round(9).to_numpy().tolist()
    )


def test_compare_of_decisions_and_calls_tells_of_these():
    one = shop_frames()
    assert set(one.decisions.hexviz.compare(one.decisions)["verdict"]) == {"same"}
    assert set(one.calls.hexviz.compare(one.calls)["kind"]) == {"calls", "tokens"}
    with pytest.raises(SourceError, match="same kind, not nodes and calls"):
        one.nodes.hexviz.compare(one.calls)
    with pytest.raises(SourceError, match="takes a frame of another run, not dict"):
        one.nodes.hexviz.compare({})


# --- columns alone


def asked(frame, edges):
    """Everything that can be asked of a frame, as far as it can."""
    hexviz = frame.hexviz
    questions = {
        "runs": hexviz.runs,
        "node": lambda: hexviz.node("flaky"),
        "failed": hexviz.failed,
        "slowest": hexviz.slowest,
        "between": lambda: hexviz.between(0, 5),
        "clock": lambda: hexviz.between("2020-01-01", "2100-01-01"),
        "timeline": hexviz.timeline,
        "critical_path": lambda: hexviz.critical_path(edges),
        "critical_path by clock": hexviz.critical_path,
        "compare": lambda: hexviz.compare(frame),
    }
    answers = {}
    for name, question in questions.items():
        try:
            answers[name] = question()
        except SourceError as error:
            answers[name] = str(error)
    return answers


@pytest.mark.parametrize("name", FRAMES)
def test_what_a_frame_loses_on_its_way_changes_no_answer(name):
    frame = getattr(shop_frames(), name)
    before = frame.copy(deep=True)
    found = asked(frame, shop_frames().edges)
    plain = asked(as_if_read_from_a_file(frame), as_if_read_from_a_file(shop_frames().edges))
    for question, answer in found.items():
        if isinstance(answer, str):
            assert plain[question] == answer
        else:
            assert len(plain[question]) == len(answer), question
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


@pytest.mark.parametrize("name", FRAMES)
def test_every_refusal_names_a_column_and_a_frame_that_has_it(name):
    frames = shop_frames()
    for answer in asked(getattr(frames, name), frames.edges).values():
        if isinstance(answer, str):
            missing = answer.split("needs the column")[1].split("which")[0]
            owners = answer.split("recording ")[1].split(" ha")[0].split(", ")
            assert all(owner in COLUMNS for owner in owners), answer
            assert any(col.name in missing for col in COLUMNS[owners[0]]), answer


@pytest.mark.parametrize("name", FRAMES)
def test_empty_frames_give_empty_answers_with_the_same_columns_and_dtypes(name):
    full = asked(getattr(shop_frames(), name), shop_frames().edges)
    empty = asked(getattr(empty_frames(), name), empty_frames().edges)
    for question, answer in full.items():
        if isinstance(answer, str):
            assert empty[question] == answer
        else:
            assert empty[question].empty
            assert list(empty[question].columns) == list(answer.columns)
            if question in {"runs", "timeline", "critical_path", "critical_path by clock", "compare"}:
                assert empty[question].dtypes.tolist() == answer.dtypes.tolist()


def test_frames_put_together_of_two_recordings_are_two_runs():
    both = pd.concat([shop_frames().attempts, failed_frames().attempts], ignore_index=True)
    assert both.hexviz.runs()["failed"].tolist() == [2, 1]
    assert both.merge(both[["node"]].drop_duplicates(), on="node").hexviz.failed()["node"].nunique() == 3


def test_frames_survive_a_file():
    pytest.importorskip("pyarrow", reason="needs the package pyarrow, of the extra hexviz[parquet]")
    file = io.BytesIO()
    shop_frames().attempts.to_parquet(file)
    back = pd.read_parquet(io.BytesIO(file.getvalue()))
    assert back.hexviz.failed()["node"].tolist() == shop_frames().attempts.hexviz.failed()["node"].tolist()
    assert len(back.hexviz.timeline()) == len(shop_frames().attempts.hexviz.timeline())


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_read_from_csv_answers_as_the_frame_did(name, tmp_path):
    frame, edges = getattr(two_shops(), name), two_shops().edges
    frame.to_csv(tmp_path / "frame.csv", index=False)
    back = asked(pd.read_csv(tmp_path / "frame.csv"), edges)
    for question, answer in asked(frame, edges).items():
        assert (answer if isinstance(answer, str) else len(answer)) == (
            back[question] if isinstance(answer, str) else len(back[question])
        ), question


def test_an_unfinished_run_can_be_asked():
    frames = unfinished_frames()
    assert frames.attempts.hexviz.timeline()["open"].sum() == 1
    assert frames.nodes.hexviz.critical_path(frames.edges)["node"].tolist() == ["load", "clean", "ask", "report"]
    assert "clean" in frames.attempts.hexviz.between(1e6)["node"].tolist()


@pytest.mark.parametrize("question", ["runs", "failed", "slowest", "timeline", "critical_path"])
def test_a_frame_of_something_else_is_told_what_it_lacks(question):
    with pytest.raises(SourceError, match=r"needs the columns? .* which this frame lacks \(it has x\)"):
        getattr(pd.DataFrame({"x": [1]}).hexviz, question)()


def test_frames_by_hand_need_no_run_id():
    nodes = diamond().nodes.drop(columns="run_id")
    assert set(nodes.hexviz.compare(nodes)["verdict"]) == {"same"}
    assert len(diamond().attempts.drop(columns="run_id").hexviz.timeline()) > 0
