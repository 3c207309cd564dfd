"""Runs to Kafka: each event once, in order of its run, acknowledged by all replicas."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hexviz.streams.kafka import LONGEST_HEADER, PART_HEADER, TOPIC_HEADER, Address, Line, driver, key_of
from hexviz.streams.models import MessageRefusedError
from hexviz.streams.sink import REST_S, SpooledSink

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hexviz.spool import Spool
    from hexviz.streams.models import Message

CONNECT_S = 5.0
ASK_S = 2.0
MAKE_S = 1.0
"""A topic that the broker makes when it is first asked for is there in a moment."""
SEND_S = 10.0
MAX_EVENT_BYTES = 32 << 20
_USUAL_LIMIT = 1_000_000
_MARGIN = 512
"""Bytes of a message beside its key, its headers and its value."""
_MOST_BESIDE = _MARGIN + 3 * LONGEST_HEADER
_MOST_BYTES_OF_A_CHARACTER = 4
_CONTENT_TYPE = ("content-type", b"application/cloudevents+json; charset=UTF-8")
_REST_EVERY = 50
_POLL_S = 0.005
_REFUSED = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "_INVALID_ARG")


class KafkaSink(SpooledSink):
    """Sends runs to ``kafka://HOST:PORT/TOPIC``: a :class:`~hexviz.streams.sink.SpooledSink`.

    One message for each event, as a CloudEvent in JSON (structured mode), keyed by the run id; idempotent,
    ``acks=all``, compressed. An event that is larger than the topic takes goes in parts, which
    :class:`~hexviz.streams.kafka_source.KafkaSource` joins; one of more than 32 MiB is refused and counted.
    ``settings`` are those of librdkafka, for certificates and the like. Nothing is connected here: an absent broker
    costs the run nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        spool: Spool | str | os.PathLike[str] | None = None,
        max_bytes: int = 64 << 20,
        settings: Mapping[str, Any] | None = None,
        send_s: float = SEND_S,
    ) -> None:
        transport = KafkaTransport(url, settings=settings, send_s=send_s)
        super().__init__(transport, spool=spool, max_bytes=max_bytes, name=str(transport.address))


