"""The process ends cleanly, in whatever state it ends."""

from __future__ import annotations

import signal

import pytest

PRELUDE = """
import asyncio, os, signal, sys, threading, time
import hexviz
from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import NodeStarted, ObserverManager
from hexviz.testing import sample_graph

async def waits(value=None):
    await asyncio.sleep(3600)

async def slow(event):
    await asyncio.sleep(3600)

def blocks(event):
    time.sleep(3600)
"""

ENDS = {
    "at the end of the program": ("asyncio.run(Orchestrator(observers=observers).run(sample_graph()))", 0),
    "with sys.exit": ("asyncio.run(Orchestrator(observers=observers).run(sample_graph())); sys.exit(4)", 4),
    "with os._exit": ("asyncio.run(Orchestrator(observers=observers).run(sample_graph())); os._exit(5)", 5),
    "with an exception": ("asyncio.run(Orchestrator(observers=observers).run(sample_graph())); raise SystemExit(6)", 6),
    "by SIGTERM": (
        "asyncio.run(Orchestrator(observers=observers).run(sample_graph())); os.kill(os.getpid(), signal.SIGTERM)",
        -signal.SIGTERM,
    ),
    "with sys.exit in a node": (
        "asyncio.run(Orchestrator(observers=observers).run(Graph('g', [NodeSpec('n', sys.exit, params={})]), 7))",
        7,
    ),
    "without a loop": ("[observers.notify_nowait(NodeStarted('a', 1)) for _ in range(50)]", 0),
    "with the manager forgotten": (
        "asyncio.run(Orchestrator(observers=observers).run(sample_graph())); del observers; import gc; gc.collect()",
        0,
    ),
    "with the loop closed early": (
        "loop = asyncio.new_event_loop(); loop.run_until_complete(observers.notify(NodeStarted('a', 1))); loop.close()",
        0,
    ),
}


@pytest.mark.parametrize("state", ENDS)
def test_g1_the_process_ends_without_a_word(in_process, state):
    how, code = ENDS[state]
    program = f"""{PRELUDE}
observers = ObserverManager()
observers.register(slow)
observers.register(blocks)
{how}
"""
    in_process(program, code=code)


def test_g1_sigint_stops_a_run_and_the_recording_says_so(in_process):
    program = f"""{PRELUDE}
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
run_id = "interrupted"
try:
    asyncio.run(hexviz.run(Graph("etl", [NodeSpec("n", waits)]), run_id=run_id, store="runs.db"))
except KeyboardInterrupt:
    pass
with hexviz.open_store("runs.db") as store:
    print([(info.run_id, info.status) for info in store.list_runs()])
"""
    assert in_process(program) == "[('interrupted', 'cancelled')]\n"


def test_g2_a_hundred_runs_leave_no_thread_task_or_file_behind(in_process, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # or the C library gives threads heaps of their own, as load has it
    program = f"""{PRELUDE}
import gc

def resident_kb():
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as facts:
        return int(facts.read().split()[1]) * 4

def count():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

async def main():
    for _ in range(10):
        await hexviz.run(sample_graph(), store="runs.db")
    time.sleep(0.3)
    gc.collect()
    before, rss = count(), resident_kb()
    for _ in range(100):
        await hexviz.run(sample_graph(), store="runs.db")
    time.sleep(0.5)
    gc.collect()
    after = count()
    assert resident_kb() - rss < 1024, (rss, resident_kb())
    assert after[0] <= before[0] + 1 and after[1] <= before[1] + 2, (before, after)
    assert asyncio.all_tasks() == {{asyncio.current_task()}}
asyncio.run(main())
print("ended")
"""
    assert in_process(program) == "ended\n"
