"""What sending a run to Kafka costs, and how much goes through: a broker of its own, on this machine.

Run with ``python -m pytest tests/benchmarks/test_kafka.py --benchmark-enable``. Figures are medians of interleaved
repeats and stand in ``extra_info``; nothing is asserted of them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
from time import perf_counter

import pytest

from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import ObserverManager
from hexviz.events.cloud_events import to_cloud_event
from hexviz.recording.recorder import Recorder
from hexviz.streams import KafkaSink, KafkaSource, Reader
from tests.benchmarks.test_stores import made_events

pytestmark = pytest.mark.kafka
confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: hexviz[kafka]")

EVENTS = 100_000
REPEATS = 5


def test_events_that_reach_kafka_in_a_second(benchmark, broker):
    """From the first put until all are acknowledged, beside librdkafka sending the ready-made bodies; 20,000 wanted."""
    events = list(made_events(EVENTS))
    bodies = list(map(to_cloud_event, events))
    url = broker.fresh(partitions=1)
    settings = {"bootstrap.servers": broker.address, "acks": "all", "enable.idempotence": True, "linger.ms": 2}
    producer = confluent_kafka.Producer(settings | {"compression.type": "lz4"})
    name = url.rpartition("/")[2]

    def bare():
        for number, body in enumerate(bodies):
            producer.produce(name, body, b"r")
            if number % 5_000 == 0:
                producer.flush()
        producer.flush()

    with KafkaSink(url) as sink:

        def ours():
            for event in events:
                sink.put(event)
            assert sink.flush(120) == 0

        def measure():
            bare()
            ours()
            took = {bare: [], ours: []}
            for number in range(REPEATS):
                for work in ((bare, ours), (ours, bare))[number % 2]:
                    gc.collect()
                    started = perf_counter()
                    work()
                    took[work].append(perf_counter() - started)
            benchmark.extra_info.update(
                events_per_s=round(EVENTS / statistics.median(took[ours])),
                bare_per_s=round(EVENTS / statistics.median(took[bare])),
                ratio=round(statistics.median(a / b for a, b in zip(took[bare], took[ours], strict=True)), 2),
            )

        benchmark.pedantic(measure, rounds=1, iterations=1)
    started = perf_counter()
    reader = Reader(KafkaSource(url, follow=False))
    assert sum(1 for _ in reader) == EVENTS
    read = EVENTS + reader.statistics()["duplicates"] + reader.statistics()["poison"]
    benchmark.extra_info["read_per_s"] = round(read / (perf_counter() - started))


async def a_millisecond(value=None):
    await asyncio.sleep(0.001)


async def nothing(value=None):
    return None


@pytest.mark.parametrize(
    ("nodes", "step"),
    [(5_000, nothing), (2_000, a_millisecond), (10_000, a_millisecond)],
    ids=["5k", "2k of 1 ms", "10k of 1 ms"],
)
@pytest.mark.parametrize("reached", [True, False], ids=["there", "absent"])
def test_a_run_with_a_sink_against_the_run_without(benchmark, broker, tmp_path, nodes, step, reached):
    """Until the run has ended, recorded both times; 1.1 is wanted. An absent broker means spooling to disk."""
    width = 50
    specs = [
        NodeSpec(f"l{layer}n{i}", step, deps=[f"l{layer - 1}n{i}"] if layer else [])
        for layer in range(nodes // width)
        for i in range(width)
    ]
    graph = Graph("layered", specs)
    url = broker.fresh(partitions=1)
    if not reached:
        url = broker.through_proxy(url)  # where nobody listens

    def run(sinks):
        async def main():
            observers = ObserverManager()
            recorder = Recorder(sinks=sinks).attach(observers)
            await Orchestrator(observers=observers, max_concurrent_nodes=width).run(graph)
            recorder.detach()
            await observers.close()

        gc.collect()
        started = perf_counter()
        asyncio.run(main())
        return perf_counter() - started

    def measure():
        pairs = []
        with KafkaSink(url, spool=tmp_path / "spool") as sink:
            run([sink])
            for number in range(10):
                took = {}
                for kind in ((True, False), (False, True))[number % 2]:
                    took[kind] = run([sink] if kind else [])
                    sink.flush(60 if reached else 2)
                pairs.append((took[True], took[False]))
            sink.close(0.1)
        sent, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        benchmark.extra_info.update(
            us_per_node=round(sent / nodes * 1e6, 2),
            bare_us_per_node=round(bare / nodes * 1e6, 2),
            ratio=round(statistics.median(a / b for a, b in pairs), 3),
        )

    benchmark.pedantic(measure, rounds=1, iterations=1)
