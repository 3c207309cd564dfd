"""JSON Schema (draft 2020-12) of every event as it travels: a CloudEvent whose ``data`` are those of the record.

A schema allows fields that it does not name: a later hexviz may add some. Where JSON has no word for a value, the
record says it in words of its own (see :mod:`hexviz.events.schema`), and the schema allows these in that place. The
fields of a user's class are described by their annotations; what msgspec cannot describe may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from hexviz.events.cloud_events import type_of
from hexviz.events.events import EVENT_CLASSES, Event
from hexviz.events.schema import BASE_FIELDS, CODECS, own_fields, record_type_of
from hexviz.events.summary import GenericEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DIALECT", "event_definitions", "event_schema", "user_event_classes"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
_TIMES = frozenset({"timestamp", "ready_at"})


def _word(name: str, inner: dict[str, Any], says: str) -> dict[str, Any]:
    properties = {name: inner}
    return {
        "description": says,
        "type": "object",
        "properties": properties,
        "required": [name],
        "additionalProperties": False,
    }


_STRING, _NUMBER, _INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_MOMENTS = {"type": "string", "format": "date-time", "pattern": _MOMENT}
_WORDS: dict[str, dict[str, Any]] = {
    "TaggedText": _word("$str", _BASE64, "A text with lone surrogates, as UTF-16 in base64."),
    "TaggedNumber": _word("$float", {"enum": ["nan", "inf", "-inf"]}, "A number that JSON cannot say."),
    "TaggedInteger": _word("$int", {"type": "string", "pattern": "^-?0x[0-9a-f]+$"}, "A very long integer, in hex."),
    "TaggedBytes": _word("$bytes", _BASE64, "Bytes, in base64."),
    "TaggedTime": _word("$time", _MOMENTS, "A moment inside a value."),
    "TaggedMap": _word(
        "$map",
        {"type": "array", "items": {"type": "array", "minItems": 2, "maxItems": 2}},
        "A mapping whose keys are not all plain texts, as pairs.",
    ),
    "TaggedSummary": _word("$summary", {"$ref": "#/$defs/Summary"}, "What was kept of a value."),
    "TaggedError": _word("$error", {"$ref": "#/$defs/ErrorRecord"}, "An exception, as text."),
}
_ANY_WORD = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in _WORDS]}
_PRIMITIVES: dict[str, dict[str, Any]] = {
    "Text": {"anyOf": [_STRING, {"$ref": "#/$defs/TaggedText"}]},
    "Number": {"anyOf": [_NUMBER, {"$ref": "#/$defs/TaggedNumber"}, {"$ref": "#/$defs/TaggedInteger"}]},
    "Integer": {"anyOf": [_INTEGER, {"$ref": "#/$defs/TaggedInteger"}]},
    "Moment": _MOMENTS,
}
_NAMED = {"string": "Text", "number": "Number", "integer": "Integer"}
_ENVELOPE: dict[str, Any] = {
    "title": "CloudEvent",
    "description": "The envelope: CloudEvents 1.0, structured JSON. (source, id) names the event.",
    "type": "object",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "description": "The seq of the event in its run."},
        "source": {"type": "string", "format": "uri-reference", "pattern": "^/hexviz/runs/", "description": "The run."},
        "type": {"type": "string", "pattern": r"^io\.hexviz\..*\.v1$"},
        "subject": {"type": "string", "minLength": 1, "description": "The topic."},
        "time": {"$ref": "#/$defs/Moment"},
        "datacontenttype": {"const": "application/json"},
        "hexviztagged": {"const": True, "description": "The data hold values that JSON has no word for."},
        "data": {"type": "object"},
    },
    "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
}


def event_schema(classes: Iterable[type[Event]] = EVENT_CLASSES) -> dict[str, Any]:
    """One schema for all events of ``classes``: a body is valid where it is an event of one of them."""
    definitions = event_definitions(classes)
    events = [{"$ref": f"#/$defs/{name}"} for name, schema in definitions.items() if "x-event" in schema]
    return {"$schema": DIALECT, "title": "Events of hexviz", "oneOf": events, "$defs": definitions}


def event_definitions(classes: Iterable[type[Event]] = EVENT_CLASSES) -> dict[str, Any]:
    """The definitions behind :func:`event_schema`: ``X`` for the CloudEvent of a class X, ``XData`` for its data.

    ``x-event`` of a definition names the type of the record. Classes of users go by module and name.
    """
    classes = tuple(classes)
    ours = [cls for cls in classes if cls.__name__ in CODECS and CODECS[cls.__name__].cls is cls]
    definitions: dict[str, Any] = {"CloudEvent": _ENVELOPE, **_PRIMITIVES, **_WORDS}
    rows = [CODECS[cls.__name__].row for cls in EVENT_CLASSES]
    _, shapes = msgspec.json.schema_components(rows, ref_template="#/$defs/{name}")
    wanted = {f"{cls.__name__}Row" for cls in ours}
    for name, shape in shapes.items():
        if not name.endswith("Row"):
            definitions[name] = _tidy(shape)
        elif name in wanted:
            definitions[name.removesuffix("Row") + "Data"] = _data_of(shape, name.removesuffix("Row"))
    for cls in ours:
        definitions[cls.__name__] = _event_of(cls, cls.__name__)
    for cls in classes:
        if cls not in ours:
            name = _definition_name(cls)
            definitions[f"{name}Data"] = _users_data(cls)
            definitions[name] = _event_of(cls, name)
    return definitions


def user_event_classes() -> tuple[type[Event], ...]:
    """Every event class that somebody has defined so far and that is not hexviz's own, by name."""
    ours = {*EVENT_CLASSES, GenericEvent}
    found = (cls for cls in _below(Event) if cls not in ours and not cls.__module__.startswith("hexviz."))
    return tuple(sorted(found, key=record_type_of))


