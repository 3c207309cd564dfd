"""What a recorder keeps of values: little, quickly, without calling them, and nothing that was not to be kept."""

import json
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hexviz.events import events as ev
from hexviz.events.schema import to_record
from hexviz.events.summary import Summary, plain, without_secrets
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from tests.recording.made_events import Hostile, ProgressMade

HARD_LIMIT_S = 10.0  # of what takes less than a millisecond, on a machine that does other things too
touched = []


def _touch(name):
    def method(self, *args, **kwargs):
        touched.append(name)
        raise RuntimeError(f"{name} was called")

    return method


_METHODS = [
    *(
        f"__{name}__"
        for name in (
            *(
                "repr",
                "str",
                "len",
                "eq",
                "bool",
                "iter",
                "hash",
                "reduce",
                "reduce_ex",
                "getitem",
                "contains",
                "float",
            ),
            *("int", "index", "format", "dir", "getattr", "sizeof", "fspath", "array", "lt", "call", "enter", "bytes"),
            *("length_hint", "complex", "round", "aiter", "await", "copy", "deepcopy", "getstate", "rich_repr"),
            *("dataframe", "arrow_c_array"),
        )
    ),
    *("_repr_html_", "keys", "items", "model_dump"),
]


def touchy(*bases):
    """An object whose every method says that it was called, and whose ``__class__`` lies."""
    body = {name: _touch(name) for name in _METHODS}
    body["__getattribute__"] = _touch("__getattribute__")
    body["__class__"] = property(_touch("__class__"))
    body["__hash__"] = _touch("__hash__")
    cls = type("Touchy", bases, body)
    return object.__new__(cls) if not bases else cls.__new__(cls)


def told(value, **settings):
    """A recorder that was told of ``value`` in every place where an event holds one."""
    recorder = Recorder(**settings)
    with recorder:
        base = {"run_id": "r", "pipeline": "p"}
        for seq, event in enumerate(
            (
                ev.NodeCompleted("n", 1, value, 1.0),
                ev.NodeSkipped("n", 1, 1, "why", "who", 0.0, value),
                ev.NodeFellBack("n", 1, 1, "why", "who", 0.0, value),
                ev.PipelineCompleted("p", 1.0, value),
                ev.ToolCalled("n", "t", value),
                ev.ToolCompleted("n", "t", value, 1.0),
                ev.LLMPromptSent("n", value),
                ev.LLMResponseReceived("n", value, 1.0),
                ev.NodeFailed("n", 1, value),
                ProgressMade("n", 1.0, value),
                ev.NodeCompleted("n", 1, [value, {"k": value}], 1.0),
                ev.NodeCompleted("n", 1, {"k": [value]}, 1.0),
            ),
            1,
        ):
            recorder(type(event)(**{**_fields(event), **base, "seq": seq}))
    return recorder


def _fields(event):
    return {name: getattr(event, name) for name in event.__struct_fields__}


@pytest.mark.parametrize("capture", ["summary", "json", "value"])
@pytest.mark.parametrize("bases", [(), (dict,), (list,), (str,), (int,), (tuple,), (BaseException,), (float,)])
def test_nothing_of_a_value_is_called(capture, bases):
    thing = touchy(*bases)
    touched.clear()
    recorder = told(thing, capture=capture, redact=[lambda value: value])
    records = list(recorder.recording.records())
    frame = recorder.recording.frames.events
    # str() of an exception is asked for: there is no other way to its message, and a traceback looks for its notes
    asked = {"__str__", "__getattribute__", "__class__"} if bases == (BaseException,) else set()
    assert set(touched) <= asked
    assert len(records) == len(frame) == 12
    assert all(len(record) <= 8_192 for record in records)


def deep():
    value = []
    for _ in range(10_000):
        value = [value]
    return value


def deep_dict():
    value = {}
    for _ in range(10_000):
        value = {"k": value}
    return value


def dense():
    """A small thing that is seen as 100 ** 12 items by whoever walks all of it."""
    value = ["x"] * 100
    for _ in range(12):
        value = [value] * 100
    return value


