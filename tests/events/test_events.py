"""Events are immutable facts with a topic, a sentence, and a place in their run."""

from __future__ import annotations

import inspect
import logging
from datetime import UTC, datetime

import msgspec
import pytest

from hexviz.events import (
    EVENT_CLASSES,
    Event,
    LLMPromptSent,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    PipelineCompleted,
    PipelineStarted,
    RecordedError,
    ToolCompleted,
    WaveStarted,
)

SEEDS = [
    (PipelineStarted, ("etl", 3, 7), ("name", "total_waves", "total_nodes")),
    (PipelineCompleted, ("etl", 12.5, {"a": 1}), ("name", "duration_ms", "node_results")),
    (WaveStarted, (1, ("a", "b")), ("wave_index", "nodes")),
    (NodeStarted, ("a", 1, ("b",)), ("name", "wave_index", "dependencies")),
    (NodeCompleted, ("a", 1, 42, 3.5), ("name", "wave_index", "result", "duration_ms")),
    (ToolCompleted, ("a", "search", "x", 3.5), ("node_name", "tool_name", "result", "duration_ms")),
    (LLMPromptSent, ("a", ["hi"]), ("node_name", "messages")),
]


@pytest.mark.parametrize(("cls", "values", "names"), SEEDS)
def test_first_fields_are_taken_by_position_and_by_keyword(cls, values, names):
    when = datetime(2026, 1, 2, tzinfo=UTC)
    facts = {"timestamp": when, "monotonic_ns": 5}
    assert cls(*values, **facts) == cls(**dict(zip(names, values, strict=True)), **facts)


@pytest.mark.parametrize("cls", EVENT_CLASSES)
def test_every_event_is_frozen_hashable_and_words_itself(cls):
    required = {
        f.name: {"error": ValueError("no"), "nodes": ("a",)}.get(f.name, "x" if f.type is str else 1)
        for f in msgspec.structs.fields(cls)
        if f.required
    }
    event = cls(**required)
    with pytest.raises(AttributeError):
        event.run_id = "other"
    assert hash(event) == hash(event)
    assert event.topic.count(".") >= 1
    assert event.log_message()
    assert "run" in event.log_message(logging.DEBUG)


def test_timestamps_are_aware_and_in_utc():
    assert NodeStarted("a", 1).timestamp.tzinfo is UTC


def test_equality_includes_the_timestamp():
    first = NodeStarted("a", 1)
    assert first != msgspec.structs.replace(first, timestamp=datetime(2020, 1, 1, tzinfo=UTC))


def test_a_topic_keeps_its_levels_whatever_the_names_hold():
    event = NodeFailed("a.b*", 3, ValueError("x"), pipeline="my.etl")
    assert event.topic == "pipeline.my%2Eetl.wave.3.node.a%2Eb%2A.failed"


def test_a_log_line_shows_control_characters_as_escapes():
    line = NodeFailed("evil\x1b]8;;x\x07", 1, ValueError("two\nlines")).log_message()
    assert "\x1b" not in line
    assert "\n" not in line
    assert "evil" in line


def test_an_exception_that_cannot_be_shown_is_recorded_all_the_same():
    class Hostile(Exception):
        def __str__(self):
            raise RuntimeError("no text for you")

    recorded = RecordedError.of(Hostile())
    assert "Hostile" in recorded.type_name


def test_users_may_subclass_an_event():
    class Billed(NodeCompleted, frozen=True):
        cost: float = 0.0

    assert Billed("a", 1, None, 1.0, cost=2.0).cost == 2.0
    assert issubclass(Billed, Event)


def test_every_public_event_says_what_it_means():
    assert [cls.__name__ for cls in EVENT_CLASSES if not inspect.getdoc(cls)] == []
