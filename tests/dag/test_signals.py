"""The table of signals: what each answer does at each place, for sync and async nodes, with and without data."""

from __future__ import annotations

import asyncio

import pytest

from hexviz.dag import Graph, NodeVetoedError, Orchestrator, PipelineError, tool_call
from hexviz.events import (
    ControlManager,
    ControlResponse,
    ControlSignal,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObserverManager,
    PipelineStarted,
    ToolCalled,
    WaveStarted,
)
from hexviz.testing import capture_events

SIGNALS = {signal.name: signal for signal in ControlSignal}


class Once:
    """Answers with one response the first time (or always), and PROCEED from then on."""

    def __init__(self, response, *, node=None, always=False):
        self.response, self.node, self.always, self.asked = response, node, always, 0

    async def handle(self, event, context):
        if self.node is not None and context.node_id != self.node:
            return ControlResponse()
        self.asked += 1
        return self.response if self.asked == 1 or self.always else ControlResponse()


def build(kind, *, fails=False, calls=None):
    graph = Graph("etl")

    def work(x=None):
        calls.append("work")
        if fails and len(calls) == 1:
            raise ValueError("first attempt")
        return 7

    async def work_async(x=None):
        return work()

    graph.node(lambda: 1, name="first")
    graph.node(work_async if kind == "async" else work, name="node", after=["first"])
    graph.node(lambda x: ("after", x), name="child", after=["node"])
    return graph


def play(event_class, response, kind, *, fails=False, node="node", always=False, graph=None):
    """Run once with a handler for one event class: the outcome, the events, the calls, and the handler."""
    calls = []
    observers, control = ObserverManager(), ControlManager()
    handler = Once(response, node=node, always=always)
    control.register(handler, event_types=[event_class], name="policy")
    with capture_events(observers) as events:
        orchestrator = Orchestrator(observers=observers, control=control)
        try:
            outcome = asyncio.run(orchestrator.run(graph or build(kind, fails=fails, calls=calls)))
        except PipelineError as error:
            outcome = error
    return outcome, events, calls, handler


def ended(events, node):
    """The last event of a node."""
    return [type(e).__name__ for e in events if getattr(e, "name", None) == node and hasattr(e, "wave_index")][-1]


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])
DATA = pytest.mark.parametrize("data", [None, "value"])


@KINDS
@DATA
def test_skip_at_node_started(kind, data):
    outcome, events, calls, _ = play(NodeStarted, ControlResponse(ControlSignal.SKIP, data), kind)
    assert calls == []
    assert ended(events, "node") == "NodeSkipped"
    if data is None:
        assert ended(events, "child") == "NodeSkipped"
        assert outcome == {"first": 1}
    else:
        assert outcome == {"first": 1, "node": "value", "child": ("after", "value")}


@KINDS
@pytest.mark.parametrize("data", [None, {"delay": 0.001}])
def test_retry_at_node_started_asks_again_and_counts_no_attempt(kind, data):
    outcome, events, _calls, handler = play(NodeStarted, ControlResponse(ControlSignal.RETRY, data), kind)
    assert outcome["node"] == 7
    assert handler.asked == 2
    assert [e.attempt for e in events.of(NodeStarted) if e.name == "node"] == [1]


@KINDS
@DATA
def test_fallback_at_node_started(kind, data):
    outcome, events, calls, _ = play(NodeStarted, ControlResponse(ControlSignal.FALLBACK, data), kind)
    assert calls == []
    assert outcome["node"] == data
    assert outcome["child"] == ("after", data)
    assert ended(events, "node") == "NodeFellBack"


