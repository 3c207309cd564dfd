"""Event <-> record: one event as one line of canonical JSON, and back.

A record is ``{"type": ..., "v": 1, "data": {...}}``. Equal events give equal bytes. Values are summaries (see
:mod:`hexviz.events.summary`). Where JSON has no word for a value (NaN, infinity, lone surrogates, bytes, very long
integers) the record says ``"tagged": true`` and holds ``{"$float": "nan"}``, ``{"$str": base64}``,
``{"$bytes": base64}``, ``{"$int": hex}``, ``{"$map": [[key, value], ...]}`` in its place. Reading runs no code from
data: nothing is imported by name, nothing unpickled.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import chain
from math import isfinite
from operator import attrgetter, is_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints
from weakref import WeakKeyDictionary

import msgspec

from hexviz.errors import HexvizError
from hexviz.events.events import EVENT_CLASSES, ControlDecided, Event, NodeCompleted, NodeStarted, RecordedError
from hexviz.events.summary import GenericEvent, Summariser, Summary, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "BASE_FIELDS",
    "CODECS",
    "SCHEMA_VERSION",
    "ErrorRecord",
    "GenericEvent",
    "NewerRecordError",
    "RecordError",
    "field_types",
    "from_parts",
    "from_record",
    "from_records",
    "open_record",
    "own_fields",
    "record_type_of",
    "to_parts",
    "to_record",
    "to_records",
    "type_name_of",
]

SCHEMA_VERSION = 1

BASE_FIELDS: tuple[str, ...] = Event.__struct_fields__
_ERROR_FIELDS = ("type_name", "message", "traceback_text")
_MAX_JSON_INT_BITS = 4000
_MAX_DEPTH = 200
_CONTENT_FIELDS = frozenset({"result", "node_results", "params", "messages", "response"})


class RecordError(HexvizError, ValueError):
    """A record cannot be read: it is damaged, or not a record of hexviz."""


class NewerRecordError(RecordError):
    """A record was written by a newer hexviz with another record format."""


class ErrorRecord(msgspec.Struct, frozen=True):
    """A :class:`~hexviz.events.events.RecordedError` as it stands in a record."""

    type_name: str
    message: str = ""
    traceback_text: str = ""


class _Envelope(msgspec.Struct):
    type: str
    v: int
    data: msgspec.Raw
    tagged: bool = False


class _Base(msgspec.Struct):
    timestamp: datetime
    run_id: str
    seq: int
    monotonic_ns: int
    pipeline: str


def own_fields(cls: type[Event]) -> tuple[str, ...]:
    """The fields of an event class beside the five of :class:`Event`, in order."""
    return tuple(name for name in cls.__struct_fields__ if name not in BASE_FIELDS)


_NAMES = {"datetime": datetime}
"""What hints mean, also where somebody has put another clock into our modules since, as tests do."""


@cache
def field_types(cls: type[Event]) -> Mapping[str, Any]:
    """The type of each own field of one of our classes as it is recorded (values are :class:`Summary` or None)."""
    hints = get_type_hints(cls, localns=_NAMES)
    types: dict[str, Any] = {}
    for name in own_fields(cls):
        hint = hints[name]
        if name in _CONTENT_FIELDS:
            hint = Summary | None
        elif name == "error":
            hint = ErrorRecord | None
        elif name in {"nodes", "dependencies"} and hint is not None and cls.__name__ != "PipelineStarted":
            hint = tuple[str, ...]
        types[name] = hint
    return MappingProxyType(types)


def from_parts(value: Any) -> Any:
    """A field's value as events hold it: an :class:`ErrorRecord` becomes a RecordedError, others stay."""
    if type(value) is ErrorRecord:
        return RecordedError(value.type_name, value.message, value.traceback_text)
    return value


def to_parts(value: Any) -> Any:
    """The ``enc_hook`` of records."""
    if type(value) is RecordedError:
        return ErrorRecord(value.type_name, value.message, value.traceback_text)
    raise TypeError(f"a {type(value).__qualname__} has no place in a record")


