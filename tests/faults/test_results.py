"""B10, B11: results that do their worst. The run hands them on untouched; an event holds a bounded summary of them."""

from __future__ import annotations

import json
import os

import pytest

MEMORY_GB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0

PRELUDE = """
import asyncio, json, resource, sys, threading, time
from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import NodeCompleted, ObserverManager
from hexviz.events.schema import to_record
from hexviz.recording.recorder import Recorder

class Hostile:
    '''Each way of being asked something ends the process at once.'''
    def _ask(self, *args): import os; os._exit(13)
    __repr__ = __str__ = __len__ = __eq__ = __bool__ = __reduce__ = __reduce_ex__ = __iter__ = __hash__ = _ask
    __getattr__ = __format__ = __deepcopy__ = __copy__ = __getstate__ = __sizeof__ = __dir__ = __contains__ = _ask
    __class__ = property(_ask)

class Hanging:
    def __repr__(self): time.sleep(3600)
    __str__ = __len__ = __bool__ = __getattr__ = __reduce__ = __deepcopy__ = __eq__ = __repr__

class Gigabyte:
    def __repr__(self): return "x" * 10**9
    __str__ = __repr__

class Raising:
    def __repr__(self): raise RuntimeError
    __str__ = __len__ = __bool__ = __getattr__ = __reduce__ = __deepcopy__ = __eq__ = __hash__ = __repr__

class Inherited(list):
    def __repr__(self): import os; os._exit(13)
    __len__ = __iter__ = __deepcopy__ = __reduce_ex__ = __getitem__ = __repr__

def deep():
    value = {}
    for _ in range(10_000):
        value = {"k": value}
    return value

def circular():
    value = []
    value.append(value)
    return value
"""

VALUES = {
    "hostile": "Hostile()",
    "hostile in a list": "[Hostile()]",
    "hostile in a dict": "{'k': Hostile()}",
    "hanging": "Hanging()",
    "gigabyte": "Gigabyte()",
    "raising": "Raising()",
    "subclass of a builtin": "Inherited([1])",
    "generator": "(i for i in range(3))",
    "lambda": "lambda: 1",
    "open file": "OPEN",
    "lock": "threading.Lock()",
    "circular": "circular()",
    "deep": "deep()",
    "bytes": "bytes(200_000_000)",
    "list": "[None] * 10_000_000",
    "text": "'x' * 100_000_000",
    "frame": "__import__('pandas').DataFrame({'a': range(1_000_000)})",
}


def test_b10_a_result_is_handed_on_untouched_and_summarised_within_bounds(in_process):
    program = (
        PRELUDE
        + f"""
OPEN = open(sys.executable, 'rb')
MADE = {VALUES!r}

async def outcome(value):
    got = []
    async def give(): return value
    def take(given): got.append(given)
    observers, recorder = ObserverManager(), Recorder()
    recorder.attach(observers)
    async def observer(event): pass
    observers.register(observer)
    graph = Graph("g", [NodeSpec("give", give), NodeSpec("take", take, deps=["give"])])
    result = await Orchestrator(observers=observers).run(graph)
    await observers.flush(10)
    await observers.close()
    assert result["give"] is value and got[0] is value
    told = [e for e in recorder.recording if type(e) is NodeCompleted][0]
    return len(to_record(told)), str(told.result.type), len(told.result.preview)

for kind, made in MADE.items():
    print(kind, file=sys.stderr, flush=True)  # the last one printed is the one that hangs, or exits
    value, began = eval(made), time.monotonic()
    print(json.dumps([kind, *asyncio.run(outcome(value)), time.monotonic() - began]), flush=True)
import os; os._exit(0)
"""
    )
    lines = [json.loads(line) for line in in_process(program, quiet=False).splitlines()]
    assert [kind for kind, *_ in lines] == list(VALUES)
    for kind, size, type_name, preview, seconds in lines:
        assert size <= 4096, kind
        assert preview <= 200, kind
        assert type_name, kind
        assert seconds < 20, kind


@pytest.mark.skipif(MEMORY_GB < 4, reason="a machine with 4 GB of memory is needed")
def test_b11_a_result_of_1_gb_is_not_copied(in_process):
    program = (
        PRELUDE
        + """
def rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def give(): return b"\\x01" * 1_000_000_000
def size(given): return len(given)

async def main():
    observers, recorder = ObserverManager(), Recorder()
    recorder.attach(observers)
    async def observer(event): pass
    observers.register(observer)
    graph = Graph("g", [NodeSpec("give", give), NodeSpec("size", size, deps=["give"])])
    before = rss_mb()
    result = await Orchestrator(observers=observers).run(graph)
    await observers.close()
    records = [len(to_record(event)) for event in recorder.recording]
    return result["size"], rss_mb() - before, max(records)

print(json.dumps(asyncio.run(main())))
"""
    )
    size, grown_mb, record = json.loads(in_process(program))
    assert size == 1_000_000_000
    assert grown_mb < 1_000_000_000 / 2**20 + 64
    assert record <= 8192
