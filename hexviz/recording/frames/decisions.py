"""The frame ``decisions``."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import ControlDecided, Vote
from hexviz.recording.arrays import Words, build, shown, words_of
from hexviz.recording.layout import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.shape import Graphs
    from hexviz.recording.snapshot import ClassTable, Snapshot


def decisions_frame(snapshot: Snapshot, graphs: Graphs) -> pd.DataFrame:
    """One row per vote of each decision that was told; a decision without votes has one row."""
    s, table = snapshot, snapshot.table(ControlDecided)
    if table is None:
        return build("decisions", _nothing(s, graphs))
    votes, row = _votes(table)
    place = table.place[row]

    def text(name: str) -> Words:
        return s.words(table.column(name)[row])

    def voted(name: str) -> list[Any]:
        return [getattr(vote, name) for vote in votes]

    handler, vote = words_of(_texts(voted("handler"))), words_of(_texts(voted("signal")))
    shadow = np.array([value is True for value in voted("shadow")], dtype=bool)
    by, signal = text("decided_by"), text("signal")
    decisive = _same(handler, by) & _same(vote, signal) & ~shadow & (by.codes != 0)
    return build("decisions", {
        "run_id": s.run_ids(s.run[place]), "seq": s.seq[place], "offset_ms": s.offset_ms[place],
        "checked_seq": table.column("checked_seq")[row], "event_type": text("event_type"),
        "node": graphs.names(table.column("node_name")[row]), "wave": table.column("wave_index")[row],
        "attempt": table.column("attempt")[row], "signal": signal, "decided_by": by, "reason": text("reason"),
        "handler": handler, "priority": voted("priority"), "vote": vote,
        "vote_reason": words_of(_texts(voted("reason"))), "latency_us": _floats(voted("latency_us")),
        "error": words_of(_texts(voted("error"))), "shadow": shadow, "decisive": decisive,
    })  # fmt: skip


def _votes(table: ClassTable) -> tuple[list[Vote], Array]:
    """The votes of all decisions, and the decision of each; where none was told, the decision itself is the vote."""
    codes, told = table.coded("votes")
    told = [_sound(votes) for votes in told]
    found: list[tuple[Vote, ...]] = [told[code] for code in codes.tolist()]
    for place in np.flatnonzero(np.array([not votes for votes in told], dtype=bool)[codes]).tolist():
        facts = table.block.row(int(table.rows[place]))
        priority = 0 if facts["priority"] is None else facts["priority"]
        found[place] = (Vote(facts["decided_by"], priority, facts["signal"], facts["reason"]),)
    row = np.repeat(np.arange(len(table)), [len(votes) for votes in found])
    return list(chain.from_iterable(found)), row


def _sound(votes: Any) -> tuple[Vote, ...]:
    return tuple(vote for vote in votes if type(vote) is Vote) if type(votes) is tuple else ()


def _texts(values: list[Any]) -> list[str]:
    return [value if type(value) is str else shown(value) for value in values]


def _floats(values: list[Any]) -> Array:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([value if type(value) is float else np.nan for value in values], dtype=np.float64)


def _same(one: Words, other: Words) -> Array:
    """Where two columns hold the same text."""
    code_of = {text: code for code, text in enumerate(other.distinct)}
    translated = np.array([code_of.get(text, -1) for text in one.distinct], dtype=np.int64)
    same: Array = translated[one.codes] == other.codes
    return same


def _nothing(snapshot: Snapshot, graphs: Graphs) -> dict[str, Any]:
    none = np.zeros(0, dtype=np.int64)
    empty: dict[str, Any] = {col.name: [] for col in COLUMNS["decisions"]}
    return empty | {"run_id": snapshot.run_ids(none), "node": graphs.names(none)}
