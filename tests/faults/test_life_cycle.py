"""The process ends cleanly, in whatever state it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
def test_the_process_ends_without_a_word(in_process, state):
    how, code = ENDS[state]
    program = f"""{PRELUDE}
observers = ObserverManager()
observers.register(slow)
observers.register(blocks)
{how}
"""
    in_process(program, code=code)


def test_sigint_stops_a_run_and_the_recording_says_so(in_process):
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


def test_a_hundred_runs_leave_no_thread_task_or_file_behind(in_process):
    program = f"""{PRELUDE}
def count():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

async def main():
    for _ in range(10):
        await hexviz.run(sample_graph(), store="runs.db")
    time.sleep(0.3)
    before = count()
    for _ in range(100):
        await hexviz.run(sample_graph(), store="runs.db")
    time.sleep(0.5)
    after = count()
    assert after[0] <= before[0] + 1 and after[1] <= before[1] + 2, (before, after)
    assert asyncio.all_tasks() == {{asyncio.current_task()}}
asyncio.run(main())
print("ended")
"""
    assert in_process(program) == "ended\n"


@pytest.mark.parametrize("environment", ["-O", "-I", "LC_ALL=C"])
def test_the_core_runs_in_a_bare_environment(tmp_path, environment):
    flags = [environment] if environment.startswith("-") else []
    extra = dict([environment.split("=")]) if "=" in environment else {}
    program = (
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
        "import asyncio\nfrom hexviz.dag import Orchestrator\nfrom hexviz.testing import sample_graph\n"
        "print(len(asyncio.run(Orchestrator().run(sample_graph()))))"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **extra},
    )
    assert done.stdout == "4\n"
