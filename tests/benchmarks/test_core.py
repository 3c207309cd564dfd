"""What the core costs, each beside its limit in the same process: a ratio, not a time (see docs/performance.md).

Run with ``python -m pytest tests/benchmarks --benchmark-enable``. Each figure is the median of interleaved repeats and
stands in the ``extra_info`` of the benchmark as ``ratio``; nothing is asserted of it, because machines are noisy.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from time import monotonic_ns, perf_counter

import pytest

from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import (
    PROCEED,
    ControlManager,
    ExecutionContext,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObserverManager,
)
from hexviz.recording.recorder import Recorder

REPEATS = 15
EVENT = NodeStarted("a", 1)
CONTEXT = ExecutionContext("dag")


async def proceed(event, context):
    return PROCEED


async def hear(event):
    return None


async def nothing(value=None):
    return None


async def timed(work, times):
    started = perf_counter()
    for _ in range(times):
        await work()
    return (perf_counter() - started) / times


def compare(benchmark, work, limit, *, times=1, per=1):
    """Run ``work`` and its ``limit`` in turn; the benchmark's own figure is of ``work`` alone."""

    async def main():
        pairs = [(await timed(work, times), await timed(limit, times)) for _ in range(REPEATS)]
        measured, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
        benchmark.extra_info.update(
            us=round(measured / per * 1e6, 2), limit_us=round(bound / per * 1e6, 2), ratio=round(measured / bound, 2)
        )
        return pairs[0][0]

    benchmark.pedantic(lambda: asyncio.run(main()), rounds=1, iterations=1)


def chain():
    return Graph("chain", [NodeSpec(f"n{i:03}", nothing, deps=[f"n{i - 1:03}"] if i else []) for i in range(200)])


def wide():
    middle = [NodeSpec(f"n{i}", nothing, deps=["first"]) for i in range(500)]
    return Graph(
        "wide", [NodeSpec("first", nothing), *middle, NodeSpec("last", nothing, deps=[f"n{i}" for i in range(500)])]
    )


def layered():
    def parents(layer, i):
        return [f"l{layer - 1}n{i}", f"l{layer - 1}n{(i + 1) % 50}"] if layer else []

    return Graph("layered", [NodeSpec(f"l{j}n{i}", nothing, deps=parents(j, i)) for j in range(10) for i in range(50)])


@pytest.mark.parametrize("shape", [chain, wide, layered])
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "recorded-observed-policed"])
def test_a_run_against_a_gather_for_each_wave(benchmark, shape, watched):
    graph = shape()
    nodes, waves = graph.nodes, graph.waves()
    observers, control = ObserverManager(), ControlManager()
    if watched:
        for i in range(3):
            observers.register(hear, observer_id=f"o{i}")
            control.register(proceed, name=f"h{i}")

    async def run():
        recorder = Recorder()
        if watched:
            recorder.attach(observers)
        await Orchestrator(observers=observers, control=control).run(graph)
        await observers.flush()  # what the observers still have to hear is part of the price
        recorder.detach()

    compare(benchmark, run, lambda: by_hand(nodes, waves), per=len(graph))


@pytest.mark.parametrize("shape", [wide, layered])
def test_the_least_that_a_watched_node_costs_against_a_gather_for_each_wave(benchmark, shape):
    """How low a recorded, observed, policed run could get in Python: a flat loop with nothing but what must be done."""
    graph = shape()
    nodes, waves = graph.nodes, graph.waves()
    compare(benchmark, lambda: flat(nodes, waves), lambda: by_hand(nodes, waves), per=len(graph))


async def flat(nodes, waves):
    """Two events made, numbered and kept, six observers and six handlers awaited and timed, for each node."""
    results, kept, inbox, seqs = {}, [], [], itertools.count(1)

    async def ask(event, context):
        times = [perf_counter()]
        for _ in range(3):
            if await proceed(event, context) is not PROCEED:
                return
            times.append(perf_counter())

    for wave, names in enumerate(waves, start=1):
        for name in names:
            common = {"run_id": "run", "pipeline": "flat"}
            context = ExecutionContext("flat", name, wave, 1, {}, "run")
            started = NodeStarted(name, wave, nodes[name].deps, seq=next(seqs), monotonic_ns=monotonic_ns(), **common)
            kept.append(started)
            inbox.append(started)
            await ask(started, context)
            began_ns = monotonic_ns()
            results[name] = await call(nodes[name], results)
            ended_ns = monotonic_ns()
            completed = NodeCompleted(
                name, wave, None, (ended_ns - began_ns) / 1e6, seq=next(seqs), monotonic_ns=ended_ns, **common
            )
            kept.append(completed)
            inbox.append(completed)
            await ask(completed, context)
    for event in inbox:
        for _ in range(3):
            await hear(event)
    return kept


async def by_hand(nodes, waves):
    """What people write without a library: one gather for each wave, results passed on, nobody told anything."""
    results = {}
    for wave in waves:
        calls = [call(nodes[name], results) for name in wave]
        results.update(zip(wave, await asyncio.gather(*calls), strict=True))
    return results


def call(node, results):
    if not node.deps:
        return node.fn(None)
    if len(node.deps) == 1:
        return node.fn(results[node.deps[0]])
    return node.fn({dep: results[dep] for dep in node.deps})


async def hostile(event):
    raise ValueError


async def hanging(event):
    await asyncio.sleep(3600)


def sleeping(event):
    time.sleep(0.001)


def computing(event):
    deadline = perf_counter() + 0.0001
    while perf_counter() < deadline:
        pass


