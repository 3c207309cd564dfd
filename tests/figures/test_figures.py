"""The figures: what they draw, counted; that no data is read as HTML; and that many bars stay few traces."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from hexviz import figures
from hexviz.errors import SourceError
from hexviz.figures.calls import calls_info
from hexviz.figures.comparison import comparison_info
from hexviz.figures.concurrency import concurrency_info
from hexviz.figures.critical_path import critical_path_info
from hexviz.figures.decisions import decisions_info
from hexviz.figures.durations import durations_info
from hexviz.figures.graph import graph_info
from hexviz.figures.layout import all_harmless, duration_text, harmless, unit_for
from hexviz.figures.timeline import timeline_info
from hexviz.figures.waits import waits_info
from hexviz.figures.what_if import what_if_info
from hexviz.palette import STATUS_COLORS
from hexviz.recording.recording import Recording
from tests.analysis.made_frames import big_frames, diamond
from tests.browser.made_runs import told

OF_ONE_RUN = [name for name in figures.__all__ if name != "plot_comparison"]
HOSTILE = '<img src=x onerror="a()"><a href="javascript:b()">c</a> $x^2$ \x1b[31m \u202e &lt;script&gt;' + "z" * 500


def drawn(name, frames):
    return figures.plot_comparison(frames, frames) if name == "plot_comparison" else getattr(figures, name)(frames)


def every_text(figure):
    """All strings in what the browser gets, with the markup that the figures write themselves taken out."""

    def walk(value):
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from walk(item)

    own = re.compile(r"</?(b|sub)>|<br>|<extra></extra>")
    return [own.sub("", text) for text in walk(json.loads(figure.to_json()))]


@pytest.mark.parametrize("name", figures.__all__)
class TestEvery:
    def test_is_a_figure_with_a_title_and_units_on_its_axes(self, name):
        figure = drawn(name, diamond(failing=("b",)))
        assert isinstance(figure, go.Figure)
        assert figure.layout.title.text
        axes = {figure.layout.xaxis.title.text, figure.layout.yaxis.title.text}
        assert any("(ms)" in axis or axis in {"wave", "attempts"} for axis in axes)

    def test_leaves_the_background_to_the_page(self, name):
        figure = drawn(name, diamond())
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"

    def test_draws_an_empty_run(self, name):
        frames = diamond()
        for part in ("nodes", "attempts", "edges", "decisions", "calls"):
            setattr(frames, part, getattr(frames, part).iloc[:0])
        drawn(name, frames).to_json()

    def test_lets_nothing_of_the_data_be_read_as_markup(self, name):
        frames = diamond(failing=("b", "c"), run_id=HOSTILE[:60])
        frames.runs["pipeline"] = HOSTILE
        for frame in (frames.nodes, frames.attempts, frames.decisions, frames.edges):
            for column in ("node", "source", "target", "reason", "error_message", "decided_by"):
                if column in frame:
                    frame[column] = frame[column].astype(object).map(lambda v: f"{v}{HOSTILE}")
        for text in every_text(drawn(name, frames)):
            assert not re.search(r"[<>\x00-\x1f\u202e]", text), text
            assert "$x" not in text
            assert len(text) < 1000

    def test_its_hover_says_no_trace_names(self, name):
        for trace in drawn(name, diamond(failing=("b",))).data:
            assert trace.hoverinfo == "skip" or "<extra></extra>" in trace.hovertemplate

    def test_says_that_a_run_is_unfinished_or_that_there_is_nothing_to_show(self, name):
        frames = diamond(failing=("b",))
        frames.runs["status"] = "running"
        if name != "plot_comparison":
            assert "unfinished" in drawn(name, frames).layout.title.text
        for part in ("nodes", "attempts", "edges", "decisions", "calls"):
            setattr(frames, part, getattr(frames, part).iloc[:0])
        assert not drawn(name, frames).layout.xaxis.visible
        (said,) = [note.text for note in drawn(name, frames).layout.annotations if note.xref == "paper"]
        assert len(said) > 10

    def test_its_legend_stands_below_its_title(self, name):
        layout = drawn(name, diamond(failing=("b",))).layout
        assert (layout.title.y, layout.title.yanchor, layout.title.pad.b) == (1.0, "bottom", 62)
        assert (layout.legend.y, layout.legend.yanchor, layout.legend.x) == (1.0, "bottom", 0.0)

    def test_a_title_can_be_given(self, name):
        frames = diamond()
        args = (frames, frames) if name == "plot_comparison" else (frames,)
        assert getattr(figures, name)(*args, title="Mine").layout.title.text == "Mine"

    def test_frames_of_something_else_are_refused(self, name):
        with pytest.raises(SourceError, match="no frame"):
            drawn(name, SimpleNamespace())


def test_plotly_is_loaded_by_the_first_figure_only():
    code = (
        "import sys, hexviz.figures as f; before = 'plotly' in sys.modules; f.plot_timeline; "
        "print(before, 'plotly' in sys.modules, 'plot_graph' in dir(f))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == (
        "False True True\n"
    )


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="plot_moon"):
        _ = figures.plot_moon


# --- timeline


def test_the_timeline_by_worker_has_lanes_for_each_and_bars_that_begin_with_their_code():
    workers = ("process 1", "process 2")
    frames = Recording(told(20, lanes=3, workers=workers)).frames
    info = timeline_info(frames, lanes="worker")
    assert sorted(info["worker"].unique()) == list(workers)
    for _, lane in info.sort_values("start_ms").groupby("row"):
        assert len(set(lane["worker"])) == 1
        assert ((lane["start_ms"] + lane["width_ms"]).shift().dropna() <= lane["start_ms"].iloc[1:] + 1e-6).all()
    attempts = frames.attempts
    assert info["width_ms"].tolist() == pytest.approx(attempts["duration_ms"].tolist(), abs=1e-3)
    figure = figures.plot_timeline(frames, lanes="worker")
    assert [text for text in figure.layout.yaxis.ticktext if text] == list(workers)
    assert "on process" in figure.data[0].customdata[0][6]
    with pytest.raises(ValueError, match="'node', 'worker'"):
        timeline_info(frames, lanes="wave")


def test_the_timeline_has_one_bar_per_attempt_and_one_row_per_node_by_wave():
    frames = diamond(failing=("b",))
    info = timeline_info(frames)
    assert len(info) == len(frames.attempts) == 6
    assert info.drop_duplicates("node").sort_values("row")["node"].tolist() == ["a", "e", "b", "c", "d"]
    figure = figures.plot_timeline(frames)
    bars = {trace.name: trace for trace in figure.data}
    assert list(bars) == ["in the queue", "backing off", "succeeded", "failed"]
    assert len(bars["failed"].x) == 1
    assert bars["failed"].marker.color == STATUS_COLORS["failed"]
    assert figure.layout.yaxis.ticktext == ("a", "e", "b", "c", "d")


def test_waits_are_drawn_before_and_after_their_attempt():
    bars = {trace.name: trace for trace in figures.plot_timeline(diamond(failing=("b",))).data}
    assert (bars["backing off"].base[0], bars["backing off"].x[0]) == (32.0, 5.0)
    assert (bars["in the queue"].base[0], bars["in the queue"].x[0]) == (0.0, 1.0)


def test_an_attempt_that_still_runs_reaches_to_the_last_known_moment():
    frames = diamond()
    frames.attempts.loc[frames.attempts["node"] == "e", ["end_ms", "status"]] = [np.nan, "running"]
    info = timeline_info(frames).set_index("node")
    assert info.loc["e", "start_ms"] + info.loc["e", "width_ms"] == frames.attempts["end_ms"].max()


def test_many_attempts_are_packed_into_lanes_without_overlap_and_stay_few_traces():
    frames = big_frames(20_000)
    info = timeline_info(frames)
    assert info.attrs["packed"]
    assert info["row"].max() < 200
    for _, lane in info.sort_values("start_ms").groupby("row"):
        ends = (lane["start_ms"] + lane["width_ms"]).to_numpy()
        assert (lane["start_ms"].to_numpy()[1:] >= ends[:-1]).all()
    figure = figures.plot_timeline(frames)
    assert len(figure.data) <= 10
    assert {type(trace) for trace in figure.data} == {go.Scattergl}
    assert len(figure.to_json()) < 12_000_000


def test_the_names_of_crowded_waves_are_left_out_where_they_would_meet():
    frames = diamond()
    several = pd.concat([frames.attempts.assign(node=[f"{i}-{n}" for n in "abcde"], wave=i) for i in range(60)])
    frames.attempts = several.reset_index(drop=True)
    axis = figures.plot_timeline(frames).layout.yaxis
    assert axis.ticktext[:3] == ("0", "1", "2")
    frames.attempts["wave"] = frames.attempts.index
    ticks = figures.plot_timeline(frames).layout.yaxis.tickvals
    assert 40 < len(ticks) < 120
    assert min(np.diff(ticks)) >= 3


def test_the_last_wave_is_named_however_small_the_one_before_it_is():
    frames = diamond()
    sizes = [60, 40, 1, 1]
    names = [(wave, f"{wave}-{i}") for wave, size in enumerate(sizes, 1) for i in range(size)]
    several = pd.concat([frames.attempts.head(1).assign(node=node, wave=wave) for wave, node in names])
    frames.attempts = several.reset_index(drop=True)
    axis = figures.plot_timeline(frames).layout.yaxis
    assert axis.ticktext == ("1", "2", "4")
    assert axis.tickvals == (29.5, 79.5, 101.0)


# --- graph


def test_the_graph_places_each_node_in_its_wave_and_no_two_in_one_place():
    info = graph_info(diamond()).set_index("node")
    assert info["x"].to_dict() == {"a": 1, "b": 2, "c": 2, "d": 3, "e": 1}
    assert not info.duplicated(["x", "y"]).any()
    assert info.index[info["on_path"]].tolist() == ["a", "c", "d"]


def test_the_graph_draws_each_edge_and_the_critical_path():
    traces = {trace.name: trace for trace in figures.plot_graph(diamond()).data}
    assert len(traces["edges"].x) == 4 * 3
    assert len(traces["critical path"].x) == 2 * 3
    assert set(traces["succeeded"].text) == set("abcde")


def test_the_places_uncross_a_crossed_pair():
    graph = diamond()
    edges = [("a", "c"), ("e", "b")]
    graph.edges = pd.DataFrame(edges, columns=["source", "target"], dtype="str").assign(run_id="run-1")
    y = graph_info(graph).set_index("node")["y"]
    assert np.sign(y["a"] - y["e"]) == np.sign(y["c"] - y["b"])


# --- the others


def test_decisions_are_one_mark_each_in_the_row_of_their_handler():
    frames = diamond(failing=("b", "c"))
    assert decisions_info(frames)["row"].tolist() == [0, 0]
    figure = figures.plot_decisions(frames)
    assert [trace.name for trace in figure.data] == ["retry"]
    assert len(figure.data[0].x) == 2
    assert figure.layout.yaxis.ticktext == ("Retry",)


def test_decisions_of_shadow_handlers_are_hollow():
    frames = diamond(failing=("b",))
    frames.decisions[["signal", "decided_by"]] = ["proceed", ""]
    frames.decisions["shadow"] = [False, True]
    figure = figures.plot_decisions(frames)
    assert figure.data[0].marker.symbol[0] == "circle-open"
    assert figure.layout.yaxis.ticktext == ("(nobody)",)


def test_a_decision_that_a_handler_took_is_filled_even_where_a_shadow_one_would_have_interfered():
    frames = diamond(failing=("b",))
    frames.decisions["shadow"] = True
    assert list(figures.plot_decisions(frames).data[0].marker.symbol) == ["triangle-right"]


def test_calls_are_counted_by_tool_and_model_the_longest_total_on_top():
    info = calls_info(diamond())
    assert info[["name", "kind", "calls", "failed", "succeeded", "unfinished", "total_ms"]].to_dict("list") == {
        "name": ["m-1", "search"],
        "kind": ["llm", "tool"],
        "calls": [1, 2],
        "failed": [0, 1],
        "succeeded": [1, 1],
        "unfinished": [0, 0],
        "total_ms": [10.0, 4.0],
    }
    assert len(calls_info(diamond(), most=1)) == 1


def test_calls_are_one_bar_each_that_says_how_often_and_what_for():
    figure = figures.plot_calls(diamond())
    tools, models = figure.data
    assert (tools.name, list(tools.y), list(tools.x), list(tools.text)) == ("tool", [1], [4.0], [" 2 calls, 1 failed"])
    assert (models.name, list(models.y), list(models.text)) == ("language model", [0], [" 1 call, 12 tokens"])
    assert tools.width == models.width == 0.7
    assert figure.layout.yaxis.ticktext == ("m-1", "search")
    assert figure.layout.title.text.startswith("Calls: 3, of which 1 failed")


def test_a_call_that_has_not_ended_has_no_time_and_is_no_success():
    frames = diamond()
    frames.calls = frames.calls.iloc[2:].assign(duration_ms=np.nan, end_ms=np.nan, status="running")
    info = calls_info(frames)
    assert info[["calls", "failed", "succeeded", "unfinished"]].iloc[0].tolist() == [1, 0, 0, 1]
    assert "none has ended" in figures.plot_calls(frames).data[0].customdata[0][1]


def test_the_critical_path_has_a_bar_and_a_wait_per_node():
    info = critical_path_info(diamond(failing=("c",)))
    assert info["node"].tolist() == ["a", "c", "d"]
    assert info["wait_ms"].tolist() == [1.0, 56.0, 1.0]
    waiting, running = figures.plot_critical_path(diamond()).data
    assert list(running.x) == [10, 50, 5]
    assert len(waiting.x) == 3


def test_concurrency_is_a_step_line_of_bounded_length_that_keeps_its_peak():
    assert figures.plot_concurrency(diamond()).data[0].line.shape == "hv"
    frames = big_frames(20_000)
    info = concurrency_info(frames)
    assert len(info) <= 5000
    assert info["running"].max() == info.attrs["peak"]
    assert info["running"].iloc[-1] == 0


@pytest.mark.parametrize(("by", "groups"), [("wave", ["1", "2", "3"]), ("status", ["succeeded", "failed"])])
def test_durations_are_grouped_in_their_own_order(by, groups):
    frames = diamond(failing=("b",))
    assert durations_info(frames, by=by)["group"].unique().tolist() == groups
    assert list(figures.plot_durations(frames, by=by).layout.xaxis.categoryarray) == groups


def test_durations_by_node_stand_longest_first():
    assert durations_info(diamond(), by="node")["node"].tolist() == ["c", "e", "b", "a", "d"]
    with pytest.raises(ValueError, match="by must be one of"):
        durations_info(diamond(), by="moon")


def test_the_longest_waits_stand_on_top():
    assert waits_info(diamond(failing=("b",)), most=2)["node"].tolist()[0] == "b"
    assert [trace.name for trace in figures.plot_waits(diamond()).data] == ["in the queue", "backing off", "running"]


def test_a_comparison_shows_what_changed_and_nothing_else():
    before, after = diamond(run_id="x"), diamond(run_id="y")
    after.nodes.loc[after.nodes["node"] == "c", "duration_ms"] = 80.0
    after.nodes.loc[after.nodes["node"] == "e", "duration_ms"] = 10.0
    assert comparison_info(before, after)["node"].tolist() == ["c", "e"]
    slower, faster = figures.plot_comparison(before, after).data
    assert (list(slower.x), list(faster.x)) == ([30.0], [-20.0])


def test_what_if_draws_a_line_per_schedule_and_the_limits():
    info = what_if_info(diamond(), workers=(1, 2))
    assert len(info) == 4
    figure = figures.plot_what_if(diamond(), workers=(1, 2))
    assert [len(trace.x) for trace in figure.data] == [2, 2]
    assert [line.name for line in figure.layout.shapes] == ["critical path: 65 ms", "this run: 67 ms"]


# --- words and units


@pytest.mark.parametrize(
    ("ms", "unit", "words"),
    [
        (0.5, "ms", "0.5 ms"),
        (1500, "ms", "1.5 s"),
        (65_000, "s", "1 min 05 s"),
        (3_600_000, "min", "60 min 00 s"),
        (float("nan"), "ms", ""),
    ],
)
def test_durations_read_well(ms, unit, words):
    assert unit_for(ms).name == unit
    assert duration_text(ms) == words


def test_harmless_text_keeps_what_it_can():
    assert harmless("load_data.csv [1]") == "load_data.csv [1]"
    assert harmless("<b>") == "&lt;b&gt;"
    assert harmless(None) == harmless(float("nan")) == harmless(pd.NA) == ""
    assert harmless("\ud800\x1b\u202e") == "\ufffd" * 3
    assert len(harmless("x" * 1000)) == 80
    assert all_harmless(["a", "<", "a"]) == ["a", "&lt;", "a"]
