"""Event or record <-> CloudEvent: the envelope of every event on every wire.

The envelope is CloudEvents 1.0 in structured JSON (https://github.com/cloudevents/spec, ``spec.md`` and
``formats/json-format.md``):

============== ==================================================================================================
attribute      value
============== ==================================================================================================
specversion    ``1.0``
id             the event's ``seq``; one without a number (seq 0) gives ``0-`` and its ``monotonic_ns``
source         ``/hexviz/runs/`` and the run id, percent-encoded: (source, id) names an event, receivers drop duplicates
type           ``io.hexviz.`` the type of the record ``.v`` and the version of the record format
subject        the event's topic, what CloudEvents forbids in a string percent-encoded (:func:`wire_topic`)
time           the event's ``timestamp`` (UTC)
hexviztagged   ``true`` where the record is tagged (see :mod:`hexviz.events.schema`); absent otherwise
data           the record's data, byte for byte
============== ==================================================================================================

What reads goes by ``type``, ``hexviztagged`` and ``data`` alone: the other attributes repeat what stands in ``data``,
for routers and filters that know nothing of hexviz. Record -> CloudEvent -> record gives equal bytes.
"""

from __future__ import annotations

import re
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec

from hexviz.events.schema import SCHEMA_VERSION, RecordError, from_record, open_record, to_record, to_records
from hexviz.events.summary import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hexviz.events.events import Event

__all__ = [
    "BATCH_CONTENT_TYPE",
    "CONTENT_TYPE",
    "MAX_BYTES",
    "batch_of",
    "bodies_of",
    "cloud_event_of",
    "from_cloud_event",
    "record_of",
    "source_of",
    "to_cloud_event",
    "to_cloud_events",
    "topic_of",
    "type_of",
    "wire_topic",
    "with_topics",
]

CONTENT_TYPE = "application/cloudevents+json"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
MAX_BYTES = 64 * 1024 * 1024

_TYPE_PREFIX = "io.hexviz."
_SOURCE_PREFIX = "/hexviz/runs/"
_LONGEST_DECIMAL_BITS = 4000
_MANY = 2**63
# Control characters, noncharacters and lone surrogates: CloudEvents 1.0.2, "Type System", String.
_FORBIDDEN = "\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
_forbidden = re.compile(f"[{_FORBIDDEN}]")
_forbidden_or_percent = re.compile(f"[%{_FORBIDDEN}]")


class _CloudEvent(msgspec.Struct):
    specversion: str
    type: str
    data: msgspec.Raw
    subject: str = ""
    hexviztagged: bool = False


_open = msgspec.json.Decoder(_CloudEvent).decode
_open_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode


def to_cloud_event(event: Event) -> bytes:
    """``event`` as a CloudEvent in structured JSON."""
    return _wrapped(event, to_record(event))


def to_cloud_events(events: Sequence[Event]) -> list[bytes]:
    """What :func:`to_cloud_event` gives for each event, at half the price where they are plain."""
    return [body for _, body in with_topics(events)]


def with_topics(events: Sequence[Event]) -> list[tuple[str, bytes]]:
    """What :func:`to_cloud_events` gives, and before each what :func:`topic_of` would say of it."""
    topics = [wire_topic(_topic(event)) for event in events]
    return list(zip(topics, map(_quickly_wrapped, events, to_records(events), topics), strict=True))


def cloud_event_of(record: bytes) -> bytes:
    """A record as a CloudEvent, its data unchanged. Errors as in :func:`hexviz.events.schema.from_record`."""
    return _wrapped(from_record(record), record)


def from_cloud_event(body: bytes, *, max_bytes: int = MAX_BYTES) -> Event:
    """The event of a CloudEvent; an unknown class gives a :class:`~hexviz.events.schema.GenericEvent`.

    Raises :class:`~hexviz.events.schema.NewerRecordError` for a later version of the record format, and
    :class:`~hexviz.events.schema.RecordError` for anything else that is not a CloudEvent of hexviz, or is longer
    than ``max_bytes``.
    """
    return from_record(record_of(body, max_bytes=max_bytes))


