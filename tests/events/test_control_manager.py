"""Priority and veto: who is asked, in which order, and what becomes of a handler's faults."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.errors import HexvizError, RegistrationError, RegistrationTypeError
from hexviz.events import (
    PROCEED,
    ControlManager,
    ControlResponse,
    ControlSignal,
    Event,
    ExecutionContext,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
)

STARTED = NodeStarted("a", 1)
CONTEXT = ExecutionContext("dag")
FAIL = ControlResponse(ControlSignal.FAIL, "no")
SKIP = ControlResponse(ControlSignal.SKIP)


class Quiet:
    def __init__(self):
        self.seen = []

    def handle_error(self, error, context):
        self.seen.append((error, context))


def check(manager, event=STARTED):
    return asyncio.run(manager.check(event, CONTEXT))


def answering(response, seen=None, tag=None):
    async def handler(event, context):
        if seen is not None:
            seen.append(tag)
        return response

    return handler


def test_nobody_registered_means_proceed():
    assert check(ControlManager()) is PROCEED


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.randoms())
def test_handlers_are_asked_as_a_sorted_list_would_have_them(handlers, random):
    manager, seen, model = ControlManager(), [], []
    for order, (priority, vetoes) in enumerate(handlers):
        name = manager.register(answering(FAIL if vetoes else PROCEED, seen, order), priority=priority, name=str(order))
        model.append((priority, order, vetoes, name))
    for entry in [entry for entry in model if random.random() < 0.3]:
        assert manager.unregister(entry[3])
        model.remove(entry)
    expected = []
    for _, order, vetoes, _ in sorted(model):
        expected.append(order)
        if vetoes:
            break
    response = check(manager)
    assert seen == expected
    assert response.should_interrupt() == any(vetoes for *_, vetoes, _ in model)


def test_a_check_works_on_the_registrations_that_stood_when_it_began():
    manager, seen = ControlManager(), []

    async def meddler(event, context):
        manager.clear()
        manager.register(answering(SKIP, seen, "late"), priority=0, name="late")
        return PROCEED

    manager.register(meddler, priority=1)
    manager.register(answering(FAIL, seen, "second"), priority=2)
    assert check(manager) == FAIL
    assert seen == ["second"]


@pytest.mark.parametrize("wrong", [None, True, "fail", object(), ControlResponse("fail")])
def test_a_foreign_answer_counts_as_proceed_and_is_reported(wrong):
    reports = Quiet()
    manager = ControlManager(error_handler=reports)
    manager.register(answering(wrong), name="odd")
    assert check(manager) is PROCEED
    (error, context) = reports.seen[0]
    assert "odd" in str(error)
    assert context["handler_name"] == "odd"
    assert context["event_type"] == "NodeStarted"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize(("priority", "signal"), [(49, ControlSignal.ERROR), (50, ControlSignal.PROCEED)])
def test_a_handler_that_raises_is_an_error_only_where_it_is_critical(error, priority, signal):
    async def broken(event, context):
        raise error

    manager = ControlManager(error_handler=Quiet())
    manager.register(broken, priority=priority)
    response = check(manager)
    assert response.signal is signal
    if signal is ControlSignal.ERROR:
        assert response.data is error


def test_a_handler_that_never_answers_overruns_and_the_next_is_asked():
    async def hung(event, context):
        await asyncio.sleep(3600)

    reports = Quiet()
    manager = ControlManager(error_handler=reports)
    manager.register(hung, priority=60, timeout_s=0.02)
    manager.register(answering(SKIP), priority=70)
    assert check(manager) == SKIP
    assert "0.02 s" in str(reports.seen[0][0])


def test_a_handler_that_swallows_its_cancellation_is_abandoned(monkeypatch):
    monkeypatch.setattr("hexviz.events.overrun._CANCEL_GRACE_S", 0.02)

    async def stubborn(event, context):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    manager = ControlManager(error_handler=Quiet())
    manager.register(stubborn, priority=10, timeout_s=0.02)
    assert check(manager).signal is ControlSignal.ERROR

    async def rest():
        await manager.check(STARTED, CONTEXT)
        assert asyncio.current_task().cancelling() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(rest())


def test_cancelling_the_caller_reaches_the_caller():
    async def hung(event, context):
        await asyncio.sleep(3600)

    manager = ControlManager(error_handler=Quiet())
    manager.register(hung)

    async def main():
        task = asyncio.create_task(manager.check(STARTED, CONTEXT))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


class Handling:
    async def handle(self, event, context):
        return SKIP


class Calling:
    async def __call__(self, event, context):
        return SKIP

    def method(self, event, context):
        return SKIP


async def _skips(prefix, event, context):
    return SKIP


@pytest.mark.parametrize(
    "handler",
    [
        Handling(),
        Calling(),
        Calling().method,
        functools.partial(_skips, 1),
        lambda e, c: _skips(1, e, c),
        lambda e, c: SKIP,
    ],
)
def test_anything_callable_is_called_and_anything_awaitable_awaited(handler):
    manager = ControlManager()
    manager.register(handler)
    assert check(manager) == SKIP


def test_event_types_match_subclasses_and_none_means_all_and_empty_means_none():
    manager, seen = ControlManager(), []
    manager.register(answering(PROCEED, seen, "failed"), event_types=[NodeFailed], name="a")
    manager.register(answering(PROCEED, seen, "base"), event_types=[Event], name="b")
    manager.register(answering(PROCEED, seen, "all"), name="c")
    manager.register(answering(PROCEED, seen, "none"), event_types=[], name="d")
    check(manager)
    assert seen == ["base", "all"]


def test_topics_select_what_a_handler_is_asked():
    manager, seen = ControlManager(), []
    manager.register(answering(PROCEED, seen, "x"), topics="pipeline.*.wave.*.node.clean.**")
    check(manager, NodeStarted("clean", 2, pipeline="etl"))
    check(manager, NodeStarted("load", 1, pipeline="etl"))
    assert seen == ["x"]


@pytest.mark.parametrize(
    "options",
    [
        {"event_types": "NodeStarted"},
        {"event_types": [int]},
        {"topics": 3},
        {"topics": "a..b"},
        {"timeout_s": 0},
        {"prio": 1},
    ],
)
def test_a_registration_that_cannot_work_is_refused_at_once(options):
    with pytest.raises((HexvizError, TypeError)):
        ControlManager().register(answering(PROCEED), **options)


@pytest.mark.parametrize("handler", [3, None, Handling, "text"])
def test_what_cannot_be_asked_is_refused_at_once(handler):
    with pytest.raises(TypeError):
        ControlManager().register(handler)


def test_a_taken_name_raises_and_replace_replaces():
    manager = ControlManager()
    manager.register(answering(FAIL), name="gate")
    with pytest.raises(RegistrationError, match="replace=True"):
        manager.register(answering(SKIP), name="gate")
    manager.register(answering(SKIP), name="gate", replace=True)
    assert len(manager) == 1
    assert check(manager) == SKIP


def test_a_shadow_handler_is_recorded_and_never_obeyed():
    manager = ControlManager()
    manager.register(answering(FAIL), name="trial", priority=1, shadow=True)
    decision = asyncio.run(manager.decide(STARTED, CONTEXT))
    assert decision.response is PROCEED
    assert decision.noteworthy
    assert [(vote.handler, vote.signal, vote.shadow) for vote in decision.votes] == [("trial", "fail", True)]


def test_every_vote_stands_in_the_decision():
    manager = ControlManager(error_handler=Quiet())

    async def broken(event, context):
        raise ValueError("no")

    manager.register(broken, name="broken", priority=60)
    manager.register(answering(PROCEED), name="calm", priority=70)
    manager.register(answering(ControlResponse(ControlSignal.SKIP, None, "switched off")), name="gate", priority=80)
    manager.register(answering(PROCEED), name="never", priority=90)
    decision = asyncio.run(manager.decide(STARTED, CONTEXT))
    assert [(vote.handler, vote.signal, vote.reason, vote.error) for vote in decision.votes] == [
        ("broken", "proceed", "", "ValueError: no"),
        ("calm", "proceed", "", ""),
        ("gate", "skip", "switched off", ""),
    ]
    assert all(vote.latency_us >= 0 for vote in decision.votes)


def test_a_raising_error_handler_changes_nothing(caplog):
    class Broken:
        def handle_error(self, error, context):
            raise RuntimeError("even this")

    manager = ControlManager(error_handler=Broken())
    manager.register(answering(None))
    assert check(manager) is PROCEED
    assert "error handler" in caplog.text


def test_one_manager_serves_several_loops():
    manager = ControlManager()
    manager.register(answering(SKIP))
    assert [check(manager), check(manager)] == [SKIP, SKIP]


def test_each_handler_gets_its_own_time_and_no_cancellation_is_left_behind():
    async def waits_a_little(event, context):
        await asyncio.sleep(0.005)
        return PROCEED

    async def swallows_once(event, context):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return PROCEED

    async def hung(event, context):
        await asyncio.sleep(3600)

    reports = Quiet()
    manager = ControlManager(error_handler=reports)
    manager.register(waits_a_little, timeout_s=60, priority=60)
    manager.register(swallows_once, timeout_s=0.02, priority=70)
    manager.register(hung, timeout_s=0.02, priority=80)

    async def main():
        async with asyncio.timeout(20):
            assert await manager.check(STARTED, CONTEXT) is PROCEED
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
    assert "hung" in str(reports.seen[-1][0])


def test_handlers_registered_from_several_threads_are_all_there():
    manager = ControlManager()

    def register(thread):
        for i in range(200):
            manager.register(answering(PROCEED), name=f"{thread}-{i}")

    threads = [threading.Thread(target=register, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager) == 800


def test_what_a_handler_said_with_one_proceed_is_not_said_again_in_a_later_check():
    manager = ControlManager()
    answers = iter([ControlResponse(reason="looked at it"), PROCEED])
    manager.register(lambda event, context: next(answers), name="h")
    asyncio.run(manager.check(STARTED, CONTEXT))
    decision = asyncio.run(manager.decide(STARTED, CONTEXT, all_votes=True))
    assert [vote.reason for vote in decision.votes] == [""]


@pytest.mark.parametrize(
    "handler",
    [
        lambda event: PROCEED,
        lambda: PROCEED,
        lambda event, context, more: PROCEED,
        lambda event, context, *, more: PROCEED,
        functools.partial(lambda event: PROCEED),
    ],
)
def test_a_handler_that_cannot_take_event_and_context_is_refused_at_once(handler):
    with pytest.raises(RegistrationTypeError, match=r"cannot be called with \(event, context\)"):
        ControlManager().register(handler)


@pytest.mark.parametrize(
    "handler",
    [
        lambda event, context, more=None, *, other=None: PROCEED,
        lambda *facts: PROCEED,
        functools.partial(lambda more, event, context: PROCEED, 1),
        functools.wraps(lambda event: None)(lambda event, context: PROCEED),
    ],
)
def test_a_handler_that_can_take_event_and_context_is_asked(handler):
    manager = ControlManager()
    manager.register(handler)
    assert asyncio.run(manager.decide(STARTED, CONTEXT, all_votes=True)).votes[0].error == ""


def test_a_check_that_is_over_keeps_nothing_of_its_event():
    manager = ControlManager()
    manager.register(lambda event, context: PROCEED)
    result = _Result()
    gone = weakref.ref(result)
    asyncio.run(manager.check(NodeCompleted("a", 1, result, 1.0), CONTEXT))
    del result
    gc.collect()
    assert gone() is None


class _Result:
    """What a node returned: of any size."""
