"""The frame ``calls``: the events that begin and end a call, brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events import events as ev
from hexviz.recording.arrays import Words, build, shown
from hexviz.recording.columns import NULL
from hexviz.recording.frames.attempts import error_words
from hexviz.recording.layout import STATUSES
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.shape import Graphs
    from hexviz.recording.snapshot import ClassTable, Snapshot

_CLASSES: tuple[type[ev.Event], ...] = (
    ev.ToolCalled,
    ev.ToolCompleted,
    ev.ToolFailed,
    ev.LLMPromptSent,
    ev.LLMResponseReceived,
    ev.LLMFailed,
)
_IS_LLM = np.array([0, 0, 0, 1, 1, 1], dtype=np.int8)
_STARTS = np.array([True, False, False, True, False, False])
_STATUS = np.array([STATUSES.index(word) for word in ("running", "succeeded", "failed") * 2], dtype=np.int8)
_CONTENT = ("params", "result", "", "messages", "response", "")


class _CallEvents:
    """All events of calls, in order, as parallel arrays."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._tables = [snapshot.table(cls) for cls in _CLASSES]
        parts = [self._part(kind, table) for kind, table in enumerate(self._tables)]
        joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        in_order = np.argsort(joined[0], kind="stable")
        (
            self.place, self.kind, self.row, self.node, self.attempt, self.call_id, self.name, self.duration_ms,
            self.input_tokens, self.output_tokens,
        ) = (values[in_order] for values in joined)  # fmt: skip
        self.run = snapshot.run[self.place]

    def _part(self, kind: int, table: ClassTable | None) -> tuple[Array, ...]:
        size = 0 if table is None else len(table)
        fields = {} if table is None else table.block.columns

        def own(name: str, default: Any) -> Array:
            return table.column(name) if table is not None and name in fields else np.full(size, default)

        return (
            np.zeros(0, dtype=np.int64) if table is None else table.place, np.full(size, kind), np.arange(size),
            own("node_name", 0), own("attempt", 1), own("call_id", 0),
            own("model" if _IS_LLM[kind] else "tool_name", 0), own("duration_ms", np.nan),
            own("input_tokens", NULL), own("output_tokens", NULL),
        )  # fmt: skip

    def coded(self, kind: int, name: str) -> tuple[Array, list[Any]]:
        """A structured field of all events of a kind."""
        table = self._tables[kind]
        return (np.zeros(0, dtype=np.int64), []) if table is None else table.coded(name)

    def pairs(self) -> tuple[Array, Array]:
        """(beginning, end) of each call, in order of the first of the two; -1 where there is none.

        The ends of a call id, or of a name in an attempt where no id was given, go to its beginnings in turn.
        """
        key = self._keys()
        by_key = np.lexsort((self.place, key))
        starts = _STARTS[self.kind[by_key]]
        matched = ~starts & ~_lonely_ends(key[by_key], starts)
        begin, end = _in_turn(key[by_key], starts, matched)
        lonely = by_key[~starts & ~matched]
        first = np.concatenate([by_key[begin], np.full(len(lonely), -1)])
        last = np.concatenate([np.where(end < 0, -1, by_key[end]), lonely])
        in_order = np.argsort(np.where(first < 0, last, first), kind="stable")
        return first[in_order], last[in_order]

    def _keys(self) -> Array:
        given = self.call_id != 0
        parts = [
            self.run * 4 + _IS_LLM[self.kind] * 2 + given,
            np.where(given, self.call_id, self.node),
            np.where(given, 0, self.attempt),
            np.where(given, 0, self.name),
        ]
        key = np.zeros(len(given), dtype=np.int64)
        for part in parts:
            codes, distinct = factorised(part)
            key = factorised(key * max(1, len(distinct)) + codes)[0]
        return key


def _firsts(key: Array) -> Array:
    """Of each entry of a sorted key the place of the first with the same key."""
    new = np.diff(key, prepend=-1) != 0
    firsts: Array = np.flatnonzero(new)[np.cumsum(new) - 1]
    return firsts


