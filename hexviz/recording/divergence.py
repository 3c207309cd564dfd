"""Where two recordings of the same pipeline part ways: the golden one, and that of changed code."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hexviz.events import events as ev
from hexviz.recording.backtest import node_of
from hexviz.recording.playlist import Playlist

if TYPE_CHECKING:
    from hexviz.recording.recording import Recording

_BY_CHANCE = frozenset(
    {
        *ev.Event.__struct_fields__,
        *("duration_ms", "ready_at", "queued_ms", "worker", "call_id", "checked_seq", "votes", "reason", "delay_s"),
    }
)
"""What differs between two runs of the same code: names of the run, clocks, waits, and words that hold them."""


class Divergence(NamedTuple):
    """The first event of the one recording that has no equal in the other; None where one of the two has ended."""

    seq: int
    node: str
    expected: ev.Event | None
    seen: ev.Event | None

    def __str__(self) -> str:
        where = f"node {self.node!r}" if self.node else "the run"
        return f"at seq {self.seq}, {where}: expected {_worded(self.expected)}, seen {_worded(self.seen)}"


def first_divergence(expected: Recording, seen: Recording) -> Divergence | None:
    """The first event (by ``seq`` of ``expected``) that did not happen again, or did not happen before; None if none.

    Compared is what happened to each node, and to the run and its waves, in order; not the order between nodes, which
    chance decides, nor times. Both are recordings of one run. What a recording tells of observers is left out.
    """
    ahead: dict[str, deque[ev.Event]] = defaultdict(deque)
    for event in _course(seen):
        ahead[_place_of(event)].append(event)
    for event in _course(expected):
        place = _place_of(event)
        other = ahead[place].popleft() if ahead[place] else None
        if other is None or _facts(event) != _facts(other):
            return Divergence(event.seq, node_of(event) or "", event, other)
    more = min((events[0] for events in ahead.values() if events), key=lambda event: event.seq, default=None)
    return None if more is None else Divergence(more.seq, node_of(more) or "", None, more)


def _course(recording: Recording) -> list[ev.Event]:
    return [event for event in Playlist(recording) if not isinstance(event, ev.ObserverFailed | ev.EventsDropped)]


def _place_of(event: Any) -> str:
    node = node_of(event)
    if node:
        return f"node {node}"
    return f"wave {event.wave_index}" if getattr(event, "wave_index", 0) else "run"


def _facts(event: ev.Event) -> tuple[Any, ...]:
    values = ((name, getattr(event, name)) for name in event.__struct_fields__ if name not in _BY_CHANCE)
    return type(event).__name__, *((name, _fact(value, event.run_id)) for name, value in values)


def _fact(value: Any, run_id: str) -> Any:
    if isinstance(value, ev.RecordedError):
        return value.type_name, value.message.replace(f"[run {run_id}]", "")
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def _worded(event: ev.Event | None) -> str:
    return "nothing more" if event is None else event.log_message()
