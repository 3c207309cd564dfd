"""B1 to B8 and B14, seen from a whole run: policies and nodes that do their worst."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hexviz.dag import Graph, NodeSpec, NodeTimeoutError, Orchestrator, PipelineError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    NodeFailed,
    NodeStarted,
    ObserverManager,
)
from hexviz.testing import capture_events


class Silent:
    def handle_error(self, error, context):
        pass


class Odd(BaseException):
    pass


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def play(fn, handler=None, *, priority=100, event_types=None, **options):
    """Run one node, and one that only waits beside it: what came of it, and the events."""
    observers, control = ObserverManager(), ControlManager(error_handler=Silent())
    if handler is not None:
        control.register(handler, priority=priority, event_types=event_types, name="policy", timeout_s=0.2)
    graph = Graph("g", [NodeSpec("n", fn, timeout_s=options.pop("timeout_s", None))])

    async def main():
        orchestrator = Orchestrator(observers=observers, control=control, cancel_grace_s=0.05, **options)
        try:
            return await orchestrator.run(graph)
        except (PipelineError, KeyboardInterrupt, SystemExit) as error:
            return error
        finally:
            await asyncio.sleep(0.01)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with capture_events(observers) as events:
        outcome = asyncio.run(main())
    return outcome, events


def one():
    return 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), Unshowable(), Odd()], ids=lambda e: type(e).__name__
)
def test_b1_a_critical_policy_that_raises_fails_the_run_with_its_error_as_cause(error):
    def broken(event, context):
        raise error

    outcome, events = play(one, broken, priority=1, event_types=[NodeStarted])
    assert isinstance(outcome, PipelineError)
    assert "policy" in str(outcome)
    assert outcome.exceptions[0].original_error.__cause__ is error
    assert events.names()[-1] == "PipelineFailed"
    assert dict(play(one, broken, event_types=[NodeStarted])[0]) == {"n": 1}


@pytest.mark.parametrize("answer", [None, True, "fail", object(), ControlResponse("fail"), ControlResponse])
def test_b2_a_policy_that_answers_nonsense_is_taken_as_one_that_raised(answer):
    assert dict(play(one, lambda event, context: answer)[0]) == {"n": 1}
    outcome, _ = play(one, lambda event, context: answer, priority=1)
    assert isinstance(outcome, PipelineError)
    assert "policy" in str(outcome)


def test_b2_a_coroutine_from_a_sync_policy_is_awaited():
    async def later():
        return ControlResponse(ControlSignal.FALLBACK, "given")

    assert dict(play(one, lambda event, context: later(), event_types=[NodeStarted])[0]) == {"n": "given"}


def test_b3_a_policy_that_never_answers_is_left_behind_and_a_critical_one_fails_the_run():
    async def hangs(event, context):
        await asyncio.sleep(3600)

    assert dict(play(one, hangs, event_types=[NodeStarted])[0]) == {"n": 1}
    outcome, _ = play(one, hangs, priority=1, event_types=[NodeStarted])
    assert "TimeoutError" in str(outcome)


def test_b4_what_a_policy_does_to_event_and_context_has_no_effect_on_others():
    seen = []

    def vandal(event, context):
        for thing, name in ((event, "name"), (event, "run_id"), (context, "attempt"), (context, "node_id")):
            with pytest.raises(AttributeError):
                setattr(thing, name, "other")
        if hasattr(getattr(event, "result", None), "clear"):
            event.result.clear()
        return PROCEED

    observers, control = ObserverManager(), ControlManager()
    control.register(vandal, priority=1, critical=True)
    control.register(
        lambda e, c: seen.append((c.node_id, c.attempt)) or PROCEED, name="next", event_types=[NodeStarted]
    )
    graph = Graph("g", [NodeSpec("n", lambda: {"rows": 3})])
    result = asyncio.run(Orchestrator(observers=observers, control=control).run(graph))
    assert dict(result) == {"n": {"rows": 3}}
    assert seen == [("n", 1)]


def test_b5_always_retry_stops_at_the_limit_that_is_set_by_default():
    tries = []

    def fails():
        tries.append(1)
        raise ValueError

    again = ControlResponse(ControlSignal.RETRY)
    outcome, events = play(fails, lambda event, context: again, event_types=[NodeFailed])
    assert isinstance(outcome, PipelineError)
    assert len(tries) == len(events.of(NodeFailed)) == Orchestrator().settings.max_attempts


class Closed(Exception):
    """Nothing can be set on it, and its traceback is its own affair."""

    @property
    def __traceback__(self):
        raise RuntimeError("not for you")

    def __setattr__(self, name, value):
        raise TypeError("closed")


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"), asyncio.CancelledError(), GeneratorExit(), Odd(), Unshowable(), Closed(), StopIteration(1),
        ExceptionGroup("g", [ValueError()]), KeyboardInterrupt(), SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_b7_whatever_a_node_raises_is_told_before_the_end_of_the_run(error, kind):
    def fails():
        raise error

    async def fails_async():
        await asyncio.sleep(0)
        raise error

    outcome, events = play(fails if kind == "sync" else fails_async)
    names = events.names()
    assert names.index("NodeFailed") < names.index("PipelineFailed") == len(names) - 1
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        assert outcome is error
    else:
        assert outcome.exceptions[0].original_error is error or type(outcome.exceptions[0].original_error) is type(
            error
        )


@pytest.mark.parametrize("kind", ["hangs", "ignores cancellation", "blocks its thread"])
def test_b8_a_node_that_does_not_end_is_given_up_after_timeout_and_grace_and_leaves_no_task(kind):
    released = threading.Event()

    async def hangs():
        await asyncio.sleep(3600)

    async def ignores():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    fn = {"hangs": hangs, "ignores cancellation": ignores, "blocks its thread": lambda: released.wait(30)}[kind]
    try:
        outcome, events = play(fn, timeout_s=0.05)
    finally:
        released.set()
    assert isinstance(outcome.exceptions[0].original_error, NodeTimeoutError)
    assert events.names()[-1] == "PipelineFailed"


def test_b14_the_core_runs_without_observer_store_or_heavy_package(in_process):
    program = """
import asyncio, sys
from hexviz.dag import Graph, NodeSpec, Orchestrator
print(dict(asyncio.run(Orchestrator().run(Graph("g", [NodeSpec("n", lambda: 1)])))))
heavy = {"pandas", "numpy", "plotly", "ipywidgets", "IPython", "anywidget", "rich", "sqlite3"}
print(sorted(heavy & set(sys.modules)))
"""
    assert in_process(program) == "{'n': 1}\n[]\n"
