"""The control manager against a sorted list: register, remove and check in any order."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hexviz.errors import RegistrationError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    ExecutionContext,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    WaveStarted,
)

EVENTS = [
    NodeStarted("a", 1, pipeline="etl"),
    NodeStarted("b", 2, pipeline="etl"),
    NodeCompleted("a", 1, None, 1.0, pipeline="etl"),
    NodeFailed("b", 2, ValueError(), pipeline="etl"),
    WaveStarted(1, (), pipeline="other"),
]
CLASSES = {
    "all": (None, lambda event: True),
    "none": ([], lambda event: False),
    "starts": ([NodeStarted, WaveStarted], lambda event: isinstance(event, (NodeStarted, WaveStarted))),
    "failures": ([NodeFailed], lambda event: isinstance(event, NodeFailed)),
}
TOPICS = {
    "all": (None, lambda topic: True),
    "node a": ("pipeline.*.wave.*.node.a.*", lambda topic: ".node.a." in topic),
    "failed": ("**.failed", lambda topic: topic.endswith(".failed")),
    "etl or waves": (["pipeline.etl.**", "pipeline.*.wave.*.started"],
                     lambda topic: topic.startswith("pipeline.etl.") or "node" not in topic),
}  # fmt: skip
ANSWERS = ["PROCEED", "PROCEED", "PROCEED", "FAIL", "SKIP", "RETRY", "raises", "waits", "waits and fails", "nonsense"]


class Entry(NamedTuple):
    """What the model knows of a handler; entries sort as they are to be asked."""

    priority: int
    order: int
    name: str
    answer: str
    classes: str
    topics: str
    shadow: bool

    def wants(self, event):
        return CLASSES[self.classes][1](event) and TOPICS[self.topics][1](event.topic)

    @property
    def outcome(self):
        """The signal that this handler's answer comes to."""
        if self.answer in {"raises", "nonsense"}:
            return ControlSignal.ERROR if self.priority < 50 and not self.shadow else ControlSignal.PROCEED
        if self.answer.startswith("waits"):
            return ControlSignal.FAIL if self.answer == "waits and fails" else ControlSignal.PROCEED
        return ControlSignal[self.answer]


class Silent:
    def handle_error(self, error, context):
        pass


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.manager = ControlManager(error_handler=Silent())
        self.model = []
        self.order = 0
        self.asked = []

    def handler(self, name, answer):
        def reply():
            self.asked.append(name)
            if answer == "raises":
                raise ValueError(name)
            if answer == "nonsense":
                return "nonsense"
            if answer == "waits and fails":
                return ControlResponse(ControlSignal.FAIL)
            return PROCEED if answer in {"PROCEED", "waits"} else ControlResponse(ControlSignal[answer])

        async def handle(event, context):
            if answer.startswith("waits"):
                await asyncio.sleep(0)
            return reply()

        return handle if answer.startswith("waits") or len(name) % 2 else lambda event, context: reply()

    @rule(
        name=st.sampled_from(["a", "bb", "c", "dd", "e", "ff", "g", "hh"]),
        priority=st.sampled_from([1, 10, 10, 49, 50, 100, 100]),
        answer=st.sampled_from(ANSWERS),
        classes=st.sampled_from(sorted(CLASSES)),
        topics=st.sampled_from(sorted(TOPICS)),
        shadow=st.sampled_from([False, False, True]),
        replace=st.booleans(),
    )
    def register(self, name, priority, answer, classes, topics, shadow, replace):
        options = {"priority": priority, "shadow": shadow, "replace": replace}
        options |= {"event_types": CLASSES[classes][0], "topics": TOPICS[topics][0]}
        if any(entry.name == name for entry in self.model) and not replace:
            with pytest.raises(RegistrationError, match="replace"):
                self.manager.register(self.handler(name, answer), name=name, **options)
            return
        assert self.manager.register(self.handler(name, answer), name=name, **options) == name
        self.model = [entry for entry in self.model if entry.name != name]
        self.model.append(Entry(priority, self.order, name, answer, classes, topics, shadow))
        self.order += 1

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def unregister(self, data):
        entry = data.draw(st.sampled_from(self.model))
        assert self.manager.unregister(entry.name)
        assert not self.manager.unregister(entry.name)
        self.model.remove(entry)

    @rule()
    def clear(self):
        self.manager.clear()
        self.model = []

    @rule(event=st.sampled_from(EVENTS))
    def check(self, event):
        self.asked = []
        decision = asyncio.run(self.manager.decide(event, ExecutionContext("etl"), all_votes=True))
        expected, decider = [], None
        for entry in sorted(self.model):
            if entry.wants(event):
                expected.append(entry)
                if entry.outcome is not ControlSignal.PROCEED and not entry.shadow:
                    decider = entry
                    break
        assert self.asked == [entry.name for entry in expected]
        assert decision.response.signal is (decider.outcome if decider else ControlSignal.PROCEED)
        assert (decision.decided_by.name if decision.decided_by else None) == (decider.name if decider else None)
        assert [vote.handler for vote in decision.votes] == self.asked
        assert [vote.signal for vote in decision.votes] == [entry.outcome.value for entry in expected]

    @invariant()
    def the_rows_are_the_same(self):
        assert len(self.manager) == len(self.model)
        assert [metadata.name for metadata in self.manager.handlers] == [entry.name for entry in sorted(self.model)]
        assert self.manager.active == bool(self.model)


TestControlManager = Machine.TestCase
TestControlManager.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
