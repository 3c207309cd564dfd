"""What is kept of values: bounded, without calling their code, without secrets."""

import gc
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from hexviz.events import events as ev
from hexviz.events.secrets import masked
from hexviz.events.summary import REDACTED, Summariser, Summary, plain, recorded_error, summarise
from tests.recording.made_events import Hostile, Rows, event, value


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (None, "None"),
        (True, "bool True"),
        (42, "int 42"),
        (10**400, "int"),
        (1.5, "float 1.5"),
        ("secret", "str[6]"),
        (b"ab", "bytes[2]"),
        ([1, 2], "list[2]"),
        ({"a": 1}, "dict[1]"),
        (np.zeros((3, 4)), "ndarray (3, 4)"),
        (pd.DataFrame({"a": [1, 2]}), "DataFrame (2, 1)"),
        (pd.Series([1]), "Series (1)"),
        (Rows(3), "Rows"),
        (Hostile(), "Hostile"),
        (Hostile, "type"),
    ],
    ids=range(15),
)
def test_a_summary_says_type_and_size_in_a_few_words(thing, expected):
    assert str(summarise(thing)) == expected


def test_parameters_and_prompts_leave_no_preview():
    assert summarise(1234, preview=False) == Summary("int")
    assert summarise("x", preview=False).preview == ""


def test_a_hostile_metaclass_is_not_asked():
    class Meta(type):
        def __getattribute__(cls, name):
            raise RuntimeError(name)

    assert summarise(Meta("Odd", (), {})()).type.endswith("Odd")


def test_a_user_class_that_only_looks_like_an_array_is_not_looked_into():
    fake = type("ndarray", (), {"__module__": "numpy", "shape": property(lambda self: 1 / 0)})
    assert summarise(fake()).type == "ndarray"


def test_huge_and_deep_values_are_summarised_in_constant_time():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    for big in (bytes(10**8), list(range(10**6)), deep):
        began = time.perf_counter()
        summarise(big)
        assert time.perf_counter() - began < 1
    assert plain(deep)


@given(value)
def test_any_value_has_a_bounded_summary(value):
    summary = summarise(value)
    assert len(summary.preview) <= 200
    assert summarise(summary) is summary


@given(event)
def test_summarising_twice_changes_nothing_more(event):
    once = Summariser()(event)
    assert Summariser()(once) is once or plain(once.extra) == once.extra or once.extra != once.extra


def test_errors_keep_type_message_and_traceback_without_secrets():
    try:
        raise ValueError("login with password=canary1 at https://me:canary2@host and Authorization: Bearer canary3xyz")
    except ValueError as error:
        kept = recorded_error(error)
    assert kept.type_name == "ValueError"
    assert "login with" in kept.message
    assert "test_summary" in kept.traceback_text
    assert "canary" not in kept.message + kept.traceback_text


def test_an_error_that_cannot_be_shown_is_recorded_all_the_same():
    class Bad(Exception):
        def __str__(self):
            raise RuntimeError

    assert recorded_error(Bad()).type_name.endswith("Bad")
    assert recorded_error("no exception at all").type_name == "str"
    assert recorded_error(None) is None


@pytest.mark.parametrize("text", ["", "plain text", "token", "rows: 5", "the secret garden"])
def test_text_without_secrets_stays_as_it_is(text):
    assert masked(text) == text


def test_capture_json_keeps_values_but_not_under_secret_keys():
    step = Summariser("json")
    told = step(ev.ToolCalled("n", "t", {"q": "cats", "nested": {"Api_Key": "canary"}, "it": Hostile()}))
    assert "cats" in told.params.content
    assert REDACTED in told.params.content
    assert "canary" not in told.params.content


def test_a_redactor_sees_values_first_and_one_that_fails_costs_the_content_only():
    hide = Summariser("json", [lambda value: {**value, "q": "hidden"}])
    assert "hidden" in hide(ev.ToolCalled("n", "t", {"q": "canary"})).params.content
    broken = Summariser("json", [lambda value: 1 / 0])
    assert broken(ev.ToolCalled("n", "t", {"q": "canary"})).params == Summary("dict", length=1)


def test_default_capture_keeps_no_content_of_calls():
    step = Summariser()
    for told in (
        ev.ToolCalled("n", "t", {"q": "canary"}),
        ev.ToolCompleted("n", "t", 12345, 1.0),
        ev.LLMPromptSent("n", ["canary"]),
        ev.LLMResponseReceived("n", "canary", 1.0),
        ev.NodeCompleted("n", 1, "canary", 1.0),
    ):
        assert "canary" not in repr(step(told))
        assert "12345" not in repr(step(told))


def test_an_unknown_capture_is_refused():
    with pytest.raises(ValueError, match="capture"):
        Summariser("everything")


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"k": value}
    return value


def frame(rows):
    return pd.DataFrame({"a": range(rows)})


def array(items):
    return np.zeros(items)


def work_of(value):
    """What summarising ``value`` takes: the bytecodes run, the C functions called, and the bytes allocated at most."""
    bytecodes, called = 0, []

    def count(frame, event, _):
        nonlocal bytecodes
        frame.f_trace_opcodes = True
        bytecodes += event == "opcode"
        return count

    def note(_, event, function):
        if event == "c_call":
            called.append(function.__qualname__)

    before = sys.gettrace(), sys.getprofile()
    tracemalloc.start()
    gc.disable()  # a collection would count as work: others have callbacks for it
    try:
        sys.settrace(count)
        sys.setprofile(note)
        summarise(value)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        gc.enable()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return bytecodes, [name for name in called if name != "setprofile"], peak


@pytest.mark.parametrize(
    ("make", "small", "huge"),
    [
        (bytes, 1, 10**9),
        (lambda n: [None] * n, 1, 10_000_000),
        (lambda n: "x" * n, 1, 100_000_000),
        (deep, 1, 10_000),
        (frame, 1, 1_000_000),
        (array, 1, 10_000_000),
    ],
    ids=["bytes", "list", "text", "nested dict", "frame", "array"],
)
def test_a_summary_takes_the_same_work_for_a_huge_value_as_for_a_small_one(make, small, huge):
    work_of(make(small))  # what is looked up once
    bytecodes, called, _ = work_of(make(small))
    bytecodes_of_huge, called_of_huge, peak = work_of(make(huge))
    assert called_of_huge == called
    assert 0 < bytecodes_of_huge <= bytecodes + 5  # the interpreter joins some as it goes
    assert peak < 65_536
