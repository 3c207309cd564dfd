"""The spans are OTLP: opentelemetry's own protocol package reads them."""

import base64

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

import hexviz
from hexviz.bridges.opentelemetry import span_id, trace_id
from tests.bridges.made_runs import HOSTILE, broken, exported, hostile, shown, small
from tests.recording.made_events import T0, numbered

SIZES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def with_base64_ids(value):
    """OTLP writes ids as hexadecimal digits where the protobuf library expects base64: its one exception."""
    if isinstance(value, list):
        return [with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        if key in SIZES:
            raw = bytes.fromhex(item)
            assert len(raw) == SIZES[key]
            assert any(raw)
            found[key] = base64.b64encode(raw).decode()
        else:
            found[key] = with_base64_ids(item)
    return found


def parsed(document):
    """The spans of all runs, after every check that a collector would make."""
    data = json_format.ParseDict(with_base64_ids(document), TracesData())
    spans = [span for resource in data.resource_spans for scope in resource.scope_spans for span in scope.spans]
    known = {(span.trace_id, span.span_id) for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        assert span.name
        assert 0 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert not span.parent_span_id or (span.trace_id, span.parent_span_id) in known
        assert all((link.trace_id, link.span_id) in known for link in span.links)
        keys = [attribute.key for attribute in span.attributes]
        assert len(keys) == len(set(keys))
    return data, spans


def values(span):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_run_is_a_trace_with_a_span_per_attempt_and_per_call(tmp_path):
    data, spans = parsed(exported(small(), "otlp", tmp_path))
    assert len(data.resource_spans) == 2
    assert [(a.key, a.value.string_value) for a in data.resource_spans[0].resource.attributes] == [
        ("service.name", "etl")
    ]
    mine = [span for span in spans if span.trace_id.hex() == trace_id("run-1")]
    assert [span.name for span in mine] == ["etl", "load", "clean", "clean", "report", "chart", "search", "m1"]
    run, load, first, second, report, chart, tool, llm = mine
    assert run.span_id.hex() == span_id("run-1")
    assert run.start_time_unix_nano == int(T0.timestamp()) * 10**9
    assert load.start_time_unix_nano - run.start_time_unix_nano == 1_000_000
    assert load.end_time_unix_nano - load.start_time_unix_nano == 10_000_000
    assert {span.parent_span_id for span in (load, first, second, report, chart)} == {run.span_id}
    assert {span.parent_span_id for span in (tool, llm)} == {second.span_id}
    assert [link.span_id for link in chart.links] == [second.span_id, load.span_id]
    assert [event.name for event in first.events] == ["exception", "decision"]
    assert {a.key: a.value.string_value for a in first.events[0].attributes} == {
        "exception.type": "ValueError", "exception.message": "bad row",
    }  # fmt: skip
    assert values(second)["hexviz.attempt"] == 2
    assert values(llm)["gen_ai.request.model"] == "m1"
    assert [span.kind for span in (run, load, tool)] == [
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CLIENT,
    ]
    codes = [span.status.code for span in (run, first, chart, llm)]
    assert codes == [Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR, Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR]


def test_a_failed_run_says_so_in_its_status(tmp_path):
    _, spans = parsed(exported(hostile(), "otlp", tmp_path))
    assert spans[0].status.code == Status.STATUS_CODE_ERROR
    assert spans[0].status.message == "=cmd|' /C calc'!A0"


def test_ids_depend_on_the_run_the_node_and_the_attempt_only():
    ids = {
        span_id("a"),
        span_id("b"),
        span_id("a", "n", 1),
        span_id("a", "n", 2),
        span_id("a", "n1", ""),
        span_id("an", 1),
    }
    assert len(ids) == 6
    assert (len(trace_id("x")), len(span_id("x"))) == (32, 16)
    assert span_id("a", "n", 1) == span_id("a", "n", 1)


def test_hostile_names_stay_text(tmp_path):
    _, spans = parsed(exported(hostile(), "otlp", tmp_path))
    assert {span.name for span in spans} >= {shown(name) for name in HOSTILE if name}


def test_an_unfinished_attempt_is_marked(tmp_path):
    _, spans = parsed(exported(broken(), "otlp", tmp_path))
    assert [span.name for span in spans if values(span).get("hexviz.unfinished")].count("z") == 1


@pytest.mark.parametrize("made", [small, hostile, broken])
def test_the_same_recording_gives_the_same_bytes(made, tmp_path):
    first, second = (hexviz.export(made(), tmp_path / f"{i}.otlp.json").read_bytes() for i in (1, 2))
    assert first == second


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=numbered)
def test_any_recording_gives_spans_that_opentelemetry_reads(events, tmp_path):
    parsed(exported(hexviz.Recording(events), "otlp", tmp_path))
