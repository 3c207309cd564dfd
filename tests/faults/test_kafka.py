"""D and O1 over Kafka: brokers that are absent, silent, killed and come back; consumers that crash; poison; names."""

import contextlib
import gzip
import json
import logging
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from urllib.parse import unquote

import msgspec
import pytest

import hexviz
from hexviz.events import events as ev
from hexviz.events.cloud_events import to_cloud_event
from hexviz.spool import Spool
from hexviz.streams import KafkaSink, KafkaSource, Reader, kafka_sink
from hexviz.streams import sink as spooled_sink
from hexviz.testing.stream_contracts import summarised

pytestmark = pytest.mark.kafka
confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: hexviz[kafka]")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """A sink tries again twice a second at least: to wait for five seconds shows nothing more."""
    monkeypatch.setattr(spooled_sink, "_LONGEST_WAIT_S", 0.5)


def numbered(count, run_id="r", first=1):
    return summarised(
        ev.NodeStarted(f"n{i}", 1, run_id=run_id, pipeline="p", seq=i, monotonic_ns=i)
        for i in range(first, first + count)
    )


def tell(sink, *numbers, **names):
    for event in numbered(*numbers, **names):
        sink.put(event)


class Envelope(msgspec.Struct):
    """What names an event."""

    source: str
    id: str


open_envelope = msgspec.json.Decoder(Envelope).decode


def raw(url):
    """The seqs of all messages in the topic, in order and with duplicates, by run."""
    runs = {}
    for body in KafkaSource(url, follow=False):
        envelope = open_envelope(body)
        runs.setdefault(unquote(envelope.source.removeprefix("/hexviz/runs/")), []).append(int(envelope.id))
    return runs


def once(seqs):
    return list(dict.fromkeys(seqs))


def wait_for(condition, within_s=60):
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


# --- absent, silent and dying brokers -----------------------------------------------------------------------------


def test_d1_a_run_without_its_broker_is_the_same_run_and_arrives_in_order_and_once_when_the_broker_is_there(
    victim, tmp_path
):
    victim.kill()
    graph = hexviz.Graph("g")
    for i in range(500):
        graph.node(lambda i=i: i, name=f"n{i}")
    with (
        KafkaSink(f"kafka://{victim.address}/runs", spool=tmp_path / "spool") as sink,
        KafkaSink(f"kafka://{victim.address}/few", spool=Spool(tmp_path / "small", max_bytes=50_000)) as small,
    ):
        result = hexviz.run_sync(graph, sinks=[sink, small], store=False)
        assert dict(result) == {f"n{i}": i for i in range(500)}
        told = [event.seq for event in result.recording.events()]
        assert sink.flush(0.5) == len(told)
        wait_for(lambda: small.statistics()["dropped"])
        dropped = small.statistics()["dropped"]
        assert 0 < dropped < len(told)
        wait_for(lambda: sink.error is not None)
        assert victim.address in str(sink.error)
        victim.start()
        assert (sink.flush(60), small.flush(60)) == (0, 0)
        assert sink.statistics()["dropped"] == 0
    assert raw(f"kafka://{victim.address}/runs") == {result.run_id: told}
    assert raw(f"kafka://{victim.address}/few") == {result.run_id: told[: len(told) - dropped]}


def test_d2_o1_what_was_acknowledged_survives_kill_9_of_the_broker_and_the_rest_follows_in_order(victim, tmp_path):
    url, rng = victim.start().fresh(), random.Random(4)
    graph = hexviz.Graph("g")

    @graph.node
    def kills():
        time.sleep(rng.uniform(0.2, 1.0))
        victim.kill()

    for i in range(50):
        graph.node(lambda kills: 1, name=f"n{i}", after=["kills"])
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(KafkaSink(url, spool=tmp_path / "spool", send_s=3.0))
        watch = stack.enter_context(hexviz.watch(url))
        tell(sink, 100)
        assert sink.flush() == 0
        runs = []
        running = threading.Thread(target=lambda: runs.append(hexviz.run_sync(graph, sinks=[sink], store=False)))
        running.start()
        acknowledged = sent = 100
        while victim.is_up:
            count = rng.randint(1, 200)
            tell(sink, count, first=sent + 1)
            sent += count
            if sink.flush(0.2) == 0:
                acknowledged = sent
        running.join()
        tell(sink, 1_000, first=sent + 1)
        sent += 1_000
        victim.start()
        assert sink.flush(60) == 0
        assert sink.statistics() | {"dropped": 0, "refused": 0, "queued": 0} == sink.statistics()
        (result,) = runs
        assert result["n49"] == 1
        told = [event.seq for event in result.recording.events()]
        wait_for(lambda: watch.statistics()["given"] == sent + len(told))
        assert watch.statistics()["missing"] == 0
        assert [event.seq for event in watch.recording.run(result.run_id).events()] == told
    found = raw(url)
    assert acknowledged > 100
    assert once(found["r"]) == list(range(1, sent + 1))
    assert once(found[result.run_id]) == told


def test_d3_a_broker_that_is_halted_for_ten_seconds_holds_up_nobody_and_gets_everything(victim, tmp_path):
    url = victim.start().fresh()
    with KafkaSink(url, spool=tmp_path / "spool", send_s=1.0) as sink:
        tell(sink, 1_000)
        assert sink.flush() == 0
        victim.halt()
        halted = time.monotonic()
        graph = hexviz.Graph("g")
        for i in range(100):
            graph.node(lambda i=i: i, name=f"n{i}")
        result = hexviz.run_sync(graph, sinks=[sink], store=False)
        tell(sink, 5_000, first=1_001)
        assert sink.flush(0.5) == 5_000 + len(list(result.recording.events()))
        time.sleep(max(0.0, halted + 10 - time.monotonic()))
        assert sink.statistics()["failures"] > 0
        victim.go_on()
        assert sink.flush(60) == 0
        assert sink.statistics()["dropped"] == 0
    found = raw(url)
    assert once(found["r"]) == list(range(1, 6_001))
    assert once(found[result.run_id]) == [event.seq for event in result.recording.events()]


@pytest.mark.parametrize("mode", ["swallow", "deaf"])
def test_d3_a_line_that_swallows_messages_or_acknowledgements_loses_nothing_and_keeps_order(
    broker, proxy, topic, mode, tmp_path
):
    with KafkaSink(broker.through_proxy(topic), spool=tmp_path / "spool", send_s=0.5) as sink:
        tell(sink, 500)
        assert sink.flush() == 0
        with proxy.as_(mode):
            tell(sink, 500, first=501)
            wait_for(lambda: sink.statistics()["failures"])
            assert sink.statistics()["queued"] == 500
        assert sink.flush(60) == 0
        tell(sink, 500, first=1_001)
        assert sink.flush() == 0
    assert once(raw(topic)["r"]) == list(range(1, 1_501))


def test_d3_over_a_line_that_is_200_ms_late_everything_comes_and_comes_once(broker, proxy, topic, tmp_path):
    with proxy.as_("late"), KafkaSink(broker.through_proxy(topic), spool=tmp_path / "spool") as sink:
        tell(sink, 1_000)
        assert sink.flush(60) == 0
        assert sink.statistics()["failures"] == 0
    assert raw(topic) == {"r": list(range(1, 1_001))}


def test_d3_over_a_line_of_1_kb_a_second_everything_comes_and_comes_once(broker, proxy, topic, tmp_path):
    settings = {"compression.type": "none"}
    with KafkaSink(broker.through_proxy(topic), spool=tmp_path / "spool", settings=settings) as sink:
        tell(sink, 100)
        assert sink.flush() == 0
        proxy.mode = "slow"
        tell(sink, 5, first=101)
        assert sink.flush(1.0) == 5
        assert sink.flush(60) == 0
        assert sink.statistics()["failures"] == 0
    assert raw(topic) == {"r": list(range(1, 106))}


def test_d3_a_line_that_is_cut_every_hundred_messages_loses_nothing_and_keeps_order(broker, proxy, topic, tmp_path):
    settings = {"batch.num.messages": 50, "compression.type": "none"}
    with KafkaSink(broker.through_proxy(topic), spool=tmp_path / "spool", settings=settings) as sink:
        tell(sink, 100)
        assert sink.flush() == 0
        proxy.reset_bytes, proxy.mode = 100 * len(to_cloud_event(numbered(1)[0])), "reset"
        for first in range(101, 3_001, 100):
            tell(sink, 100, first=first)
            time.sleep(0.01)
        wait_for(lambda: proxy.resets >= 10 or sink.statistics()["queued"] == 0)
        proxy.mode = "pass"
        assert sink.flush(60) == 0
        assert proxy.resets >= 10
    assert once(raw(topic)["r"]) == list(range(1, 3_001))


# --- brokers that refuse ------------------------------------------------------------------------------------------


def test_d4_a_wrong_password_is_told_without_it_and_what_waited_is_sent_with_the_right_one(
    broker, topic, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    there = topic.replace(str(broker.port), f"{broker.sasl_port}").replace("//", "//hexviz:{}@")
    there += "?security.protocol=SASL_PLAINTEXT"
    with KafkaSink(there.format("wr0ngpass"), spool=tmp_path / "spool") as sink:
        tell(sink, 100)
        wait_for(lambda: sink.error is not None)
        assert "Authentication failed" in str(sink.error)
        assert sink.close(0.1) == 100
        told = f"{sink!r} {sink.error} {caplog.text}"
        assert "wr0ngpass" not in told
        assert "Authentication failed" in caplog.text
    with KafkaSink(there.format("s3cretpw"), spool=tmp_path / "spool") as sink:
        assert sink.flush() == 0
    assert raw(topic) == {"r": list(range(1, 101))}


def test_d4_a_topic_that_is_missing_is_told_and_used_once_it_is_there(broker, caplog):
    with KafkaSink(f"kafka://{broker.address}/later") as sink:
        tell(sink, 100)
        wait_for(lambda: sink.error is not None)
        assert "Unknown topic" in str(sink.error)
        broker.make_topic("later")
        assert sink.flush() == 0
    assert raw(f"kafka://{broker.address}/later") == {"r": list(range(1, 101))}
    assert len(caplog.records) == 1


def test_d4_too_few_replicas_are_told_and_waited_for(victim, second):
    victim.start()
    second.start()
    url = victim.fresh(replicas=2, min_insync_replicas=2)  # of a topic with one replica Kafka 4 asks for no second one
    with KafkaSink(url, send_s=3.0) as sink:
        tell(sink, 100)
        assert sink.flush() == 0
        second.kill()
        tell(sink, 200, first=101)
        wait_for(lambda: "in-sync replicas" in str(sink.error) and sink.statistics()["failures"] >= 2)
        assert sink.statistics()["queued"] == 200
        victim.change_topic(url, "min.insync.replicas", 1)
        assert sink.flush(60) == 0
    assert once(raw(url)["r"]) == list(range(1, 301))


def test_d4_a_quota_makes_the_sink_slow_and_nothing_else(broker, topic, tmp_path):
    broker.give_quota("limited", 20_000)
    told_to_wait = []
    settings = {"client.id": "limited", "compression.type": "none", "throttle_cb": told_to_wait.append}
    with KafkaSink(topic, spool=tmp_path / "spool", settings=settings, send_s=1.0) as sink:
        tell(sink, 600)  # more than may be sent within the ten seconds over which the broker takes the mean
        wait_for(lambda: told_to_wait)
        tell(sink, 100, first=601)
        assert sink.flush(60) == 0
        assert sink.statistics()["dropped"] == 0
    assert once(raw(topic)["r"]) == list(range(1, 701))


def test_d4_o1_a_broker_whose_disk_is_full_has_what_it_acknowledged_and_gets_the_rest_with_more_room(victim, tmp_path):
    if victim.no_disk:
        pytest.skip(f"no file system can be mounted here: {victim.no_disk}")
    url = victim.start().fresh(partitions=1)
    with KafkaSink(url, spool=tmp_path / "spool", settings={"compression.type": "none"}, send_s=1.0) as sink:
        victim.fill_disk(but=256 << 10)
        acknowledged = sent = 0
        while sent < 5_000 and sink.error is None:
            tell(sink, 100, first=sent + 1)
            sent += 100
            if sink.flush(5) == 0:
                acknowledged = sent
        assert 0 < acknowledged < sent
        tell(sink, 200, first=sent + 1)
        assert sink.flush(0.2) >= 200
        victim.kill()  # it has ended by itself, or soon will: its only disk does not work
        victim.empty_disk()
        victim.start()
        assert sink.flush(60) == 0
        assert sink.statistics()["dropped"] == 0
    assert once(raw(url)["r"]) == list(range(1, sent + 201))


def test_d4_an_event_larger_than_the_topic_takes_goes_in_parts_and_one_beyond_all_limits_is_counted(
    broker, monkeypatch, caplog
):
    monkeypatch.setattr(kafka_sink, "MAX_EVENT_BYTES", 200_000)
    url = broker.fresh(partitions=1, max_message_bytes=20_000)
    events = numbered(6)
    for place, nodes in ((1, 1_000), (3, 100_000)):
        infos = tuple(ev.NodeInfo(f"n{i}", 1) for i in range(nodes))
        events[place] = ev.PipelineStarted("p", 1, nodes, infos, run_id="r", seq=place + 1, pipeline="p")
    with KafkaSink(url) as sink:
        for event in events:
            sink.put(event)
        assert sink.flush() == 0
        assert sink.statistics() | {"sent": 5, "refused": 1} == sink.statistics()
        assert "event 4 of run 'r' cannot be sent" in caplog.text
    reader = Reader(KafkaSource(url, follow=False))
    assert list(reader) == [event for event in events if event.seq != 4]
    assert reader.gaps("r") == [(4, 4)]


def test_d5_what_100_000_unsent_events_leave_is_sent_by_the_next_process(broker, topic, tmp_path):
    away = topic.replace(str(broker.port), str(broker.proxy_port))  # nobody listens there
    sink = KafkaSink(away, spool=tmp_path / "spool")
    tell(sink, 100_000)
    wait_for(lambda: sink.statistics()["spooled"] == 100_000)
    began = time.monotonic()
    assert sink.close(0.2) == 100_000
    assert time.monotonic() - began < 20
    with KafkaSink(topic, spool=tmp_path / "spool") as again:
        assert again.flush(60) == 0
        assert again.statistics()["sent"] == 100_000
    assert raw(topic) == {"r": list(range(1, 100_001))}


# --- consumers ----------------------------------------------------------------------------------------------------

CONSUMER = """
    import sys, time
    from hexviz.streams import KafkaSource, Reader
    settings = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 200}
    reader = Reader(KafkaSource(sys.argv[1], group="g", settings=settings))
    for count, event in enumerate(reader, 1):
        print(event.seq, flush=True)
        if count % 50 == 0:
            reader.commit()
            print("committed", flush=True)
        if count == 130:
            time.sleep(60)
