"""The table of signals: 7 places x 6 signals x with and without data x sync and async nodes, one run for each."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from hexviz.dag import Graph, NodeVetoedError, Orchestrator, PipelineError, llm_call, tool_call
from hexviz.events import (
    ControlDecided,
    ControlManager,
    ControlResponse,
    ControlSignal,
    LLMPromptSent,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObserverManager,
    PipelineStarted,
    ToolCalled,
    WaveStarted,
)
from hexviz.testing import capture_events

PLACES = [PipelineStarted, WaveStarted, NodeStarted, NodeCompleted, NodeFailed, ToolCalled, LLMPromptSent]
CALLS = {ToolCalled: ("ToolCompleted", "ToolFailed"), LLMPromptSent: ("LLMResponseReceived", "LLMFailed")}
EVERYTHING = {"first": 1, "node": 7, "slow": "slow", "child": ("after", 7), "last": ("after", "slow")}
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


class Once:
    """Answers with one response the first time that it is asked about ``node`` (or always), else PROCEED."""

    def __init__(self, response, *, node="node", always=False):
        self.response, self.node, self.always, self.asked = response, node, always, 0
        self.answered = asyncio.Event()

    async def handle(self, event, context):
        if not (context.node_id == self.node or (context.node_id is None and context.wave_index in {0, 2})):
            return ControlResponse()
        self.asked += 1
        self.answered.set()
        return self.response if self.asked == 1 or self.always else ControlResponse()


class Played(NamedTuple):
    """One run: what came of it, its events, how often the code of the node and of its call ran, and the handler."""

    outcome: Any
    events: Any
    ran: list[str]
    handler: Once

    def ended(self, node):
        """The last word on a node."""
        names = [type(e).__name__ for e in self.events if getattr(e, "name", None) == node and hasattr(e, "wave_index")]
        return names[-1] if names else None

    @property
    def attempts(self):
        return [e.attempt for e in self.events.of(NodeStarted) if e.name == "node"]

    @property
    def results(self):
        return self.outcome.results if isinstance(self.outcome, PipelineError) else dict(self.outcome)

    @property
    def went_on_elsewhere(self):
        """Whether the branch beside the node ran to its end."""
        return self.results.get("last") == EVERYTHING["last"]


def build(kind, place, handler, ran):
    """``first`` -> ``node`` -> ``child``, and beside it ``slow`` -> ``last``, which outlasts the answer."""
    graph = Graph("etl")

    async def slow(x):
        await handler.answered.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        return "slow"

    graph.node(lambda: 1, name="first")
    graph.node(node_code(kind, place, ran), name="node", after=["first"])
    graph.node(slow, after=["first"])
    graph.node(lambda x: ("after", x), name="child", after=["node"])
    graph.node(lambda x: ("after", x), name="last", after=["slow"])
    return graph


def node_code(kind, place, ran):
    """What the node does: work, or work inside a call."""

    def work():
        ran.append("node")
        if place is NodeFailed and ran == ["node"]:
            raise ValueError("first attempt")
        return 7

    def calling():
        return tool_call("search", {"q": "x"}) if place is ToolCalled else llm_call([{"role": "user"}])

    def work_in_a_call(x):
        with calling() as call:
            if not call.answered:
                call.result = work()
        return call.result

    async def work_in_an_async_call(x):
        return await calling().run(work)

    async def work_async(x):
        return work()

    if place in CALLS:
        return work_in_an_async_call if kind == "async" else work_in_a_call
    return work_async if kind == "async" else lambda x: work()


def play(place, response, kind, *, always=False, more=(), **options):
    """Run once with a handler for one class of events."""
    ran, observers, control = [], ObserverManager(), ControlManager()
    handler = Once(response, always=always)
    control.register(handler, event_types=[place], name="policy")
    for other, event_class in more:
        control.register(other, event_types=[event_class], name="another", priority=200)
    settings = {"on_error": "continue", **options}
    with capture_events(observers) as events:
        try:
            orchestrator = Orchestrator(observers=observers, control=control, **settings)
            outcome = asyncio.run(orchestrator.run(build(kind, place, handler, ran)))
        except PipelineError as error:
            outcome = error
    return Played(outcome, events, ran, handler)


def data_for(place, signal, with_data):
    """What such a signal carries: a value, a delay, or a message; for many nodes, a mapping."""
    if not with_data:
        return None
    if signal in {"SKIP", "FALLBACK"}:
        return {"node": "value"} if place in {PipelineStarted, WaveStarted} else "value"
    return {"delay": 0.001} if signal == "RETRY" else "because"


def expect_at_pipeline_started(played, signal, data):
    if signal == "SKIP" or (signal == "FALLBACK" and data):
        assert played.results == (data or {})
        assert played.outcome.status == ("skipped" if signal == "SKIP" else "succeeded")
        assert played.events.names()[-1] == ("PipelineSkipped" if signal == "SKIP" else "PipelineCompleted")
    else:
        assert "policy" in str(played.outcome)
        assert played.results == {}
    assert played.ran == []
    assert played.ended("first") is None


def expect_at_wave_started(played, signal, data):
    assert played.results["first"] == 1
    assert played.ran == []
    if signal in {"SKIP", "FALLBACK"}:
        assert played.ended("node") == ("NodeFellBack" if signal == "FALLBACK" and data else "NodeSkipped")
        assert played.ended("slow") == "NodeSkipped"
        assert played.results.get("child") == (("after", "value") if data else None)
    else:
        assert "policy" in str(played.outcome)
        assert played.ended("slow") is None


def expect_at_node(played, signal, data):
    """NodeStarted, NodeCompleted and NodeFailed say the same of SKIP, FALLBACK, FAIL and ERROR."""
    if signal == "ERROR":
        assert "policy" in str(played.outcome)
        assert not played.went_on_elsewhere
    elif signal == "FAIL":
        assert played.ended("node") == "NodeFailed"
        assert played.ended("child") == "NodeSkipped"
        assert played.went_on_elsewhere
    elif signal == "FALLBACK" or data is not None:
        assert played.ended("node") == ("NodeFellBack" if signal == "FALLBACK" else "NodeSkipped")
        assert played.results == {**EVERYTHING, "node": data, "child": ("after", data)}
    else:
        assert played.ended("node") == played.ended("child") == "NodeSkipped"
        assert set(played.results) == {"first", "slow", "last"}


def expect_at_call(played, signal, data):
    completed, failed = CALLS[type(played.events.of(*CALLS)[0])]
    assert played.ran == []
    if signal in {"SKIP", "FALLBACK"}:
        assert played.results == {**EVERYTHING, "node": data, "child": ("after", data)}
        assert completed in played.events.names()
    else:
        assert failed in played.events.names()
        assert isinstance(played.outcome, PipelineError)
        assert "policy" in str(played.outcome)
        assert played.went_on_elsewhere == (signal == "FAIL")


EXPECT = {
    PipelineStarted: expect_at_pipeline_started,
    WaveStarted: expect_at_wave_started,
    **dict.fromkeys([NodeStarted, NodeCompleted, NodeFailed], expect_at_node),
    **dict.fromkeys(CALLS, expect_at_call),
}


@KINDS
@pytest.mark.parametrize("with_data", [False, True], ids=["bare", "data"])
@pytest.mark.parametrize("signal", [signal.name for signal in ControlSignal])
@pytest.mark.parametrize("place", PLACES, ids=[place.__name__ for place in PLACES])
def test_a_signal_does_what_the_table_says(place, signal, with_data, kind):
    data = data_for(place, signal, with_data)
    played = play(place, ControlResponse(ControlSignal[signal], data), kind)
    names = played.events.names()
    decided = [e for e in played.events.of(ControlDecided) if e.decided_by == "policy"]
    assert [e.signal for e in decided] == ([] if signal == "PROCEED" else [signal.lower()])
    assert names.count("WaveStarted") == names.count("WaveCompleted")
    assert all(played.ended(e.name) != "NodeStarted" for e in played.events.of(NodeStarted))
    if signal in {"FAIL", "ERROR"}:
        assert names[-1] == "PipelineFailed"
        assert not with_data or place is NodeFailed or "because" in str(played.outcome)
    if signal in {"PROCEED", "RETRY"}:
        expect_to_go_on(played, place, signal)
    else:
        EXPECT[place](played, signal, data)


def expect_to_go_on(played, place, signal):
    """PROCEED changes nothing; RETRY makes the node run again, or waits and asks again."""
    if place is NodeFailed and signal == "PROCEED":
        assert isinstance(played.outcome.exceptions[0].original_error, ValueError)
        return
    assert played.results == EVERYTHING
    again = signal == "RETRY" and place in {NodeCompleted, NodeFailed}
    assert played.attempts == ([1, 2] if again else [1])
    assert played.ran == (["node", "node"] if again else ["node"])
    assert played.handler.asked == (2 if signal == "RETRY" and place is not NodeFailed else 1)


@KINDS
@pytest.mark.parametrize("place", [NodeStarted, NodeCompleted])
def test_a_fail_is_a_veto_that_nobody_is_asked_to_retry(kind, place):
    retries = Once(ControlResponse(ControlSignal.RETRY), always=True)
    played = play(place, ControlResponse(ControlSignal.FAIL), kind, more=[(retries, NodeFailed)])
    assert retries.asked == 0
    assert isinstance(played.outcome.exceptions[0].original_error, NodeVetoedError)


@KINDS
def test_a_failed_node_is_told_as_failed_once(kind):
    for signal in ControlSignal:
        played = play(NodeFailed, ControlResponse(signal), kind)
        assert len(played.events.of(NodeFailed)) == 1


@pytest.mark.parametrize("signal", ["FAIL", "ERROR"])
@pytest.mark.parametrize("place", PLACES[:4], ids=[place.__name__ for place in PLACES[:4]])
def test_an_exception_as_data_is_the_cause(place, signal):
    because = PermissionError("no")
    played = play(place, ControlResponse(ControlSignal[signal], because), "async")
    error = played.outcome.exceptions[0]
    assert because in {error.__cause__, getattr(getattr(error, "original_error", None), "__cause__", None)}


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "soon", True])
def test_a_delay_that_is_none_is_refused_with_the_handler_named_and_the_error_kept(delay):
    played = play(NodeFailed, ControlResponse(ControlSignal.RETRY, {"delay": delay}), "async")
    refused = played.outcome.exceptions[0].original_error
    assert "policy" in str(refused)
    assert repr(delay) in str(refused)
    assert isinstance(refused.__cause__, ValueError)


def test_always_retry_stops_at_the_hard_limit():
    def broken():
        raise ValueError("again")

    control = ControlManager()
    control.register(Once(ControlResponse(ControlSignal.RETRY), node="broken", always=True), event_types=[NodeFailed])
    graph = Graph("stubborn")
    graph.node(broken)
    with pytest.raises(PipelineError, match="after 5 attempts"):
        asyncio.run(Orchestrator(control=control, max_attempts=5).run(graph))
