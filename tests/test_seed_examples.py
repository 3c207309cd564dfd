"""Each example of the document that this project was created from runs with only its import line changed.

One test per example, in the order of the document. The examples leave names open (``metrics``, ``context``,
``tool_observer`` ...): those are what a reader would put there.
"""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import pytest

from hexviz.events import (
    BaseEventManager,
    ControlHandler,
    ControlManager,
    ControlResponse,
    ControlSignal,
    ExecutionContext,
    HandlerMetadata,
    LLMPromptSent,
    LLMResponseReceived,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Observer,
    ObserverManager,
    PipelineCompleted,
    PipelineStarted,
    ToolCalled,
    ToolCompleted,
    WaveCompleted,
    WaveStarted,
)


class Metrics:
    """What a reader has for ``metrics``: a counter by name."""

    def __init__(self):
        self.counts = Counter()

    def increment(self, name):
        self.counts[name] += 1


def test_components_the_event_classes_are_pure_data():
    events = [
        NodeStarted("clean", 1),
        NodeCompleted("clean", 1, {"rows": 3}, 12.5),
        NodeFailed("clean", 1, ValueError("bad row")),
        WaveStarted(1, ["clean"]),
        WaveCompleted(1, 12.5),
        PipelineStarted("etl", 1, 1),
        PipelineCompleted("etl", 12.5),
        ToolCalled("clean", "search", {"q": "x"}),
        ToolCompleted("clean", "search", ["hit"], 2.0),
        LLMPromptSent("clean", [{"role": "user", "content": "hello"}]),
        LLMResponseReceived("clean", "hello", 3.0),
    ]
    for event in events:
        with pytest.raises(AttributeError):
            event.timestamp = None
        assert event.log_message()
    assert isinstance(events[2].error, ValueError)
    assert PipelineCompleted("etl", 12.5).node_results == {}


def test_components_the_shared_interfaces():
    context = ExecutionContext(dag_id="etl")
    assert (context.node_id, context.wave_index, context.attempt, context.metadata) == (None, 0, 1, {})
    second = context.with_node("clean", 3).with_attempt(2)
    assert (second.dag_id, second.node_id, second.wave_index, second.attempt) == ("etl", "clean", 3, 2)
    assert ControlResponse() == ControlResponse(signal=ControlSignal.PROCEED, data=None)
    assert not ControlResponse().should_interrupt()
    assert ControlResponse(signal=ControlSignal.FAIL).should_interrupt()
    for manager in (ObserverManager(), ControlManager()):
        assert isinstance(manager, BaseEventManager)

    class Watching:
        async def handle(self, event): ...

    class Deciding(ControlHandler):
        async def handle(self, event, context):
            return ControlResponse()

    assert isinstance(Watching(), Observer)
    assert isinstance(Deciding(), ControlHandler)


def test_observer_pattern_metrics_collection():
    metrics = Metrics()

    async def example():
        observer_manager = ObserverManager(max_concurrent_observers=10, observer_timeout=5.0, max_sync_workers=4)

        async def metrics_observer(event):
            if isinstance(event, NodeStarted):
                metrics.increment(f"node.{event.name}.started")

        observer_manager.register(metrics_observer, event_types=[NodeStarted, NodeCompleted, NodeFailed])

        await observer_manager.notify(NodeStarted(name="processor", wave_index=1))
        await observer_manager.close()

    asyncio.run(example())
    assert metrics.counts == {"node.processor.started": 1}


def test_control_pattern_retry_policy():
    async def example():
        control_manager = ControlManager()

        async def retry_policy(event, context):
            if isinstance(event, NodeFailed):
                if context.attempt < 3:
                    return ControlResponse(signal=ControlSignal.RETRY, data={"delay": 1.0 * context.attempt})
                return ControlResponse(signal=ControlSignal.FAIL)
            return ControlResponse()

        name = control_manager.register(retry_policy, priority=10, name="retry_policy", event_types=[NodeFailed])
        assert name == "retry_policy"

        event = NodeFailed(name="processor", wave_index=1, error=ConnectionError("reset"))
        context = ExecutionContext(dag_id="etl").with_node("processor", 1)
        return [await control_manager.check(event, context.with_attempt(attempt)) for attempt in (1, 2, 3)]

    responses = asyncio.run(example())
    assert [response.signal for response in responses] == [
        ControlSignal.RETRY,
        ControlSignal.RETRY,
        ControlSignal.FAIL,
    ]
    assert [response.data for response in responses[:2]] == [{"delay": 1.0}, {"delay": 2.0}]


