"""Runs from Kafka: what watchers, replays and stores read."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.events.events import printable
from hexviz.streams.kafka import PART_HEADER, TOPIC_HEADER, Address, Line, driver, headers_of, key_of
from hexviz.streams.kafka_sink import MAX_EVENT_BYTES
from hexviz.streams.reader import wanted_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONNECT_S = 5.0
_AT_ONCE = 500
_POLL_S = 0.1
_LOOK_AGAIN_S = 0.3
_LOG_EVERY_S = 30.0
_COMMIT_EVERY_S = 0.5
_MOST_OPEN_BYTES = 4 * MAX_EVENT_BYTES
_OVERHEAD = 300
_PART_LIMIT_S = 120.0
"""After the last part that came. A sink that cannot send the next part begins again with the first long before."""

_log = logging.getLogger("hexviz.streams")


class KafkaSource:
    """Reads ``kafka://HOST:PORT/TOPIC`` (a :class:`~hexviz.streams.models.Source`), from its beginning.

    With ``group`` it is one of the consumers of that group: they share the partitions, so each run is read by one of
    them, and begin behind what was committed. ``run_id`` and ``topics`` (patterns) choose by what stands beside the
    messages, without reading them. ``from_start=False`` begins at the end, ``follow=False`` ends there. Iterating
    raises :class:`TransportDownError` where the broker cannot be reached in the beginning; later it waits for it.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str | None = None,
        run_id: str | None = None,
        topics: str | Iterable[str] | None = None,
        from_start: bool = True,
        follow: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        driver()
        self.address = Address(url, settings)
        self._line = Line(self.address)
        self._group = group
        self._key = None if run_id is None else key_of(run_id)
        self._topics = wanted_topics(topics)
        self._from_start, self._follow = from_start, follow
        self._consumer: Any = None
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._given: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._ended: set[int] = set()
        self._parts = _Parts()
        self._next_log = self._next_commit = 0.0

    # --- reading ---

    def __iter__(self) -> Iterator[bytes]:
        if self._consumer is None:
            self._open()
        while not self._closed.is_set():
            with self._lock:
                if self._closed.is_set():
                    return
                messages = self._some()
            for message in messages:
                if self._closed.is_set():
                    return
                if message.error() is None:
                    yield from self._bodies(message)
                elif self._is_end(message):
                    return

    def _some(self) -> list[Any]:
        """One message as soon as it is there, with those that have come along."""
        first = self._consumer.poll(_POLL_S)
        return [] if first is None else [first, *self._consumer.consume(_AT_ONCE, timeout=0)]

    def _open(self) -> None:
        consumer = self._line.client(
            "Consumer",
            {
                "group.id": self._group or f"hexviz-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest" if self._from_start else "latest",
                "enable.partition.eof": not self._follow,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 32 << 10,
                "topic.metadata.refresh.interval.ms": 2_000,  # a topic that is made later is found soon
            },
        )
        try:
            partitions = self._found_partitions(consumer)
            if self._group is not None:
                consumer.subscribe([self.address.topic], on_assign=self._assigned)
            else:
                library = driver()
                start = library.OFFSET_BEGINNING if self._from_start else library.OFFSET_END
                consumer.assign([library.TopicPartition(self.address.topic, p, start) for p in partitions])
        except BaseException:
            consumer.close()
            raise
        with self._lock:
            self._consumer = consumer
            if self._closed.is_set():
                consumer.close()

    def _found_partitions(self, consumer: Any) -> list[int]:
        """The partitions; waits for a topic that is not there yet, since nobody may have sent anything."""
        while not self._closed.is_set():
            found: list[int] = self._line.partitions(consumer, CONNECT_S, must=not self._follow)
            if found:
                return found
            self._closed.wait(_LOOK_AGAIN_S)
        return []

    def _assigned(self, _consumer: Any, _partitions: Any) -> None:
        """Partitions were shared out anew: what others read meanwhile is not ours to commit."""
        self._given.clear()
        self._done.clear()
        self._ended.clear()
        self._parts = _Parts()

    def _bodies(self, message: Any) -> Iterator[bytes]:
        partition, offset = message.partition(), message.offset()
        self._given[partition] = offset + 1
        headers = headers_of(message.headers())
        if not self._wants(message.key(), headers):
            return
        value = message.value() or b""
        if PART_HEADER in headers:
            whole = self._parts.add(_Place(partition, message.key(), offset), headers[PART_HEADER], value)
            if whole is None:
                return
            value = whole
        yield value

    def _wants(self, key: bytes | None, headers: Mapping[str, bytes]) -> bool:
        if self._key is not None and key not in {None, self._key}:
            return False
        if self._topics is None or TOPIC_HEADER not in headers:
            return True
        topic = headers[TOPIC_HEADER].decode("utf-8", "replace")
        return any(matches(topic) for matches in self._topics)

    def _is_end(self, message: Any) -> bool:
        """Whether the end of all partitions is reached; other errors are told, and pass."""
        error = message.error()
        if error.name() == "_PARTITION_EOF":
            self._ended.add(message.partition())
            return self._ended >= {place.partition for place in self._consumer.assignment()}
        self._complain(error)
        return False

    def _complain(self, error: Any) -> None:
        if time.monotonic() >= self._next_log:
            self._next_log = time.monotonic() + _LOG_EVERY_S
            said = printable(self.address.clean(error.str()))
            _log.warning("%s: %s; reading goes on when it can", self.address, said)

    # --- the rest ---

    def commit(self) -> None:
        """With a group: whoever reads on begins behind what was given so far. Without one there is nothing to keep.

        Told to the broker twice a second at most, and when closing; where that fails, what was given comes again.
        """
        if self._group is None:
            return
        held = self._parts.first_offsets()
        self._done |= {partition: min(after, held.get(partition, after)) for partition, after in self._given.items()}
        if time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + _COMMIT_EVERY_S
            self._tell_done()

    def _tell_done(self) -> None:
        library = driver()
        with self._lock:
            if self._consumer is None or not self._done:
                return
            places = [library.TopicPartition(self.address.topic, *place) for place in self._done.items()]
            try:
                self._consumer.commit(offsets=places, asynchronous=False)
            except library.KafkaException as error:  # partitions are being shared out anew, or the broker is away
                self._complain(error.args[0])
            else:
                self._done.clear()

    def close(self) -> None:
        """Let go; ends the iteration within a tenth of a second."""
        already = self._closed.is_set()
        self._closed.set()
        with self._lock:
            if not already and self._consumer is not None:
                self._tell_done()
                self._consumer.close()


