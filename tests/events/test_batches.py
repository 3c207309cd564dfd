"""Observers are told what has gathered in one go: what waits, fails or leaves in the middle costs nobody an event."""

import asyncio

import pytest

from hexviz.events import NodeCompleted, NodeStarted, ObserverManager

COUNT = 50


def tell(manager, count=COUNT):
    """More than one event at a time, of two classes in turn; the loop is not let run in between."""
    for seq in range(1, count + 1):
        kind = NodeStarted if seq % 2 else NodeCompleted
        manager.notify_nowait(kind("n", 1, *([None, 0.0] if kind is NodeCompleted else []), seq=seq))


class Ear:
    """Hears everything, and does something of its own at one event."""

    def __init__(self, at=None, act=None):
        self.seqs = []
        self._at, self._act = at, act

    async def handle(self, event):
        if not event.seq:
            return  # news of the manager about its observers
        self.seqs.append(event.seq)
        if event.seq == self._at:
            await self._act()


def heard_by(special, *, others=2, after=None, **options):
    """What each observer heard, and the statistics of the special one, which stands between others."""

    async def main():
        manager = ObserverManager()
        ears = [Ear() for _ in range(others)]
        manager.register(ears[0], observer_id="first")
        manager.register(special, observer_id="special", **options)
        manager.register(ears[1], observer_id="last")
        tell(manager)
        await manager.flush()
        if after is not None:
            await after(manager)
        statistics = manager.statistics()
        await manager.close()
        return [ear.seqs for ear in ears], statistics

    return asyncio.run(main())


EVERYTHING = list(range(1, COUNT + 1))


def test_one_that_waits_in_the_middle_of_a_batch_hears_the_rest_in_order_and_holds_up_nobody():
    special = Ear(at=20, act=lambda: asyncio.sleep(0.01))
    ears, statistics = heard_by(special)
    assert special.seqs == EVERYTHING
    assert ears == [EVERYTHING, EVERYTHING]
    assert [counts["delivered"] for counts in statistics.values()] == [COUNT] * 3


def test_one_that_waits_at_every_event_hears_them_in_order():
    special = Ear()

    async def always_waits(event):
        await asyncio.sleep(0)
        await special.handle(event)

    _, statistics = heard_by(always_waits)
    assert special.seqs == EVERYTHING
    assert statistics["special"]["delivered"] == COUNT


def test_what_does_not_fit_the_queue_of_one_that_waits_is_counted():
    special = Ear(at=20, act=lambda: asyncio.sleep(0.01))
    _, statistics = heard_by(special, queue_size=10)
    assert special.seqs == EVERYTHING[:30]
    dropped = statistics["special"]["dropped"]["queue_full"]
    assert dropped >= COUNT - 30  # and news of it, while there was no room
    assert statistics["special"]["delivered"] + dropped == statistics["first"]["delivered"]


def test_one_that_fails_in_the_middle_goes_on_with_the_next_event():
    async def fail():
        raise ValueError

    special = Ear(at=20, act=fail)
    ears, statistics = heard_by(special)
    assert special.seqs == EVERYTHING
    assert ears == [EVERYTHING, EVERYTHING]
    assert statistics["special"]["failed"] == 1
    assert statistics["special"]["delivered"] == statistics["first"]["delivered"] - 1


def test_one_that_waits_and_then_fails_is_counted_once():
    async def fail():
        await asyncio.sleep(0)
        raise ValueError

    special = Ear(at=20, act=fail)
    _, statistics = heard_by(special)
    assert (statistics["special"]["failed"], special.seqs) == (1, EVERYTHING)
    assert statistics["special"]["delivered"] == statistics["first"]["delivered"] - 1


def test_one_that_fails_first_and_waits_later_in_a_batch_is_counted_for_both():
    async def at_five_or_ten(event):
        if event.seq == 5:
            raise ValueError
        if event.seq == 10:
            await asyncio.sleep(0)

    _, statistics = heard_by(at_five_or_ten)
    assert statistics["special"]["delivered"] == statistics["first"]["delivered"] - 1
    assert statistics["special"]["failed"] == 1


