"""The observer manager against a list: register, unregister, tell, flush and close in any order."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hexviz.events import NodeFailed, NodeStarted, ObserverManager, WaveStarted

KINDS = ["async", "waits", "sync", "lossless", "raises", "raises late", "awaitable"]
CLASSES = {"nodes": (NodeStarted, NodeFailed), "starts": (NodeStarted, WaveStarted), "failures": (NodeFailed,)}
TOPICS = {"any": None, "node x": "**.node.x.*"}
QUEUE = 8


class Silent:
    def handle_error(self, error, context):
        pass


class Heard:
    """The model of one observer: what it was told, and what it has heard."""

    def __init__(self, kind, classes, topics):
        self.kind, self.classes, self.topics = kind, CLASSES[classes], topics
        self.told, self.heard = [], []

    def wants(self, event):
        return isinstance(event, self.classes) and (self.topics == "any" or ".node.x." in event.topic)

    def observer(self):
        def note(event):
            self.heard.append(event.seq)
            if self.kind.startswith("raises"):
                raise ValueError(event.seq)

        async def async_note(event):
            if self.kind in {"waits", "raises late"}:
                await asyncio.sleep(0)
            note(event)

        if self.kind == "awaitable":
            return lambda event: async_note(event)
        return note if self.kind in {"sync", "lossless", "raises"} else async_note


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.manager = ObserverManager(error_handler=Silent())
        self.model = {}
        self.seq = 0
        self.order = 0
        self.late = None  # how many events were told since the manager was closed; None while it is open

    def teardown(self):
        self.runner.run(self.manager.close())
        self.runner.close()

    @rule(
        kind=st.sampled_from(KINDS),
        classes=st.sampled_from(sorted(CLASSES)),
        topics=st.sampled_from(sorted(TOPICS)),
        overflow=st.sampled_from(["drop_newest", "drop_oldest"]),
    )
    def register(self, kind, classes, topics, overflow):
        heard = Heard(kind, classes, topics)
        observer_id = self.manager.register(
            heard.observer(), observer_id=str(self.order), event_types=heard.classes, topics=TOPICS[topics],
            lossless=kind == "lossless", queue_size=QUEUE, overflow=overflow,
        )  # fmt: skip
        assert observer_id == str(self.order)
        self.model[observer_id] = heard
        self.order += 1
        self.late = None

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def unregister(self, data):
        observer_id = data.draw(st.sampled_from(sorted(self.model)))
        assert self.manager.unregister(observer_id)
        assert not self.manager.unregister(observer_id)
        del self.model[observer_id]

    def event(self, kind):
        self.seq += 1
        facts = {"seq": self.seq, "run_id": "r"}
        if kind == "wave":
            return WaveStarted(1, (), **facts)
        return NodeFailed("x", 1, ValueError(), **facts) if kind == "fails" else NodeStarted(kind, 1, **facts)

    @rule(
        count=st.sampled_from([1, 3, 20]),
        kinds=st.lists(st.sampled_from(["x", "y", "fails", "wave"]), min_size=1, max_size=3),
        how=st.sampled_from(["notify", "nowait", "no loop"]),
    )
    def tell(self, count, kinds, how):
        events = [self.event(kinds[number % len(kinds)]) for number in range(count)]
        if self.late is not None:
            self.late += count
        for event in events:
            for heard in self.model.values():
                if heard.wants(event):
                    heard.told.append(event.seq)

        async def notify():
            for event in events:
                if how == "notify":
                    await self.manager.notify(event)
                else:
                    self.manager.notify_nowait(event)

        if how == "no loop":
            for event in events:
                self.manager.notify_nowait(event)
        else:
            self.runner.run(notify())

    @rule()
    def flush(self):
        assert self.runner.run(self.manager.flush(20))
        for observer_id, heard in self.model.items():
            self.check(heard, self.manager.statistics()[observer_id])

    def check(self, heard, statistics):
        """Oracle O2: emitted = delivered + failed + dropped, and what was heard is in the order of telling."""
        lost = sum(statistics["dropped"].values())
        assert heard.heard == [seq for seq in heard.told if seq in set(heard.heard)]
        assert len(heard.heard) + lost == len(heard.told), (heard.kind, statistics)
        if heard.kind != "lossless":
            ended = statistics["delivered"] + statistics["failed"]
            assert ended == len(heard.heard)
            assert statistics["queued"] == 0
            assert (statistics["failed"] > 0) == (heard.kind.startswith("raises") and bool(heard.heard))
        else:
            assert heard.heard == heard.told

    @rule()
    def close(self):
        assert self.runner.run(self.manager.close(20))
        self.model = {}
        self.late = self.late or 0

    @invariant()
    def everybody_is_there(self):
        assert len(self.manager) == len(self.model)
        statistics = self.manager.statistics()
        late = statistics.pop("(closed)", None)
        assert (late["dropped"] if late else None) == ({"closed": self.late} if self.late else None)
        assert set(statistics) == set(self.model)


TestObserverManager = Machine.TestCase
TestObserverManager.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
