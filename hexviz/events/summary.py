"""What is kept of a value: its type and size, never the value itself unless asked, and never by calling its code.

Only exact builtin types are looked into (``type(value) is list``, not ``isinstance``), and of other libraries only
the few classes named in :data:`_FOREIGN`, found without importing them. A user's class is kept as its name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import msgspec

from hexviz.errors import SettingError
from hexviz.events.events import (
    EVENT_CLASSES,
    ControlDecided,
    Event,
    LLMFailed,
    LLMPromptSent,
    LLMResponseReceived,
    NodeCompleted,
    NodeFailed,
    NodeFellBack,
    NodeInfo,
    NodeSkipped,
    NodeStarted,
    PipelineCompleted,
    PipelineFailed,
    PipelineStarted,
    RecordedError,
    ToolCalled,
    ToolCompleted,
    ToolFailed,
    Vote,
)
from hexviz.events.redaction import Redaction, RedactionError
from hexviz.events.secrets import REDACTED, is_secret, masked_head

Capture = Literal["summary", "json", "value"]
Redactor = Callable[[Any], Any]

PREVIEW_CHARS = 200
CONTENT_CHARS = 4096

_MAX_PREVIEW_BITS = 600
_MAX_ITEMS = 100
_MAX_DEPTH = 12
_MAX_COPIED = 1000
_MAX_CHUNKS = 1000
# The C-level getters of ``type``: a hostile metaclass cannot stand in between.
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__


class Summary(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a recording keeps of one value.

    ``type`` is the class's qualified name. ``shape`` is given for arrays and tables, ``length`` for builtin
    containers, strings and bytes, ``size_bytes`` for bytes and arrays. ``preview`` shows numbers, booleans and None
    only, at most 200 characters. ``content`` is JSON text, and is there only where capture="json" was asked for.
    """

    type: str
    shape: tuple[int, ...] = ()
    length: int | None = None
    size_bytes: int | None = None
    preview: str = ""
    content: str = ""

    def __str__(self) -> str:
        if self.preview:
            return self.preview if self.preview == "None" else f"{self.type} {self.preview}"
        if self.shape:
            return f"{self.type} ({', '.join(map(str, self.shape))})"
        return self.type if self.length is None else f"{self.type}[{self.length}]"


class GenericEvent(Event, frozen=True):
    """An event whose class is not known here; ``data`` holds its own fields as JSON values, is kept when written."""

    type_name: str
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)


_NOTHING = Summary("NoneType", preview="None")
_BOOLEANS = {True: Summary("bool", preview="True"), False: Summary("bool", preview="False")}
_UNKNOWN = Summary("?")
LASTING = {*map(id, (_NOTHING, *_BOOLEANS.values(), _UNKNOWN))}
"""Identities of summaries that are made once and live as long as the program: whoever meets one may know it by that."""
_SHORT = 256


def summarise(value: Any, *, preview: bool = True) -> Summary:
    """The bounded summary of any value in constant time. Never raises, never calls code of the value's class.

    ``preview=False`` leaves even numbers out: for parameters, prompts and answers.
    """
    kind = type(value)
    if kind is Summary:
        return value  # type: ignore[no-any-return]
    maker = _BUILTINS.get(kind)
    if maker is not None:
        return maker(value, preview)
    return _foreign(value, kind)


# Called by place, in the recorder's hot path: (value, whether to show it).
def _of_none(_value: None, preview: bool) -> Summary:  # noqa: FBT001
    return _NOTHING if preview else Summary("NoneType")


def _of_bool(value: bool, preview: bool) -> Summary:  # noqa: FBT001
    return _BOOLEANS[value] if preview else Summary("bool")


def _of_int(value: int, preview: bool) -> Summary:  # noqa: FBT001
    short = preview and value.bit_length() <= _MAX_PREVIEW_BITS
    return Summary("int", (), None, None, str(value) if short else "")