class _Codec:
    """How one of our own event classes is written and read; each part is made when it is first needed."""

    def __init__(self, cls: type[Event]) -> None:
        self.cls = cls
        self.head = b'{"type":"' + cls.__name__.encode() + b'","v":1,"data":'

    @cached_property
    def floats(self) -> tuple[str, ...]:
        """The fields that hold a number which JSON may have no word for."""
        return tuple(name for name, hint in field_types(self.cls).items() if hint is float)

    @cached_property
    def get_floats(self) -> Callable[[Any], Any] | None:
        """What gives their values."""
        return attrgetter(*self.floats) if self.floats else None

    @cached_property
    def has_error(self) -> bool:
        """Whether one field is an error."""
        return "error" in field_types(self.cls)

    @cached_property
    def row(self) -> type[msgspec.Struct]:
        """The type of the data of a record."""
        types = field_types(self.cls)
        fields: list[Any] = []
        known = {field.name: field for field in msgspec.structs.fields(self.cls)}
        for name in self.cls.__struct_fields__:
            hint = types.get(name) or _Base.__annotations__[name]
            fields.append((name, _BASE_TYPES[name] if name in BASE_FIELDS else hint, *_default(known[name])))
        # Without the garbage collector, which would look at each of millions of rows that hold no cycle.
        return msgspec.defstruct(f"{self.cls.__name__}Row", fields, kw_only=True, gc=False)

    @cached_property
    def decode(self) -> Callable[[Any], Any]:
        """The data of a record as a row."""
        return msgspec.json.Decoder(self.row).decode

    def event(self, row: msgspec.Struct) -> Event:
        values = msgspec.structs.asdict(row)
        if self.has_error:
            values["error"] = from_parts(values["error"])
        return self.cls(**values)


_BASE_TYPES: dict[str, Any] = {"timestamp": datetime, "run_id": str, "seq": int, "monotonic_ns": int, "pipeline": str}


