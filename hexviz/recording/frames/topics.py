"""The topics of many events: the words of a class come from one event of it, the names are put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import topic_segment
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
    subjects = [[values[place] for place in at.tolist()] for at, (_, values) in zip(places, columns, strict=True)]
    return codes, _filled(table.block.cls, fields, subjects)


def _filled(cls: type[Event], fields: list[str], subjects: list[list[Any]]) -> list[str]:
    """The topic of each subject (one value per field)."""
    forms: dict[tuple[Any, ...], str] = {}
    segments: dict[Any, str] = {}
    topics = []
    for values in zip(*subjects, strict=True):
        kind = tuple(not value or type(value) is not (int if name == "wave_index" else str)
                     for name, value in zip(fields, values, strict=True))  # fmt: skip
        key = kind if not any(kind[1:]) else values  # an empty or foreign value may change the form itself
        if key not in forms:
            forms[key] = _form(cls, fields, values, kind)
        for value in values:
            if value not in segments:
                segments[value] = topic_segment(value) if type(value) is str else str(value)
        topics.append(forms[key].format(**{name: segments[value] for name, value in zip(fields, values, strict=True)}))
    return topics


def _form(cls: type[Event], fields: list[str], values: tuple[Any, ...], kind: tuple[bool, ...]) -> str:
    """The topic of a class with a place for each name."""
    probe: dict[str, Any] = dict.fromkeys(cls.__struct_fields__)
    for name, value, odd in zip(fields, values, kind, strict=True):
        probe[name] = value if odd else _WAVE if name == "wave_index" else _MARKS[name]
    probe["nodes"] = ()
    event = cls(**{name: value for name, value in probe.items() if name in cls.__struct_fields__})
    try:
        topic = str(event.topic).replace("{", "{{").replace("}", "}}")
    except Exception:  # noqa: BLE001 - a name that is no text, in a foreign recording
        return ""
    for name in fields:
        topic = topic.replace(str(_WAVE) if name == "wave_index" else _MARKS[name], f"{{{name}}}")
    return topic
