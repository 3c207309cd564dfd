"""Observers that do their worst: the run, the recording and the process end as they would without them."""

from __future__ import annotations

import json
import os
import sys

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PRELUDE = """
import asyncio, gc, json, os, sys, threading, time
from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import *
from hexviz.recording.recorder import Recorder
from hexviz.testing import sample_graph

class Silent:
    def handle_error(self, error, context):
        pass

def events(count):
    return [NodeStarted(str(i), 1, run_id="r", seq=i + 1) for i in range(count)]
"""

HOSTILE = {
    "raises": "def hostile(event): raise ValueError('x')",
    "raises SystemExit": "async def hostile(event): raise SystemExit(3)",
    "raises KeyboardInterrupt": "async def hostile(event): raise KeyboardInterrupt",
    "raises after a wait": "async def hostile(event):\n    await asyncio.sleep(0)\n    raise asyncio.CancelledError",
    "hangs": "async def hostile(event): await asyncio.sleep(3600)",
    "hangs in a thread": "def hostile(event): time.sleep(3600)",
    "waits for a lock": "lock = threading.Lock(); lock.acquire()\ndef hostile(event): lock.acquire()",
    "swallows its cancellation": (
        "async def hostile(event):\n"
        "    while True:\n"
        "        try: await asyncio.sleep(3600)\n"
        "        except asyncio.CancelledError: pass"
    ),
    "cancels its own task": (
        "async def hostile(event):\n    asyncio.current_task().cancel()\n    await asyncio.sleep(0)"
    ),
    "has an error that cannot be shown": (
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\n"
        "def hostile(event): raise Odd"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_run_beside_a_hostile_observer_is_the_same_run(in_process, kind):
    program = (
        PRELUDE
        + HOSTILE[kind]
        + """
async def main():
    plain = await Orchestrator().run(sample_graph())
    observers, recorder, heard = ObserverManager(observer_timeout=0.2, error_handler=Silent()), Recorder(), []
    recorder.attach(observers)
    observers.register(hostile, observer_id="hostile", event_types=[NodeStarted, NodeCompleted])
    async def healthy(event): heard.append(event)
    observers.register(healthy, event_types=[NodeStarted, NodeCompleted])
    result = await Orchestrator(observers=observers).run(sample_graph())
    await observers.flush(3)
    statistics = observers.statistics()["hostile"]
    await observers.close(0.2)
    assert dict(result) == dict(plain)
    assert len(heard) == 8
    counted = statistics["delivered"] + statistics["failed"] + statistics["timed_out"] + statistics["queued"]
    assert counted + sum(statistics["dropped"].values()) == 8, statistics
    assert list(recorder.recording.frames.runs["status"]) == ["succeeded"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
asyncio.run(main())
print("ended")
"""
    )
    assert in_process(program, quiet=False) == "ended\n"


def test_a_million_events_beside_a_stuck_observer_are_all_accounted_for(in_process):
    program = (
        PRELUDE
        + """
import resource
async def stuck(event): await asyncio.sleep(3600)
def blocked(event): time.sleep(3600)
async def main():
    observers, count = ObserverManager(observer_timeout=0.5, error_handler=Silent()), []
    observers.register(stuck, observer_id="stuck", event_types=[NodeStarted])
    observers.register(blocked, observer_id="blocked", event_types=[NodeStarted])
    told = 0
    def recorder(event):
        nonlocal told
        told += 1
    observers.register(recorder, lossless=True, event_types=[NodeStarted])
    event = NodeStarted("a", 1, run_id="r", seq=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1_000):
        for _ in range(1_000):
            await observers.notify(event)
        await asyncio.sleep(0)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    await observers.flush(20)
    balances = {}
    for name in ("stuck", "blocked"):
        s = observers.statistics()[name]
        balances[name] = s["delivered"] + s["failed"] + s["timed_out"] + s["queued"] + sum(s["dropped"].values())
    await observers.close(0.2)
    print(json.dumps({"told": told, "grown_mb": grown_mb, **balances}))
asyncio.run(main())
"""
    )
    outcome = json.loads(in_process(program, quiet=False).splitlines()[-1])
    assert (outcome["told"], outcome["stuck"], outcome["blocked"]) == (1_000_000, 1_000_000, 1_000_000)
    assert outcome["grown_mb"] < 2 * 10_000 * 2 / 1024 + 32


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
def test_a_forked_child_neither_loses_nor_doubles_what_its_parent_tells(in_process):
    program = (
        PRELUDE
        + """
heard = []
manager = ObserverManager()
manager.register(heard.append)
def tell(count):
    for event in events(count):
        manager.notify_nowait(event)
for _ in range(20):
    tell(5)
    child = os.fork()
    if child == 0:
        tell(3)
        time.sleep(0.01)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
deadline = time.monotonic() + 10
while len(heard) < 100 and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(heard))
"""
    )
    assert in_process(program) == "100\n"


def test_a_finaliser_that_tells_events_during_collection_stops_nothing(in_process):
    program = (
        PRELUDE
        + """
heard = []
manager = ObserverManager()
manager.register(heard.append)
manager.register(heard.append, lossless=True)
class Telling:
    def __init__(self): self.me = self
    def __del__(self): manager.notify_nowait(NodeStarted("a", 1))
for _ in range(1_000):
    Telling()
    gc.collect()
Telling()
print("ended")
"""
    )
    assert in_process(program).splitlines()[-1] == "ended"


def test_events_told_after_close_reach_nobody_and_raise_nothing(in_process):
    program = (
        PRELUDE
        + """
async def main():
    observers, heard = ObserverManager(), []
    observers.register(heard.append)
    await observers.close()
    await observers.notify(NodeStarted("a", 1))
    print(len(heard))
asyncio.run(main())
"""
    )
    assert in_process(program) == "0\n"