OBSERVED_BY = {
    "nobody-else": None,
    "quick": hear,
    "failing": hostile,
    "hanging": hanging,
    "sleeping": sleeping,
    "computing": computing,
}


@pytest.mark.parametrize("observer", OBSERVED_BY.values(), ids=OBSERVED_BY)
def test_a_run_with_observers_beside_the_same_run_without(benchmark, observer):
    """Oracle O3: 500 nodes of 2 ms, five alternating pairs by the wall; a recorder, and three of these observers."""

    async def node(value=None):
        await asyncio.sleep(0.002)

    graph = Graph("observed", [NodeSpec(f"n{i}", node) for i in range(500)])

    async def alone():
        await Orchestrator().run(graph)

    async def observed():
        observers = ObserverManager()
        Recorder().attach(observers)
        for _ in range(3 if observer else 0):
            observers.register(observer)
        started = perf_counter()
        await Orchestrator(observers=observers).run(graph)
        took = perf_counter() - started
        await observers.close(timeout=0.05)
        return took

    async def main():
        pairs = [(await observed(), await timed(alone, 1)) for _ in range(5)]
        with_s, without_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        benchmark.extra_info.update(
            ms=round(with_s * 1e3, 1), limit_ms=round(without_s * 1e3, 1), ratio=round(with_s / without_s, 3)
        )

    benchmark.pedantic(lambda: asyncio.run(main()), rounds=1, iterations=1)


def test_check_of_100_handlers_against_awaiting_them(benchmark):
    control = ControlManager()
    for i in range(100):
        control.register(proceed, name=str(i))

    async def loop():
        for _ in range(100):
            await proceed(EVENT, CONTEXT)

    compare(benchmark, lambda: control.check(EVENT, CONTEXT), loop, times=100)


def test_check_of_100_handlers_of_which_10_match(benchmark):
    control = ControlManager()
    for i in range(100):
        control.register(proceed, name=str(i), event_types=[NodeStarted] if i % 10 == 0 else [NodeFailed])

    async def loop():
        for _ in range(10):
            await proceed(EVENT, CONTEXT)

    compare(benchmark, lambda: control.check(EVENT, CONTEXT), loop, times=100)


def test_check_with_nobody_to_ask(benchmark):
    control = ControlManager()
    compare(benchmark, lambda: control.check(EVENT, CONTEXT), lambda: nothing(EVENT), times=1000)


def test_notify_of_50_async_observers_against_awaiting_them(benchmark):
    observers = ObserverManager()
    for _ in range(50):
        observers.register(hear)

    async def loop():
        for _ in range(50):
            await hear(EVENT)

    compare(benchmark, lambda: observers.notify(EVENT), loop, times=100)


def test_notify_of_50_observers_of_which_none_matches(benchmark):
    observers = ObserverManager()
    for _ in range(50):
        observers.register(hear, event_types=[NodeFailed])
    compare(benchmark, lambda: observers.notify(EVENT), lambda: nothing(EVENT), times=1000)


def test_notify_of_50_sync_observers_until_it_returns(benchmark):
    observers = ObserverManager()
    for _ in range(50):
        observers.register(lambda event: None)

    async def loop():
        for _ in range(50):
            await hear(EVENT)

    compare(benchmark, lambda: observers.notify(EVENT), loop, times=20)
    observers.clear()


def test_a_slow_observer_beside_nine_quick_ones_holds_nobody(benchmark):
    observers = ObserverManager()
    for _ in range(9):
        observers.register(hear)

    async def slow(event):
        await asyncio.sleep(0.2)

    observers.register(slow, queue_size=10)
    compare(benchmark, lambda: observers.notify(EVENT), lambda: hear(EVENT), times=20)


def test_a_million_events_beside_a_stuck_observer(benchmark):
    """Per event, made, recorded and offered; the limit makes the same events and appends them to a list."""
    count = 1_000_000

    async def stuck(event):
        await asyncio.Event().wait()

    async def told():
        observers = ObserverManager()
        recorder = Recorder().attach(observers)
        observers.register(stuck, observer_id="stuck")
        await observers.notify(EVENT)
        started = perf_counter()
        for i in range(count):
            observers.notify_nowait(NodeCompleted("a", 1, None, 1.0, run_id="run", seq=i + 1))
        took = perf_counter() - started
        statistics_of = observers.statistics()["stuck"]
        assert len(recorder) == count + 1
        assert statistics_of["queued"] + sum(statistics_of["dropped"].values()) <= count + 1
        await observers.close(timeout=0.1)
        return took

    def kept():
        started = perf_counter()
        events = [NodeCompleted("a", 1, None, 1.0, run_id="run", seq=i + 1) for i in range(count)]
        return (perf_counter() - started) / len(events)

    def measure():
        bound, measured = kept(), asyncio.run(told()) / count
        benchmark.extra_info.update(
            us=round(measured * 1e6, 2), limit_us=round(bound * 1e6, 2), ratio=round(measured / bound, 2)
        )

    benchmark.pedantic(measure, rounds=1, iterations=1)


def test_import_beside_an_empty_interpreter(benchmark):
    def seconds(code):
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - started

    def measure():
        pairs = [(seconds("import hexviz"), seconds("pass")) for _ in range(REPEATS)]
        over, empty = statistics.median(a - b for a, b in pairs), statistics.median(b for _, b in pairs)
        benchmark.extra_info.update(over_ms=round(over * 1e3, 1), empty_ms=round(empty * 1e3, 1))

    benchmark.pedantic(measure, rounds=1, iterations=1)
