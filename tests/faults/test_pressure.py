"""Observers under pressure: forks beside a store, many that hang, reentrance, foreign threads and loops, contexts."""

from __future__ import annotations

import json
import os
import sys

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PRELUDE = """
import asyncio, contextvars, gc, json, os, sys, threading, time, weakref
from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import *
from tests.faults import oracles

class Silent:
    def handle_error(self, error, context):
        pass

def event(seq):
    return NodeStarted("n", 1, run_id="r", seq=seq)
"""


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
@pytest.mark.parametrize("leaves", ["os._exit(0)", "sys.exit(0)"])
def test_a5_a_child_forked_by_an_observer_never_writes_the_store_of_its_parent(in_process, leaves):
    program = (
        PRELUDE
        + f"""
import hexviz
from hexviz.recording.recorder import Recorder
store = hexviz.open_store("runs.db")
observers = ObserverManager()
Recorder(store=store).attach(observers)
def forks(event):
    if event.seq % 2 or os.getpid() != parent:
        return
    child = os.fork()
    if child == 0:
        for seq in range(100, 105):
            observers.notify_nowait(NodeStarted("child", 1, run_id="r", seq=seq))
        {leaves}
    os.waitpid(child, 0)
parent = os.getpid()
observers.register(forks, lossless=True, observer_id="forks", event_types=[NodeStarted])
for seq in range(1, 21):
    observers.notify_nowait(event(seq))
if os.getpid() != parent:
    os._exit(0)
store.flush()
kept = sorted(e.seq for e in store.recording("r") if type(e) is NodeStarted)
problems = {{p.problem for p in store.verify()}}
store.close()
print(kept == list(range(1, 21)), problems)
"""
    )
    assert in_process(program, quiet=False).splitlines()[-1] == "True {'unclean end'}"


def test_a6_beside_64_observers_that_hang_a_healthy_one_hears_everything(in_process):
    program = (
        PRELUDE
        + """
heard = []
def hangs(event): time.sleep(3600)
async def main():
    observers = ObserverManager(observer_timeout=0.3, max_sync_workers=4, error_handler=Silent())
    for number in range(64):
        observers.register(hangs, observer_id=f"hangs {number}", event_types=[NodeStarted])
    observers.register(lambda event: heard.append(event.seq), observer_id="healthy", event_types=[NodeStarted])
    for seq in range(1, 101):
        await observers.notify(event(seq))
    await observers.flush(30)
    balances = {oracles.balance(s) for s in observers.statistics().values()}
    await observers.close(0.1)
    print(heard == list(range(1, 101)), balances)
asyncio.run(main())
"""
    )
    assert in_process(program) == "True {100}\n"


def test_a11_observers_that_tell_register_and_close_from_inside_stop_nothing(in_process):
    program = (
        PRELUDE
        + """
heard = []
async def main():
    observers = ObserverManager(error_handler=Silent())
    def tells_on(event):
        if event.seq < 2_000:
            observers.notify_nowait(NodeStarted("n", 1, seq=event.seq + 1))
    async def registers(event):
        observers.register(heard.append, observer_id="late", replace=True)
        observers.unregister("late")
    observers.register(tells_on, observer_id="tells", event_types=[NodeStarted])
    observers.register(registers, observer_id="registers", event_types=[NodeStarted])
    await observers.notify(event(1))
    assert await observers.flush(30)
    delivered = observers.statistics()["tells"]["delivered"]
    async def closes(event): await observers.close(0.1)
    observers.register(closes, observer_id="closes", event_types=[WaveStarted])
    await observers.notify(WaveStarted(1, ()))
    await asyncio.sleep(0.5)
    print(delivered, len(observers))
asyncio.run(main())
"""
    )
    assert in_process(program, quiet=False) == "2000 0\n"