@KINDS
@DATA
@pytest.mark.parametrize("event_class", [NodeStarted, NodeCompleted])
def test_fail_is_a_veto_that_nobody_is_asked_to_retry(kind, data, event_class):
    observers, control = ObserverManager(), ControlManager()
    calls, retries = [], Once(ControlResponse(ControlSignal.RETRY), always=True)
    control.register(
        Once(ControlResponse(ControlSignal.FAIL, data), node="node"), event_types=[event_class], name="veto"
    )
    control.register(retries, event_types=[NodeFailed], name="retry")
    with capture_events(observers) as events, pytest.raises(PipelineError) as caught:
        asyncio.run(Orchestrator(observers=observers, control=control).run(build(kind, calls=calls)))
    assert retries.asked == 0
    assert ended(events, "node") == "NodeFailed"
    assert isinstance(caught.value.exceptions[0].original_error, NodeVetoedError)
    assert "veto" in str(caught.value)
    assert events.names()[-1] == "PipelineFailed"
    assert caught.value.results == {"first": 1} if event_class is NodeStarted else True


@KINDS
@DATA
@pytest.mark.parametrize("event_class", [NodeStarted, NodeCompleted, NodeFailed])
def test_error_ends_the_run_even_where_it_would_go_on(kind, data, event_class):
    calls = []
    observers, control = ObserverManager(), ControlManager()
    control.register(
        Once(ControlResponse(ControlSignal.ERROR, data), node="node"), event_types=[event_class], name="broken"
    )
    with capture_events(observers) as events, pytest.raises(PipelineError, match="broken"):
        asyncio.run(
            Orchestrator(observers=observers, control=control, on_error="continue").run(
                build(kind, calls=calls, fails=event_class is NodeFailed)
            )
        )
    assert events.names()[-1] == "PipelineFailed"


@KINDS
@DATA
def test_skip_at_node_completed_drops_the_result(kind, data):
    outcome, events, calls, _ = play(NodeCompleted, ControlResponse(ControlSignal.SKIP, data), kind)
    assert calls == ["work"]
    assert outcome.get("node") == data
    assert ended(events, "node") == "NodeSkipped"
    assert ended(events, "child") == ("NodeSkipped" if data is None else "NodeCompleted")


@KINDS
@pytest.mark.parametrize("data", [None, {"delay": 0.001}, 0.001])
def test_retry_at_node_completed_runs_the_next_attempt(kind, data):
    outcome, events, calls, _ = play(NodeCompleted, ControlResponse(ControlSignal.RETRY, data), kind)
    assert calls == ["work", "work"]
    assert [e.attempt for e in events.of(NodeStarted) if e.name == "node"] == [1, 2]
    assert outcome["node"] == 7


@KINDS
@DATA
def test_fallback_at_node_completed_replaces_the_result(kind, data):
    outcome, events, _, _ = play(NodeCompleted, ControlResponse(ControlSignal.FALLBACK, data), kind)
    assert outcome["child"] == ("after", data)
    assert ended(events, "node") == "NodeFellBack"


@KINDS
@DATA
@pytest.mark.parametrize("signal", ["SKIP", "FALLBACK", "RETRY", "FAIL", "PROCEED"])
def test_signals_at_node_failed(kind, data, signal):
    response = ControlResponse(SIGNALS[signal], None if signal == "RETRY" else data)
    outcome, events, _calls, _ = play(NodeFailed, response, kind, fails=True)
    if signal == "SKIP":
        assert ended(events, "node") == "NodeSkipped"
        assert outcome.get("node") == data
    elif signal == "FALLBACK":
        assert ended(events, "node") == "NodeFellBack"
        assert outcome["node"] == data
    elif signal == "RETRY":
        assert [e.attempt for e in events.of(NodeStarted) if e.name == "node"] == [1, 2]
        assert outcome["node"] == 7
    else:
        assert ended(events, "node") == "NodeFailed"
        assert isinstance(outcome.exceptions[0].original_error, ValueError)
    assert len(events.of(NodeFailed)) == 1