"""


def test_d6_what_a_killed_consumer_had_not_committed_comes_again(broker):
    url = broker.fresh(partitions=1)
    with KafkaSink(url) as sink:
        tell(sink, 300)
        assert sink.flush() == 0
    command = [sys.executable, "-c", textwrap.dedent(CONSUMER), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        lines = [child.stdout.readline().strip() for _ in range(132)]
        child.send_signal(signal.SIGKILL)
    seen = [int(line) for line in lines if line != "committed"]
    assert (lines.count("committed"), seen) == (2, list(range(1, 131)))
    settings = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 200}
    rest = []
    with Reader(KafkaSource(url, group="g", settings=settings)) as reader:
        for event in reader:
            rest.append(event.seq)
            if event.seq == 300:
                break
    assert rest == list(range(rest[0], 301))
    assert rest[0] in {51, 101}  # some come twice, none is missing; commits are told twice a second at most


def test_d6_poison_of_every_kind_is_buried_and_counted_and_the_rest_is_read(broker):
    url = broker.fresh(partitions=1, max_message_bytes=12_000_000)
    poison = [
        b"garbage \xff\x00",
        json.dumps({"specversion": "1.0", "type": "com.example.order.v1", "source": "/x", "id": "1"}).encode(),
        to_cloud_event(numbered(1)[0]).replace(b".v1", b".v2"),
        b'{"x":"' + b"y" * 10_000_000 + b'"}',
        b"[" * 100_000 + b"]" * 100_000,
        pickle.dumps(ZeroDivisionError("never unpickled")),
        gzip.compress(b"\0" * 100_000_000),
        b"",
    ]
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "message.max.bytes": 11_000_000})
    name = url.rpartition("/")[2]
    events = numbered(len(poison) + 1)
    for event, bad in zip(events, [*poison, None], strict=True):
        producer.produce(name, to_cloud_event(event), b"r")
        producer.produce(name, bad, b"r")
    for mark in (b"1:2/3", b"x", b"1:1/99999999999", b"1:0/0", b"\xff:1/1"):
        producer.produce(name, b"part", b"r", headers=[("hexviz_part", mark)])
    producer.produce(name, to_cloud_event(numbered(1, first=len(events) + 1)[0]), b"r")
    assert producer.flush(30) == 0
    buried = []
    reader = Reader(KafkaSource(url, follow=False), dead_letter=lambda body, error: buried.append(body))
    assert [event.seq for event in reader] == list(range(1, len(events) + 2))
    assert buried[: len(poison)] == poison
    assert buried[len(poison) :] == [b""] + [b"part"] * 4  # the first part of many is waited for
    assert reader.statistics()["poison"] == len(buried)


class Consumers:
    """Threads that read as one group, commit, and note what they have processed."""

    def __init__(self, url):
        self.url, self.processed = url, []
        self._lock, self._readers, self._threads = threading.Lock(), [], []

    def join(self):
        settings = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200}
        self._readers.append(Reader(KafkaSource(self.url, group="g", settings=settings)))
        self._threads.append(threading.Thread(target=self._work, args=(self._readers[-1],)))
        self._threads[-1].start()

    def leave(self):
        self._readers.pop(0).close()

    def _work(self, reader):
        for count, event in enumerate(reader):
            with self._lock:
                self.processed.append((event.run_id, event.seq))
            if count % 20 == 0:
                reader.commit()

    def have_all(self, runs, last):
        with self._lock:
            return {(run, last) for run in runs} <= set(self.processed)

    def end(self):
        while self._readers:
            self.leave()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)


def test_d7_consumers_that_come_and_go_keep_the_order_of_each_run(broker):
    url = broker.fresh(partitions=6)
    runs, consumers = [f"run-{i}" for i in range(8)], Consumers(url)
    consumers.join()
    with KafkaSink(url) as sink:
        for first in range(1, 601, 100):
            for run in runs:
                tell(sink, 100, run_id=run, first=first)
            assert sink.flush() == 0
            if first in {101, 201}:
                consumers.join()
            elif first == 401:
                consumers.leave()
            wait_for(lambda first=first: consumers.have_all(runs, first + 99))
    consumers.end()
    for run in runs:
        assert once(seq for run_id, seq in consumers.processed if run_id == run) == list(range(1, 601))
