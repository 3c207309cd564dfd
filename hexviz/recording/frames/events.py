"""The frame ``events``: topics and payloads are written once for equal ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hexviz.events import events as ev
from hexviz.events.schema import BASE_FIELDS, to_record
from hexviz.recording.arrays import Words, build, shown, words_of
from hexviz.recording.frames.topics import topics_of
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.shape import Graphs
    from hexviz.recording.snapshot import ClassTable, Snapshot

_NAMES = ("name", "node_name")
_OWN = frozenset({*_NAMES, "wave_index", "attempt", "duration_ms"})
_ELSEWHERE: dict[type[ev.Event], frozenset[str]] = {
    ev.PipelineStarted: frozenset({"nodes"}),
    ev.NodeStarted: frozenset({"ready_at", "queued_ms"}),
    ev.NodeRetrying: frozenset({"delay_s"}),
    ev.ControlDecided: frozenset({"checked_seq", "votes"}),
    ev.LLMResponseReceived: frozenset({"input_tokens", "output_tokens"}),
}
"""Fields that are columns of other frames. The ids of calls belong to them too."""
_SUMMARISED: dict[type[ev.Event], frozenset[str]] = {
    ev.NodeCompleted: frozenset({"result"}),
    ev.NodeSkipped: frozenset({"result"}),
    ev.NodeFellBack: frozenset({"result"}),
    ev.ToolCalled: frozenset({"params"}),
    ev.ToolCompleted: frozenset({"result"}),
    ev.LLMPromptSent: frozenset({"messages"}),
    ev.LLMResponseReceived: frozenset({"response"}),
}
"""Values whose type and size are columns of other frames, so that only a content that was kept is told."""


def events_frame(snapshot: Snapshot, graphs: Graphs) -> pd.DataFrame:
    """Every event, one row each."""
    s, size = snapshot, len(snapshot)
    node = np.zeros(size, dtype=np.uint32)
    wave, attempt, duration = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64), np.full(size, np.nan)
    topic, payload = _Gathered(size), _Gathered(size)
    for cls in s.classes:
        table = s.table(cls)
        if table is None:
            continue
        if cls not in ev.EVENT_CLASSES:
            for texts, gathered in zip(_users_texts(s, table), (topic, payload), strict=True):
                words = words_of(texts)
                gathered.put(table.place, words.codes, words.distinct)
            continue
        topic.put(table.place, *topics_of(s, table))
        payload.put(table.place, *_payloads(table))
        for target, names in ((node, _NAMES), (wave, ("wave_index",)), (attempt, ("attempt",)),
                              (duration, ("duration_ms",))):  # fmt: skip
            for name in names:
                if name in table.block.columns and not (name == "name" and _is_about_a_run(cls)):
                    target[table.place] = table.column(name)
    return build("events", {
        "run_id": s.run_ids(s.run), "seq": s.seq, "timestamp": s.timestamp, "offset_ms": s.offset_ms,
        "event_type": Words(s.class_codes, [cls.__name__ for cls in s.classes]), "topic": topic.words(),
        "pipeline": s.words(s.pipeline), "node": graphs.names(node), "wave": wave, "attempt": attempt,
        "duration_ms": duration, "payload": payload.words(),
    })  # fmt: skip


class _Gathered:
    """Texts of all events, brought together class by class."""

    def __init__(self, size: int) -> None:
        self._codes = np.zeros(size, dtype=np.int64)
        self._values: list[str] = []

    def put(self, place: Array, codes: Array, values: Sequence[str]) -> None:
        """The texts of the events at some places, by number."""
        self._codes[place] = codes + len(self._values)
        self._values += values

    def words(self) -> Words:
        """The column."""
        return Words(self._codes, self._values)


def _is_about_a_run(cls: type[ev.Event]) -> bool:
    return "Pipeline" in cls.__name__


# --- payloads -----------------------------------------------------------------------------------------------------


def _payloads(table: ClassTable) -> tuple[Array, list[str]]:
    """(of each event the number of its payload, the payloads)."""
    cls = table.block.cls
    dropped = _OWN | _ELSEWHERE.get(cls, frozenset()) | {"call_id"}
    fields = [name for name in table.block.columns if name not in dropped or (name == "name" and _is_about_a_run(cls))]
    codes: Array = np.zeros(len(table), dtype=np.int64)
    parts: list[list[str]] = [[]]
    for name in fields:
        field_codes, values = table.coded_json(name)
        if name in _SUMMARISED.get(cls, ()):
            field_codes, values = _with_content(field_codes, values)
        texts = [f'"{name}":{_json(table, name, value)}' if value is not _LEFT_OUT else "" for value in values]
        codes, distinct = factorised(codes * max(1, len(texts)) + field_codes)
        parts = [[*parts[code // len(texts)], texts[code % len(texts)]] for code in distinct.tolist()]
    return codes, [f"{{{','.join(filter(None, part))}}}" for part in parts]


_LEFT_OUT = object()


def _with_content(codes: Array, values: list[Any]) -> tuple[Array, list[Any]]:
    """The values that hold more than a summary, and a mark in the place of all others."""
    kept = [value for value in values if type(value) is not bytes or _CONTENT in value]
    numbers = iter(range(1, len(values) + 1))
    places = [next(numbers) if type(value) is not bytes or _CONTENT in value else 0 for value in values]
    return np.array(places, dtype=np.int64)[codes] if places else codes, [_LEFT_OUT, *kept]


_CONTENT = b'"content":'
"""No text in JSON holds these bytes: its quotes are escaped."""


def _json(table: ClassTable, name: str, value: Any) -> str:
    """A value of a field as JSON; of an error its type and message only."""
    if type(value) is not bytes:
        return _encoded(value)
    if name == "error" and value:
        column = table.block.columns[name]
        assert isinstance(column, PackedColumn)  # noqa: S101 - only its values are bytes
        return _encoded(column.decoded([value])[0])
    return value.decode() or "null"


def _error_text(value: Any) -> Any:
    if type(value) is ev.RecordedError:
        return {"type_name": value.type_name, "message": value.message}
    return shown(value)


_encode = msgspec.json.Encoder(enc_hook=_error_text).encode


def _encoded(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (ValueError, TypeError, OverflowError):
        return _encode(ascii(value) if type(value) is str else shown(value)).decode()


# --- events of users ----------------------------------------------------------------------------------------------


def _users_texts(snapshot: Snapshot, table: ClassTable) -> tuple[list[str], list[str]]:
    """The topics and the payloads of events of a class that is not ours: its own code says the topic."""
    topics, payloads = [], []
    pipelines = (snapshot.texts_list[code] for code in snapshot.pipeline[table.place].tolist())
    for values, pipeline in zip(table.events(), pipelines, strict=True):
        event = table.block.cls(**values, pipeline=pipeline)
        topics.append(_topic(event))
        payloads.append(_payload(event))
    return topics, payloads


def _topic(event: ev.Event) -> str:
    try:
        return str(event.topic)
    except Exception:  # noqa: BLE001 - the topic of a user's class is a user's code
        return ""


def _payload(event: ev.Event) -> str:
    record = msgspec.json.decode(to_record(event))["data"]
    return _encoded({name: value for name, value in record.items() if name not in BASE_FIELDS})
