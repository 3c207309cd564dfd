"""Events as the records that a store writes, by run: what one group commit has of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from hexviz.events.schema import to_record, to_records
from hexviz.stores.run_info import STATUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.events.events import Event

_AT_ONCE = 100


class Given(NamedTuple):
    """A record that was made before, and the event in it."""

    event: Event
    record: bytes


class Part:
    """What one group commit adds to one run: records in the order of arrival, and what is to be told of the run."""

    def __init__(self, first: Event) -> None:
        self.run_id = first.run_id
        self.first = first
        self.seqs: list[int] = []
        self.records: list[bytes] = []
        self.facts: list[Event] = []


def parts_of(items: Sequence[Event | Given]) -> tuple[list[Part], list[Exception]]:
    """The items by run, encoded; and the errors of events that cannot be encoded, which cost themselves only."""
    parts: dict[str, Part] = {}
    errors: list[Exception] = []
    for first in range(0, len(items), _AT_ONCE):
        some = list(items[first : first + _AT_ONCE])
        if Given in set(map(type, some)):
            events = [item.event if isinstance(item, Given) else item for item in some]
            _add(parts, events, [_record_of(item, errors) for item in some])
        else:
            _add(parts, some, _encoded(some, errors))  # type: ignore[arg-type]
        time.sleep(0)  # the run's thread goes first
    return list(parts.values()), errors


def _encoded(events: list[Event], errors: list[Exception]) -> list[bytes]:
    """A record for each event; an empty one where there can be none."""
    try:
        return to_records(events)
    except Exception:  # noqa: BLE001 - some event of a user: find out which
        return [_record_of(event, errors) for event in events]


def _record_of(item: Event | Given, errors: list[Exception]) -> bytes:
    if isinstance(item, Given):
        return item.record
    try:
        return to_record(item)
    except Exception as error:  # noqa: BLE001 - an event that cannot be written costs itself only
        errors.append(error)
        return b""


def _add(parts: dict[str, Part], events: list[Event], records: list[bytes]) -> None:
    run_id = events[0].run_id
    if [event for event in events if event.run_id != run_id] or b"" in records:
        for event, record in zip(events, records, strict=True):
            if record:
                _extend(parts, [event], [record])
    else:
        _extend(parts, events, records)


def _extend(parts: dict[str, Part], events: list[Event], records: list[bytes]) -> None:
    part = parts.get(events[0].run_id) or parts.setdefault(events[0].run_id, Part(events[0]))
    part.seqs.extend([event.seq for event in events])
    part.records.extend(records)
    part.facts.extend([event for event in events if type(event) in STATUS])