HUGE = {
    "1 GB of bytes": lambda: bytes(10**9),
    "a list of ten million": lambda: [None] * 10**7,
    "a dict of a million": lambda: dict.fromkeys(range(10**6)),
    "a frame of a million rows": lambda: pd.DataFrame({"a": np.zeros(10**6)}),
    "an array of 800 MB": lambda: np.zeros(10**8),
    "a table of many chunks": lambda: pa.chunked_array([pa.array([1])] * 20_000),
    "deep lists": deep,
    "deep dicts": deep_dict,
    "a dense tree": dense,
    "a text of 100 MB": lambda: "x" * 10**8,
    "a number of a million digits": lambda: 1 << 3_300_000,
    "a long key": lambda: {"k" * 10**7: 1},
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("capture", ["summary", "json"])
def test_a_summary_is_small_and_made_in_no_time_however_big_the_value(name, capture):
    value = HUGE[name]()
    recorder = Recorder(capture=capture)
    event = ev.NodeCompleted("n", 1, value, 1.0, run_id="r", seq=1)
    tracemalloc.start()
    began = time.perf_counter()
    recorder(event)
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < HARD_LIMIT_S
    (event,) = recorder.recording
    summary = event.result
    assert isinstance(summary, Summary)
    assert peak < 1_000_000, "a copy was made"
    assert len(json.dumps([summary.type, summary.shape, summary.length, summary.size_bytes, summary.preview])) <= 4_096
    assert len(summary.content.encode()) <= 4_096
    assert recorder.statistics()["bytes"] < 10_000
    if capture == "json" and "deep" not in name and summary.type in {"list", "dict"}:
        assert recorder.statistics()["contents_dropped"] in {0, 1}


def test_content_is_bounded_in_bytes_not_in_characters():
    recorder = Recorder(capture="json")
    recorder(ev.NodeCompleted("n", 1, "\U0001f600" * 1500, 1.0))
    (event,) = recorder.recording
    assert event.result.content == ""
    assert recorder.statistics()["contents_dropped"] == 1


@pytest.mark.parametrize("value", [None, True, 1.5, 7])
def test_json_content_is_kept_of_small_results_too(value):
    recorder = Recorder(capture="json")
    recorder(ev.NodeCompleted("n", 1, value, 1.0, run_id="r", seq=1))
    (event,) = recorder.recording.events()
    assert json.loads(event.result.content) == value


# --- values -------------------------------------------------------------------------------------------------------


def test_capture_value_keeps_the_very_objects_by_run_and_number():
    value = Hostile()
    recorder = told(value, capture="value")
    assert recorder.kept_values["r", 1] is value
    assert {seq for _, seq in recorder.kept_values} == {1, 2, 3, 4, 5, 6, 7, 8, 11, 12}
    assert [event.result for event in recorder.recording if type(event) is ev.NodeFellBack] == [Summary("Hostile")]


def test_an_event_told_by_hand_has_its_value_under_the_number_it_got():
    recorder = Recorder(capture="value")
    recorder(ev.NodeCompleted("n", 1, "first", 1.0))
    recorder(ev.NodeCompleted("n", 1, "second", 1.0))
    assert dict(recorder.kept_values) == {(recorder.run_id, 1): "first", (recorder.run_id, 2): "second"}


@pytest.mark.parametrize("capture", ["summary", "json"])
def test_other_captures_keep_no_values(capture):
    assert dict(told([1], capture=capture).kept_values) == {}


class Kept:
    """A store that writes down what it is given."""

    def __init__(self):
        self.events = []

    def put(self, event):
        self.events.append(event)

    def flush(self, durability="os", timeout=30.0):
        pass


@pytest.mark.parametrize("capture", ["summary", "value"])
def test_a_store_gets_summaries_and_never_a_value(capture):
    store = Kept()
    told({"text": "canary"}, store=store, capture=capture)
    assert len(store.events) == 12
    assert b"canary" not in b"".join(to_record(event) for event in store.events if type(event) is not ProgressMade)
    for event in store.events:
        for name in ("result", "params", "messages", "response", "node_results"):
            assert type(getattr(event, name, None)) in {Summary, type(None)}


def test_values_under_secret_keys_are_replaced_also_where_values_are_kept():
    headers = [("Authorization", "canary"), ("Accept", "*/*")]
    asked = {"api_key": "canary", "q": "cats", "deep": [{"Password": "canary"}], "headers": headers}
    recorder = Recorder(capture="value")
    recorder(ev.ToolCalled("n", "t", asked))
    (kept,) = recorder.kept_values.values()
    assert "canary" not in repr(kept)
    assert kept["q"] == "cats"
    assert kept["headers"][1] is headers[1]
    assert asked["api_key"] == "canary"


def test_a_value_without_secrets_is_not_copied():
    value = {"a": [1, {"b": (1, 2)}]}
    assert without_secrets(value) is value


# --- redactors ----------------------------------------------------------------------------------------------------


def boom(value):
    raise SystemExit("no")


@pytest.mark.parametrize("capture", ["json", "value"])
def test_a_redactor_that_fails_costs_the_content_not_the_event_and_is_counted(capture):
    recorder = told(["canary"], capture=capture, redact=[boom])
    assert len(recorder) == 12
    assert dict(recorder.kept_values) == {}
    assert "canary" not in repr([e for e in recorder.recording if type(e) is not ProgressMade])
    assert recorder.statistics()["contents_dropped"] == 10


def test_redactors_run_in_turn_before_a_store_is_given_anything():
    store = Kept()
    hide = [lambda value: {**value, "q": "one"}, lambda value: {**value, "q": value["q"] + " two"}]
    recorder = Recorder(store, capture="json", redact=hide)
    recorder(ev.ToolCalled("n", "t", {"q": "canary"}))
    assert json.loads(store.events[0].params.content) == {"q": "one two"}
    assert b"canary" not in to_record(store.events[0])


@pytest.mark.parametrize(
    "key",
    ["api_key", "apiKey", "X-API-Key", "token", "access_token", "password", "db_passwd", "Authorization", "secret",
     "client_secret", "Set-Cookie", "private_key", "credentials", "passphrase", "session_id"],
)  # fmt: skip
def test_what_stands_under_these_keys_is_never_kept(key):
    recorder = Recorder(capture="json")
    recorder(ev.ToolCalled("n", "t", {key: "canary", "more": [{key: {"deep": "canary"}}]}))
    recorder(ProgressMade("n", 1.0, {key: "canary"}))
    assert "canary" not in repr(list(recorder.recording))


# --- events with fields of a wrong kind ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda: None, lambda: 3, lambda: "text", Hostile, lambda: [Hostile()], lambda: b"x", lambda: {"a": 1}],
    ids=range(7),
)
def test_no_field_of_an_event_can_break_the_recorder(make):
    odd = make()
    recorder = Recorder()
    for cls in ev.EVENT_CLASSES:
        fields = {name: odd for name in cls.__struct_fields__ if name not in ev.Event.__struct_fields__}
        if cls is ev.WaveStarted and type(odd) is not list:
            fields["nodes"] = ()
        recorder(cls(**fields, run_id="r", seq=len(recorder) + 1))
    assert len(recorder.recording) == len(ev.EVENT_CLASSES)
    for name in ("events", "runs", "waves", "nodes", "attempts", "edges", "decisions", "calls", "observers"):
        getattr(recorder.recording.frames, name)
    assert len(recorder.recording.diagnostics()) >= 0


def test_a_copy_of_a_users_fields_is_bounded_in_all():
    assert len(repr(plain([["x" * 5000] * 100] * 100))) < 60_000
    assert sys.getsizeof(plain("x" * 10**7)) < 5_000


def test_a_recording_of_events_is_summarised_like_a_recorder():
    recording = Recording([ev.NodeCompleted("n", 1, "canary", 1.0)])
    assert "canary" not in repr(list(recording))
