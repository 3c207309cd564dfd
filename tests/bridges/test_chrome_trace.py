"""The trace follows the rules of the Trace Event Format, so that Perfetto draws it."""

import pytest
from hypothesis import HealthCheck, given, settings

import hexviz
from hexviz.events import events as ev
from tests.bridges.made_runs import HOSTILE, broken, exported, hostile, shown, small
from tests.recording.made_events import Run, numbered


def of(events, *phases):
    return [event for event in events if event["ph"] in phases]


def check(document):
    """Every rule that a viewer relies on; the events."""
    events = document["traceEvents"]
    named = of(events, "M")
    assert events[: len(named)] == named
    assert {event["name"] for event in named} <= {"process_name", "thread_name"}
    times = [event["ts"] for event in events[len(named) :]]
    assert times == sorted(times)
    assert all(time >= 0 for time in times)
    assert all({"ph", "pid", "tid", "name", "ts"} <= set(event) for event in events)
    assert {event["ph"] for event in events} <= set("MXbesfiC")
    _check_slices(of(events, "X"))
    _check_pairs(events)
    _check_flows(events)
    assert all(type(value) is int for event in of(events, "C") for value in event["args"].values())
    tracks = {(event["pid"], event["tid"]) for event in named if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in events} <= tracks
    return events


def _check_slices(slices):
    ends = {}
    for event in slices:
        track = event["pid"], event["tid"]
        assert event["dur"] > 0
        assert event["ts"] >= ends.get(track, 0) - 0.002, "two slices of one lane overlap"
        ends[track] = event["ts"] + event["dur"]


def _check_pairs(events):
    open_pairs, ids = {}, set()
    for event in of(events, "b", "e"):
        key = event["cat"], event["id"]
        if event["ph"] == "b":
            assert event["id"] not in ids
            ids.add(event["id"])
            open_pairs[key] = event
        else:
            assert open_pairs.pop(key)["name"] == event["name"]
    assert open_pairs == {}


def _check_flows(events):
    starts = {event["id"]: event for event in of(events, "s")}
    assert len(starts) == len(of(events, "s"))
    assert sorted(starts) == sorted(event["id"] for event in of(events, "f"))
    slices = {}
    for x in (x for x in of(events, "X") if x["cat"] == "node"):
        slices.setdefault((x["pid"], x["tid"]), []).append((x["ts"], x["ts"] + x["dur"]))
    for event in of(events, "s", "f"):
        assert any(a <= event["ts"] < b for a, b in slices[event["pid"], event["tid"]]), "a flow is bound to nothing"
    assert all(event["bp"] == "e" and event["ts"] >= starts[event["id"]]["ts"] for event in of(events, "f"))


def test_a_run_has_a_slice_per_attempt_a_flow_per_edge_and_its_counters(tmp_path):
    recording = hexviz.Recording(small().run("run-1").events())
    events = check(exported(recording, "trace", tmp_path))
    slices = [(x["name"], x["ts"], x["dur"], x["args"]["status"]) for x in of(events, "X")]
    assert slices == [
        ("etl", 0.0, 40000.0, "succeeded"),
        ("load", 1000.0, 10000.0, "succeeded"),
        ("clean", 12000.0, 3000.0, "failed"),
        ("clean", 20000.0, 10000.0, "succeeded"),
        ("report", 31000.0, 2000.0, "skipped"),
        ("chart", 31000.0, 2000.0, "fell_back"),
    ]
    flows = [(s["ts"], f["ts"]) for s, f in zip(of(events, "s"), of(events, "f"), strict=True)]
    assert sorted(flows) == [(1000.0, 12000.0), (1000.0, 31000.0), (20000.0, 31000.0), (20000.0, 31000.0)]
    running = [(c["ts"], c["args"]["running"]) for c in of(events, "C") if c["name"] == "running nodes"]
    assert running[-3:] == [(30000.0, 0), (31000.0, 2), (33000.0, 0)]
    pairs = {(b["cat"], b["name"]) for b in of(events, "b")}
    assert {
        ("wave", "wave 2"),
        ("queued", "load"),
        ("backing off", "clean"),
        ("tool", "search"),
        ("llm", "m1"),
    } <= pairs
    assert [i["name"] for i in of(events, "i")] == ["retry clean"]


def test_an_edge_against_the_clock_is_not_drawn(tmp_path):
    run = Run().tell(ev.PipelineStarted, "p", 2, 2, (ev.NodeInfo("a", 1), ev.NodeInfo("b", 2, ("a",))))
    run.at(5).tell(ev.NodeStarted, "b", 2, ("a",)).at(9).tell(ev.NodeStarted, "a", 1)
    events = check(exported(hexviz.Recording(run.events), "trace", tmp_path))
    assert of(events, "s", "f") == []


def test_tokens_are_counted_up(tmp_path):
    run = Run().tell(ev.NodeStarted, "ask", 1)
    for i in (1, 2):
        run.at(i).tell(ev.LLMPromptSent, "ask", [], f"c{i}", "m")
        run.at(i + 5).tell(ev.LLMResponseReceived, "ask", "", 5.0, f"c{i}", "m", 10 * i, i)
    events = check(exported(hexviz.Recording(run.events), "trace", tmp_path))
    told = [c["args"] for c in of(events, "C") if c["name"] == "tokens"]
    assert told == [{"input": 10, "output": 1}, {"input": 30, "output": 3}]


def test_overlapping_nodes_lie_in_lanes_of_their_own_and_lanes_are_used_again(tmp_path):
    run = Run()
    for name, start, end in (("a", 0, 10), ("b", 5, 20), ("c", 10, 15), ("d", 16, 30)):
        run.at(start).tell(ev.NodeStarted, name, 1).at(end).tell(ev.NodeCompleted, name, 1, None, end - start)
    events = check(exported(hexviz.Recording(run.events), "trace", tmp_path))
    assert {x["name"]: x["tid"] for x in of(events, "X") if x["cat"] == "node"} == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_an_attempt_that_never_ended_lasts_to_the_last_event(tmp_path):
    run = Run().tell(ev.NodeStarted, "a", 1).at(7).tell(ev.NodeStarted, "b", 1)
    events = check(exported(hexviz.Recording(run.events), "trace", tmp_path))
    slices = {x["name"]: x for x in of(events, "X")}
    assert slices["a"]["dur"] == 7000.0
    assert slices["a"]["args"]["unfinished"] is True


def test_hostile_names_stay_text(tmp_path):
    events = check(exported(hostile(), "trace", tmp_path))
    assert {x["name"] for x in of(events, "X")} >= {shown(name) for name in HOSTILE}


def test_a_broken_recording_gives_a_trace_that_keeps_the_rules(tmp_path):
    assert check(exported(broken(), "trace", tmp_path))


@pytest.mark.parametrize("made", [small, hostile, broken])
def test_the_same_recording_gives_the_same_bytes(made, tmp_path):
    first, second = (hexviz.export(made(), tmp_path / f"{i}.trace.json").read_bytes() for i in (1, 2))
    assert first == second


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=numbered)
def test_any_recording_gives_a_trace_that_keeps_the_rules(events, tmp_path):
    check(exported(hexviz.Recording(events), "trace", tmp_path))