@pytest.mark.parametrize("signal", ["SKIP", "RETRY", "FALLBACK", "FAIL", "ERROR"])
@pytest.mark.parametrize("data", [None, {"first": "stand-in"}])
def test_signals_at_pipeline_started(signal, data):
    outcome, events, calls, handler = play(PipelineStarted, ControlResponse(SIGNALS[signal], data), "async", node=None)
    if signal == "SKIP":
        assert (outcome.status, dict(outcome)) == ("skipped", data or {})
        assert events.names() == ["PipelineStarted", "ControlDecided", "PipelineSkipped"]
    elif signal == "RETRY":
        assert handler.asked == 2
        assert outcome["node"] == 7
    elif signal == "FALLBACK" and data is not None:
        assert outcome == data
        assert events.names()[-1] == "PipelineCompleted"
    else:
        assert events.names()[-1] == "PipelineFailed"
        assert isinstance(outcome, PipelineError)
        assert "policy" in str(outcome)
    assert bool(calls) == (signal == "RETRY")


@KINDS
@pytest.mark.parametrize("signal", ["SKIP", "RETRY", "FALLBACK", "FAIL", "ERROR"])
@pytest.mark.parametrize("data", [None, {"first": "stand-in"}])
def test_signals_at_wave_started(kind, signal, data):
    given = data if signal in {"SKIP", "FALLBACK"} else None
    outcome, events, calls, _handler = play(WaveStarted, ControlResponse(SIGNALS[signal], given), kind, node=None)
    if signal in {"SKIP", "FALLBACK"}:
        expected = "NodeFellBack" if signal == "FALLBACK" and data else "NodeSkipped"
        assert ended(events, "first") == expected
        assert outcome.get("first") == ("stand-in" if data else None)
        assert bool(calls) == bool(data)
    elif signal == "RETRY":
        assert outcome["node"] == 7
    else:
        assert isinstance(outcome, PipelineError)
        assert calls == []
    assert events.names().count("WaveStarted") == events.names().count("WaveCompleted")


@KINDS
@DATA
@pytest.mark.parametrize("signal", ["SKIP", "RETRY", "FALLBACK", "FAIL", "ERROR"])
def test_signals_at_tool_called(kind, data, signal):
    graph, used = Graph("calls"), []

    def search():
        used.append("tool")
        return "found"

    async def node_async():
        async with tool_call("search", {"q": "x"}) as call:
            if not call.answered:
                call.result = search()
        return call.result

    def node_sync():
        with tool_call("search", {"q": "x"}) as call:
            if not call.answered:
                call.result = search()
        return call.result

    graph.node(node_async if kind == "async" else node_sync, name="node")
    response = ControlResponse(SIGNALS[signal], None if signal == "RETRY" else data)
    outcome, events, _, handler = play(ToolCalled, response, kind, graph=graph)
    if signal in {"SKIP", "FALLBACK"}:
        assert outcome == {"node": data}
        assert used == []
    elif signal == "RETRY":
        assert handler.asked == 2
        assert outcome == {"node": "found"}
    else:
        assert isinstance(outcome, PipelineError)
        assert used == []
        assert "ToolFailed" in events.names()
    assert events.names().count("ToolCalled") == 1


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "soon", True])
def test_a_delay_that_is_none_is_refused_with_the_handler_named_and_the_error_kept(delay):
    response = ControlResponse(ControlSignal.RETRY, {"delay": delay})
    outcome, _, _, _ = play(NodeFailed, response, "async", fails=True)
    refused = outcome.exceptions[0].original_error
    assert "policy" in str(refused)
    assert repr(delay) in str(refused)
    assert isinstance(refused.__cause__, ValueError)


def test_always_retry_stops_at_the_hard_limit():
    def broken():
        raise ValueError("again")

    control = ControlManager()
    control.register(Once(ControlResponse(ControlSignal.RETRY), always=True), event_types=[NodeFailed])
    graph = Graph("stubborn")
    graph.node(broken)
    with pytest.raises(PipelineError, match="after 5 attempts"):
        asyncio.run(Orchestrator(control=control, max_attempts=5).run(graph))
