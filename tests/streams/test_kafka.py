"""Kafka: the contracts, on a broker and on librdkafka's own mock of one; addresses; what stands beside a message."""

import contextlib
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hexviz
from hexviz.events import events as ev
from hexviz.events.cloud_events import from_cloud_event, to_cloud_event
from hexviz.events.schema import to_record
from hexviz.streams import (
    KafkaSink,
    KafkaSource,
    Message,
    Reader,
    StreamError,
    TransportDownError,
    kafka_sink,
    kafka_source,
    topic_name,
)
from hexviz.streams.kafka import Address
from hexviz.streams.kafka_sink import KafkaTransport
from hexviz.testing import SinkContract, SourceContract, collected
from hexviz.testing.store_contract import HOSTILE_NAMES, contract_run
from hexviz.testing.stream_contracts import first_records, summarised

confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: hexviz[kafka]")


@pytest.fixture(scope="module")
def mock():
    """The address of a mock of a broker, inside librdkafka; it does not know how large a message may be."""
    kafka_sink.ASK_S, asked_s = 0.05, kafka_sink.ASK_S
    holder = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (found,) = holder.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"
    del holder
    kafka_sink.ASK_S = asked_s


@pytest.fixture
def mock_topic(mock, request):
    return f"kafka://{mock}/{topic_name(request.node.name)}"


class Sinks(SinkContract):
    @pytest.fixture
    def open_sink(self, place):
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(KafkaSink(place, send_s=1.0))

    @pytest.fixture
    def arrived(self, read_place):
        def read(count):
            with contextlib.closing(KafkaSource(read_place)) as source:
                return collected(source, count)

        return read


class TestSinkOnMock(Sinks):
    test_what_was_put_during_an_outage_arrives_after_it_each_once_and_in_order = None
    test_closing_during_an_outage_says_how_many_are_left_and_does_not_wait_for_ever = None

    @pytest.fixture
    def place(self, mock_topic):
        return mock_topic

    @pytest.fixture
    def read_place(self, mock_topic):
        return mock_topic


@pytest.mark.kafka
class TestSink(Sinks):
    @pytest.fixture
    def place(self, broker, proxy, topic):
        return broker.through_proxy(topic)

    @pytest.fixture
    def read_place(self, topic):
        return topic

    @pytest.fixture
    def outage(self, proxy):
        return proxy.away


class Sources(SourceContract):
    group = None

    @pytest.fixture
    def send(self, place):
        transport = KafkaTransport(place)
        transport.connect()
        yield lambda bodies: transport.send([Message("run-1", 1, "-", body) for body in bodies])
        transport.close()

    @pytest.fixture
    def open_source(self, place):
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(contextlib.closing(KafkaSource(place, group=self.group)))


class TestSourceOnMock(Sources):
    @pytest.fixture
    def place(self, mock_topic):
        return mock_topic


@pytest.mark.kafka
class TestSource(Sources):
    @pytest.fixture
    def place(self, topic):
        return topic


@pytest.mark.kafka
class TestGroup(Sources):
    resumes = True
    group = "readers"

    @pytest.fixture
    def place(self, broker):
        return broker.fresh(partitions=1)


# --- beside the messages ------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE_NAMES)), min_size=2, max_size=2))
def test_d8_any_text_has_a_topic_name_of_its_own(texts):
    names = list(map(topic_name, texts))
    assert (names[0] == names[1]) == (texts[0] == texts[1])
    for name in names:
        assert Address(f"kafka://h:1/{name}").topic == name


def test_d8_a_name_that_no_topic_can_have_is_refused_with_what_to_do():
    for name in ("a b", "a*", "a>", "a#", "a+", "a/b", "a%00", "x" * 250, "..", "😀"):
        with pytest.raises(StreamError, match="topic_name"):
            KafkaSink(f"kafka://h:1/{name}")


@pytest.mark.parametrize("url", ["kafka://h:1", "kafka:///t", "http://h/t", "kafka://h:1/t?plugin.library.paths=x"])
def test_an_address_that_cannot_be_is_refused(url):
    with pytest.raises(StreamError):
        KafkaSource(url)


def test_a_password_stands_in_no_text():
    sink = KafkaSink("kafka://me:s3cret%40pw@h:1/t")
    assert sink._pump._transport.address.settings["sasl.password"] == "s3cret@pw"
    with pytest.raises(StreamError) as told:
        KafkaSource("kafka://me:s3cret%40pw@h:1/t", settings={"auto.offset.reset": "s3cret@pw"})._open()
    assert "s3cret" not in f"{sink!r} {sink._pump._transport.address!r} {told.value}"


