"""The scheduler: graphs grow step by step, run with faults at random nodes, and every run keeps the same promises."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from hexviz.dag import Graph, NodeSpec, Orchestrator, PipelineError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeStarted,
    ObserverManager,
    WaveCompleted,
    WaveStarted,
)
from hexviz.testing import capture_events

FINAL = {
    "NodeCompleted": "succeeded", "NodeSkipped": "skipped", "NodeFellBack": "fell_back", "NodeCancelled": "cancelled",
}  # fmt: skip
KINDS = ["quick", "quick", "waits", "flaky", "fails", "sync", "sync fails", "skip", "skip with data", "fallback",
         "veto", "replaced", "not good enough"]  # fmt: skip
TRIES = 3


class Machine(RuleBasedStateMachine):
    """Adds nodes to one graph, and runs it now and then."""

    def __init__(self):
        super().__init__()
        self.kinds, self.run_ifs, self.parents = {}, {}, {}
        self.running = self.peak = 0
        self.tries = Counter()

    @rule(data=st.data(), kind=st.sampled_from(KINDS), run_if=st.sampled_from(["all", "all", "any", "always"]))
    def add(self, data, kind, run_if):
        name = f"n{len(self.kinds)}"
        known = st.sampled_from(list(self.kinds)) if self.kinds else st.nothing()
        self.parents[name] = data.draw(st.lists(known, max_size=3, unique=True)) if self.kinds else []
        self.kinds[name], self.run_ifs[name] = kind, run_if

    def code(self, name, kind):
        tries = self.tries  # of this run: a thread of an earlier one that was cancelled may still be on its way

        def enter():
            tries[name] += 1
            self.running += 1
            self.peak = max(self.peak, self.running)

        def leave():
            self.running -= 1
            if "fails" in kind or (kind == "flaky" and tries[name] == 1):
                raise ValueError(name)
            return name

        async def work(value=None):
            enter()
            if kind in {"waits", "flaky"}:
                await asyncio.sleep(0)
            return leave()

        def sync_work(value=None):
            tries[name] += 1
            if "fails" in kind:
                raise ValueError(name)
            return name

        return sync_work if kind.startswith("sync") else work

    async def policy(self, event, context):
        kind = self.kinds.get(context.node_id)
        if isinstance(event, NodeFailed):
            if kind == "fallback" or (kind == "flaky" and context.attempt < TRIES):
                return ControlResponse(ControlSignal.RETRY)
        elif isinstance(event, NodeStarted):
            answer = {
                "skip": ControlResponse(ControlSignal.SKIP),
                "skip with data": ControlResponse(ControlSignal.SKIP, "given"),
                "fallback": ControlResponse(ControlSignal.FALLBACK, "given"),
                "veto": ControlResponse(ControlSignal.FAIL),
            }
            return answer.get(kind, PROCEED)
        elif isinstance(event, NodeCompleted):
            if kind == "replaced":
                return ControlResponse(ControlSignal.FALLBACK, "given")
            if kind == "not good enough" and context.attempt < TRIES:
                return ControlResponse(ControlSignal.RETRY)
        return PROCEED

    @precondition(lambda self: self.kinds)
    @rule(
        schedule=st.sampled_from(["ready", "wave"]),
        on_error=st.sampled_from(["fail_fast", "continue"]),
        limit=st.integers(1, 5),
    )
    def run(self, schedule, on_error, limit):
        self.tries = Counter()
        self.running = self.peak = 0
        graph = Graph("random")
        for name, kind in self.kinds.items():
            graph.add(NodeSpec(name, self.code(name, kind), deps=self.parents[name], run_if=self.run_ifs[name]))
        observers, control = ObserverManager(), ControlManager()
        control.register(self.policy)
        orchestrator = Orchestrator(
            observers=observers, control=control, schedule=schedule, on_error=on_error, max_concurrent_nodes=limit
        )
        with capture_events(observers) as events:
            try:
                outcome = asyncio.run(orchestrator.run(graph))
            except PipelineError as error:
                outcome = error
        assert self.peak <= limit
        states = final_states(events)
        self.check_order(events)
        check_pairs(events)
        self.check_tries(events)
        self.check_results(outcome, states, on_error)
        if on_error == "continue":
            assert states == self.expected()
        if schedule == "wave":
            check_barriers(events)

    def check_order(self, events):
        """Parents end before a child starts, and seq has no gap."""
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        ended = set()
        for event in events:
            if isinstance(event, NodeStarted):
                assert ended.issuperset(self.parents[event.name])
            elif type(event).__name__ in FINAL or (isinstance(event, NodeFailed) and not will_go_on(events, event)):
                ended.add(event.name)

    def check_tries(self, events):
        """Each attempt starts once and is numbered without a gap; code runs once for each attempt that was allowed."""
        attempts = {}
        for event in events.of(NodeStarted):
            attempts.setdefault(event.name, []).append(event.attempt)
        for name, numbers in attempts.items():
            assert numbers == list(range(1, len(numbers) + 1))
            if self.kinds[name] not in {"skip", "skip with data", "fallback", "veto"}:
                assert self.tries[name] in {len(numbers), len(numbers) - 1}  # the last one may have been cancelled
            else:
                assert self.tries[name] == 0

    def check_results(self, outcome, states, on_error):
        results = outcome.results if isinstance(outcome, PipelineError) else outcome
        failed = {name for name, state in states.items() if state == "failed"}
        assert isinstance(outcome, PipelineError) == bool(failed)
        if failed:
            assert {error.node_name for error in outcome.exceptions} == failed
            assert on_error == "continue" or len(failed) >= 1
        for name, result in results.items():
            assert states[name] in {"succeeded", "fell_back", "skipped"}
            assert result == (name if states[name] == "succeeded" else "given")

    def expected(self):
        """A slow reference: the state of every node when nothing is cancelled."""
        states, delivered = {}, {}
        for name, parents in self.parents.items():
            there = [delivered[parent] for parent in parents]
            may_run = {"all": all(there), "any": any(there) or not parents, "always": True}[self.run_ifs[name]]
            state = reference_state(self.kinds[name]) if may_run else "skipped"
            states[name] = state
            delivered[name] = state in {"succeeded", "fell_back"} or (may_run and self.kinds[name] == "skip with data")
        return states


def reference_state(kind):
    if kind in {"fails", "sync fails", "veto"}:
        return "failed"
    if kind.startswith("skip"):
        return "skipped"
    return "fell_back" if kind in {"fallback", "replaced"} else "succeeded"


def will_go_on(events, failed):
    """Whether a failure was followed by something else for its node."""
    return any(isinstance(e, NodeRetrying) and e.name == failed.name and e.attempt == failed.attempt for e in events)


def final_states(events):
    """One final state for each node that was heard of; asserts that there is no second one."""
    states = {}
    for event in events:
        kind = type(event).__name__
        if isinstance(event, NodeCompleted) and overruled(events, event):
            continue
        if kind in FINAL or (isinstance(event, NodeFailed) and not will_go_on(events, event)):
            assert event.name not in states, (event.name, states[event.name], kind)
            states[event.name] = FINAL.get(kind, "failed")
    return states


def overruled(events, completed):
    """Whether control took the result of an attempt away."""
    others = ("NodeRetrying", "NodeFellBack", "NodeSkipped", "NodeFailed", "NodeCancelled")
    return any(
        e.seq > completed.seq and getattr(e, "name", None) == completed.name and type(e).__name__ in others
        for e in events
    )


def check_pairs(events):
    """Every start has its end: of the run, of each wave, of each attempt."""
    assert events.names()[0] == "PipelineStarted"
    assert events.names()[-1] in {"PipelineCompleted", "PipelineFailed"}
    assert sorted(e.wave_index for e in events.of(WaveStarted)) == sorted(
        e.wave_index for e in events.of(WaveCompleted)
    )
    ended = Counter(e.name for e in events if type(e).__name__ in {*FINAL, "NodeFailed", "NodeRetrying"})
    assert all(ended[event.name] for event in events.of(NodeStarted))


def check_barriers(events):
    """With ``schedule="wave"`` no node starts before every earlier wave has ended."""
    open_waves = set()
    for event in events:
        if isinstance(event, WaveStarted):
            open_waves.add(event.wave_index)
        elif isinstance(event, WaveCompleted):
            open_waves.discard(event.wave_index)
        elif isinstance(event, NodeStarted):
            assert open_waves == {event.wave_index}


TestScheduler = Machine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
