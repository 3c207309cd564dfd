"""Fire and forget: what observers do stays theirs, and nothing is lost without being counted."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import types
import weakref

import pytest

from hexviz.errors import HexvizError, RegistrationTypeError
from hexviz.events import (
    Event,
    EventsDropped,
    LoggingErrorHandler,
    NodeFailed,
    NodeStarted,
    ObserverFailed,
    ObserverManager,
    get_observer_manager,
    news,
)


class Quiet:
    def __init__(self):
        self.seen = []

    def handle_error(self, error, context):
        self.seen.append((context["handler_name"], type(error).__name__))


def numbered(count):
    return [NodeStarted(str(i), 1, seq=i + 1) for i in range(count)]


def tell(manager, events, *, timeout=5.0):
    async def main():
        for event in events:
            await manager.notify(event)
        return await manager.flush(timeout)

    return asyncio.run(main())


def balance(statistics):
    return (
        statistics["delivered"]
        + statistics["failed"]
        + statistics["timed_out"]
        + sum(statistics["dropped"].values())
        + statistics["queued"]
    )


class Handling:
    def __init__(self):
        self.seen = []

    async def handle(self, event):
        self.seen.append(event)


class Calling:
    def __init__(self):
        self.seen = []

    async def __call__(self, event):
        await asyncio.sleep(0)
        self.seen.append(event)

    def method(self, event):
        self.seen.append(event)


def _returning_a_coroutine(observer):
    return lambda event: observer(event)


@pytest.mark.parametrize("kind", ["object", "async callable", "method", "partial", "lambda with coroutine", "append"])
def test_every_kind_of_observer_hears_every_event_in_order(kind):
    events = numbered(300)
    observer = Handling() if kind == "object" else Calling()
    handler = {
        "object": observer,
        "async callable": observer,
        "method": getattr(observer, "method", None),
        "partial": functools.partial(Calling.method, observer),
        "lambda with coroutine": _returning_a_coroutine(observer),
        "append": observer.seen.append,
    }[kind]
    manager = ObserverManager()
    manager.register(handler)
    assert tell(manager, events)
    assert observer.seen == events


def test_an_idle_async_observer_has_heard_when_notify_returns():
    manager, observer = ObserverManager(), Handling()
    manager.register(observer)

    async def main():
        await manager.notify(NodeStarted("a", 1))
        assert len(observer.seen) == 1

    asyncio.run(main())


def test_one_slow_observer_delays_nobody_else():
    manager, quick, order = ObserverManager(), Handling(), []

    async def slow(event):
        await asyncio.sleep(0.05)
        order.append(event.name)

    manager.register(slow)
    manager.register(quick)

    async def main():
        for event in numbered(5):
            await manager.notify(event)
        heard_at_once = len(quick.seen)
        assert await manager.flush(5)
        return heard_at_once

    assert asyncio.run(main()) == 5
    assert order == list("01234")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyboardInterrupt(),
        SystemExit(3),
        asyncio.CancelledError(),
        GeneratorExit(),
        ExceptionGroup("g", [ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_an_observer_raises_is_counted_and_reaches_nobody(error, asynchronous):
    async def broken_async(event):
        raise error

    def broken_sync(event):
        raise error

    reports, observer = Quiet(), Handling()
    manager = ObserverManager(error_handler=reports)
    manager.register(broken_async if asynchronous else broken_sync, observer_id="broken", event_types=[NodeStarted])
    manager.register(observer, event_types=[NodeStarted])
    assert tell(manager, numbered(10))
    assert manager.statistics()["broken"]["failed"] == 10
    assert len(observer.seen) == 10
    assert reports.seen[0] == ("broken", type(error).__name__)


@pytest.mark.parametrize("kind", ["sleeps", "swallows cancellation", "blocks its thread"])
def test_an_observer_that_hangs_is_given_up_and_everything_is_accounted_for(kind):
    release = threading.Event()

    async def sleeps(event):
        await asyncio.sleep(3600)

    async def swallows(event):
        while not release.is_set():
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    def blocks(event):
        release.wait(60)

    handler = {"sleeps": sleeps, "swallows cancellation": swallows, "blocks its thread": blocks}[kind]
    manager, healthy = ObserverManager(observer_timeout=0.1, error_handler=Quiet()), Handling()
    manager.register(handler, observer_id="hung", event_types=[NodeStarted])
    manager.register(healthy, event_types=[NodeStarted])

    async def main():
        for event in numbered(50):
            await manager.notify(event)
        assert await manager.flush(5)
        statistics = manager.statistics()["hung"]
        assert await manager.close(1) is True
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return statistics

    statistics = asyncio.run(main())
    release.set()
    assert len(healthy.seen) == 50
    assert statistics["timed_out"] >= 1
    assert balance(statistics) == 50


def test_hung_sync_observers_do_not_use_up_the_threads():
    release, heard = threading.Event(), []
    manager = ObserverManager(observer_timeout=30, max_sync_workers=2)
    for _ in range(8):
        manager.register(lambda event: release.wait(30))
    manager.register(heard.append)

    async def main():
        for event in numbered(20):
            await manager.notify(event)
        deadline = time.monotonic() + 20
        while len(heard) < 20 and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    asyncio.run(main())
    release.set()
    assert len(heard) == 20


@pytest.mark.parametrize(("overflow", "kept"), [("drop_newest", list("012")), ("drop_oldest", list("078"))])
def test_a_full_queue_drops_by_its_rule_and_counts(overflow, kept):
    manager, heard, gate = ObserverManager(), [], asyncio.Event()

    async def slow(event):
        await gate.wait()
        heard.append(event.name)

    manager.register(slow, observer_id="slow", queue_size=2, overflow=overflow, event_types=[NodeStarted])
    news = []
    manager.register(news.append, lossless=True, event_types=[EventsDropped])

    async def main():
        for event in numbered(9):
            await manager.notify(event)
        gate.set()
        await manager.flush(5)

    asyncio.run(main())
    assert heard == kept
    assert manager.statistics()["slow"]["dropped"] == {"queue_full": 6}
    assert sum(event.count for event in news) == 6
    assert {event.reason for event in news} == {"queue_full"}


def test_failures_are_told_as_events_whose_counts_add_up():
    def broken(event):
        raise ValueError("x")

    manager, news = ObserverManager(error_handler=Quiet()), []
    manager.register(broken, observer_id="broken", event_types=[NodeStarted])
    manager.register(news.append, lossless=True, event_types=[ObserverFailed])
    assert tell(manager, numbered(40))
    assert sum(event.count for event in news) == 40
    assert len(news) <= 4


def test_a_lossless_observer_hears_in_line_and_its_fault_reaches_nobody():
    manager, heard = ObserverManager(error_handler=Quiet()), []

    def recorder(event):
        heard.append(event)
        raise RuntimeError("disk full")

    manager.register(recorder, lossless=True, observer_id="recorder", event_types=[NodeStarted])
    manager.notify_nowait(NodeStarted("a", 1))
    assert len(heard) == 1
    assert manager.statistics()["recorder"]["failed"] == 1


def test_filters_match_subclasses_and_topics():
    manager = ObserverManager()
    heard = {name: [] for name in ("failed", "all", "none", "topic")}
    manager.register(heard["failed"].append, event_types=[NodeFailed])
    manager.register(heard["all"].append, event_types=[Event])
    manager.register(heard["none"].append, event_types=[])
    manager.register(heard["topic"].append, topics="pipeline.*.**.failed")
    assert tell(manager, [NodeStarted("a", 1), NodeFailed("a", 1, ValueError("x"))])
    assert {name: len(events) for name, events in heard.items()} == {"failed": 1, "all": 2, "none": 0, "topic": 1}


def test_events_from_many_threads_all_arrive():
    manager, observer, heard = ObserverManager(), Handling(), []
    manager.register(observer)
    manager.register(heard.append)

    def emit(start):
        for event in numbered(200):
            manager.notify_nowait(event)

    async def main():
        threads = [threading.Thread(target=emit, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert await manager.flush(10)

    asyncio.run(main())
    assert (len(observer.seen), len(heard)) == (1600, 1600)


def test_without_any_loop_async_observers_hear_all_the_same():
    observer = Handling()
    with ObserverManager() as manager:
        manager.register(observer)
        for event in numbered(20):
            manager.notify_nowait(event)
    assert len(observer.seen) == 20


def test_one_manager_serves_one_loop_after_the_other():
    manager, observer = ObserverManager(), Handling()
    manager.register(observer)
    assert tell(manager, numbered(3))
    assert tell(manager, numbered(3))
    assert len(observer.seen) == 6


def test_an_observer_may_use_timeouts_and_task_groups_of_its_own():
    heard = []

    async def careful(event):
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.001))
        heard.append(event.name)

    manager = ObserverManager()
    manager.register(careful)

    async def main():
        for event in numbered(10):
            await manager.notify(event)
        assert await manager.flush(5)
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
    assert heard == [str(i) for i in range(10)]


def test_an_observer_may_register_unregister_and_tell_from_inside():
    manager, heard = ObserverManager(), []

    async def meddler(event):
        manager.register(lambda _: None)
        manager.unregister("victim")
        if event.name == "0":
            await manager.notify(NodeStarted("inner", 1))
        heard.append(event.name)

    manager.register(meddler)
    manager.register(lambda event: None, observer_id="victim")
    assert tell(manager, numbered(2))
    assert sorted(heard) == ["0", "1", "inner"]


def test_strong_references_by_default_and_weak_ones_are_missed_aloud(caplog):
    strong, weak = ObserverManager(), ObserverManager(use_weak_refs=True)
    strong.register(Handling())
    weak.register(Handling())
    gc.collect()
    assert (len(strong), len(weak)) == (1, 0)
    assert "garbage-collected" in caplog.text


def test_close_honours_its_timeout_and_says_whether_all_was_delivered():
    async def main():
        manager = ObserverManager()
        manager.register(lambda event: time.sleep(0.3))
        for event in numbered(20):
            await manager.notify(event)
        complete = await manager.close(0.05)
        assert complete is False
        assert await manager.close(0.05) is True

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"event_types": "NodeStarted"},
        {"event_types": [int]},
        {"topics": "a..b"},
        {"queue_size": 0},
        {"overflow": "no"},
        {"event_type": 1},
    ],
)
def test_a_registration_that_cannot_work_is_refused_at_once(options):
    with pytest.raises((HexvizError, TypeError)):
        ObserverManager().register(lambda event: None, **options)


def _generator(event):
    yield event


@pytest.mark.parametrize("handler", [3, None, "text", Handling, _generator])
def test_what_cannot_hear_is_refused_at_once(handler):
    with pytest.raises(TypeError):
        ObserverManager().register(handler)


@pytest.mark.parametrize("handler", [lambda: None, lambda event, more: None])
def test_what_cannot_take_an_event_is_refused_at_once(handler):
    with pytest.raises(RegistrationTypeError, match=r"cannot be called with \(event\)"):
        ObserverManager().register(handler)


def test_flush_waits_until_what_waited_behind_a_stuck_observer_was_dropped_and_told():
    class Slow(Quiet):
        def handle_error(self, error, context):
            time.sleep(0.3)  # meanwhile the observer is stuck, and its events wait

    free, lost = threading.Event(), []
    manager = ObserverManager(observer_timeout=0.1, error_handler=Slow())
    manager.register(lambda event: free.wait(10), observer_id="stuck", event_types=NodeStarted)
    manager.register(lost.append, event_types=EventsDropped, lossless=True)
    tell(manager, numbered(4))
    statistics = manager.statistics()["stuck"]
    assert (statistics["timed_out"], statistics["dropped"], statistics["queued"]) == (1, {"stuck": 3}, 0)
    assert sum(event.count for event in lost) == 3
    free.set()


@pytest.mark.parametrize("option", ["max_concurrent_observers", "observer_timeout", "max_sync_workers"])
def test_settings_that_make_no_sense_are_refused(option):
    with pytest.raises(HexvizError, match=option):
        ObserverManager(**{option: 0})


def test_an_observer_that_waited_when_its_loop_ended_hears_again_on_the_next():
    heard, manager = [], ObserverManager()

    async def slow(event):
        await asyncio.sleep(0.05)
        heard.append(event.name)

    manager.register(slow)

    async def leaves():
        await manager.notify(NodeStarted("lost", 1))
        await asyncio.sleep(0.001)

    asyncio.run(leaves())
    assert tell(manager, [NodeStarted("second", 1)])
    assert heard == ["second"]


def test_the_news_that_a_recorder_failed_come_after_the_event_itself():
    manager, heard = ObserverManager(error_handler=Quiet()), []

    def broken(event):
        raise OSError("disk full")

    manager.register(broken, lossless=True, event_types=[NodeStarted])
    manager.register(heard.append, lossless=True)
    manager.notify_nowait(NodeStarted("a", 1))
    assert [type(event).__name__ for event in heard] == ["NodeStarted", "ObserverFailed"]


def test_an_empty_manager_among_the_ports_is_that_manager():
    manager = ObserverManager()
    assert get_observer_manager({"observer_manager": manager}) is manager
    assert len(get_observer_manager(None)) == 0


def told_on_a_loop_that_stops(heard):
    """An observer that waits on a loop which stops before it has heard the first event."""

    async def wait_and_note(event):
        await asyncio.sleep(0)
        heard.append(event.seq)

    observers = ObserverManager()
    observers.register(wait_and_note, observer_id="waits")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(observers.notify(NodeStarted("a", 1, run_id="r", seq=1)))
    assert heard == []
    return observers, loop


def test_an_observer_on_a_loop_that_stopped_hears_in_order_when_the_loop_goes_on():
    heard = []
    observers, loop = told_on_a_loop_that_stops(heard)
    observers.notify_nowait(NodeStarted("a", 1, run_id="r", seq=2))
    assert loop.run_until_complete(observers.flush())
    assert heard == [1, 2]
    loop.run_until_complete(observers.close())
    loop.close()


def test_what_an_observer_was_told_on_a_loop_that_was_closed_is_counted_as_lost():
    heard = []
    observers, loop = told_on_a_loop_that_stops(heard)
    loop.close()

    async def go_on():
        await observers.notify(NodeStarted("a", 1, run_id="r", seq=2))
        assert await observers.flush()

    asyncio.run(go_on())
    assert heard == [2]
    assert observers.statistics()["waits"]["dropped"] == {"cancelled": 1}


def test_failures_are_logged_at_most_once_a_second_for_each_handler_with_the_number_left_out(monkeypatch, caplog):
    clock = iter([100.0, 100.2, 100.9, 100.95, 101.1, 101.5, 102.0, 103.0])
    monkeypatch.setattr("hexviz.events.config.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    handler = LoggingErrorHandler()
    for name in ("a", "a", "a", "b", "a", "b", "b", "a"):
        handler.handle_error(ValueError("x"), {"handler_name": name, "event_type": "NodeStarted"})
    lines = [record.getMessage().splitlines()[0] for record in caplog.records]
    assert lines == [
        "'a' failed on NodeStarted: ValueError",
        "'b' failed on NodeStarted: ValueError",
        "'a' failed on NodeStarted: ValueError (and 2 more since the last line)",
        "'b' failed on NodeStarted: ValueError (and 1 more since the last line)",
        "'a' failed on NodeStarted: ValueError",
    ]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_flush_waits_until_the_last_news_about_observers_was_heard_too(sync):
    async def main():
        manager = ObserverManager()
        told = []

        async def failing(event):
            raise ValueError

        async def slowly(event):
            await asyncio.sleep(0.02)
            told.append(event)

        def slowly_in_a_thread(event):
            time.sleep(0.02)
            told.append(event)

        manager.register(failing, event_types=[NodeStarted])
        manager.register(slowly_in_a_thread if sync else slowly, event_types=[ObserverFailed])
        for _ in range(5):  # the first is told at once, the others are summed up
            await manager.notify(NodeStarted("a", 1))
        assert await manager.flush()
        heard = [event.count for event in told]
        await manager.close()
        return heard

    assert asyncio.run(main()) == [1, 4]


def test_flush_ends_in_time_where_an_observer_alerts_of_failures_with_an_event_that_fails_again():
    alerts, patience = [], 50_000

    async def main():
        manager = ObserverManager(error_handler=Quiet())

        async def hostile(event):
            raise ValueError

        async def alert(event):
            alerts.append(event)
            if len(alerts) < patience:
                await manager.notify(NodeStarted("alert", 1))

        manager.register(hostile, event_types=NodeStarted)
        manager.register(alert, event_types=ObserverFailed)
        await manager.notify(NodeStarted("a", 1))
        await manager.flush(0.05)

    asyncio.run(main())
    assert 0 < len(alerts) < patience


def test_what_observers_lost_of_runs_that_are_long_over_is_not_kept(monkeypatch):
    monkeypatch.setattr(news, "_EVERY_S", 0.0)
    told = []
    reports = news.News(told.append)
    for number in range(5_000):
        reports.take_note(ObserverFailed, "o", NodeStarted("a", 1, run_id=str(number)), "ValueError")
    assert sum(event.count for event in told) == 5_000
    assert len(reports._reports) < 2_000


async def _hears_and_waits(event):
    await asyncio.sleep(0)


def test_a_thread_that_comes_only_after_the_crew_was_sent_home_does_its_work_and_goes():
    def crew():
        return {thread for thread in threading.enumerate() if thread.name.startswith("hexviz-observer")}

    before, heard = crew(), []
    manager = ObserverManager()
    manager.register(lambda event: heard.append(event), observer_id="hear")
    with manager._entries["hear"]._lock:  # nobody can be hired for it yet
        manager.notify_nowait(NodeStarted("a", 1))
        manager._crew.close()
    end_s = time.monotonic() + 10.0
    while (not heard or crew() - before) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert len(heard) == 1
    assert crew() <= before


@pytest.mark.parametrize("hear", [lambda event: None, _hears_and_waits], ids=["sync", "async"])
def test_a_manager_that_nobody_closed_goes_with_its_threads_and_what_it_told_last(hear):
    """As in a cell of a notebook that is run again."""
    before = set(threading.enumerate())
    event = NodeStarted("a", 1)
    told = weakref.ref(manager := ObserverManager())
    manager.register(hear, observer_id="hear")
    manager.notify_nowait(event)
    end_s = time.monotonic() + 10.0
    while manager.statistics()["hear"]["delivered"] == 0 and time.monotonic() < end_s:
        time.sleep(0.01)
    del manager
    while (told() or set(threading.enumerate()) - before) and time.monotonic() < end_s:
        gc.collect()
        time.sleep(0.01)
    assert told() is None
    assert set(threading.enumerate()) <= before
    assert not [held for held in gc.get_referrers(event) if not isinstance(held, types.FrameType)]
