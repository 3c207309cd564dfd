"""What showing a run to others costs it: the run with a server and its clients, beside the run alone.

Run with ``python -m pytest tests/benchmarks/test_streams.py --benchmark-enable``. ``ratio`` stands in ``extra_info``.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hexviz
from hexviz.events.events import NodeStarted
from hexviz.streams import WebSocketBroadcaster
from hexviz.widgets.page import LivePage

CROWD = Path(__file__).parents[1] / "streams" / "crowd.py"
REPEATS = 7


def graph_of(count, seconds):
    graph = hexviz.Graph("work")

    async def work():
        await asyncio.sleep(seconds)

    for number in range(count):
        graph.node(work, name=f"n{number}")
    return graph


def crowd_of(server, clients, events):
    command = [sys.executable, str(CROWD), server.url, str(clients), str(events)]
    environment = {**os.environ, "HEXVIZ_TOKEN": server.token}
    crowd = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert crowd.stdout.readline() == "ready\n"
    return crowd


@pytest.mark.parametrize("page", [None, LivePage], ids=["events", "with the page"])
@pytest.mark.parametrize("seconds", [0.01, 0.0], ids=["nodes of 10 ms", "nodes that do nothing"])
def test_a_run_with_a_hundred_clients(benchmark, seconds, page):
    graph = graph_of(1_000, seconds)

    def took(**options):
        began = time.perf_counter()
        hexviz.run_sync(graph, store=False, **options)
        return time.perf_counter() - began

    with WebSocketBroadcaster(page=page and page()) as server:
        crowd = crowd_of(server, 100, 10**9)
        pairs = [(took(sinks=[server]), took()) for _ in range(REPEATS)]
        benchmark.pedantic(took, kwargs={"sinks": [server]}, rounds=3)
        crowd.kill()
        crowd.communicate()
    watched, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
    benchmark.extra_info.update(ratio=round(watched / alone, 3), alone_ms=round(alone * 1e3, 1))


def test_putting_an_event(benchmark):
    event = NodeStarted("n", 1, run_id="r", seq=1)
    with WebSocketBroadcaster() as server:
        benchmark.pedantic(server.put, args=(event,), iterations=1_000, rounds=20)


def test_a_thousand_clients_at_fifty_events_a_second_for_ten_seconds(benchmark):
    events = 500

    def told():
        for seq in range(1, events + 1):
            server.put(NodeStarted("n", 1, run_id="r", seq=seq))
            time.sleep(0.02)

    with WebSocketBroadcaster() as server:
        crowd = crowd_of(server, 1_000, events)
        busy = time.process_time()
        benchmark.pedantic(told, rounds=1)
        busy = time.process_time() - busy
        counts = json.loads(crowd.communicate()[0])
    benchmark.extra_info.update(counts, cpu_share=round(busy / 10, 2))