def _below(cls: type[Event]) -> Iterator[type[Event]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def _definition_name(cls: type[Event]) -> str:
    """A name that a JSON pointer, AsyncAPI and OpenAPI can take: letters, digits, ``.``, ``-``, ``_``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in record_type_of(cls))


def _event_of(cls: type[Event], name: str) -> dict[str, Any]:
    record_type = record_type_of(cls)
    parts = {"type": {"const": type_of(record_type)}, "data": {"$ref": f"#/$defs/{name}Data"}}
    says = {"title": cls.__name__, "description": _first_line(cls), "x-event": record_type}
    return {**says, "allOf": [{"$ref": "#/$defs/CloudEvent"}, {"properties": parts}]}


def _first_line(cls: type[Event]) -> str:
    return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


def _data_of(shape: dict[str, Any], name: str) -> dict[str, Any]:
    tidy: dict[str, Any] = _tidy(shape)
    tidy["title"] = f"{name}Data"
    for field in _TIMES & tidy["properties"].keys():
        moment = {"$ref": "#/$defs/Moment"}
        tidy["properties"][field] = moment if field == "timestamp" else {"anyOf": [moment, {"type": "null"}]}
    return tidy


def _tidy(shape: Any) -> Any:
    """A schema of msgspec's with the primitives by name, which allow for what JSON cannot say; without defaults."""
    if isinstance(shape, list):
        return [_tidy(item) for item in shape]
    if not isinstance(shape, dict):
        return shape
    if shape.get("type") in _NAMED and "enum" not in shape:
        return {"$ref": f"#/$defs/{_NAMED[shape['type']]}"}
    kept = {key: _tidy(item) for key, item in shape.items() if key not in {"default", "description", "properties"}}
    if "properties" in shape:
        kept["properties"] = {name: _tidy(item) for name, item in shape["properties"].items()}
    if "description" in shape:
        kept["description"] = " ".join(shape["description"].split())
    return kept


def _users_data(cls: type[Event]) -> dict[str, Any]:
    base: dict[str, Any] = {"run_id": "Text", "seq": "Integer", "monotonic_ns": "Integer", "pipeline": "Text"}
    properties: dict[str, Any] = {name: {"$ref": f"#/$defs/{kind}"} for name, kind in base.items()}
    properties["timestamp"] = {"$ref": "#/$defs/Moment"}
    try:
        hints = get_type_hints(cls)
    except Exception:  # noqa: BLE001 - names that cannot be found; the fields are then not described
        hints = {}
    properties |= {name: _field_of(hints.get(name, Any)) for name in own_fields(cls)}
    required = [name for name in _required_of(cls) if name not in BASE_FIELDS]
    return {
        "title": f"{cls.__name__}Data",
        "type": "object",
        "properties": properties,
        "required": [*required, "timestamp", "monotonic_ns"],
    }


def _required_of(cls: type[Event]) -> list[str]:
    """The fields without a default, told by the class without a look at its annotations."""
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    first = len(fields) - len(defaults)
    return [*fields[:first], *(n for n, d in zip(fields[first:], defaults, strict=True) if d is msgspec.NODEFAULT)]


def _field_of(hint: Any) -> dict[str, Any]:
    """A field of a user's class: recorded as a bounded copy of builtin values, or as what could be kept of it."""
    try:
        schema, components = msgspec.json.schema_components([hint], ref_template="{name}")
    except TypeError:
        return {}
    return {} if components else _or_tagged(_tidy(schema[0]))


def _or_tagged(shape: dict[str, Any]) -> dict[str, Any]:
    """``shape``, or at any depth one of the words for what JSON cannot say."""
    if not shape:
        return shape
    inner = {
        key: _or_tagged(item) if isinstance(item, dict) and key != "$defs" else item for key, item in shape.items()
    }
    for key in ("anyOf", "prefixItems"):
        if key in shape:
            inner[key] = [_or_tagged(item) for item in shape[key]]
    return {"anyOf": [inner, _ANY_WORD]}