def test_a_watch_shows_no_password(mock_topic):
    url = mock_topic.replace("//", "//me:s3cretpw@") + "?security.protocol=PLAINTEXT"
    with hexviz.watch(url) as watch:
        assert repr(watch) == f"<Watch {mock_topic}: 0 events of 0 runs>"


def test_a_source_whose_broker_is_absent_says_so():
    with pytest.raises(TransportDownError, match=r"kafka://127.0.0.1:1/t.*Connection refused"):
        next(iter(KafkaSource("kafka://127.0.0.1:1/t")))


def test_nothing_of_confluent_is_loaded_before_it_is_needed():
    program = (
        "import sys, hexviz.streams; from hexviz.streams import SpooledSink; print('confluent_kafka' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_without_confluent_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for wanted in (KafkaSink, KafkaSource):
        with pytest.raises(hexviz.HexvizError, match=r"hexviz\[kafka\]"):
            wanted("kafka://h:1/t")


@pytest.fixture
def two_runs(mock_topic):
    with KafkaSink(mock_topic) as sink:
        for run_id in ("run-1", "a*b>c#\x00"):
            for event in summarised(contract_run(run_id)):
                sink.put(event)
        assert sink.flush() == 0
    return mock_topic


def test_one_run_and_some_topics_are_chosen_without_looking_into_messages(two_runs):
    hostile = list(KafkaSource(two_runs, run_id="a*b>c#\x00", follow=False))
    assert first_records(hostile) == first_records(map(to_cloud_event, contract_run("a*b>c#\x00")))
    failed = list(KafkaSource(two_runs, topics="pipeline.etl.**.failed", follow=False))
    assert {type(from_cloud_event(body)) for body in failed} == {ev.NodeFailed}
    assert len(failed) == 10


def test_messages_are_keyed_by_run_and_say_what_they_are(two_runs):
    source = KafkaSource(two_runs)
    source._open()
    (message,) = source._consumer.consume(1, 10)
    headers = dict(message.headers())
    assert message.key() in {b"run-1", b"a*b>c#\x00"}
    assert headers["content-type"] == b"application/cloudevents+json; charset=UTF-8"
    assert headers["hexviz_topic"] == b"pipeline.etl.started"
    source.close()


def test_reading_may_begin_at_the_end(two_runs):
    assert list(KafkaSource(two_runs, from_start=False, follow=False)) == []


def test_parts_that_are_never_completed_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(kafka_source, "_MOST_OPEN_BYTES", 1_000_000)
    parts = kafka_source._Parts()
    for number in range(5_000):
        place = kafka_source._Place(0, b"run-%d" % number, number)
        assert parts.add(place, b"1:1/9", b"x" * 1_000) is None
        assert parts.held <= 1_000_000 + 2_000
    assert 500 < len(parts._open) < 1_000
    assert parts.first_offsets() == {0: 5_000 - len(parts._open)}  # the newest are kept
    wholes = [parts.add(kafka_source._Place(0, b"run-4999", n), b"1:%d/9" % n, b"y") for n in range(2, 10)]
    assert wholes == [None] * 7 + [b"x" * 1_000 + b"y" * 8]
    monkeypatch.setattr(kafka_source, "_MOST_OPEN_BYTES", 0)
    assert parts.first_offsets() == {}
    assert parts.held == 0


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_waited_for_by_who_follows_and_told_otherwise(broker):
    url = f"kafka://{broker.address}/not-yet"
    with pytest.raises(TransportDownError, match="Unknown topic"):
        list(KafkaSource(url, follow=False))
    reader = Reader(KafkaSource(url))
    found = []
    thread = threading.Thread(target=lambda: found.extend(collected(reader, 17)))
    thread.start()
    broker.make_topic("not-yet")
    with KafkaSink(url) as sink:
        for event in summarised(contract_run()):
            sink.put(event)
    thread.join(30)
    reader.close()
    assert [event.seq for event in found] == list(range(1, 18))


def test_a_run_is_watched_kept_and_played_again_from_kafka(mock_topic, tmp_path):
    graph = hexviz.Graph("g")
    for name in "abc":
        graph.node(lambda name=name: name, name=name)
    with KafkaSink(mock_topic) as sink:
        result = hexviz.run_sync(graph, sinks=[sink], store=False)
        assert sink.flush() == 0
    told = [to_record(event) for event in result.recording.events()]
    with hexviz.watch(mock_topic, run=result.run_id) as watch:
        assert watch.wait(30)
        assert [to_record(event) for event in watch.recording.events()] == told
        assert list(watch.frames.nodes["status"]) == ["succeeded"] * 3
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append(Reader(KafkaSource(mock_topic, follow=False)))
        store.flush()
        assert list(store.read(result.run_id)) == told