def test_a12_a_vandal_leaves_the_next_observer_and_the_run_the_original(in_process):
    program = (
        PRELUDE
        + """
from hexviz.testing import sample_graph
seen = []
async def vandal(event):
    for name in ("run_id", "seq"):
        try: setattr(event, name, "x")
        except AttributeError: pass
async def healthy(event): seen.append(event.seq)
async def main():
    observers = ObserverManager()
    observers.register(vandal)
    observers.register(healthy)
    await Orchestrator(observers=observers).run(sample_graph())
    await observers.close()
    print(seen == list(range(1, len(seen) + 1)))
asyncio.run(main())
"""
    )
    assert in_process(program) == "True\n"


def test_a13_after_an_observer_is_gone_the_manager_holds_neither_it_nor_its_events(in_process):
    program = (
        PRELUDE
        + """
class Keeping:
    async def handle(self, event): await asyncio.sleep(0)
class Payload: pass
async def main():
    observers, keeping, payload = ObserverManager(), Keeping(), Payload()
    observers.register(keeping, observer_id="k")
    gone = [weakref.ref(keeping), weakref.ref(payload)]
    for _ in range(20):
        await observers.notify(NodeCompleted("n", 1, payload, 1.0))
    await observers.flush()
    observers.unregister("k")
    del keeping, payload
    await asyncio.sleep(0.01)
    gc.collect()
    print([ref() for ref in gone])
    await observers.close()
asyncio.run(main())
"""
    )
    assert in_process(program) == "[None, None]\n"


def test_a15_close_honours_its_timeout_over_completeness_and_says_so(in_process):
    program = (
        PRELUDE
        + """
async def slow(event): await asyncio.sleep(0.05)
async def main():
    observers = ObserverManager()
    observers.register(slow)
    for seq in range(1, 1_001): await observers.notify(event(seq))
    began = time.monotonic()
    complete = await observers.close(timeout=0.2)
    print(complete, time.monotonic() - began < 10)
asyncio.run(main())
"""
    )
    assert in_process(program) == "False True\n"


def test_a16_eight_threads_and_a_second_loop_lose_nothing(in_process):
    program = (
        PRELUDE
        + """
observers, counts = ObserverManager(), {"sync": 0, "async": 0}
def sync(event): counts["sync"] += 1
async def awaited(event): counts["async"] += 1
observers.register(sync, observer_id="sync")
observers.register(awaited, observer_id="async")
def tell(number):
    if number == 7:
        async def main():
            for seq in range(500): await observers.notify(event(seq))
        asyncio.run(main())
    else:
        for seq in range(500): observers.notify_nowait(event(seq))
async def main():
    await observers.notify(event(0))
    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for thread in threads: thread.start()
    while any(thread.is_alive() for thread in threads): await asyncio.sleep(0.01)
    assert await observers.flush(30)
    balances = {name: oracles.balance(s) for name, s in observers.statistics().items()}
    await observers.close()
    observers.notify_nowait(event(1))
    print(json.dumps([counts, balances]))
asyncio.run(main())
"""
    )
    counts, balances = json.loads(in_process(program))
    assert counts == balances == {"sync": 4_001, "async": 4_001}


def test_a17_what_an_observer_sets_in_its_context_reaches_no_node(in_process):
    program = (
        PRELUDE
        + """
variable, seen = contextvars.ContextVar("variable", default="clean"), []
async def sets(event): variable.set("observer")
async def sets_late(event):
    await asyncio.sleep(0)
    variable.set("observer")
async def node(value=None):
    await asyncio.sleep(0)
    seen.append(variable.get())
def sync_node(value=None): seen.append(variable.get())
async def main():
    observers = ObserverManager()
    for number, observer in enumerate([sets, sets_late, lambda event: variable.set("thread")]):
        observers.register(observer, observer_id=str(number))
    graph = Graph("g", [NodeSpec("a", node), NodeSpec("b", sync_node, deps=["a"]), NodeSpec("c", node, deps=["b"])])
    await Orchestrator(observers=observers).run(graph)
    await observers.close()
    print(seen, variable.get())
asyncio.run(main())
"""
    )
    assert in_process(program) == "['clean', 'clean', 'clean'] clean\n"
