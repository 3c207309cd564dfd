"""Send and receive runs: sinks take a run's events to where others watch, sources bring them back as events.

Every message is one CloudEvent (:mod:`hexviz.events.cloud_events`). :class:`SpooledSink` takes them off the run's path
to any :class:`Transport`; :class:`Reader` makes events of what a :class:`Source` brings. Kafka (``hexviz[kafka]``) and
WebSockets (``hexviz[ws]``) are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "KafkaSink": "hexviz.streams.kafka_sink",
    "KafkaSource": "hexviz.streams.kafka_source",
    "Message": "hexviz.streams.models",
    "MessageRefusedError": "hexviz.streams.models",
    "Reader": "hexviz.streams.reader",
    "Sink": "hexviz.streams.models",
    "Source": "hexviz.streams.models",
    "SpooledSink": "hexviz.streams.sink",
    "StreamError": "hexviz.streams.models",
    "Transport": "hexviz.streams.models",
    "TransportDownError": "hexviz.streams.models",
    "WebSocketBroadcaster": "hexviz.streams.broadcast",
    "WebSocketSource": "hexviz.streams.web_source",
    "topic_name": "hexviz.streams.kafka",
}

__all__ = [
    "KafkaSink",
    "KafkaSource",
    "Message",
    "MessageRefusedError",
    "Reader",
    "Sink",
    "Source",
    "SpooledSink",
    "StreamError",
    "Transport",
    "TransportDownError",
    "WebSocketBroadcaster",
    "WebSocketSource",
    "topic_name",
]

if TYPE_CHECKING:
    from hexviz.streams.broadcast import WebSocketBroadcaster
    from hexviz.streams.kafka import topic_name
    from hexviz.streams.kafka_sink import KafkaSink
    from hexviz.streams.kafka_source import KafkaSource
    from hexviz.streams.models import (
        Message,
        MessageRefusedError,
        Sink,
        Source,
        StreamError,
        Transport,
        TransportDownError,
    )
    from hexviz.streams.reader import Reader
    from hexviz.streams.sink import SpooledSink
    from hexviz.streams.web_source import WebSocketSource


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hexviz.streams' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
