"""The AsyncAPI 3.0 document of hexviz: its channels are the topics of the events, its messages their CloudEvents.

Every wire carries the same messages; the topic stands in the ``subject`` of each.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

from hexviz.events.cloud_events import CONTENT_TYPE, type_of
from hexviz.events.events import EVENT_CLASSES, Event, PipelineStarted
from hexviz.events.json_schema import event_definitions
from hexviz.events.schema import own_fields, record_type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["async_api"]

_OF_PIPELINE = PipelineStarted.__bases__[0]
_MAY_BE_EMPTY = ("node_name", "wave_index")
_PLACES = {"name": "node", "node_name": "node", "wave_index": "wave", "tool_name": "tool"}
_ENCODED = "; `.`, `*` and `%` in it are percent-encoded."
_PARAMETERS = {
    "pipeline": f"The name of the pipeline{_ENCODED}",
    "wave": "The number of the wave, from 1.",
    "node": f"The name of the node{_ENCODED}",
    "tool": f"The name of the tool{_ENCODED}",
    "observer": f"The name of the observer{_ENCODED}",
}


_SERVERS: dict[str, Any] = {
    "websocket": {
        "host": "127.0.0.1:{port}",
        "pathname": "/events",
        "protocol": "ws",
        "description": "`hexviz serve`. Events come in frames: see the OpenAPI document.",
        "variables": {"port": {"default": "8765"}},
        "security": [{"type": "http", "scheme": "bearer"}],
    }
}


def async_api(classes: Iterable[type[Event]] = EVENT_CLASSES, *, version: str) -> dict[str, Any]:
    """The document, as a dict for JSON."""
    classes = tuple(classes)
    definitions = event_definitions(classes)
    names = {schema["x-event"]: name for name, schema in definitions.items() if "x-event" in schema}
    channels: dict[str, Any] = {}
    for cls in classes:
        for address in _addresses(cls):
            channel = channels.setdefault(_key(address), _channel(address))
            name = names[record_type_of(cls)]
            channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of hexviz",
            "version": version,
            "description": "What happens in the runs of a DAG. A receiver drops duplicates by (source, id).",
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": _SERVERS,
        "channels": channels,
        "operations": {f"send_{key}": _operation(key, channel) for key, channel in channels.items()},
        "components": {
            "messages": {name: _message(cls, name) for cls in classes for name in [names[record_type_of(cls)]]},
            "schemas": _moved(definitions),
        },
    }


def _addresses(cls: type[Event]) -> Iterator[str]:
    """The topics that events of a class may have, with ``{field}`` for each name in them."""
    optional = [name for name in _MAY_BE_EMPTY if name in own_fields(cls) and not _always(cls, name)]
    seen = set()
    for given in product((True, False), repeat=len(optional)):
        values: dict[str, Any] = {name: f"{{{_PLACES.get(name, name)}}}" for name in cls.__struct_fields__}
        if issubclass(cls, _OF_PIPELINE):
            values["name"] = "{pipeline}"
        values |= {name: "" for name, there in zip(optional, given, strict=True) if not there}
        try:
            topic = str(cls(**values).topic)
        except Exception:  # noqa: BLE001 - a class of a user may look into its fields
            topic = f"pipeline.{{pipeline}}.{cls.__name__.lower()}"
        if topic and topic not in seen:
            seen.add(topic)
            yield topic


def _always(cls: type[Event], name: str) -> bool:
    """Whether the field must be given, so that the topic always holds it."""
    fields = cls.__struct_fields__
    return fields.index(name) < len(fields) - len(cls.__struct_defaults__)


def _key(address: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", address).strip("_")


def _channel(address: str) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": address, "messages": {}}
    parameters = dict.fromkeys(re.findall(r"\{([A-Za-z0-9_]+)\}", address))
    if parameters:
        channel["parameters"] = {
            name: {"description": _PARAMETERS.get(name, "A field of the event.")} for name in parameters
        }
    return channel


def _operation(key: str, channel: dict[str, Any]) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/{key}/messages/{name}"} for name in channel["messages"]]
    return {"action": "send", "channel": {"$ref": f"#/channels/{key}"}, "messages": messages}


def _message(cls: type[Event], name: str) -> dict[str, Any]:
    return {
        "name": type_of(record_type_of(cls)),
        "title": cls.__name__,
        "summary": (cls.__doc__ or cls.__name__).strip().splitlines()[0],
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _moved(schema: Any) -> Any:
    """Definitions as components of the document."""
    if isinstance(schema, list):
        return [_moved(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(item) for key, item in schema.items()}
    if isinstance(schema.get("$ref"), str):
        moved["$ref"] = schema["$ref"].replace("#/$defs/", "#/components/schemas/")
    return moved