def _of_float(value: float, preview: bool) -> Summary:  # noqa: FBT001
    return Summary("float", (), None, None, repr(value) if preview else "")


def _of_complex(value: complex, preview: bool) -> Summary:  # noqa: FBT001
    return Summary("complex", preview=repr(value) if preview else "")


def _sized(kind: type) -> Callable[[Any, bool], Summary]:
    """What makes the summaries of a container; short ones have theirs already."""
    name = kind.__name__
    short = [Summary(name, (), length) for length in range(_SHORT)]
    LASTING.update(map(id, short))

    def of_sized(value: Any, _preview: bool) -> Summary:  # noqa: FBT001
        length = len(value)
        return short[length] if length < _SHORT else Summary(name, (), length)

    return of_sized


def _of_bytes(value: bytes | bytearray, _preview: bool) -> Summary:  # noqa: FBT001
    return Summary(type(value).__name__, (), len(value), len(value))


_BUILTINS: dict[type, Callable[[Any, bool], Summary]] = {
    type(None): _of_none,
    bool: _of_bool,
    int: _of_int,
    float: _of_float,
    complex: _of_complex,
    bytes: _of_bytes,
    bytearray: _of_bytes,
    **{kind: _sized(kind) for kind in (str, list, tuple, dict, set, frozenset, range)},
}

# module, class, what makes its summary. Looked up in sys.modules: a module that is not loaded made no value.
_FOREIGN: tuple[tuple[str, str, Callable[[Any], Summary]], ...] = (
    ("numpy", "ndarray", lambda a: Summary("ndarray", tuple(a.shape), None, int(a.nbytes))),
    ("pandas", "DataFrame", lambda f: Summary("DataFrame", (len(f.index), len(f.columns)))),
    ("pandas", "Series", lambda s: Summary("Series", (len(s.index),))),
    ("polars", "DataFrame", lambda f: Summary("DataFrame", tuple(f.shape))),
    ("polars", "Series", lambda s: Summary("Series", tuple(s.shape))),
    ("pyarrow", "Table", lambda t: Summary("Table", (t.num_rows, t.num_columns), None, _bytes_of_table(t))),
)


def _bytes_of_table(table: Any) -> int | None:
    """Arrow adds its chunks up: None where they are too many for that."""
    chunks = table.column(0).num_chunks if table.num_columns else 0
    return int(table.nbytes) if chunks * table.num_columns <= _MAX_CHUNKS else None


def _foreign(value: Any, kind: type) -> Summary:
    try:
        for module, name, maker in _FOREIGN:
            loaded = sys.modules.get(module)
            if loaded is not None and kind is vars(loaded).get(name):
                return maker(value)
        return Summary(_qualname_of(kind)[:PREVIEW_CHARS])
    except Exception:  # noqa: BLE001 - a broken array costs its summary, never the run
        return _UNKNOWN


def recorded_error(error: Any) -> RecordedError | None:
    """What is kept of an exception: its type, message and traceback as text, secrets masked. None stays None."""
    if error is None or type(error) is RecordedError:
        return error
    if not issubclass(type(error), BaseException):
        text = masked_head(error, CONTENT_CHARS) if type(error) is str else ""
        return RecordedError(_qualname_of(type(error)), text)
    return RecordedError.of(error)


def plain(value: Any) -> Any:
    """A bounded copy of ``value`` made of exact builtins; what is something else becomes its :class:`Summary`.

    At most 100 items of each container, 12 levels, 1000 items and 16,384 characters in all, and 4096 characters of each
    text are kept. What looks like a secret is replaced: by its key in a mapping or a pair (as headers are given), and
    inside texts.
    """
    return _Copier().copy(value, 0)


_ATOMS = frozenset({type(None), bool, int, float, datetime, Summary, RecordedError, NodeInfo, Vote})