@pytest.mark.parametrize("leaver", ["special", "last"])
def test_one_that_is_unregistered_in_the_middle_hears_no_more(leaver):
    async def main():
        manager = ObserverManager()

        async def leave():
            manager.unregister(leaver)

        first, special, last = Ear(), Ear(at=20, act=leave), Ear()
        for name, ear in (("first", first), ("special", special), ("last", last)):
            manager.register(ear, observer_id=name)
        tell(manager)
        await manager.flush()
        await manager.close()
        return first.seqs, special.seqs, last.seqs

    first, special, last = asyncio.run(main())
    assert first == EVERYTHING
    assert special == (EVERYTHING[:20] if leaver == "special" else EVERYTHING)
    assert last == ([] if leaver == "last" else EVERYTHING)


def test_in_the_middle_of_a_batch_the_statistics_say_how_far_each_observer_is():
    async def main():
        manager = ObserverManager()
        seen = []

        async def look(event):
            if event.seq == 20:
                seen.append({name: counts["delivered"] for name, counts in manager.statistics().items()})

        manager.register(Ear(), observer_id="first")
        manager.register(look, observer_id="looks")
        manager.register(Ear(), observer_id="last")
        tell(manager)
        await manager.close()
        return seen

    assert asyncio.run(main()) == [{"first": COUNT, "looks": 19, "last": 0}]


def test_observers_with_different_tastes_hear_their_own_events_in_order():
    async def main():
        manager = ObserverManager()
        both, starts = Ear(), Ear()
        manager.register(both)
        manager.register(starts, event_types=[NodeStarted])
        tell(manager)
        await manager.close()
        return both.seqs, starts.seqs

    assert asyncio.run(main()) == (EVERYTHING, EVERYTHING[::2])


def test_one_that_raises_generator_exit_after_a_wait_hears_what_gathered_meanwhile_before_anything_later():
    """It raises between two turns of one event: the observer before it in the row had to wait as well."""

    async def main():
        manager = ObserverManager()
        heard, released = [], asyncio.get_running_loop().create_future()

        async def before(event):
            if event.seq == 3:
                await asyncio.sleep(0.01)

        async def hostile(event):
            heard.append(event.seq)
            if event.seq == 1:
                await released
            if event.seq < 3:
                raise GeneratorExit

        manager.register(before, event_types=[NodeStarted])
        manager.register(hostile, observer_id="hostile", event_types=[NodeStarted])
        await manager.notify(NodeStarted("n", 1, seq=1))
        await manager.notify(NodeStarted("n", 1, seq=2))
        manager.notify_nowait(NodeStarted("n", 1, seq=3))
        released.set_result(None)
        await asyncio.sleep(0.02)  # a flush would tell it all at once
        await manager.flush()
        statistics = manager.statistics()["hostile"]
        await manager.close()
        return heard, statistics

    heard, statistics = asyncio.run(main())
    assert heard == [1, 2, 3]
    assert (statistics["delivered"], statistics["failed"], statistics["dropped"]) == (1, 2, {})


def told_one_event(act_of_first, *, leaver="third"):
    """Who of four observers heard the only event, where the second unregisters another."""
    heard = []

    async def main():
        manager = ObserverManager()

        def observer(name, act=None):
            async def hear(event):
                heard.append(name)
                if act is not None:
                    await act()

            manager.register(hear, observer_id=name, event_types=NodeStarted)

        async def unregister():
            manager.unregister(leaver)

        observer("first", act_of_first)
        observer("second", unregister)
        observer("third")
        observer("fourth")
        await manager.notify(NodeStarted("n", 1))
        await manager.flush()
        await manager.close()

    asyncio.run(main())
    return heard


@pytest.mark.parametrize("first", [None, lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.01)])
def test_one_that_is_unregistered_while_others_are_told_the_same_event_does_not_hear_it(first):
    assert told_one_event(first) == ["first", "second", "fourth"]


def test_one_that_unregisters_itself_holds_up_nobody():
    assert told_one_event(None, leaver="second") == ["first", "second", "third", "fourth"]
