"""Observers that do their worst: the run, the recording and the process end as they would without them."""

from __future__ import annotations

import json
import os
import sys

import pytest

from hexviz.errors import RegistrationTypeError
from hexviz.events import ObserverManager

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
    "a1 raises": "def hostile(event): raise ValueError('x')",
    "a1 async raises": "async def hostile(event): raise ValueError('x')",
    "a1 partial raises": "import functools\nhostile = functools.partial(lambda x, event: 1 / 0, 1)",
    "a1 bound method raises": "class A:\n    def method(self, event): raise ValueError\nhostile = A().method",
    "a1 callable object raises": "class A:\n    async def __call__(self, event): raise ValueError\nhostile = A()",
    "a1 object with handle raises": "class A:\n    async def handle(self, event): raise ValueError\nhostile = A()",
    "a2 hangs": "async def hostile(event): await asyncio.sleep(3600)",
    "a2 hangs in a thread": "def hostile(event): time.sleep(3600)",
    "a2 waits for a lock": "lock = threading.Lock(); lock.acquire()\ndef hostile(event): lock.acquire()",
    "a2 spins": "def hostile(event):\n    while True: pass",
    "a7 cancels its own task": (
        "async def hostile(event):\n    asyncio.current_task().cancel()\n    await asyncio.sleep(0)"
    ),
    "a7 cancels and goes on": "async def hostile(event): asyncio.current_task().cancel()",
    "a8 SystemExit": "async def hostile(event): raise SystemExit(3)",
    "a8 SystemExit in a thread": "def hostile(event): raise SystemExit(3)",
    "a8 KeyboardInterrupt": "async def hostile(event): raise KeyboardInterrupt",
    "a8 KeyboardInterrupt after a wait": (
        "async def hostile(event):\n    await asyncio.sleep(0)\n    raise KeyboardInterrupt"
    ),
    "a8 CancelledError": "async def hostile(event): raise asyncio.CancelledError",
    "a8 CancelledError after a wait": (
        "async def hostile(event):\n    await asyncio.sleep(0)\n    raise asyncio.CancelledError"
    ),
    "a8 GeneratorExit": "async def hostile(event): raise GeneratorExit",
    "a8 GeneratorExit after a wait": "async def hostile(event):\n    await asyncio.sleep(0)\n    raise GeneratorExit",
    "a8 StopIteration": "def hostile(event): raise StopIteration",
    "a8 BaseException": "class Odd(BaseException): pass\nasync def hostile(event): raise Odd",
    "a8 group": "async def hostile(event): raise ExceptionGroup('g', [ValueError(), OSError()])",
    "a8 group with an exit": "async def hostile(event): raise BaseExceptionGroup('g', [SystemExit(3)])",
    "a8 cannot be shown": (
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\n"
        "def hostile(event): raise Odd"
    ),
    "a9 swallows its cancellation": (
        "async def hostile(event):\n"
        "    while True:\n"
        "        try: await asyncio.sleep(3600)\n"
        "        except asyncio.CancelledError: pass"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a1_a2_a7_a8_a9_a_run_beside_a_hostile_observer_is_the_same_run(in_process, kind):
    program = (
        PRELUDE
        + HOSTILE[kind]
        + """
from tests.faults import oracles
log = oracles.Log()
async def main():
    files = oracles.open_files()
    plain = await Orchestrator().run(sample_graph())
    observers, recorder, heard = ObserverManager(observer_timeout=0.2), Recorder(), []
    recorder.attach(observers)
    observers.register(hostile, observer_id="hostile", event_types=[NodeStarted, NodeCompleted])
    async def healthy(event): heard.append(event)
    observers.register(healthy, event_types=[NodeStarted, NodeCompleted])
    result = await Orchestrator(observers=observers).run(sample_graph())
    await observers.flush(3)
    statistics = observers.statistics()["hostile"]
    await observers.close(0.2)
    oracles.same_run(plain, result, recorder.recording)
    assert len(heard) == 8
    assert oracles.balance(statistics) == 8, statistics
    assert statistics["queued"] == 0
    if statistics["failed"] or statistics["timed_out"]:
        assert log.names("hostile"), log.lines
    await oracles.nothing_left(files)
asyncio.run(main())
print("ended", flush=True)
if any(t.name.startswith("hexviz-observer") and t.is_alive() for t in threading.enumerate()):
    os._exit(0)  # a thread that spins is a daemon, but ends no sooner for that
"""
    )
    assert in_process(program, quiet=False) == "ended\n"


@pytest.mark.parametrize("kind", ["generator", "async generator", "class", "object", "text"])
def test_a1_what_cannot_hear_is_refused_when_it_is_registered(kind):
    def generator(event):
        yield

    async def async_generator(event):
        yield

    cannot = {
        "generator": generator,
        "async generator": async_generator,
        "class": dict,
        "object": object(),
        "text": "x",
    }
    with pytest.raises(RegistrationTypeError):
        ObserverManager().register(cannot.get(kind, "text"))


def test_a7_cancelling_every_task_may_end_the_run_and_the_recording_says_so(in_process):
    program = (
        PRELUDE
        + """
async def hostile(event):
    for task in asyncio.all_tasks(): task.cancel()
async def slow(value=None): await asyncio.sleep(0.2)
async def main():
    observers, recorder = ObserverManager(observer_timeout=0.2, error_handler=Silent()), Recorder()
    recorder.attach(observers)
    observers.register(hostile, event_types=[NodeStarted])
    running = asyncio.ensure_future(
        Orchestrator(observers=observers).run(Graph("g", [NodeSpec("n", slow), NodeSpec("m", slow, deps=["n"])]))
    )
    while not running.done():
        try: await asyncio.wait([running], timeout=10)
        except asyncio.CancelledError: asyncio.current_task().uncancel()
    await observers.close(0.2)
    print(type(list(recorder.recording)[-1]).__name__)
asyncio.run(main())
"""
    )
    assert in_process(program, quiet=False) in {
        "PipelineCancelled\n", "PipelineFailed\n", "PipelineCompleted\n",
    }  # fmt: skip


def test_a10_a_million_events_beside_a_stuck_observer_are_all_accounted_for(in_process):
    program = (
        PRELUDE
        + """
import resource
import logging
async def stuck(event): await asyncio.sleep(3600)
def blocked(event): time.sleep(3600)
class Lines(logging.Handler):
    times = {"stuck": [], "blocked": []}
    def emit(self, record):
        if "lost events" in record.getMessage(): self.times[record.args[0]].append(time.monotonic())
logging.getLogger("hexviz.observers").addHandler(Lines())
logging.getLogger("hexviz.observers").propagate = False
async def main():
    observers = ObserverManager(observer_timeout=0.5, error_handler=Silent())
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
    gaps = [later - line for times in Lines.times.values() for line, later in zip(times, times[1:])]
    lines = {f"lines_{name}": len(times) for name, times in Lines.times.items()}
    print(json.dumps({"told": told, "grown_mb": grown_mb, "least_gap_s": min(gaps, default=1), **lines, **balances}))
asyncio.run(main())
"""
    )
    outcome = json.loads(in_process(program, quiet=False, dev=False).splitlines()[-1])
    assert (outcome["told"], outcome["stuck"], outcome["blocked"]) == (1_000_000, 1_000_000, 1_000_000)
    assert outcome["grown_mb"] < 2 * 10_000 * 2 / 1024 + 32
    assert min(outcome["lines_stuck"], outcome["lines_blocked"]) >= 1
    assert outcome["least_gap_s"] > 0.99  # at most one line a second for each observer


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
def test_a5_a_forked_child_neither_loses_nor_doubles_what_its_parent_tells(in_process):
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


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
def test_a5_a_child_forked_during_a_call_tells_the_same_observer_its_own_events(in_process):
    program = (
        PRELUDE
        + """
parent, heard, called, go = os.getpid(), [], threading.Event(), threading.Event()
def observer(event):
    if os.getpid() == parent:
        called.set()
        go.wait()
    heard.append(event.name)
manager = ObserverManager()
manager.register(observer)
manager.notify_nowait(NodeStarted("of the parent", 1))
assert called.wait(10)
child = os.fork()
if child == 0:
    manager.notify_nowait(NodeStarted("of the child", 1))
    os._exit(0 if asyncio.run(manager.flush()) and heard == ["of the child"] else 1)
assert os.waitpid(child, 0)[1] == 0
go.set()
asyncio.run(manager.flush())
print(heard)
"""
    )
    assert in_process(program) == "['of the parent']\n"


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
def test_a5_a_child_forked_while_a_thread_takes_note_of_a_failure_takes_note_of_its_own(in_process):
    program = (
        PRELUDE
        + """
async def hostile(event): raise ValueError("x")
news = []
manager = ObserverManager(error_handler=Silent())
manager.register(hostile)
manager.register(lambda event: news.append(event.observer), event_types=[ObserverFailed], lossless=True)
inside, leave = threading.Event(), threading.Event()
def hold():
    with manager._news._lock, manager._late_lock:
        inside.set()
        leave.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    import faulthandler
    faulthandler.dump_traceback_later(10, exit=True)
    asyncio.run(manager.notify(NodeStarted("a", 1)))
    os._exit(0 if len(news) == 1 else 1)
ended = os.waitpid(child, 0)[1]
leave.set()
thread.join()
print(ended)
"""
    )
    assert in_process(program) == "0\n"


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork beside threads")
def test_a5_a_child_forked_while_a_thread_registers_a_policy_and_records_does_both_itself(in_process):
    program = (
        PRELUDE
        + """
from hexviz.policies import CircuitBreaker
control, recorder, breaker = ControlManager(), Recorder(), CircuitBreaker()
inside, leave = threading.Event(), threading.Event()
def hold():
    with control._lock, recorder.recording.lock, breaker._lock:
        inside.set()
        leave.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    import faulthandler
    faulthandler.dump_traceback_later(10, exit=True)
    control.register(breaker)
    observers = ObserverManager()
    recorder.attach(observers)
    asyncio.run(Orchestrator(observers=observers, control=control).run(sample_graph()))
    os._exit(0 if len(recorder.recording) else 1)
ended = os.waitpid(child, 0)[1]
leave.set()
thread.join()
print(ended)
"""
    )
    assert in_process(program) == "0\n"


def test_a14_a_finaliser_that_tells_events_during_collection_stops_nothing(in_process):
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
gc.freeze()  # collections look at what is new only, and are quick
for _ in range(1_000):
    Telling()
    gc.collect()
Telling()
print("ended")
"""
    )
    assert in_process(program).splitlines()[-1] == "ended"


def test_a16_events_told_after_close_reach_nobody_raise_nothing_and_are_counted(in_process):
    program = (
        PRELUDE
        + """
async def main():
    observers, heard = ObserverManager(), []
    observers.register(heard.append)
    await observers.close()
    assert observers.statistics() == {}
    await observers.notify(NodeStarted("a", 1))
    tellers = [threading.Thread(target=observers.notify_nowait, args=[NodeStarted("a", 1)]) for _ in range(8)]
    for teller in tellers: teller.start()
    for teller in tellers: teller.join()
    await observers.close()
    print(len(heard), {name: counts["dropped"] for name, counts in observers.statistics().items()})
    observers.register(heard.append, observer_id="new")
    await observers.notify(NodeStarted("a", 1))
    await observers.flush()
    print(len(heard), list(observers.statistics()))
    await observers.close()
asyncio.run(main())
"""
    )
    assert in_process(program) == "0 {'(closed)': {'closed': 9}}\n1 ['new']\n"