def _lonely_ends(key: Array, starts: Array) -> Array:
    """Which ends find no beginning open before them: those that bring the count of open calls below its minimum."""
    total = np.cumsum(np.where(starts, 1, -1))
    first = _firsts(key)
    here = total - (total - np.where(starts, 1, -1))[first]  # the count within the key
    far = 2 * len(key) + 2
    lowest = np.minimum(np.minimum.accumulate(here - key * far) + key * far, 0)
    before = np.zeros(len(key), dtype=np.int64)
    before[1:] = np.where(first[1:] == np.arange(1, len(key)), 0, lowest[:-1])
    lonely: Array = ~starts & (lowest < before)
    return lonely


def _in_turn(key: Array, starts: Array, ends: Array) -> tuple[Array, Array]:
    """(beginning, end or -1) of each call: the n-th matched end of a key goes to its n-th beginning."""
    begin = np.flatnonzero(starts)
    numbered = {}
    for name, chosen in (("starts", starts), ("ends", ends)):
        count = np.cumsum(chosen)
        numbered[name] = (count - (count - chosen)[_firsts(key)])[chosen]
    many = 2 * len(key) + 2
    begin_key = key[starts] * many + numbered["starts"]
    end_key = key[ends] * many + numbered["ends"]
    found = np.full(len(begin), -1)
    found[np.searchsorted(begin_key, end_key)] = np.flatnonzero(ends)
    return begin, found


def calls_frame(snapshot: Snapshot, graphs: Graphs) -> pd.DataFrame:
    """One row per tool or model call inside a node."""
    s, e = snapshot, _CallEvents(snapshot)
    begin, end = e.pairs()
    begun, ended = begin >= 0, end >= 0
    either = np.where(begun, begin, end)

    def at_start(values: Array, default: Any) -> Array:
        return np.where(begun, values[begin], default) if len(values) else values

    def at_end(values: Array, default: Any) -> Array:
        return np.where(ended, values[end], default) if len(values) else values

    end_name = at_end(e.name, 0)
    error_type, error_message = _errors(e, end)
    return build("calls", {
        "run_id": s.run_ids(e.run[either]), "node": graphs.names(e.node[either]), "attempt": e.attempt[either],
        "call_id": s.words(e.call_id[either]), "kind": _IS_LLM[e.kind[either]],
        "name": s.words(np.where(end_name != 0, end_name, e.name[either])),
        "status": np.where(ended, _STATUS[e.kind[end]], _STATUS[0]) if len(end) else np.zeros(0, dtype=np.int8),
        "started_at": at_start(s.timestamp[e.place], NULL), "start_ms": at_start(s.offset_ms[e.place], np.nan),
        "end_ms": at_end(s.offset_ms[e.place], np.nan), "duration_ms": at_end(e.duration_ms, np.nan),
        "input_tokens": at_end(e.input_tokens, NULL), "output_tokens": at_end(e.output_tokens, NULL),
        "error_type": error_type, "error_message": error_message,
        "request": _contents(e, begin), "response": _contents(e, end),
    })  # fmt: skip


def _values(e: _CallEvents, event: Array, fields: tuple[str, ...]) -> tuple[Array, list[Any]]:
    """Of each call the number of a structured field of one of its events, and the distinct values; 0 is none."""
    number = np.zeros(len(event), dtype=np.int64)
    found: list[Any] = [None]
    for kind, field in enumerate(fields):
        chosen = np.flatnonzero((event >= 0) & (e.kind[event] == kind)) if field and len(event) else ()
        if len(chosen):
            codes, values = e.coded(kind, field)
            number[chosen] = codes[e.row[event[chosen]]] + len(found)
            found += values
    return number, found


def _errors(e: _CallEvents, end: Array) -> tuple[Words, Words]:
    return error_words(*_values(e, end, ("", "", "error", "", "", "error")))


def _contents(e: _CallEvents, event: Array) -> Words:
    codes, values = _values(e, event, _CONTENT)
    return Words(codes, ["", *map(shown, values[1:])])
