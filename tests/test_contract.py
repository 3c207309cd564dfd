"""Where hexviz differs from the first implementation on purpose: the rows of the contract's table, by number.

The number in a test's name is the number of the row. What else these rows rest on is tested beside the parts
themselves (``tests/events``, ``tests/dag``); the signatures that the contract fixes are in ``test_signatures.py``.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from itertools import pairwise

import pytest

import hexviz
from hexviz.dag import Graph, Orchestrator, PipelineError
from hexviz.errors import RegistrationError, RegistrationTypeError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    Event,
    ExecutionContext,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    NodeStarted,
    ObserverManager,
    PipelineCompleted,
    WaveStarted,
)
from hexviz.policies import Retry
from hexviz.recording.recorder import Recorder
from hexviz.testing import capture_events, sample_graph, sample_run

CONTEXT = ExecutionContext("etl")
STARTED = NodeStarted("clean", 1)


class Noting:
    """An error handler that keeps what it is told."""

    def __init__(self):
        self.told = []

    def handle_error(self, error, context):
        self.told.append((context["handler_name"], type(error).__name__))


def answering(name, asked, response=PROCEED):
    async def handler(event, context):
        asked.append(name)
        return response

    return handler


def ask(control, event=STARTED, context=CONTEXT):
    return asyncio.run(control.check(event, context))


def one_node(fn, name="n", **facts):
    graph = Graph("one")
    graph.node(fn, name=name, **facts)
    return graph


def play(graph, policies=(), **options):
    """The outcome of a run, and its events."""
    observers, control = ObserverManager(), ControlManager()
    for policy in policies:
        control.register(policy)
    with capture_events(observers) as events:
        try:
            outcome = asyncio.run(Orchestrator(observers=observers, control=control, **options).run(graph))
        except (PipelineError, asyncio.CancelledError) as error:
            outcome = error
    return outcome, events


def fails(value=None):
    raise ValueError("first attempt")


# --- control


def test_row_01_handlers_are_asked_in_order_of_priority_and_ties_in_order_of_registration():
    control, asked = ControlManager(), []
    for name, priority in (("a", 1), ("b", 50), ("c", 10), ("d", 10), ("e", 50)):
        control.register(answering(name, asked), priority=priority, name=name)
    ask(control)
    assert asked == ["a", "c", "d", "b", "e"]


def test_row_02_a_check_works_on_the_registrations_that_stood_when_it_began():
    control, asked = ControlManager(), []

    async def meddles(event, context):
        asked.append("meddles")
        control.clear()
        control.register(answering("new", asked), priority=2, name="new")
        return PROCEED

    control.register(meddles, priority=1)
    control.register(answering("vetoes", asked, ControlResponse(ControlSignal.FAIL)), priority=3, name="vetoes")
    assert ask(control).signal is ControlSignal.FAIL
    assert ask(control).signal is ControlSignal.PROCEED
    assert asked == ["meddles", "vetoes", "new"]


def test_row_03_notify_returns_while_the_slowest_observer_has_not():
    async def main():
        observers, heard, done = ObserverManager(), [], asyncio.Event()

        async def slow(event):
            await done.wait()
            heard.append("slow")

        async def quick(event):
            heard.append("quick")

        observers.register(slow)
        for number in range(9):
            observers.register(quick, observer_id=str(number))
        await observers.notify(STARTED)
        await asyncio.sleep(0)
        at_once = list(heard)
        done.set()
        await observers.flush()
        await observers.close()
        return at_once, heard

    at_once, heard = asyncio.run(main())
    assert at_once == ["quick"] * 9
    assert sorted(heard) == [*["quick"] * 9, "slow"]


def test_row_04_a_nodes_time_holds_no_time_of_observers_and_policies():
    async def slow_policy(event, context):
        await asyncio.sleep(0.3)
        return PROCEED

    async def slow_observer(event):
        await asyncio.sleep(0.3)

    async def main():
        observers, control = ObserverManager(), ControlManager()
        observers.register(slow_observer)
        control.register(slow_policy, event_types=[NodeStarted, NodeCompleted])
        with capture_events(observers) as events:
            await Orchestrator(observers=observers, control=control).run(one_node(lambda: 1))
        await observers.close()
        return events.of(NodeCompleted)[0].duration_ms

    assert asyncio.run(main()) < 200


def test_row_05_observers_cannot_change_a_run():
    async def vandal(event):
        for name in ("nodes", "result", "node_results", "dependencies"):
            value = getattr(event, name, None)
            if hasattr(value, "clear"):
                value.clear()

    async def main():
        observers = ObserverManager()
        observers.register(vandal)
        result = await sample_run(observers)
        await observers.close()
        return result

    assert dict(asyncio.run(main())) == dict(asyncio.run(sample_run()))


def test_row_06_events_are_frozen_and_can_be_hashed():
    with pytest.raises(AttributeError):
        STARTED.name = "other"
    assert {STARTED: 1}[STARTED] == 1


# --- who hears and who is asked


def test_row_07_an_observer_that_nobody_else_refers_to_hears_all_the_same():
    heard = []

    class Listening:
        async def handle(self, event):
            heard.append(event)

    async def main():
        async with ObserverManager() as observers:
            observers.register(Listening())
            gc.collect()
            await observers.notify(STARTED)

    asyncio.run(main())
    assert heard == [STARTED]


@pytest.mark.parametrize("manager", [ObserverManager, ControlManager])
def test_row_08_filters_match_subclasses_and_bad_registrations_raise_at_once(manager):
    class Special(NodeStarted, frozen=True):
        pass

    heard = []

    async def handler(event, context=None):
        heard.append(type(event))
        return PROCEED

    async def main():
        managed = manager()
        managed.register(handler, event_types=[NodeStarted])
        managed.register(handler, event_types=[Event], **({"name": "all"} if manager is ControlManager else {}))
        tell = managed.notify if manager is ObserverManager else lambda event: managed.check(event, CONTEXT)
        await tell(Special("clean", 1))
        await managed.close()

    asyncio.run(main())
    assert heard == [Special, Special]
    with pytest.raises(RegistrationTypeError, match="NodeStarted"):
        manager().register(handler, event_types="NodeStarted")
    with pytest.raises(TypeError, match="event_type"):
        manager().register(handler, event_type=[NodeStarted])


# --- a run tells everything


def test_row_09_start_and_end_pair_also_on_failure_and_cancellation():
    _, failed = play(one_node(fails))
    assert failed.names() == [
        "PipelineStarted", "WaveStarted", "NodeStarted", "NodeFailed", "WaveCompleted", "PipelineFailed",
    ]  # fmt: skip

    async def waits():
        asyncio.current_task().get_loop().call_soon(orchestrator.cancel, "r")
        await asyncio.sleep(3600)

    async def main():
        with pytest.raises(asyncio.CancelledError):
            await orchestrator.run(one_node(waits), run_id="r")

    observers = ObserverManager()
    orchestrator = Orchestrator(observers=observers)
    with capture_events(observers) as cancelled:
        asyncio.run(main())
    assert cancelled.names()[2:] == ["NodeStarted", "NodeCancelled", "WaveCompleted", "PipelineCancelled"]


def test_row_09_every_event_class_of_a_run_is_told_by_some_run():
    told = set()

    def fresh():
        answers = iter([ControlResponse(ControlSignal.RETRY), ControlResponse(ControlSignal.FALLBACK, 1)])

        def policy(event, context):
            return next(answers) if isinstance(event, NodeFailed) else PROCEED

        return policy

    async def calls():
        async with hexviz.tool_call("search") as call:
            call.result = 1
        async with hexviz.llm_call(["hello"]) as call:
            call.result = "hi"

    def skips(event, context):
        return ControlResponse(ControlSignal.SKIP) if isinstance(event, NodeStarted) else PROCEED

    for graph, policies in (
        (one_node(fails), [fresh()]),
        (one_node(fails), []),
        (one_node(calls), []),
        (sample_graph(), [skips]),
    ):
        told.update(play(graph, policies)[1].names())
    assert told >= {
        "PipelineStarted", "PipelineCompleted", "PipelineFailed", "WaveStarted", "WaveCompleted", "NodeStarted",
        "NodeCompleted", "NodeFailed", "NodeRetrying", "NodeSkipped", "NodeFellBack", "ControlDecided", "ToolCalled",
        "ToolCompleted", "LLMPromptSent", "LLMResponseReceived",
    }  # fmt: skip


@pytest.mark.parametrize("signal", ["SKIP", "RETRY", "FALLBACK"])
def test_row_10_skip_retry_and_fallback_at_a_start_are_no_errors_and_the_node_has_an_end(signal):
    answers = iter([ControlResponse(ControlSignal[signal], {"RETRY": None}.get(signal, "given"))])

    def policy(event, context):
        return next(answers, PROCEED) if isinstance(event, NodeStarted) else PROCEED

    outcome, events = play(one_node(lambda: "ran"), [policy])
    assert dict(outcome) == {"n": "ran" if signal == "RETRY" else "given"}
    ends = {"SKIP": "NodeSkipped", "RETRY": "NodeCompleted", "FALLBACK": "NodeFellBack"}
    assert ends[signal] in events.names()


def test_row_10_a_node_skipped_without_data_hands_on_nothing():
    graph, got = Graph("two"), []
    graph.node(lambda: 1, name="first")
    graph.node(got.append, name="second", after=["first"])
    skip = ControlResponse(ControlSignal.SKIP)
    outcome, events = play(
        graph, [lambda e, c: skip if isinstance(e, NodeStarted) and c.node_id == "first" else PROCEED]
    )
    assert dict(outcome) == {}
    assert got == []
    assert [event.name for event in events.of(NodeSkipped)] == ["first", "second"]


def test_row_11_a_fail_of_a_policy_is_offered_to_nobody_for_retry():
    offered, ran = [], []

    def veto(event, context):
        return ControlResponse(ControlSignal.FAIL, "no") if isinstance(event, NodeStarted) else PROCEED

    def retry(event, context):
        if isinstance(event, NodeFailed):
            offered.append(event)
            return ControlResponse(ControlSignal.RETRY)
        return PROCEED

    outcome, _ = play(one_node(lambda: ran.append(1)), [veto, retry])
    assert isinstance(outcome, PipelineError)
    assert (offered, ran) == ([], [])


def test_row_12_retry_is_a_loop_and_keeps_the_metadata():
    tries = []

    def node():
        tries.append(1)
        if len(tries) < 1_500:
            raise ValueError

    def policy(event, context):
        if isinstance(event, NodeFailed):
            context.metadata["failures"] = context.metadata.get("failures", 0) + 1
            return ControlResponse(ControlSignal.RETRY)
        if isinstance(event, NodeCompleted):
            kept.append(context.metadata["failures"])
        return PROCEED

    kept = []
    outcome, _ = play(one_node(node), [policy], max_attempts=2_000)
    assert set(outcome) == {"n"}
    assert kept == [1_499]


def test_row_12_a_wait_before_a_retry_holds_no_slot_and_a_bad_delay_keeps_the_error():
    ended, tries = [], []

    async def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("first attempt")
        ended.append("flaky")

    async def other():
        ended.append("other")

    graph = Graph("two")
    graph.node(flaky)
    graph.node(other)
    later = ControlResponse(ControlSignal.RETRY, {"delay": 0.05})
    play(graph, [lambda e, c: later if type(e) is NodeFailed else PROCEED], max_concurrent_nodes=1)
    assert ended == ["other", "flaky"]

    bad = ControlResponse(ControlSignal.RETRY, {"delay": float("nan")})
    outcome, _ = play(one_node(fails), [lambda e, c: bad if type(e) is NodeFailed else PROCEED])
    assert "first attempt" in str(outcome.exceptions[0].original_error.__cause__)


def test_row_13_every_event_names_its_run_its_pipeline_and_its_attempt():
    outcome, events = play(sample_graph())
    assert {(event.run_id, event.pipeline) for event in events} == {(outcome.run_id, "sample")}
    assert {event.attempt for event in events.of(NodeStarted, NodeCompleted)} == {1}


# --- faults of handlers and observers


def test_row_14_handlers_are_bounded_and_isolated_and_a_veto_is_no_error():
    noting = Noting()
    control = ControlManager(error_handler=noting)

    async def hangs(event, context):
        await asyncio.sleep(3600)

    control.register(hangs, timeout_s=0.05)
    control.register(lambda e, c: ControlResponse(ControlSignal.SKIP), name="vetoes", priority=200)
    assert ask(control).signal is ControlSignal.SKIP
    assert noting.told == [("hangs", "TimeoutError")]


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit])
def test_row_14_an_error_handler_that_raises_fails_nothing(raised):
    class Raising:
        def handle_error(self, error, context):
            raise raised

    control = ControlManager(error_handler=Raising())
    control.register(lambda event, context: 1 / 0)
    assert ask(control) is PROCEED

    async def main():
        observers = ObserverManager(error_handler=Raising())
        observers.register(lambda event: 1 / 0, observer_id="threaded")
        observers.register(lambda event: 1 / 0, lossless=True, observer_id="lossless")
        result = await sample_run(observers)
        flushed, statistics = await observers.flush(), observers.statistics()
        await observers.close()
        return len(result), flushed, statistics["threaded"]["failed"]

    nodes, flushed, failed = asyncio.run(main())
    assert (nodes, flushed) == (4, True)
    assert failed >= 12


def test_row_14_a_sync_handler_with_a_limit_does_not_hold_up_the_loop():
    released = threading.Event()
    control = ControlManager()
    control.register(lambda event, context: released.wait(10) and PROCEED, timeout_s=10)

    async def main():
        asking = asyncio.create_task(control.check(STARTED, CONTEXT))
        await asyncio.sleep(0)
        released.set()  # from the loop that would be held up
        return await asking

    assert asyncio.run(main()) is PROCEED


def test_row_15_stuck_and_slow_observers_leave_the_others_all_their_events():
    released, heard, busy = threading.Event(), [], []

    async def slow(event):
        await asyncio.sleep(3600)

    def once_at_a_time(event):
        assert not busy
        busy.append(event)
        heard.append(event.seq)
        busy.clear()

    async def main():
        observers = ObserverManager(max_concurrent_observers=2, observer_timeout=0.5, error_handler=Noting())
        for number in range(8):
            observers.register(lambda event: released.wait(30), observer_id=f"stuck {number}")
        for number in range(20):
            observers.register(slow, observer_id=f"slow {number}")
        observers.register(once_at_a_time, observer_id="healthy", event_types=[NodeStarted])
        for seq in range(1, 51):
            await observers.notify(NodeStarted("n", 1, seq=seq))
        await observers.flush(20)
        statistics = observers.statistics()
        await observers.close(0.1)
        released.set()
        return statistics

    statistics = asyncio.run(main())
    assert heard == list(range(1, 51))
    assert statistics["healthy"]["failed"] == 0
    assert all(statistics[f"slow {number}"]["timed_out"] >= 1 for number in range(20))


def test_row_16_anything_callable_is_called_and_anything_awaitable_awaited():
    heard = []

    class Calling:
        async def __call__(self, event, context=None):
            await asyncio.sleep(0)
            heard.append(type(self).__name__)
            return PROCEED

    async def coroutine(event, context=None):
        await asyncio.sleep(0)
        heard.append("coroutine")
        return PROCEED

    async def main():
        async with ObserverManager() as observers:
            observers.register(Calling())
            observers.register(lambda event: coroutine(event))
            await observers.notify(STARTED)
        control = ControlManager()
        control.register(Calling(), name="object")
        control.register(lambda event, context: coroutine(event), name="lambda")
        return await control.check(STARTED, CONTEXT)

    assert asyncio.run(main()) is PROCEED
    assert sorted(heard) == ["Calling", "Calling", "coroutine", "coroutine"]


def test_row_17_managers_serve_one_loop_after_the_other_and_nested_runs():
    heard = []

    async def observer(event):
        heard.append(event)

    observers = ObserverManager(max_concurrent_observers=1)
    orchestrator = Orchestrator(observers=observers, max_concurrent_nodes=1)
    observers.register(observer, event_types=[PipelineCompleted])

    async def nested():
        return dict(await orchestrator.run(one_node(lambda: "inner")))

    async def main():
        result = await orchestrator.run(one_node(nested))
        await observers.flush()
        return dict(result)

    assert [asyncio.run(main()) for _ in range(2)] == [{"n": {"n": "inner"}}] * 2
    assert len(heard) == 4
    asyncio.run(observers.close())


def test_row_18_as_many_sync_nodes_run_at_once_as_the_limit_says_with_their_context():
    together, variable = threading.Barrier(12, timeout=20), contextvars.ContextVar("variable")
    seen = []

    def node():
        together.wait()  # passes only when all twelve are there
        seen.append(variable.get())

    graph = Graph("wide")
    for number in range(12):
        graph.node(node, name=f"n{number}")
    variable.set("mine")
    play(graph, max_concurrent_nodes=12)
    assert seen == ["mine"] * 12


def test_row_18_a_sync_node_can_be_cancelled_and_stop_iteration_is_a_named_failure():
    released = threading.Event()

    async def main():
        orchestrator = Orchestrator(cancel_grace_s=0.05)
        running = asyncio.create_task(orchestrator.run(one_node(lambda: released.wait(30)), run_id="r"))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    try:
        asyncio.run(main())
    finally:
        released.set()
    outcome, _ = play(one_node(lambda: next(iter(()))))
    assert isinstance(outcome.exceptions[0].original_error, StopIteration)


# --- what is kept, and what people meet


def test_row_19_times_are_utc_and_settable_and_results_are_summarised():
    when = datetime(2026, 1, 2, tzinfo=UTC)
    assert NodeStarted("a", 1, timestamp=when).timestamp == when
    assert STARTED.timestamp.utcoffset().total_seconds() == 0

    class Huge:
        alive = 0

        def __init__(self):
            Huge.alive += 1

        def __del__(self):
            Huge.alive -= 1

    observers = ObserverManager()
    recorder = Recorder().attach(observers)
    asyncio.run(Orchestrator(observers=observers).run(one_node(Huge)))
    gc.collect()
    assert Huge.alive == 0
    events = list(recorder.recording)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(a.monotonic_ns <= b.monotonic_ns for a, b in pairwise(events))


def test_row_20_a_taken_name_raises_and_names_replace_and_a_cell_can_be_run_again():
    def handler(event, context=None):
        return PROCEED

    for manager, key in ((ObserverManager(), "observer_id"), (ControlManager(), "name")):
        manager.register(handler, **{key: "mine"})
        with pytest.raises(RegistrationError, match="replace=True"):
            manager.register(handler, **{key: "mine"})
        manager.register(handler, **{key: "mine"}, replace=True)
        assert len(manager) == 1

    heard = []
    for _ in range(3):  # the same cell, again and again
        hexviz.run_sync(
            sample_graph(), policies=[Retry(max_attempts=2)], observers=[lambda e: heard.append(type(e))], store=False
        )
    assert heard.count(PipelineCompleted) == 3


def test_row_21_a_node_gets_only_the_arguments_that_its_signature_takes():
    graph = Graph("ports")
    graph.node(lambda x: x, name="plain")
    graph.node(lambda x, database: database, name="takes", after=["plain"])
    ports = {"database": "db", "observer_manager": ObserverManager(), "control_manager": ControlManager()}
    assert dict(asyncio.run(Orchestrator(ports=ports).run(graph, 1))) == {"plain": 1, "takes": "db"}


def test_row_22_a_node_starts_when_its_parents_have_ended():
    graph, order = Graph("two branches"), []

    def node(name, waits_for=None):
        async def work(value=None):
            while waits_for is not None and waits_for not in order:
                await asyncio.sleep(0)
            order.append(name)

        graph.node(work, name=name, after=[{"a2": "a1", "b2": "b1"}[name]] if name[1] == "2" else [])

    node("a1")
    node("b1", waits_for="a2")  # with a barrier between the waves this would never end
    node("a2")
    node("b2")
    asyncio.run(asyncio.wait_for(Orchestrator().run(graph), 30))
    assert order == ["a1", "a2", "b1", "b2"]


def test_row_22_a_long_chain_added_last_first_runs():
    graph = Graph("deep")
    for i in reversed(range(1_500)):
        graph.node(lambda x=0: (x or 0) + 1, name=f"n{i}", after=[f"n{i - 1}"] if i else [])
    assert asyncio.run(Orchestrator().run(graph))["n1499"] == 1_500


def test_row_22_a_joins_inputs_keep_their_declared_order_whatever_the_hash_seed():
    program = (
        "import asyncio\nfrom hexviz.dag import Graph, Orchestrator\ngraph = Graph('g')\n"
        "for name in 'dacb': graph.node(lambda: 1, name=name)\n"
        "graph.node(lambda values: list(values), name='join', after=['d', 'a', 'c', 'b'])\n"
        "print(''.join(asyncio.run(Orchestrator().run(graph))['join']))"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert orders == {"dacb\n"}


def test_row_23_exponential_grows_exponentially_and_filtering_looks_up_once_per_class():
    retry = Retry(max_attempts=6, initial_interval_s=1.0, backoff_factor=2.0, max_interval_s=1e6, jitter=0)
    failed = NodeFailed("n", 1, OSError())
    delays = [
        retry.handle(failed, ExecutionContext("g", "n", 1, attempt, run_id="r")).data["delay"]
        for attempt in range(1, 6)
    ]
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0]

    lookups = []

    class Counting(type(NodeStarted)):
        def __subclasscheck__(cls, subclass):
            lookups.append(subclass)
            return super().__subclasscheck__(subclass)

    class Wanted(NodeStarted, metaclass=Counting, frozen=True):
        pass

    observers = ObserverManager()
    for number in range(50):
        observers.register(lambda event: None, observer_id=str(number), event_types=[Wanted])
    lookups.clear()
    for _ in range(100):
        observers.notify_nowait(WaveStarted(1, ()))
    assert len(lookups) == 50