class _Copier:
    """Copies one value; a list that holds one list a hundred times, and so on, is not to take for ever."""

    def __init__(self) -> None:
        self._items = _MAX_COPIED
        self._chars = 4 * CONTENT_CHARS

    def copy(self, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one return per kind of value
        kind = type(value)
        self._items -= 1
        if kind in _ATOMS:
            return value
        if kind is str:
            return self._text(value)
        if kind is bytes:
            return self._text(value[: 2 * CONTENT_CHARS].decode("latin-1")).encode("latin-1")
        if depth >= _MAX_DEPTH or self._items < 0:
            return summarise(value, preview=False)
        if kind is list or kind is tuple:
            return kind(self._sequence(value, depth + 1))
        if kind is dict:
            return self._mapping(value, depth + 1)
        if issubclass(kind, BaseException):
            return recorded_error(value)
        return summarise(value, preview=False)

    def _text(self, text: str) -> str:
        if self._chars <= 0:
            return ""
        kept = masked_head(text, min(CONTENT_CHARS, self._chars))
        self._chars -= len(kept)
        return kept

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        kept = [self.copy(item, depth) for item in value[: min(_MAX_ITEMS, self._items)]]
        if len(kept) == 2 and type(value[0]) in {str, bytes} and is_secret(value[0]):  # noqa: PLR2004 - a pair
            kept[1] = REDACTED
        return kept

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        kept: dict[Any, Any] = {}
        for key in islice(value, min(_MAX_ITEMS, self._items)):
            if type(key) is str or type(key) is bytes:
                short = len(key) <= CONTENT_CHARS
                kept[key if short else key[:CONTENT_CHARS]] = (
                    REDACTED if not short or is_secret(key) else self.copy(value[key], depth)
                )
            elif type(key) in {int, float, bool, type(None)}:
                kept[key] = self.copy(value[key], depth)
        return kept


def without_secrets(value: Any, *, depth: int = 0) -> Any:
    """``value`` itself, or a copy of those builtin containers in it that hold something under a secret key.

    Looks at the first 100 items of each container, 12 levels deep, as :func:`plain` does.
    """
    kind = type(value)
    if depth >= _MAX_DEPTH:
        return value
    if kind is list or kind is tuple:
        kept = [without_secrets(item, depth=depth + 1) for item in value[:_MAX_ITEMS]]
        if len(value) == 2 and type(value[0]) in {str, bytes} and is_secret(value[0]):  # noqa: PLR2004 - a pair
            kept[1] = REDACTED
        same = all(one is other for one, other in zip(kept, value, strict=False))
        return value if same else kind([*kept, *value[_MAX_ITEMS:]])
    if kind is not dict:
        return value
    changes: dict[Any, Any] = {}
    for key in islice(value, _MAX_ITEMS):
        secret = type(key) in {str, bytes} and is_secret(key)
        item = REDACTED if secret else without_secrets(value[key], depth=depth + 1)
        if item is not value[key]:
            changes[key] = item
    return {**value, **changes} if changes else value


class Summariser:
    """Turns an event into the form in which it is recorded: results, parameters, messages and errors summarised.

    ``capture="json"`` keeps, beside each summary, a bounded JSON copy of the builtin values inside, after the
    functions in ``redact`` (each takes a value and returns what may be kept; builtin values are given as copies) and
    after masking of what looks like a secret. A function that raises, or takes more than a second, costs the content,
    never the event; ``contents_dropped`` counts those. Calling it twice changes nothing more. With ``capture="value"``
    events become the same as with ``"summary"``; :meth:`value_of` gives what is kept of the value itself.
    """

    def __init__(self, capture: Capture = "summary", redact: Iterable[Redactor] = ()) -> None:
        if capture not in {"summary", "json", "value"}:
            raise SettingError(f"capture is 'summary', 'json' or 'value', not {capture!r}")
        self.capture = capture
        self.contents_dropped = 0
        self._redact = Redaction(redact)
        self._steps: dict[type[Event], Callable[[Event], Event] | None] = {}

    def __call__(self, event: Event) -> Event:
        """The event as it is recorded; itself where there is nothing to summarise."""
        step = self.step_for(type(event))
        return event if step is None else step(event)

    def step_for(self, cls: type[Event], *, hurried: bool = False) -> Callable[[Event], Event] | None:
        """What is done to events of ``cls``; None where they are recorded as they are.

        ``hurried`` puts off what need not be done in mid-run: columns and records summarise such results.
        """
        if hurried and cls is NodeCompleted and self.capture != "json":
            return _result_may_wait
        if cls not in self._steps:
            self._steps[cls] = self._step(cls)
        return self._steps[cls]

    def _step(self, cls: type[Event]) -> Callable[[Event], Event] | None:
        if cls not in _OURS:
            return _user_step(cls)
        step: Callable[[Event], Event] | None = _STEPS.get(cls)
        if cls is NodeCompleted and self.capture != "json":
            step = _result_step  # the same, for the hottest class
        elif cls in _VALUES:
            name, preview = _VALUES[cls]
            step = self._value_step(name, preview=preview)
        return _with_reason(step) if "reason" in cls.__struct_fields__ else step

    def _value_step(self, name: str, *, preview: bool) -> Callable[[Event], Event]:
        replace = msgspec.structs.replace

        def step(event: Event) -> Event:
            value = getattr(event, name)
            if type(value) is Summary or (value is None and type(event) is NodeSkipped):
                return event
            return replace(event, **{name: summarise(value, preview=preview)})

        def step_with_content(event: Event) -> Event:
            value = getattr(event, name)
            if type(value) is Summary:
                return event
            summary = summarise(value, preview=preview)
            return replace(event, **{name: msgspec.structs.replace(summary, content=self._content(value))})

        return step_with_content if self.capture == "json" else step

    def value_of(self, event: Event) -> tuple[bool, Any]:
        """(whether the event has a value that may be kept, the value): after the redactors, without secret keys."""
        found = _VALUES.get(type(event))
        if found is None:
            return False, None
        try:
            return True, without_secrets(self._redact(getattr(event, found[0])))
        except RedactionError:
            self.contents_dropped += 1
            return False, None

    def _content(self, value: Any) -> str:
        try:
            given = plain(value) if type(value) in _COPIED else value
            text = msgspec.json.encode(plain(self._redact(given)), enc_hook=_jsonable)
        except Exception:  # noqa: BLE001 - what cannot be redacted or written is not kept
            self.contents_dropped += 1
            return ""
        if len(text) > CONTENT_CHARS:
            self.contents_dropped += 1
            return ""
        return text.decode()


def _jsonable(value: Any) -> Any:
    if isinstance(value, RecordedError):
        return {"type_name": value.type_name, "message": value.message}
    raise TypeError(type(value).__qualname__)


_VALUES: dict[type[Event], tuple[str, bool]] = {
    NodeCompleted: ("result", True),
    NodeSkipped: ("result", True),
    NodeFellBack: ("result", True),
    PipelineCompleted: ("node_results", False),
    ToolCalled: ("params", False),
    ToolCompleted: ("result", False),
    LLMPromptSent: ("messages", False),
    LLMResponseReceived: ("response", False),
}


_COPIED = frozenset({str, bytes, list, tuple, dict})
_OURS = frozenset((*EVENT_CLASSES, GenericEvent))


def _with_reason(step: Callable[[Event], Event] | None) -> Callable[[Event], Event]:
    """``step``, and then the reasons: a policy's words may quote an error, and that a password."""

    def both(event: Event) -> Event:
        if step is not None:
            event = step(event)
        given = event.reason  # type: ignore[attr-defined]
        changes: dict[str, Any] = {}
        if type(given) is str and given and (reason := _short(given)) is not given:
            changes["reason"] = reason
        if type(event) is ControlDecided and type(event.votes) is tuple:
            votes = [_masked_vote(vote) for vote in event.votes]
            if any(masked is not vote for masked, vote in zip(votes, event.votes, strict=True)):
                changes["votes"] = tuple(votes)
        return msgspec.structs.replace(event, **changes) if changes else event

    return both


def _masked_vote(vote: Vote) -> Vote:
    if type(vote) is not Vote or not (vote.reason or vote.error):
        return vote
    reason, error = _short(vote.reason), _short(vote.error)
    if reason is vote.reason and error is vote.error:
        return vote
    return msgspec.structs.replace(vote, reason=reason, error=error)


def _short(text: str) -> str:
    if type(text) is not str:
        return text
    kept = masked_head(text, CONTENT_CHARS)
    return text if kept == text else kept


def _result_step(event: Event, _replace: Any = msgspec.structs.replace, _builtin: Any = _BUILTINS.get) -> Event:
    value = event.result  # type: ignore[attr-defined]
    kind = type(value)
    if kind is Summary:
        return event
    maker = _builtin(kind)
    summary = _foreign(value, kind) if maker is None else maker(value, True)  # noqa: FBT003
    return _replace(event, result=summary)  # type: ignore[no-any-return]


MAY_WAIT = frozenset({type(None), bool, float})
"""Results of these types are recorded as they are, and summarised when they become columns."""
_MOST_OF_INT = 2**63


def _result_may_wait(event: Event) -> Event:
    """Small immutable results stay as they are until they become columns: most runs are over by then."""
    value = event.result  # type: ignore[attr-defined]
    kind = type(value)
    if kind in MAY_WAIT or (kind is int and -_MOST_OF_INT < value < _MOST_OF_INT):
        return event
    return _result_step(event)


def _error_step(event: Event) -> Event:
    error = event.error  # type: ignore[attr-defined]
    if error is None or type(error) is RecordedError:
        return event
    return msgspec.structs.replace(event, error=recorded_error(error))


def _started_step(event: Event) -> Event:
    parents = event.dependencies  # type: ignore[attr-defined]
    return event if type(parents) is tuple else msgspec.structs.replace(event, dependencies=_tuple_of(parents))


def _shape_step(event: Event) -> Event:
    nodes, tags = event.nodes, event.tags  # type: ignore[attr-defined]
    if type(nodes) is tuple and type(tags) is tuple:
        return event
    return msgspec.structs.replace(event, nodes=_tuple_of(nodes), tags=_tuple_of(tags))


def _tuple_of(names: Any) -> Any:
    """Names in any builtin container as a tuple; anything else as what may be kept of it."""
    return tuple(names) if type(names) in {tuple, list, set, frozenset, dict} else plain(names)


_STEPS: dict[type[Event], Callable[[Event], Event]] = {
    NodeStarted: _started_step,
    PipelineStarted: _shape_step,
    **dict.fromkeys((NodeFailed, PipelineFailed, ToolFailed, LLMFailed), _error_step),
}
_BASE_FIELDS = frozenset(Event.__struct_fields__)


def _user_step(cls: type[Event]) -> Callable[[Event], Event] | None:
    """A class that is not ours: every field of its own becomes a bounded copy of builtins."""
    own = tuple(name for name in cls.__struct_fields__ if name not in _BASE_FIELDS)

    def step(event: Event) -> Event:
        values = dict(zip(cls.__struct_fields__, msgspec.structs.astuple(event), strict=True))  # no code of the class
        changes = {name: plain(values[name]) for name in own}
        if all(values[name] is value for name, value in changes.items()):
            return event
        copy = msgspec.structs.replace(event)
        for name, value in changes.items():
            msgspec.structs.force_setattr(copy, name, value)
        return copy

    return step if own else None


def utc(moment: Any) -> Any:
    """``moment`` in UTC; a naive one is taken as UTC already."""
    if type(moment) is not datetime or moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
