"""The schemas say what is really sent: every event is valid under its schema, a changed one is not."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hexviz.events import EVENT_CLASSES, Event
from hexviz.events.cloud_events import to_cloud_event
from hexviz.events.json_schema import event_definitions, event_schema, user_event_classes
from tests.recording.made_events import ProgressMade, event, small_run

SCHEMA = event_schema((*EVENT_CLASSES, ProgressMade))
VALID = Draft202012Validator(SCHEMA)
OF = {
    schema["x-event"]: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    for name, schema in SCHEMA["$defs"].items()
    if "x-event" in schema
}


def sent(event):
    return json.loads(to_cloud_event(event))


def validator_of(body):
    return OF[body["type"].removeprefix("io.hexviz.").removesuffix(".v1")]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@settings(deadline=None, max_examples=60)
@given(event)
def test_every_event_is_valid_under_its_schema(event):
    body = sent(event)
    validator_of(body).validate(body)


def test_a_whole_run_is_valid_under_the_schema_of_all_events():
    for told in small_run():
        VALID.validate(sent(told))


def test_an_event_is_of_one_class_only():
    body = sent(small_run()[0])
    assert [kind for kind, validator in OF.items() if validator.is_valid(body)] == ["PipelineStarted"]


ENVELOPE = ("specversion", "id", "source", "type", "subject", "time", "data")


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(small_run()), st.data())
def test_an_event_that_lacks_something_or_has_it_of_another_kind_is_not_valid(told, data):
    body = sent(told)
    required = validator_of(body).schema["$defs"][f"{type(told).__name__}Data"]["required"]
    place = data.draw(st.sampled_from([(), ("data",)]))
    target = body["data"] if place else body
    name = data.draw(st.sampled_from(sorted(required) if place else ENVELOPE))
    if data.draw(st.booleans()):
        del target[name]
    else:
        target[name] = data.draw(st.sampled_from([{"not": "so"}, [["not so"]], True]))
    assert not VALID.is_valid(body), (place, name)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(small_run()), st.data())
def test_fields_of_a_later_version_are_allowed_wherever_they_stand(told, data):
    body = sent(told)
    (body["data"] if data.draw(st.booleans()) else body)["fromlater"] = [1]
    assert VALID.is_valid(body)


def test_values_are_checked_to_their_depth():
    body = sent(small_run()[0])
    wrong = copy.deepcopy(body)
    wrong["data"]["nodes"][1]["dependencies"] = [7]
    assert VALID.is_valid(body)
    assert not VALID.is_valid(wrong)


@pytest.mark.parametrize("time", ["yesterday", "2026-01-02", "2026-01-02 03:04:05Z", 7])
def test_a_time_is_a_moment_with_its_zone(time):
    body = sent(small_run()[0])
    body["time"] = time
    assert not VALID.is_valid(body)


class Labelled(Event, frozen=True):
    """A class of a user, with what annotations there may be."""

    labels: dict[str, int]
    pair: tuple[int, str] = (0, "")
    maybe: list[float] | None = None
    whatever: object = None


def test_the_fields_of_a_users_class_are_described_by_their_annotations():
    schema = event_schema([Labelled])
    [name] = [name for name, definition in schema["$defs"].items() if "x-event" in definition]
    validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
    good = sent(Labelled({"a": 1}, (1, "x"), [float("nan")], b"\xff"))
    assert good["hexviztagged"]
    validator.validate(good)
    validator.validate(sent(Labelled({"\ud800": 1})))
    assert not validator.is_valid(sent(Labelled({"a": "not a number"})))
    assert not validator.is_valid(sent(Labelled({}, maybe=["not a number"])))


def test_a_class_whose_annotations_cannot_be_read_is_described_by_what_all_events_have():
    cls = type(Event)("Odd", (Event,), {"__annotations__": {"x": "NoSuchName"}, "__module__": "m"}, frozen=True)
    definitions = event_definitions([cls])
    assert definitions["m.OddData"]["properties"]["x"] == {}
    assert definitions["m.OddData"]["required"] == ["x", "timestamp", "monotonic_ns"]


def test_the_classes_of_users_are_found():
    found = user_event_classes()
    assert ProgressMade in found
    assert Labelled in found
    assert not set(EVENT_CLASSES) & set(found)
