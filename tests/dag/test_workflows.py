"""Real workflows on a clock that jumps: the ready schedule takes the critical path, the barrier takes what it must."""

from __future__ import annotations

import asyncio
import gzip
import selectors
from pathlib import Path

import pytest

from hexviz.bridges.wfformat import read_wfformat
from hexviz.dag import Graph, Orchestrator

WORKFLOWS = Path(__file__).parents[3] / "shared" / "data" / "workflows"
FACTS = [  # file, critical path and barrier in seconds: the table beside the files
    ("helloworld-chain-5-chameleon.json", 501.240, 501.240),
    ("blast-chameleon-large-001.json", 1819.117, 1819.117),
    ("airrflow-dirt02-001.json.gz", 438.061, 791.908),
    ("epigenomics-chameleon-ilmn-6seq-50k-001.json.gz", 1084.123, 1145.231),
    ("montage-chameleon-dss-15d-001.json.gz", 989.458, 1006.058),
]


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock on to it."""

    now = 0.0

    def select(self, timeout=None):
        if timeout:
            self.now += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour of sleep takes no time."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def workflow(file):
    raw = (WORKFLOWS / file).read_bytes()

    def task(runtime_s):
        async def sleep(inputs=None):
            await asyncio.sleep(runtime_s)

        return sleep

    graph = Graph(file)
    for recorded in read_wfformat(gzip.decompress(raw) if file.endswith(".gz") else raw).tasks:
        graph.node(task(recorded.runtime_s), name=recorded.name, after=recorded.parents)
    return graph


def makespan_s(graph, schedule):
    async def main():
        loop = asyncio.get_running_loop()
        started = loop.time()
        await Orchestrator(max_concurrent_nodes=10_000, schedule=schedule).run(graph)
        return loop.time() - started

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflow files of shared/data are not beside the project")
@pytest.mark.parametrize(
    ("file", "critical_path_s", "barrier_s"), FACTS, ids=[facts[0].split("-")[0] for facts in FACTS]
)
def test_the_makespan_is_the_critical_path_or_the_barrier(file, critical_path_s, barrier_s):
    graph = workflow(file)
    assert makespan_s(graph, "ready") == pytest.approx(critical_path_s, rel=1e-3)
    assert makespan_s(graph, "wave") == pytest.approx(barrier_s, rel=1e-3)
