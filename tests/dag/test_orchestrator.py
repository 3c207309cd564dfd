"""Runs: order, limits, failure, cancellation; every start has an end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import time
import weakref
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.dag import Graph, NodeSpec, NodeTimeoutError, Orchestrator, PipelineError, RunResult, llm_call, tool_call
from hexviz.dag.errors import NodeSignatureError, OrchestratorError
from hexviz.errors import HexvizError
from hexviz.events import (
    ControlManager,
    ControlResponse,
    ControlSignal,
    LLMResponseReceived,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObserverFailed,
    ObserverManager,
    PipelineCancelled,
    PipelineCompleted,
    PipelineStarted,
    ToolCalled,
    ToolCompleted,
    WaveCompleted,
    WaveStarted,
)
from hexviz.testing import capture_events, sample_graph

ENDS = {"NodeCompleted", "NodeFailed", "NodeSkipped", "NodeFellBack", "NodeCancelled"}


def run(graph, *args, policies=(), **options):
    """Run in a fresh loop; returns the outcome (a result or an error) and the events."""
    observers, control = ObserverManager(), ControlManager()
    for policy in policies:
        control.register(policy)
    run_options = {k: options.pop(k) for k in ("tags", "run_id", "additional_ports", "extra") if k in options}
    with capture_events(observers) as events:
        try:
            outcome = asyncio.run(
                Orchestrator(observers=observers, control=control, **options).run(graph, *args, **run_options)
            )
        except (PipelineError, asyncio.CancelledError) as error:
            outcome = error
    return outcome, events


def check_well_formed(events):
    """What holds for every recording of one run."""
    names = events.names()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.run_id for event in events}) == 1
    assert names[0] == "PipelineStarted"
    assert names[-1] in {"PipelineCompleted", "PipelineFailed", "PipelineCancelled", "PipelineSkipped"}
    assert names.count("WaveStarted") == names.count("WaveCompleted")
    parents = {info.name: info.dependencies for info in events[0].nodes}
    ended, started = {}, {}
    for event in events:
        if isinstance(event, NodeStarted):
            assert started.get(event.name, 0) + 1 == event.attempt
            started[event.name] = event.attempt
            assert all(parent in ended for parent in parents[event.name])
        elif type(event).__name__ in ENDS:
            ended[event.name] = type(event).__name__
    assert set(started) <= set(ended)


def test_results_go_along_the_edges_and_the_result_knows_its_run():
    outcome, events = run(sample_graph())
    assert outcome == {"load": [0, 1, 2, 3, 4], "clean": [0, 2, 4], "count": 5, "join": {"kept": 3, "of": 5}}
    assert isinstance(outcome, RunResult)
    assert outcome.run_id == events[0].run_id
    assert outcome.status == "succeeded"
    check_well_formed(events)


def test_every_event_names_its_run_its_pipeline_and_its_attempt():
    _, events = run(sample_graph(), run_id="r1", tags=("nightly",))
    assert {(event.run_id, event.pipeline) for event in events} == {("r1", "sample")}
    assert {event.attempt for event in events.of(NodeStarted)} == {1}
    assert events[0].tags == ("nightly",)


def test_an_empty_graph_runs():
    outcome, events = run(Graph("empty"))
    assert outcome == {}
    assert events.names() == ["PipelineStarted", "PipelineCompleted"]


@st.composite
def faulty_graphs(draw):
    """Graphs of nodes that do nothing, wait, fail, or fail once."""
    size = draw(st.integers(1, 14))
    graph, tries = Graph("random"), {}

    def node(index, kind):
        async def work(value=None):
            tries[index] = tries.get(index, 0) + 1
            if kind == "waits":
                await asyncio.sleep(0)
            if kind == "fails" or (kind == "flaky" and tries[index] == 1):
                raise ValueError(kind)
            return index

        return work

    for index in range(size):
        after = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        kind = draw(st.sampled_from(["quick", "quick", "waits", "flaky", "fails"]))
        run_if = draw(st.sampled_from(["all", "all", "any", "always"]))
        graph.node(node(index, kind), name=f"n{index}", after=[f"n{i}" for i in sorted(after)], run_if=run_if)
    return graph


async def _retry_once(event, context):
    if isinstance(event, NodeFailed) and context.attempt < 2:
        return ControlResponse(ControlSignal.RETRY)
    return ControlResponse()


@settings(max_examples=60, deadline=None)
@given(
    faulty_graphs(),
    st.sampled_from(["ready", "wave"]),
    st.sampled_from(["fail_fast", "continue"]),
    st.integers(1, 4),
)
def test_every_run_of_every_graph_is_well_formed(graph, schedule, on_error, limit):
    _outcome, events = run(
        graph, schedule=schedule, on_error=on_error, max_concurrent_nodes=limit, policies=[_retry_once]
    )
    check_well_formed(events)
    if on_error == "continue":
        assert sum(event.succeeded + event.failed + event.skipped for event in events.of(WaveCompleted)) + sum(
            1
            for e in events
            if type(e).__name__ == "NodeSkipped" and e.name not in {s.name for s in events.of(NodeStarted)}
        ) >= len(graph)


def test_the_concurrency_limit_holds():
    running, peak = 0, 0

    async def work(value=None):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1

    graph = Graph("wide", [NodeSpec(f"n{i}", work) for i in range(30)])
    run(graph, max_concurrent_nodes=4)
    assert peak == 4


def test_ready_starts_a_node_when_its_parents_end_and_wave_waits_for_the_whole_wave():
    async def slow(value=None):
        await asyncio.sleep(0.05)

    async def quick(value=None):
        return None

    graph = Graph("two", [NodeSpec("slow", slow), NodeSpec("quick", quick), NodeSpec("after", quick, deps=["quick"])])

    def order(schedule):
        _, events = run(graph, schedule=schedule)
        return [e.name for e in events.of(NodeCompleted)]

    assert order("ready") == ["quick", "after", "slow"]
    assert order("wave") == ["quick", "slow", "after"]


def test_fail_fast_cancels_what_runs_and_holds_every_failure_and_the_partial_results():
    async def fine():
        return 1

    async def hangs():
        await asyncio.sleep(3600)

    async def fails(value):
        raise KeyError("k")

    graph = Graph("etl", [NodeSpec("fine", fine), NodeSpec("hangs", hangs), NodeSpec("fails", fails, deps=["fine"])])
    error, events = run(graph)
    assert error.results == {"fine": 1}
    assert error.run_id == events[0].run_id
    assert [(e.node_name, type(e.original_error)) for e in error.exceptions] == [("fails", KeyError)]
    assert [e.name for e in events if type(e).__name__ == "NodeCancelled"] == ["hangs"]
    check_well_formed(events)
    with pytest.raises(ExceptionGroup):
        raise error


def test_continue_skips_only_descendants():
    async def fails():
        raise ValueError("x")

    async def works(value=None):
        return "done"

    graph = Graph("etl", [NodeSpec("bad", fails), NodeSpec("child", works, deps=["bad"]), NodeSpec("other", works)])
    error, events = run(graph, on_error="continue")
    assert error.results == {"other": "done"}
    skipped = [e for e in events if type(e).__name__ == "NodeSkipped"]
    assert [(e.name, e.reason) for e in skipped] == [("child", "parent 'bad' failed")]


@pytest.mark.parametrize(("run_if", "ran"), [("all", False), ("any", True), ("always", True)])
def test_run_if_says_what_a_node_needs_of_its_parents(run_if, ran):
    def fails():
        raise ValueError("x")

    got = []
    graph = Graph("etl")
    graph.node(fails, name="bad")
    graph.node(lambda: 1, name="good")
    graph.node(lambda d: got.append(d), name="join", after=["bad", "good"], run_if=run_if)
    run(graph, on_error="continue")
    assert got == ([{"good": 1}] if ran else [])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        StopIteration("x"),
        asyncio.CancelledError(),
        GeneratorExit(),
        type("Odd", (BaseException,), {})("x"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_a_node_raises_is_a_named_failure(error, kind):
    def fails():
        raise error

    async def fails_async():
        raise error

    outcome, events = run(Graph("etl", [NodeSpec("bad", fails if kind == "sync" else fails_async)]))
    assert isinstance(outcome, PipelineError)
    assert outcome.exceptions[0].node_name == "bad"
    check_well_formed(events)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_exit_asked_for_by_a_node_is_recorded_and_then_raised(error):
    async def leaves():
        await asyncio.sleep(0)
        raise error

    observers = ObserverManager()
    with capture_events(observers) as events, pytest.raises(type(error)):
        asyncio.run(Orchestrator(observers=observers).run(Graph("etl", [NodeSpec("n", leaves)])))
    assert events.names()[-2:] == ["WaveCompleted", "PipelineFailed"]


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_from_outside_ends_every_node_and_says_so(stubborn):
    async def node():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    observers = ObserverManager()

    async def main():
        orchestrator = Orchestrator(observers=observers, cancel_grace_s=0.05)
        task = asyncio.create_task(orchestrator.run(Graph("etl", [NodeSpec("a", node), NodeSpec("b", node)])))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with capture_events(observers) as events:
        asyncio.run(main())
    assert isinstance(events[-1], PipelineCancelled)
    assert events.names().count("NodeCancelled") == 2
    check_well_formed(events)


def test_cancel_by_run_id_works_from_another_thread():
    async def hangs():
        await asyncio.sleep(3600)

    observers = ObserverManager()

    async def main():
        orchestrator = Orchestrator(observers=observers)
        task = asyncio.create_task(orchestrator.run(Graph("etl", [NodeSpec("a", hangs)]), run_id="r"))
        await asyncio.sleep(0.02)
        assert await asyncio.to_thread(orchestrator.cancel, "r", "enough") is True
        with pytest.raises(asyncio.CancelledError):
            await task
        assert orchestrator.cancel("r") is False

    with capture_events(observers) as events:
        asyncio.run(main())
    assert events[-1].reason == "enough"


def test_hold_starts_no_new_node_until_release():
    started = []

    async def work(value=None):
        started.append(1)
        await asyncio.sleep(0.01)

    async def main():
        orchestrator = Orchestrator(max_concurrent_nodes=1)
        graph = Graph("etl", [NodeSpec(f"n{i}", work) for i in range(5)])
        task = asyncio.create_task(orchestrator.run(graph, run_id="r"))
        await asyncio.sleep(0.005)
        orchestrator.hold("r")
        await asyncio.sleep(0.05)
        held = len(started)
        orchestrator.hold("r", held=False)
        await task
        return held

    assert asyncio.run(main()) < 5
    assert len(started) == 5


@pytest.mark.parametrize("kind", ["async", "stubborn", "sync"])
def test_a_node_that_takes_too_long_fails_by_its_timeout(kind):
    release = threading.Event()

    async def waits():
        await asyncio.sleep(3600)

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    def blocks():
        release.wait(30)

    fn = {"async": waits, "stubborn": stubborn, "sync": blocks}[kind]
    error, events = run(Graph("etl", [NodeSpec("slow", fn, timeout_s=0.05)]), cancel_grace_s=0.05)
    release.set()
    assert isinstance(error.exceptions[0].original_error, NodeTimeoutError)
    assert "0.05 s" in str(error)
    check_well_formed(events)


def test_a_sync_node_does_not_block_the_loop_and_keeps_context_variables():
    variable = contextvars.ContextVar("variable", default="unset")
    ticks = []

    async def tick():
        for _ in range(5):
            ticks.append(1)
            await asyncio.sleep(0.001)

    def blocks():
        threading.Event().wait(0.05)
        return variable.get(), threading.current_thread() is threading.main_thread()

    async def main():
        variable.set("kept")
        graph = Graph("etl", [NodeSpec("block", blocks), NodeSpec("tick", tick)])
        return await Orchestrator().run(graph)

    assert asyncio.run(main())["block"] == ("kept", False)
    assert len(ticks) == 5


def test_what_a_node_sets_in_its_context_stays_with_it():
    variable = contextvars.ContextVar("variable", default="unset")

    async def sets(value=None):
        variable.set("changed")
        await asyncio.sleep(0)
        return variable.get()

    async def reads(value):
        return variable.get()

    graph = Graph("etl", [NodeSpec("sets", sets), NodeSpec("reads", reads, deps=["sets"])])
    outcome, _ = run(graph)
    assert outcome == {"sets": "changed", "reads": "unset"}


def test_nodes_may_use_timeouts_and_task_groups():
    async def careful():
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0.001, "done"))
        return task.result()

    async def overruns():
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            return "late"

    outcome, _ = run(Graph("etl", [NodeSpec("a", careful), NodeSpec("b", overruns)]))
    assert outcome == {"a": "done", "b": "late"}


def test_runs_nest_and_go_on_side_by_side():
    async def outer():
        inner = Orchestrator()
        return sum((await inner.run(sample_graph()))["load"])

    async def main():
        orchestrator = Orchestrator()
        graph = Graph("outer", [NodeSpec(f"n{i}", outer) for i in range(3)])
        return await asyncio.gather(*[orchestrator.run(graph) for _ in range(3)])

    assert [set(result.values()) for result in asyncio.run(main())] == [{10}] * 3


def test_observers_cannot_change_a_run():
    graph = Graph("etl")
    graph.node(lambda: {"rows": [1, 2]}, name="load")
    graph.node(lambda data: data["rows"], name="read", after=["load"])

    async def vandal(event):
        for name in ("result", "node_results"):
            value = getattr(event, name, None)
            if isinstance(value, dict):
                value.clear()
            if isinstance(value, list):
                value.append("gone")

    observers = ObserverManager()
    observers.register(vandal)
    assert asyncio.run(Orchestrator(observers=observers).run(graph)) == {"load": {"rows": [1, 2]}, "read": [1, 2]}


def test_a_nodes_time_is_its_own():
    wait_s = 0.3

    async def slow_policy(event, context):
        await asyncio.sleep(wait_s)
        return ControlResponse()

    async def slow_observer(event):
        await asyncio.sleep(wait_s)

    async def quick():
        return None

    observers, control = ObserverManager(), ControlManager()
    observers.register(slow_observer)
    control.register(slow_policy, event_types=[NodeStarted])
    with capture_events(observers) as events:
        asyncio.run(Orchestrator(observers=observers, control=control).run(Graph("etl", [NodeSpec("n", quick)])))
    assert events.of(NodeCompleted)[0].duration_ms < wait_s * 1e3


def test_ports_reach_only_the_nodes_that_take_them():
    graph = Graph("etl")
    graph.node(lambda x: x, name="plain")
    graph.node(lambda x, database: (x, database), name="takes", after=["plain"])
    graph.node(lambda x, **ports: sorted(ports), name="all", after=["plain"])
    outcome, _ = run(graph, 1, additional_ports={"database": "db", "observer_manager": None})
    assert outcome["takes"] == (1, "db")
    assert "database" in outcome["all"]


def test_managers_are_found_among_the_ports():
    observers = ObserverManager()
    with capture_events(observers) as events:
        asyncio.run(Orchestrator(ports={"observer_manager": observers}).run(sample_graph()))
    check_well_formed(events)


def test_a_parameter_that_nothing_provides_is_named():
    graph = Graph("etl", [NodeSpec("a", lambda: 1), NodeSpec("b", lambda: 1)])
    graph.node(lambda a, c: 1, name="join", after=["a", "b"])
    with pytest.raises(NodeSignatureError, match="node 'join' has a parameter 'c' that nothing provides"):
        asyncio.run(Orchestrator().run(graph))


def test_joins_take_their_parents_by_name_in_any_order_or_as_one_dict():
    graph = Graph("etl", [NodeSpec("a", lambda: 1), NodeSpec("b", lambda: 2)])
    graph.node(lambda b, a: (a, b), name="by_name", after=["a", "b"])
    graph.node(lambda parents: dict(parents), name="as_dict", after=["b", "a"])
    graph.node(lambda **parents: parents, name="as_kwargs", after=["a", "b"])
    outcome, _ = run(graph)
    assert outcome["by_name"] == (1, 2)
    assert list(outcome["as_dict"]) == ["b", "a"]
    assert outcome["as_kwargs"] == {"a": 1, "b": 2}


def test_calls_know_their_node_and_attempt_through_tasks_and_threads():
    async def node():
        async def inner():
            async with tool_call("search", {"q": 1}) as call:
                call.result = "found"

        await asyncio.create_task(inner())
        async with llm_call(["hi"], model="m") as answer:
            answer.result, answer.input_tokens, answer.output_tokens = "hello", 3, 5

    def in_thread():
        with tool_call("read"):
            pass

    _, events = run(Graph("etl", [NodeSpec("node", node), NodeSpec("thread", in_thread)]))
    assert {(e.tool_name, e.node_name, e.attempt) for e in events.of(ToolCalled)} == {
        ("search", "node", 1),
        ("read", "thread", 1),
    }
    assert {e.call_id for e in events.of(ToolCalled)} == {e.call_id for e in events.of(ToolCompleted)}
    response = events.of(LLMResponseReceived)[0]
    assert (response.model, response.input_tokens, response.output_tokens) == ("m", 3, 5)
    check_well_formed(events)


def test_a_call_outside_a_node_says_where_it_belongs():
    with pytest.raises(OrchestratorError, match="belongs inside a node"), tool_call("search"):
        pass


def test_a_fallback_is_validated_like_a_result():
    async def fall_back(event, context):
        return ControlResponse(ControlSignal.FALLBACK, "text") if isinstance(event, NodeStarted) else ControlResponse()

    graph = Graph("etl", [NodeSpec("n", lambda: 1, out_model=int)])
    error, _ = run(graph, policies=[fall_back], strict_validation=True)
    assert "out_model is int" in str(error)


def test_policy_metadata_is_kept_between_attempts():
    seen = []

    async def counting(event, context):
        context.metadata["tries"] = context.metadata.get("tries", 0) + 1
        seen.append(context.metadata["tries"])
        return ControlResponse(ControlSignal.RETRY if context.attempt < 3 else ControlSignal.PROCEED)

    def fails():
        raise ValueError("x")

    observers, control = ObserverManager(), ControlManager()
    control.register(counting, event_types=[NodeFailed])
    with pytest.raises(PipelineError):
        asyncio.run(Orchestrator(observers=observers, control=control).run(Graph("etl", [NodeSpec("n", fails)])))
    assert seen == [1, 2, 3]


def test_a_graph_of_20000_nodes_and_a_chain_of_14000_run_to_their_end():
    async def nothing(value=None):
        return None

    wide = Graph("wide", [NodeSpec(f"n{i}", nothing) for i in range(20_000)])
    deep = Graph("deep", [NodeSpec(f"n{i}", nothing, deps=[f"n{i - 1}"] if i else []) for i in range(14_000)])
    assert len(asyncio.run(Orchestrator().run(wide))) == 20_000
    assert len(asyncio.run(Orchestrator().run(deep))) == 14_000


def test_a_failure_at_the_top_of_a_deep_chain_skips_it_without_recursion():
    async def fails(value=None):
        raise ValueError("x")

    async def nothing(value=None):
        return None

    nodes = [NodeSpec(f"n{i}", nothing if i else fails, deps=[f"n{i - 1}"] if i else []) for i in range(5_000)]
    error, events = run(Graph("deep", nodes), on_error="continue")
    assert events.names().count("NodeSkipped") == 4_999
    assert isinstance(error, PipelineError)


def test_run_ids_are_unique_and_sort_by_time():
    async def main():
        return [(await Orchestrator().run(Graph("empty"))).run_id for _ in range(20)]

    ids = asyncio.run(main())
    assert all(first[:21] <= second[:21] for first, second in pairwise(ids))
    assert len(set(ids)) == 20


@pytest.mark.parametrize(
    "setting", [{"schedule": "soon"}, {"on_error": "ignore"}, {"decisions": "some"}, {"max_concurrent_nodes": 0}]
)
def test_a_setting_that_is_not_known_is_named(setting):
    with pytest.raises(HexvizError, match=next(iter(setting))):
        Orchestrator(**setting)


@pytest.mark.parametrize("response", [None, ControlResponse(ControlSignal.RETRY, {"delay": 3600})])
def test_a_run_that_waits_for_leave_to_start_can_be_cancelled_and_starts_nothing(response):
    async def gate(event, context):
        if response is None:
            await asyncio.sleep(3600)
        return response

    observers, control = ObserverManager(), ControlManager()
    control.register(gate, event_types=[PipelineStarted])

    async def main():
        orchestrator = Orchestrator(observers=observers, control=control)
        task = asyncio.create_task(orchestrator.run(sample_graph(), run_id="r"))
        await asyncio.sleep(0.02)
        orchestrator.cancel("r")
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_events(observers) as events:
        asyncio.run(main())
    assert [name for name in events.names() if name != "ControlDecided"] == ["PipelineStarted", "PipelineCancelled"]


def test_a_node_that_swallows_its_timeout_leaves_its_successor_alone():
    async def swallows():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return 1

    async def cancelled_future(value):
        await asyncio.sleep(0.001)
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    graph = Graph("etl", [NodeSpec("a", swallows, timeout_s=0.02), NodeSpec("b", cancelled_future, deps=["a"])])
    error, events = run(graph)
    assert [failure.node_name for failure in error.exceptions] == ["b"]
    check_well_formed(events)


@pytest.mark.parametrize("event_class", [NodeCompleted, WaveStarted])
def test_a_handler_that_cancels_the_task_it_is_asked_in_fails_the_run(event_class):
    async def meddler(event, context):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    observers, control = ObserverManager(), ControlManager()
    control.register(meddler, event_types=[event_class])
    with capture_events(observers) as events, pytest.raises(PipelineError, match="control handler"):
        asyncio.run(asyncio.wait_for(Orchestrator(observers=observers, control=control).run(sample_graph()), 20))
    check_well_formed(events)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
def test_the_concurrency_limit_holds_with_eager_tasks_too():
    running, peak = 0, 0

    async def work(value=None):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001)
        running -= 1

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await Orchestrator(max_concurrent_nodes=2).run(Graph("wide", [NodeSpec(f"n{i}", work) for i in range(50)]))

    asyncio.run(main())
    assert peak == 2


def test_the_copies_that_observers_get_are_deep():
    graph = Graph("etl", [NodeSpec("a", lambda: {"rows": [1]})])
    observers = ObserverManager()
    observers.register(lambda e: e.node_results["a"]["rows"].append("x"), lossless=True, event_types=PipelineCompleted)
    assert asyncio.run(Orchestrator(observers=observers).run(graph)) == {"a": {"rows": [1]}}


def test_a_result_that_is_never_good_enough_ends_as_a_failed_node():
    async def never(event, context):
        return ControlResponse(ControlSignal.RETRY) if isinstance(event, NodeCompleted) else ControlResponse()

    error, events = run(Graph("etl", [NodeSpec("n", lambda: 1)]), policies=[never], max_attempts=2)
    assert isinstance(error, PipelineError)
    assert [type(e).__name__ for e in events if getattr(e, "name", "") == "n"][-1] == "NodeFailed"


def test_error_at_a_failure_tells_the_failure_once():
    async def broken(event, context):
        return ControlResponse(ControlSignal.ERROR, "broken") if isinstance(event, NodeFailed) else ControlResponse()

    def fails():
        raise ValueError("x")

    error, events = run(Graph("etl", [NodeSpec("n", fails)]), policies=[broken])
    assert len(events.of(NodeFailed)) == 1
    assert isinstance(error.exceptions[0].original_error.__context__, ValueError)


def test_what_a_forgotten_thread_still_says_is_not_told_after_the_end():
    release, said = threading.Event(), threading.Event()

    def slow():
        release.wait(20)
        with tool_call("late"):
            pass
        said.set()

    observers = ObserverManager()
    with capture_events(observers) as events:
        with pytest.raises(PipelineError):
            asyncio.run(Orchestrator(observers=observers).run(Graph("etl", [NodeSpec("n", slow, timeout_s=0.02)])))
        release.set()
        assert said.wait(20)
    assert events.names()[-1] == "PipelineFailed"


def test_a_call_that_control_never_allows_is_not_made():
    used = []

    async def node():
        async with tool_call("search") as call:
            used.append(call)

    async def never(event, context):
        return ControlResponse(ControlSignal.RETRY) if isinstance(event, ToolCalled) else ControlResponse()

    error, events = run(Graph("etl", [NodeSpec("n", node)]), policies=[never], max_attempts=3)
    assert isinstance(error, PipelineError)
    assert used == []
    assert events.names().count("ToolCalled") == events.names().count("ToolFailed") == 1


def _with_port_first(db, load):
    return db, load


def _root_with_port(db, path):
    return db, path


@pytest.mark.parametrize(("fn", "after"), [(_with_port_first, ["load"]), (_root_with_port, [])])
def test_a_port_goes_to_the_parameter_of_its_name_wherever_that_stands(fn, after):
    graph = Graph("etl", [NodeSpec("load", lambda: "rows"), NodeSpec("n", fn, deps=after)])
    outcome, _ = run(graph, "path", additional_ports={"db": "DB"})
    assert outcome["n"] == ("DB", "rows" if after else "path")


def test_params_that_the_function_does_not_take_are_named():
    graph = Graph("etl", [NodeSpec("n", lambda limit=1: limit, params={"lmit": 3})])
    with pytest.raises(NodeSignatureError, match=r"'lmit'.*takes: 'limit'"):
        asyncio.run(Orchestrator().run(graph))


def test_a_callable_that_cannot_be_hashed_and_a_model_that_cannot_be_checked_are_fine():
    @dataclass
    class Adder:
        by: int

        def __call__(self, value):
            return value + self.by

    graph = Graph("etl", [NodeSpec("n", Adder(2), in_model=Any, out_model=Any)])
    assert run(graph, 1)[0] == {"n": 3}


def test_a_manager_of_another_kind_is_refused():
    with pytest.raises(HexvizError, match="ControlManager"):
        asyncio.run(Orchestrator(ports={"control_manager": object()}).run(sample_graph()))


@pytest.mark.parametrize("awaits", [False, True])
def test_an_async_node_that_holds_up_the_loop_is_named_in_the_log(awaits, caplog):
    async def greedy(value):
        time.sleep(0.15)
        if awaits:
            await asyncio.sleep(0.001)
        return 1

    async def patient(value):
        await asyncio.sleep(0.15)
        return 1

    graph = Graph("g")
    graph.node(greedy, name="greedy")
    graph.node(patient, name="patient")
    with caplog.at_level("WARNING", logger="hexviz.dag"):
        asyncio.run(Orchestrator().run(graph))
    assert ["'greedy'" in record.getMessage() for record in caplog.records] == [True]


def test_a_sync_node_is_never_said_to_hold_up_the_loop(monkeypatch, caplog):
    """It runs in a thread: where its start took long, somebody else had the interpreter."""
    monkeypatch.setattr("hexviz.dag.work._LAG_NS", -1)

    async def waits(value):
        return value

    graph = Graph("both", [NodeSpec("plain", lambda value: value), NodeSpec("waits", waits)])
    with caplog.at_level("WARNING", logger="hexviz.dag"):
        asyncio.run(Orchestrator().run(graph, 1))
    assert ["'waits'" in record.getMessage() for record in caplog.records] == [True]


def test_a_run_that_is_over_is_let_go_of_without_waiting_for_the_garbage_collector():
    class Result:
        pass

    def sync_node():
        return Result()

    async def main():
        result = await Orchestrator().run(Graph("g", [NodeSpec("a", sync_node)]))
        return weakref.ref(result["a"])

    gc.disable()
    try:
        gone = asyncio.run(main())
        deadline = time.monotonic() + 5
        while gone() is not None and time.monotonic() < deadline:
            time.sleep(0.001)  # the node's thread may be about to let go of it
        assert gone() is None
    finally:
        gc.enable()


def test_an_observer_that_fails_at_the_last_event_puts_no_event_of_the_run_after_it():
    observers = ObserverManager()

    def hostile(event):
        raise ValueError

    observers.register(hostile, event_types=PipelineCompleted, lossless=True)
    with capture_events(observers) as events:
        asyncio.run(Orchestrator(observers=observers).run(sample_graph()))
    of_the_run = [event for event in events if event.seq]
    assert isinstance(of_the_run[-1], PipelineCompleted)
    assert [event.seq for event in of_the_run] == list(range(1, len(of_the_run) + 1))
    assert [type(event) for event in events if not event.seq] == [ObserverFailed]


def test_the_traceback_of_a_failed_node_begins_with_its_own_code():
    def fails():
        raise ValueError("x")

    async def fails_later():
        await asyncio.sleep(0)
        raise ValueError("y")

    graph = Graph("etl", [NodeSpec("a", fails), NodeSpec("b", fails_later)])
    with pytest.raises(PipelineError) as caught:
        asyncio.run(Orchestrator(on_error="continue").run(graph))
    first = [failure.original_error.__traceback__.tb_frame.f_code.co_name for failure in caught.value.exceptions]
    assert sorted(first) == ["fails", "fails_later"]