def _default(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.name in {"timestamp", "monotonic_ns"} or field.required:
        return ()
    if field.default is not msgspec.NODEFAULT:
        return (field.default,)
    return (msgspec.field(default_factory=dict),) if field.name not in _CONTENT_FIELDS else (None,)


CODECS: dict[str, _Codec] = {cls.__name__: _Codec(cls) for cls in EVENT_CLASSES}
_BY_CLASS: dict[type[Event], _Codec] = {codec.cls: codec for codec in CODECS.values()}
_WRAPPERS: dict[type[Event], Any] = {
    cls: msgspec.defstruct(
        f"{cls.__name__}Record", [("v", int, 1), ("data", Any, None)], tag_field="type", tag=cls.__name__, gc=False
    )
    for cls in EVENT_CLASSES
    if cls is not ControlDecided  # a vote's latency may be NaN, which is looked for in its JSON
}
_encoder = msgspec.json.Encoder(enc_hook=to_parts)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_envelope = msgspec.json.Decoder(_Envelope).decode
_summarised = Summariser()
_with_summary: Any = _summarised.step_for(NodeCompleted)  # a recorder in a hurry leaves small results to others


# --- writing ------------------------------------------------------------------------------------------------------


def type_name_of(event: Event) -> str:
    """The word for the event's class in a record: its name for our classes, module and name for others."""
    return event.type_name if isinstance(event, GenericEvent) else record_type_of(type(event))


def record_type_of(cls: type[Event]) -> str:
    """The word for a class in its records: its name for our classes, module and name for others."""
    return cls.__name__ if cls in _BY_CLASS else _name_of(cls)


def _name_of(cls: type[Event]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def to_record(event: Event) -> bytes:
    """The canonical bytes of ``event``. Values not summarised yet are summarised first (type and size only)."""
    cls = type(event)
    event = _summarised(event)
    if event.timestamp.tzinfo is not UTC or cls is NodeStarted:
        event = _in_utc(event)
    codec = _BY_CLASS.get(cls)
    if codec is None:
        return _tagged_record(event)
    if codec.get_floats is not None:
        found = codec.get_floats(event)
        for number in found if type(found) is tuple else (found,):
            if type(number) is not float:
                event = _with_floats(event, codec)
            elif not isfinite(number):
                return _tagged_record(event)
    try:
        body = _encode(event)
    except (UnicodeEncodeError, OverflowError, ValueError, TypeError):
        return _tagged_record(event)
    if b"null" in body and cls.__name__ == "ControlDecided":  # a vote's latency may be NaN, which JSON writes as null
        return _tagged_record(event, only_if_needed=codec.head + body + b"}")
    return codec.head + body + b"}"


def to_records(events: Sequence[Event]) -> list[bytes]:
    """What :func:`to_record` gives for each event, at a third of the price where all of them are plain."""
    events = [_with_summary(event) if type(event) is NodeCompleted else event for event in events]
    try:
        wrapped = [_WRAPPERS[type(event)](1, event) for event in events]
    except KeyError:  # a class of a user
        return list(map(to_record, events))
    by_class: dict[type[Event], list[Event]] = {}
    for event in events:
        by_class.setdefault(type(event), []).append(event)
    if [event for event in events if event.timestamp.tzinfo is not UTC] or not all(map(_plain, by_class.items())):
        return list(map(to_record, events))
    try:
        lines = _encode_lines(wrapped).split(b"\n")
    except (UnicodeEncodeError, OverflowError, ValueError, TypeError):
        return list(map(to_record, events))
    del lines[-1]
    return lines


def _plain(kind: tuple[type[Event], list[Event]]) -> bool:
    """Whether events of one class are summarised, and JSON has a word for each of their times and numbers."""
    cls, events = kind
    codec, step = _BY_CLASS[cls], None if cls is NodeCompleted else _summarised.step_for(cls)
    if step is not None and not all(map(is_, map(step, events), events)):
        return False
    if cls is NodeStarted and [event for event in events if utc(event.ready_at) is not event.ready_at]:  # type: ignore[attr-defined]
        return False
    if codec.get_floats is None:
        return True
    found = list(map(codec.get_floats, events))
    numbers = found if len(codec.floats) == 1 else list(chain.from_iterable(found))
    return set(map(type, numbers)) == {float} and isfinite(sum(numbers))


def _in_utc(event: Event) -> Event:
    ready = getattr(event, "ready_at", None)
    if utc(ready) is not ready:
        event = msgspec.structs.replace(event, ready_at=utc(ready))
    moment = utc(event.timestamp)
    return event if moment is event.timestamp else msgspec.structs.replace(event, timestamp=moment)


def _with_floats(event: Event, codec: _Codec) -> Event:
    """Whole numbers given for floats become floats, so that equal events give equal bytes."""
    whole = {name: getattr(event, name) for name in codec.floats if type(getattr(event, name)) is int}
    try:
        return msgspec.structs.replace(event, **{name: float(value) for name, value in whole.items()})
    except OverflowError:
        return event


def _tagged_record(event: Event, only_if_needed: bytes = b"") -> bytes:
    writer = _Tagger(summaries_marked=type(event) not in _BY_CLASS)
    if isinstance(event, GenericEvent):
        data = {**event.data, **{name: writer.tag(getattr(event, name)) for name in BASE_FIELDS}}
        tagged = writer.used or _has_tags(event.data)
    else:
        data = {name: writer.tag(getattr(event, name)) for name in type(event).__struct_fields__}
        tagged = writer.used
    if only_if_needed and not tagged:
        return only_if_needed
    name = type_name_of(event)
    record = {"type": name, "v": SCHEMA_VERSION, "data": data}
    if tagged:
        record["tagged"] = True
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:  # the class itself has an unwritable name
        record["type"] = name.encode("utf-8", "backslashreplace").decode()
        return msgspec.json.encode(record)


def _has_tags(value: Any) -> bool:
    if type(value) is dict:
        return any(type(key) is str and key.startswith("$") for key in value) or any(map(_has_tags, value.values()))
    return type(value) is list and any(map(_has_tags, value))


class _Tagger:
    """Puts what JSON cannot say into words of our own; ``used`` tells whether any was needed."""

    def __init__(self, *, summaries_marked: bool) -> None:
        self.used = False
        self._marked = summaries_marked

    def tag(self, value: Any) -> Any:  # noqa: PLR0911 - one return per kind of value
        kind = type(value)
        if kind is str:
            return value if _writable(value) else self._word("$str", _b64(value.encode("utf-16-le", "surrogatepass")))
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if value.bit_length() <= _MAX_JSON_INT_BITS else self._word("$int", hex(value))
        if kind is float:
            return value if isfinite(value) else self._word("$float", repr(value))
        if kind is datetime:
            text = utc(value).isoformat().replace("+00:00", "Z")
            return self._word("$time", text) if self._marked and value is not None and self._inside else text
        if kind is bytes:
            return self._word("$bytes", _b64(value))
        if kind in {list, tuple}:
            return [self._tag_inside(item) for item in value]
        if kind is dict:
            return self._tag_dict(value)
        return self._tag_object(value)

    _inside = False

    def _tag_inside(self, value: Any) -> Any:
        before, self._inside = self._inside, True
        try:
            return self.tag(value)
        finally:
            self._inside = before

    def _word(self, word: str, value: Any) -> dict[str, Any]:
        self.used = True
        return {word: value}

    def _tag_dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        if all(type(key) is str and _writable(key) and not key.startswith("$") for key in value):
            return {key: self._tag_inside(item) for key, item in value.items()}
        return self._word("$map", [[self._tag_inside(key), self._tag_inside(item)] for key, item in value.items()])

    def _tag_object(self, value: Any) -> Any:
        if type(value) is RecordedError:
            facts = {name: self.tag(getattr(value, name)) for name in _ERROR_FIELDS}
            return self._word("$error", facts) if self._marked else facts
        if issubclass(type(value), msgspec.Struct):
            facts = {name: self.tag(getattr(value, name)) for name in value.__struct_fields__}
            if type(value) is Summary:
                facts = {name: fact for name, fact in facts.items() if name == "type" or fact not in (None, "", [])}
                return self._word("$summary", facts) if self._marked else facts
            return facts
        return self._word("$summary", {"type": type(value).__qualname__})


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# --- reading ------------------------------------------------------------------------------------------------------


def from_record(record: bytes) -> Event:
    """The event of one record.

    Raises :class:`NewerRecordError` for a record of a later format and :class:`RecordError` for anything else that
    is not a record. An unknown class gives a :class:`GenericEvent`.
    """
    return next(from_records((record,)))


def from_records(records: Iterable[bytes]) -> Iterator[Event]:
    """The events of many records, lazily; classes of users are looked up once for all of them."""
    users: dict[str, type[Event]] | None = None
    for record in records:
        envelope = open_record(record)
        codec = CODECS.get(envelope.type)
        try:
            if codec is not None:
                yield _timed(
                    codec.event(codec.decode(envelope.data) if not envelope.tagged else _convert(envelope, codec.row))
                )
                continue
            if users is None:
                users = {_name_of(cls): cls for cls in _subclasses(Event) if cls not in _BY_CLASS}
            yield _timed(_user_event(envelope, users.get(envelope.type)))
        except (msgspec.DecodeError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise RecordError(f"a record of type {envelope.type!r} cannot be read: {error}") from error


def _timed(event: Event) -> Event:
    """``event`` in UTC. OverflowError for a time that the year 1 or 9999 leaves no room for."""
    if event.timestamp.tzinfo is UTC and (type(event) is not NodeStarted or event.ready_at is None):
        return event
    return _in_utc(event)


def open_record(record: bytes) -> _Envelope:
    """The type, version and undecoded data of a record; errors as in :func:`from_record`."""
    try:
        envelope = _envelope(record)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordError(f"this is not a record of hexviz: {error}") from error
    if envelope.v > SCHEMA_VERSION:
        raise NewerRecordError(
            f"a record of type {envelope.type!r} has format {envelope.v}, this hexviz reads up to {SCHEMA_VERSION}. "
            "It was written by a newer version: update hexviz to read it."
        )
    return envelope


def _subclasses(cls: type[Event]) -> Iterator[type[Event]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _convert(envelope: _Envelope, row: type[Any]) -> Any:
    return msgspec.convert(_untag(msgspec.json.decode(envelope.data)), row)


def _user_event(envelope: _Envelope, cls: type[Event] | None) -> Event:
    data = msgspec.json.decode(envelope.data)
    if type(data) is not dict:
        raise TypeError("its data is not an object")
    _check_depth(data)
    if cls is not None and cls is not GenericEvent:
        values = _untag(data) if envelope.tagged else data
        try:
            _check_fields(cls, values)
            return cls(**{name: values[name] for name in cls.__struct_fields__ if name in values})
        except Exception:  # noqa: BLE001, S110 - the class has changed since
            pass
    base = msgspec.convert({name: _untag(data.pop(name)) for name in BASE_FIELDS}, _Base)
    return GenericEvent(envelope.type, data, **msgspec.structs.asdict(base))


def _check_depth(data: Any) -> None:
    """Refuse what is nested so deep that whoever walks through it later would fail."""
    level = [data]
    for _ in range(_MAX_DEPTH):
        inner = [item for value in level for item in (value.values() if type(value) is dict else value)]
        level = [value for value in inner if type(value) is dict or type(value) is list]
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


_hints: WeakKeyDictionary[type[Event], dict[str, Any]] = WeakKeyDictionary()
"""Finding the annotations of a class takes a hundred times as long as using them."""


def _check_fields(cls: type[Event], values: dict[str, Any]) -> None:
    """Convert in place what JSON writes otherwise (times, tuples) by the annotations of a user's class."""
    hints = _hints.get(cls)
    if hints is None:
        hints = _hints[cls] = get_type_hints(cls)
    for name, value in values.items():
        if name in hints and not isinstance(value, (Summary, RecordedError)):
            try:
                values[name] = msgspec.convert(value, hints[name])
            except TypeError:  # an annotation that msgspec does not know
                continue
            except msgspec.ValidationError:
                if name in BASE_FIELDS:
                    raise


def _untag(value: Any) -> Any:
    if type(value) is list:
        return [_untag(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        word, inner = next(iter(value.items()))
        if word in _WORDS:
            return _WORDS[word](inner)
    return {key: _untag(item) for key, item in value.items()}


def _untag_map(pairs: list[Any]) -> dict[Any, Any]:
    return {_untag(key): _untag(item) for key, item in pairs}


_WORDS: dict[str, Callable[[Any], Any]] = {
    "$str": lambda text: base64.b64decode(text).decode("utf-16-le", "surrogatepass"),
    "$bytes": base64.b64decode,
    "$int": lambda text: int(text, 16),
    "$float": float,
    "$time": datetime.fromisoformat,
    "$map": _untag_map,
    "$summary": lambda facts: msgspec.convert(_untag(facts), Summary),
    "$error": lambda facts: RecordedError(*(_untag(facts[name]) for name in _ERROR_FIELDS)),
}