def record_of(body: bytes, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The record of a CloudEvent, its data unchanged; fields that this version does not know stay in it.

    The data are not looked into: :func:`~hexviz.events.schema.from_record` does that. Errors as in
    :func:`from_cloud_event`.
    """
    opened = _opened(body, max_bytes)
    name, version = _name_and_version(opened.type)
    tagged = b',"tagged":true}' if opened.hexviztagged else b"}"
    record = b'{"type":%b,"v":%d,"data":%b%b' % (_encode(name), version, bytes(opened.data), tagged)
    if version != SCHEMA_VERSION:
        open_record(record)
    return record


def topic_of(body: bytes, *, max_bytes: int = MAX_BYTES) -> str:
    """The ``subject`` of a CloudEvent: its topic as :func:`wire_topic` writes it. Its data are not looked into."""
    return _opened(body, max_bytes).subject


def source_of(run_id: str) -> str:
    """The ``source`` of all events of a run."""
    text = quote(run_id, safe="", errors="surrogatepass")
    return _SOURCE_PREFIX + (text.replace(".", "%2E") if run_id in {".", ".."} else text)


def type_of(record_type: str, version: int = SCHEMA_VERSION) -> str:
    """The ``type`` of the events of one class, given the ``type`` of their records."""
    return f"{_TYPE_PREFIX}{_forbidden_or_percent.sub(_percent, record_type)}.v{version}"


def wire_topic(topic: str) -> str:
    """A topic, or a pattern for topics, as ``subject`` holds it: forbidden characters percent-encoded."""
    return topic if topic.isascii() and topic.isprintable() else _forbidden.sub(_percent, topic)


def batch_of(bodies: Iterable[bytes]) -> bytes:
    """CloudEvents in the JSON batch format: an array of them."""
    return b"[" + b",".join(bodies) + b"]"


def bodies_of(batch: bytes, *, max_bytes: int = MAX_BYTES) -> list[bytes]:
    """The CloudEvents of a batch, not looked into. RecordError for what is no batch or longer than ``max_bytes``."""
    _check_size(batch, max_bytes)
    try:
        return [bytes(body) for body in _open_batch(batch)]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordError(f"this is not a batch of CloudEvents: {error}") from error


def _wrapped(event: Event, record: bytes) -> bytes:
    opened = open_record(record)
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": _id_of(event),
        "source": source_of(event.run_id),
        "type": type_of(opened.type, opened.v),
        "subject": wire_topic(_topic(event)),
        "time": utc(event.timestamp),
        "datacontenttype": "application/json",
    }
    if opened.tagged:
        envelope["hexviztagged"] = True
    return b'%b,"data":%b}' % (_encode(envelope)[:-1], bytes(opened.data))


@lru_cache(maxsize=512)
def _middle(run_id: str, name: str) -> tuple[bytes, bytes]:
    """How a plain record of this type begins, and what stands between ``id`` and ``subject`` of its CloudEvent."""
    front = _encode({"source": source_of(run_id), "type": type_of(name)})
    return b'{"type":"%b","v":%d,"data":' % (name.encode(), SCHEMA_VERSION), front[1:-1]


def _quickly_wrapped(event: Event, record: bytes, topic: str) -> bytes:
    if type(event.run_id) is not str or not 0 < event.seq < _MANY or event.timestamp.tzinfo is not UTC:
        return _wrapped(event, record)
    start, middle = _middle(event.run_id, type(event).__name__)
    if not record.startswith(start) or not record.endswith(b"}}"):  # a class of a user, or tagged
        return _wrapped(event, record)
    return (
        b'{"specversion":"1.0","id":"%d",%b,"subject":%b,"time":%b,"datacontenttype":"application/json","data":%b'
        % (event.seq, middle, _encode(topic), _encode(event.timestamp), record[len(start) :])
    )


def _id_of(event: Event) -> str:
    seq = event.seq
    if seq:
        return str(seq) if seq.bit_length() <= _LONGEST_DECIMAL_BITS else hex(seq)
    return f"0-{event.monotonic_ns:x}"


def _topic(event: Event) -> str:
    try:
        return str(event.topic) or "-"
    except Exception:  # noqa: BLE001 - a class of a user: its topic is its own code
        return "-"


def _percent(match: re.Match[str]) -> str:
    return quote(match.group(), safe="", errors="surrogatepass")


def _check_size(body: bytes, max_bytes: int) -> None:
    if len(body) > max_bytes:
        raise RecordError(f"this is longer than an event may be: {len(body):,} bytes, at most {max_bytes:,} are read")


def _opened(body: bytes, max_bytes: int) -> _CloudEvent:
    _check_size(body, max_bytes)
    try:
        opened = _open(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordError(f"this is not a CloudEvent in structured JSON: {error}") from error
    if opened.specversion != "1.0":
        raise RecordError(f"this is a CloudEvent of specversion {opened.specversion!r}; hexviz reads 1.0")
    return opened


def _name_and_version(text: str) -> tuple[str, int]:
    name, _, version = text.removeprefix(_TYPE_PREFIX).rpartition(".v")
    if not (text.startswith(_TYPE_PREFIX) and version.isascii() and version.isdigit() and len(version) < 10):  # noqa: PLR2004 - more digits are no version
        raise RecordError(f"this CloudEvent is no event of hexviz: its type is {text[:200]!r}, not 'io.hexviz.NAME.vN'")
    return unquote(name, errors="surrogatepass") if "%" in name else name, int(version)