class KafkaTransport:
    """Carries messages to one topic. Where nothing is acknowledged for ``send_s`` seconds the line counts as dead."""

    def __init__(self, url: str, *, settings: Mapping[str, Any] | None = None, send_s: float = SEND_S) -> None:
        driver()
        self.address = Address(url, settings)
        self._line = Line(self.address)
        self._send_s = send_s
        self._limit = _USUAL_LIMIT
        self._producer: Any = None
        self._is_new = True

    def connect(self) -> None:
        """Ask for the topic and how much it takes."""
        admin = self._line.client("AdminClient", module="confluent_kafka.admin")
        until = time.monotonic() + MAKE_S
        while not self._line.partitions(admin, CONNECT_S, must=time.monotonic() > until):
            time.sleep(0.05)
        self._limit = self._most_bytes(admin)
        self._open()
        self._line.well()

    def _most_bytes(self, admin: Any) -> int:
        """How large a message of this topic may be, where we may know."""
        config = driver("confluent_kafka.admin").ConfigResource("topic", self.address.topic)
        try:
            found = admin.describe_configs([config], request_timeout=ASK_S)[config].result(ASK_S)
            return max(int(found["max.message.bytes"].value), 2 * _MARGIN)
        except Exception:  # noqa: BLE001 - brokers may forbid the question, and others do not know it
            return _USUAL_LIMIT

    def _open(self) -> None:
        self._is_new = True
        self._producer = self._line.client(
            "Producer",
            {
                "acks": "all",
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # what follows a lost message fails too, so that order is kept
                "message.timeout.ms": 0,  # we count the time ourselves, and let go of all messages together
                "request.timeout.ms": max(1, int(self._send_s * 1000)),
                "retries": 5,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 500,
                "compression.type": "lz4",
                "linger.ms": 100,  # what is given together goes together: waiting for it ends the lingering
                "delivery.report.only.error": True,
                "message.max.bytes": self._limit,
                "batch.size": min(_USUAL_LIMIT, self._limit),
                "queue.buffering.max.messages": 200_000,
            },
        )

    def send(self, messages: Sequence[Message]) -> None:
        """Return when all are acknowledged."""
        # A new producer has first to introduce itself.
        delivery = _Delivery(self._producer, max(self._send_s, CONNECT_S) if self._is_new else self._send_s)
        for message in messages:
            for headers, value in self._parts(message):
                delivery.give(self.address.topic, key_of(message.run_id), headers, value)
        error = delivery.wait()
        if error is None:
            self._is_new = False
            return
        if error.name() in _REFUSED:
            self.close()
            self._open()  # with a gap the producer is of no more use
            raise MessageRefusedError(f"{self.address}: {self.address.clean(error.str())}")
        raise self._line.down(error.str())

    def _parts(self, message: Message) -> Iterable[tuple[list[tuple[str, bytes]], bytes]]:
        """Headers and value of each message that this one takes."""
        body, topic = message.body, message.topic
        if len(body) < self._limit - _MOST_BESIDE and len(topic) <= LONGEST_HEADER // _MOST_BYTES_OF_A_CHARACTER:
            return (([_CONTENT_TYPE, (TOPIC_HEADER, topic.encode("utf-8", "surrogatepass"))], body),)
        return self._several_parts(message)

    def _several_parts(self, message: Message) -> Iterator[tuple[list[tuple[str, bytes]], bytes]]:
        body = message.body
        if len(body) > MAX_EVENT_BYTES:
            raise MessageRefusedError(f"it has {len(body)} bytes, more than {MAX_EVENT_BYTES}")
        headers = [_CONTENT_TYPE]
        topic = message.topic.encode("utf-8", "surrogatepass")
        if len(topic) <= LONGEST_HEADER:
            headers.append((TOPIC_HEADER, topic))
        taken = _MARGIN + len(key_of(message.run_id)) + sum(len(name) + len(value) for name, value in headers)
        room = max(self._limit - taken, 64)
        if len(body) <= room:
            yield headers, body
            return
        count = -(-len(body) // room)
        for number in range(count):
            mark = f"{message.seq}:{number + 1}/{count}".encode()
            yield [*headers, (PART_HEADER, mark)], body[number * room : (number + 1) * room]

    def close(self) -> None:
        """Give up what is under way; it is sent again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1.0)  # tells what became of them, to nobody


class _Delivery:
    """Messages on their way, and what became of them. The library tells of failures only; how many are left it counts.

    Acknowledgements for each message would cost as much as sending it.
    """

    def __init__(self, producer: Any, limit_s: float) -> None:
        self._producer = producer
        self._limit_s = limit_s
        self._error: Any = None
        self._given = self._left = 0
        self._last = time.monotonic()

    def give(self, topic: str, key: bytes, headers: list[tuple[str, bytes]], value: bytes) -> None:
        """Hand one message to the library, which holds so many at most."""
        while self._error is None:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=self._failed)
            except BufferError:
                self._step()
            except driver().KafkaException as error:
                self._error = error.args[0]
            else:
                self._given += 1
                if self._given % _REST_EVERY == 0:
                    time.sleep(REST_S)
                return

    def wait(self) -> Any:
        """None when all are acknowledged, otherwise the first error."""
        while len(self._producer) and self._error is None:
            self._step()
        return self._error

    def _step(self) -> None:
        left = self._producer.flush(_POLL_S)
        if left < self._left:
            self._last = time.monotonic()
        elif self._error is None and time.monotonic() - self._last > self._limit_s:
            self._error = _Silence(self._limit_s)
        self._left = left

    def _failed(self, error: Any, _message: Any) -> None:
        self._error = self._error or error


class _Silence:
    """In place of an error of the library: there was none."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def name(self) -> str:
        """A name that is none of the library's."""
        return "silence"

    def str(self) -> str:
        """The sentence."""
        return f"nothing was acknowledged within {self._limit_s:g} s"