class _Place(NamedTuple):
    partition: int
    key: bytes | None
    offset: int


class _Whole:
    """The parts of one event that have come so far."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count, self.size = first, count, 0
        self.values: list[bytes] = []
        self.until = 0.0

    @property
    def held(self) -> int:
        """Bytes of memory, about."""
        return self.size + _OVERHEAD * (1 + len(self.values))


class _Parts:
    """Joins the parts of large events. What is not completed in time is forgotten, and the oldest where it is much."""

    def __init__(self) -> None:
        self.held = 0
        self._open: dict[tuple[int, bytes | None, int], _Whole] = {}

    def add(self, place: _Place, mark: bytes, value: bytes) -> bytes | None:
        """The whole event with its last part; None before. What does not fit together is given as it is."""
        try:
            seq, number, count = map(int, mark.replace(b"/", b":").split(b":"))
        except ValueError:
            return value
        name = (place.partition, place.key, seq)
        self._forget_some()
        whole = self._take(name)
        if number == 1:
            whole = _Whole(place.offset, count)
        if whole is None:
            return value
        if whole.count != count or not 0 < number <= len(whole.values) + 1:
            self._put(name, whole)
            return value
        if number > len(whole.values):  # otherwise it comes again
            whole.values.append(value)
            whole.size += len(value)
            if whole.size > MAX_EVENT_BYTES:
                return value
            if number >= count:
                return b"".join(whole.values)
        self._put(name, whole)
        return None

    def _put(self, name: tuple[int, bytes | None, int], whole: _Whole) -> None:
        whole.until = time.monotonic() + _PART_LIMIT_S
        self._open[name] = whole
        self.held += whole.held

    def _take(self, name: tuple[int, bytes | None, int]) -> _Whole | None:
        whole = self._open.pop(name, None)
        self.held -= 0 if whole is None else whole.held
        return whole

    def first_offsets(self) -> dict[int, int]:
        """For each partition where the first event begins that is not complete."""
        self._forget_some()
        found: dict[int, int] = {}
        for (partition, _, _), whole in self._open.items():
            found[partition] = min(whole.first, found.get(partition, whole.first))
        return found

    def _forget_some(self) -> None:
        """Those that got a part longest ago come first."""
        now = time.monotonic()
        while self._open:
            name, oldest = next(iter(self._open.items()))
            if oldest.until > now and self.held <= _MOST_OPEN_BYTES:
                return
            self._take(name)
