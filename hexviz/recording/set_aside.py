"""What a copy of columns keeps as records: the events of users' classes, and those with a value kept aside.

A value is kept aside where its column has no place for it: a whole number of more than 64 bits, a time before 1970, a
NaN within a structured value. Read again from its record, it is what a reader of the records finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.events.schema import CODECS, from_records, to_record
from hexviz.events.summary import Summariser
from hexviz.recording.columns import EventColumns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hexviz.events.events import Event
    from hexviz.recording.columns import Block

_summarise = Summariser()


def is_ours(block: Block) -> bool:
    """Whether a block holds events of a class of hexviz."""
    codec = CODECS.get(block.cls.__name__)
    return codec is not None and codec.cls is block.cls


def odd_rows(block: Block) -> list[int]:
    """The rows of one of our classes that have a value kept aside."""
    return sorted(set().union(*(column.odd for column in _every(block).values())))


def odd_records(block: Block) -> list[bytes]:
    """The records of these rows. Raises ValueError where the same values are not kept aside of what they say.

    So it is with events that were heard and hold what no record can hold.
    """
    rows = odd_rows(block)
    records = [to_record(block.event(row)) for row in rows]
    again = EventColumns()
    again.extend(events_of(records))
    for name, column in _every(again.blocks[0]).items() if rows else ():
        if {rows[row] for row in column.odd} != _every(block)[name].odd.keys():
            raise ValueError(f"{block.cls.__name__}.{name} is not what its record says")
    return records


def set_odd(block: Block, odd: dict[str, Sequence[int]], records: Iterable[bytes]) -> None:
    """Put values aside in a block that is filled: of each column those of the rows named in ``odd``."""
    rows = sorted(set().union(*odd.values()))
    events = dict(zip(rows, events_of(records), strict=True))
    if any(type(event) is not block.cls for event in events.values()):
        raise ValueError("a record of another class")
    for name, column in _every(block).items():
        column.odd = {row: getattr(events[row], name) for row in odd[name]}


def events_of(records: Iterable[bytes]) -> list[Event]:
    """The events of records, as a recording holds them."""
    return list(map(_summarise, from_records(records)))


def _every(block: Block) -> dict[str, Any]:
    return block.base | block.columns