def test_event_type_filtering():
    heard = {"tools": [], "audit": []}
    asked = []

    async def example():
        observer_manager, control_manager = ObserverManager(), ControlManager()

        async def tool_observer(event):
            heard["tools"].append(type(event))

        async def audit_observer(event):
            heard["audit"].append(type(event))

        async def node_handler(event, context):
            asked.append(type(event))
            return ControlResponse()

        observer_manager.register(tool_observer, event_types=[ToolCalled, ToolCompleted])
        control_manager.register(node_handler, priority=50, event_types=[NodeStarted, NodeCompleted, NodeFailed])
        observer_manager.register(audit_observer)

        for event in (
            NodeStarted("clean", 1),
            ToolCalled("clean", "search", {}),
            ToolCompleted("clean", "search", None, 1.0),
            WaveCompleted(1, 2.0),
        ):
            await observer_manager.notify(event)
            await control_manager.check(event, ExecutionContext(dag_id="etl"))
        await observer_manager.close()

    asyncio.run(example())
    assert heard["tools"] == [ToolCalled, ToolCompleted]
    assert heard["audit"] == [NodeStarted, ToolCalled, ToolCompleted, WaveCompleted]
    assert asked == [NodeStarted]


def test_efficient_priority_queue_handlers_are_asked_in_order_of_priority():
    asked = []

    def asking(priority):
        async def handler(event, context):
            asked.append(priority)
            return ControlResponse()

        return handler

    control_manager = ControlManager()
    for priority in (50, 1, 100, 10, 75):
        control_manager.register(asking(priority), priority=priority, name=f"at {priority}")
    asyncio.run(control_manager.check(NodeStarted("clean", 1), ExecutionContext(dag_id="etl")))
    assert asked == [1, 10, 50, 75, 100]


def test_resource_reuse_one_manager_serves_many_events_and_each_observer_one_at_a_time():
    busy, calls = Counter(), Counter()

    async def example():
        def slow_one(name):
            async def slow(event):
                busy[name] += 1
                assert busy[name] == 1
                await asyncio.sleep(0.005)
                busy[name] -= 1
                calls[name] += 1

            return slow

        async with ObserverManager(max_concurrent_observers=6) as observer_manager:
            for number in range(6):
                observer_manager.register(slow_one(number))
            for _ in range(3):
                await observer_manager.notify(NodeStarted("clean", 1))
            assert await observer_manager.flush(5.0)

    asyncio.run(example())
    assert calls == dict.fromkeys(range(6), 3)


def test_consolidated_storage_one_entry_knows_all_of_a_handler():
    metadata = HandlerMetadata(priority=10, name="guard", description="keeps the door")
    assert (metadata.priority, metadata.name, metadata.description) == (10, "guard", "keeps the door")
    assert HandlerMetadata() == HandlerMetadata(priority=100, name="", description="")

    control_manager = ControlManager()
    control_manager.register(lambda event, context: ControlResponse(), name="guard", description="keeps the door")
    with pytest.raises(ValueError, match="guard"):
        control_manager.register(lambda event, context: ControlResponse(), name="guard")
    assert len(control_manager) == 1
    assert control_manager.unregister("guard")
    assert not control_manager.unregister("guard")
    assert len(control_manager) == 0


def test_benchmark_claims_sync_functions_do_not_block_the_loop():
    release = None

    async def example():
        nonlocal release

        release = threading.Event()
        observer_manager = ObserverManager(max_sync_workers=4)
        observer_manager.register(lambda event: release.wait(5))
        before = perf_counter()
        await observer_manager.notify(NodeStarted("clean", 1))
        waited_s = perf_counter() - before
        release.set()
        await observer_manager.close()
        return waited_s

    assert asyncio.run(example()) < 2.5


def test_benchmark_claims_a_hundred_handlers_and_fifty_filtered_observers():
    calls = Counter()

    async def example():
        observer_manager, control_manager = ObserverManager(), ControlManager()

        async def agreeing(event, context):
            calls["control"] += 1
            return ControlResponse()

        async def observing(event):
            calls["observer"] += 1

        for number in range(100):
            control_manager.register(agreeing, name=f"handler {number}")
        for number in range(50):
            wanted = [NodeStarted] if number % 10 == 0 else [ToolCalled]
            observer_manager.register(observing, observer_id=f"observer {number}", event_types=wanted)
        response = await control_manager.check(NodeStarted("clean", 1), ExecutionContext(dag_id="etl"))
        await observer_manager.notify(NodeStarted("clean", 1))
        await observer_manager.close()
        return response

    assert asyncio.run(example()).signal is ControlSignal.PROCEED
    assert calls == {"control": 100, "observer": 5}


