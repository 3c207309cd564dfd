"""A cell that is run fifty times leaves nothing over: no observer, no thread, no task, no widget, no memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ipykernel", reason="ipykernel is not installed")

SCRIPT = """
import asyncio, gc, os, sys, threading, tracemalloc
import hexviz
from hexviz.widgets import compare, dashboard as d
from ipywidgets import Widget

class Handle:
    def update(self, shown):
        shown._repr_mimebundle_()

d.can_display = compare.can_display = lambda: True
d.display = lambda *shown, **options: Handle()

def graph():
    made = hexviz.Graph("again")
    async def work(inputs=None):
        await asyncio.sleep(0)
    for i in range(20):
        made.node(work, name=f"n{i}")
    return made

async def cell(number):
    result = await hexviz.run(graph(), live=True, store=False)
    views = [hexviz.dashboard(result)]
    if number % 10 == 0:
        views.append(hexviz.compare_view(result, result))
    for view in views:
        view._repr_mimebundle_()
        view.close()
    while any(thread.name == "hexviz-pump" for thread in threading.enumerate()):
        await asyncio.sleep(0.001)  # as the end of a cell waits

async def main():
    for number in range(5):
        await cell(number)
    gc.collect()
    counts = [census()]
    tracemalloc.start()
    sizes = []
    for number in range(50):
        await cell(number)
        if number in (9, 49):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    counts.append(census())
    print(counts[0] == counts[1], counts, sizes)
    print("GREW", (sizes[1] - sizes[0]) // 1024)

def census():
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o).__name__ in {"LiveView", "Pump", "Tap", "ObserverManager"}]
    return (
        sum(thread.name == "hexviz-pump" for thread in threading.enumerate()),
        sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
        len(asyncio.all_tasks()),
        len(Widget.widgets),
        len(alive),
    )

asyncio.run(main())
"""


def test_fifty_runs_of_a_cell_leave_nothing_over_and_memory_flat():
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("True"), first
    assert int(last.split()[1]) < 1024, done.stdout  # KiB over forty runs
