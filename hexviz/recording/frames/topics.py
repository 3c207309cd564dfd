"""The topics of many events: the words of a class come from one event of it, the names are put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import topic_segment
from hexviz.recording.arrays import shown
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    from hexviz.events.events import Event
    from hexviz.recording.arrays import Array
    from hexviz.recording.snapshot import ClassTable, Snapshot

_SUBJECTS = ("name", "node_name", "tool_name", "observer", "wave_index")
_MARKS = {"pipeline": "\x01", "name": "\x02", "node_name": "\x03", "tool_name": "\x04", "observer": "\x05"}
_WAVE = 31_415_926_535


def topics_of(snapshot: Snapshot, table: ClassTable) -> tuple[Array, list[str]]:
    """(of each event of one of our classes the number of its topic, the topics)."""
    fields = ["pipeline", *(name for name in _SUBJECTS if name in table.block.columns)]
    columns = [(snapshot.pipeline[table.place].astype(np.int64), snapshot.texts_list)]
    columns += [table.coded(name) for name in fields[1:]]
    codes: Array = np.zeros(len(table), dtype=np.int64)
    places: list[Array] = []
    for column, values in columns:
        codes, distinct = factorised(codes * max(1, len(values)) + column)
        places = [*(place[distinct // len(values)] for place in places), distinct % len(values)]
    subjects = [
        [_named(name, values[place]) for place in at.tolist()]
        for name, at, (_, values) in zip(fields, places, columns, strict=True)
    ]
    return codes, _filled(table.block.cls, fields, subjects)


def _named(field: str, value: Any) -> Any:
    """What a topic names: a text, or the number of a wave."""
    if field == "wave_index":
        return value if type(value) is int else 0
    return shown(value)


def _filled(cls: type[Event], fields: list[str], subjects: list[list[Any]]) -> list[str]:
    """The topic of each subject (one value per field)."""
    forms: dict[tuple[bool, ...], str] = {}
    segments: dict[Any, str] = {}
    topics = []
    for values in zip(*subjects, strict=True):
        empty = tuple(not value for value in values)
        if empty not in forms:
            forms[empty] = _form(cls, fields, empty)
        for value in values:
            if value not in segments:
                segments[value] = topic_segment(value) if type(value) is str else str(value)
        topics.append(forms[empty].format(*(segments[value] for value in values)))
    return topics


def _form(cls: type[Event], fields: list[str], empty: tuple[bool, ...]) -> str:
    """The topic of a class with a place for each name; one that is empty may change the form itself."""
    probe: dict[str, Any] = dict.fromkeys(cls.__struct_fields__) | dict.fromkeys(("nodes",), ())
    for name, is_empty in zip(fields, empty, strict=True):
        of_wave = name == "wave_index"
        probe[name] = (0 if of_wave else "") if is_empty else _WAVE if of_wave else _MARKS[name]
    event = cls(**{name: probe[name] for name in cls.__struct_fields__})
    topic = event.topic.replace("{", "{{").replace("}", "}}")
    for place, name in enumerate(fields):
        topic = topic.replace(str(_WAVE) if name == "wave_index" else _MARKS[name], f"{{{place}}}")
    return topic