def test_migration_guide_two_managers_instead_of_one_bus():
    heard, asked = [], []

    async def example():
        async def observer(event):
            heard.append(event)

        async def handler(event, context):
            asked.append(event)
            return ControlResponse(signal=ControlSignal.SKIP, data="cached")

        event, context = NodeStarted("clean", 1), ExecutionContext(dag_id="etl")

        observer_manager = ObserverManager()
        observer_manager.register(observer)
        await observer_manager.notify(event)

        control_manager = ControlManager()
        control_manager.register(handler, priority=10)
        response = await control_manager.check(event, context)
        await observer_manager.close()
        assert heard == asked == [event]
        return response

    assert asyncio.run(example()) == ControlResponse(signal=ControlSignal.SKIP, data="cached")


@pytest.mark.parametrize("manager_class", [ObserverManager, ControlManager])
def test_migration_guide_event_types_on_either_manager(manager_class):
    heard = []

    async def example():
        manager = manager_class()

        async def handler(event, context=None):
            heard.append(type(event))
            return ControlResponse()

        manager.register(handler, event_types=[NodeStarted, NodeCompleted])
        for event in (NodeStarted("clean", 1), NodeFailed("clean", 1, ValueError()), NodeCompleted("clean", 1, 3, 1.0)):
            if manager_class is ObserverManager:
                await manager.notify(event)
            else:
                await manager.check(event, ExecutionContext(dag_id="etl"))
        await manager.close()

    asyncio.run(example())
    assert heard == [NodeStarted, NodeCompleted]


def test_design_principles_a_failing_observer_never_crashes_the_pipeline():
    heard = []

    async def example():
        async def broken(event):
            raise RuntimeError("observer down")

        async def healthy(event):
            heard.append(event.name)

        observer_manager = ObserverManager()
        observer_manager.register(broken)
        observer_manager.register(healthy)
        await observer_manager.notify(NodeStarted("clean", 1))
        await observer_manager.close()

    asyncio.run(example())
    assert heard == ["clean"]


def test_design_principles_the_first_answer_that_is_not_proceed_wins():
    asked = []

    async def example():
        def answering(name, signal):
            async def handler(event, context):
                asked.append(name)
                return ControlResponse(signal=signal)

            return handler

        control_manager = ControlManager()
        control_manager.register(answering("late", ControlSignal.FAIL), priority=90, name="late")
        control_manager.register(answering("veto", ControlSignal.SKIP), priority=20, name="veto")
        control_manager.register(answering("calm", ControlSignal.PROCEED), priority=10, name="calm")
        return await control_manager.check(NodeStarted("clean", 1), ExecutionContext(dag_id="etl"))

    assert asyncio.run(example()).signal is ControlSignal.SKIP
    assert asked == ["calm", "veto"]


@pytest.mark.parametrize(("priority", "expected"), [(49, ControlSignal.ERROR), (50, ControlSignal.PROCEED)])
def test_design_principles_a_critical_handler_that_fails_stops_the_run_and_another_does_not(priority, expected):
    async def failing(event, context):
        raise RuntimeError("policy server is away")

    control_manager = ControlManager()
    control_manager.register(failing, priority=priority, name="failing")
    response = asyncio.run(control_manager.check(NodeStarted("clean", 1), ExecutionContext(dag_id="etl")))
    assert response.signal is expected


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        ("PROCEED", "proceed"),
        ("SKIP", "skip"),
        ("RETRY", "retry"),
        ("FALLBACK", "fallback"),
        ("FAIL", "fail"),
        ("ERROR", "error"),
    ],
)
def test_control_signals_the_table(signal, value):
    async def handler(event, context):
        return ControlResponse(signal=ControlSignal[signal])

    control_manager = ControlManager()
    control_manager.register(handler)
    response = asyncio.run(control_manager.check(NodeStarted("clean", 1), ExecutionContext(dag_id="etl")))
    assert response.signal.value == value
    assert response.should_interrupt() is (signal != "PROCEED")


def test_managers_are_used_with_with_and_from_several_threads():
    heard = []

    async def once(number):
        with ObserverManager() as observer_manager:
            observer_manager.register(lambda event: heard.append(event.name))
            await observer_manager.notify(NodeStarted(f"node {number}", 1))
            await observer_manager.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: asyncio.run(once(number)), range(4)))
    assert sorted(heard) == ["node 0", "node 1", "node 2", "node 3"]
