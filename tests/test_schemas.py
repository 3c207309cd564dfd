"""``hexviz schema``: documents that describe what is sent, the classes of users among them."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from openapi_spec_validator import validate

from hexviz.cli import main
from hexviz.events import EVENT_CLASSES
from hexviz.events.async_api import async_api
from hexviz.events.cloud_events import to_cloud_event, topic_of
from hexviz.events.events import NodeStarted
from hexviz.events.topics import compile_pattern
from hexviz.streams.open_api import open_api
from tests.recording.made_events import ProgressMade, event

CLASSES = (*EVENT_CLASSES, ProgressMade)
DOCUMENT = async_api(CLASSES, version="1")


def test_the_command_writes_every_document(tmp_path, capsys):
    assert main(["schema", str(tmp_path / "new" / "place")]) == 0
    written = sorted(path.name for path in (tmp_path / "new" / "place").iterdir())
    assert written == ["asyncapi.json", "events.schema.json", "openapi.json"]
    told = "".join(capsys.readouterr().out.split())
    for name in written:
        assert name in told
        json.loads((tmp_path / "new" / "place" / name).read_text())


def test_classes_of_a_module_of_the_user_are_described(tmp_path):
    lines = ["from hexviz.events import Event", "class Uploaded(Event, frozen=True):"]
    lines += ["    'A file is there.'", "    path: str"]
    (tmp_path / "my_events.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "hexviz", "schema", "out", "--import", "my_events"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    schema = json.loads((tmp_path / "out" / "events.schema.json").read_text())
    assert schema["$defs"]["my_events.Uploaded"]["description"] == "A file is there."
    document = json.loads((tmp_path / "out" / "asyncapi.json").read_text())
    assert "pipeline_pipeline_uploaded_happened" in document["channels"]


def test_a_module_that_is_not_there_is_a_named_error(tmp_path, capsys):
    assert main(["schema", str(tmp_path), "--import", "no.such.module"]) == 2
    assert "'no.such.module' cannot be imported" in " ".join(capsys.readouterr().err.split())


def test_a_place_that_cannot_be_written_is_a_named_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["schema", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@settings(deadline=None)
@given(event)
def test_the_topic_of_every_event_is_a_channel_that_carries_its_message(event):
    body = to_cloud_event(event)
    kind = json.loads(body)["type"]
    found = [
        message
        for channel in DOCUMENT["channels"].values()
        if compile_pattern(re.sub(r"\{\w+\}", "*", channel["address"]))(topic_of(body))
        for message in channel["messages"]
    ]
    names = {name: message["name"] for name, message in DOCUMENT["components"]["messages"].items()}
    assert kind in {names[name] for name in found}


def test_every_reference_of_the_document_leads_somewhere():
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_has_a_message(cls):
    titles = {message["title"] for message in DOCUMENT["components"]["messages"].values()}
    assert cls.__name__ in titles


def test_the_places_in_a_topic_are_described():
    channel = next(c for c in DOCUMENT["channels"].values() if "NodeStarted" in c["messages"])
    assert channel["address"] == "pipeline.{pipeline}.wave.{wave}.node.{node}.started"
    assert NodeStarted("n", 3, pipeline="etl").topic == "pipeline.etl.wave.3.node.n.started"
    assert list(channel["parameters"]) == ["pipeline", "wave", "node"]


def test_the_openapi_document_is_one():
    validate(open_api(version="1"))
