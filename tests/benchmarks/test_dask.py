"""What nodes on Dask cost beside the same graph in bare ``distributed``: the quickest of several, in turns.

(See docs/performance.md.)
"""

from __future__ import annotations

import asyncio
import time
from time import perf_counter

import pytest

from hexviz.dag import Graph, Orchestrator
from hexviz.events import ControlManager, ObserverManager
from hexviz.recording.recorder import Recorder

REPEATS = 7


@pytest.fixture(scope="module")
def client(cluster):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client


def nothing(value=None):
    return None


def ten_ms(value=None):
    time.sleep(0.01)


def hundred_ms(value=None):
    time.sleep(0.1)


def shape(kind):
    """Names with their parents."""
    if kind == "chain":
        return {f"n{i}": [f"n{i - 1}"] if i else [] for i in range(30)}
    if kind == "wide":
        return {"first": [], **{f"n{i}": ["first"] for i in range(200)}, "last": [f"n{i}" for i in range(200)]}
    return {f"n{layer}.{i}": [f"n{layer - 1}.{i}", f"n{layer - 1}.{(i + 1) % 40}"] if layer else []
            for layer in range(5) for i in range(40)}  # fmt: skip


def bare(client, work, parents):
    """The whole graph, given to Dask at once."""
    futures = {}
    for name, deps in parents.items():
        futures[name] = client.submit(work, [futures[dep] for dep in deps], key=f"{name}-{perf_counter()}", pure=False)
    client.gather(futures)


def ours(client, work, parents, keep_remote):
    from hexviz.dag import DaskRunner

    graph = Graph("benchmark")
    for name, deps in parents.items():
        graph.node(work, name=name, after=deps)

    async def main():
        observers = ObserverManager()
        Recorder().attach(observers)
        runner = DaskRunner(client, keep_remote)
        made = Orchestrator(observers=observers, control=ControlManager(), runner=runner, max_concurrent_nodes=500)
        result = await made.run(graph)
        return client.gather(dict(result)) if keep_remote else result

    asyncio.run(main())


@pytest.mark.parametrize("keep_remote", [False, True], ids=["home", "keep_remote"])
@pytest.mark.parametrize("work", [nothing, ten_ms, hundred_ms])
@pytest.mark.parametrize("kind", ["chain", "wide", "layered"])
def test_a_graph_on_dask(benchmark, client, kind, work, keep_remote):
    parents = shape(kind)

    def timed(run, *args):
        started = perf_counter()
        run(client, work, parents, *args)
        return perf_counter() - started

    timed(bare)
    timed(ours, keep_remote)
    pairs = [(timed(ours, keep_remote), timed(bare)) for _ in range(REPEATS)]
    mine, limit = (min(column) for column in zip(*pairs, strict=True))
    per = len(parents)
    benchmark.extra_info.update(
        ms=round(mine / per * 1e3, 2), limit_ms=round(limit / per * 1e3, 2), ratio=round(mine / limit, 2)
    )
    benchmark.pedantic(lambda: None, rounds=1, iterations=1)
