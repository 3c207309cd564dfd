"""Stored records into columns, a page at a time: no event is made, and structured values stay the JSON they are."""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Union

import msgspec

from hexviz.events.schema import CODECS, SCHEMA_VERSION, RecordError, from_records
from hexviz.events.summary import Summariser
from hexviz.recording.columns import column_for
from hexviz.recording.packed_column import PackedColumn
from hexviz.recording.typed_columns import Strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hexviz.events.events import Event
    from hexviz.recording.columns import EventColumns

_PAGE = 1024
_summarise = Summariser()


def _line_of(name: str, row: type[Any]) -> type[Any]:
    """The type of a whole record of a class; structured values stay JSON, which is how columns hold them."""
    own: list[Any] = [(field.name, *_kept(field)) for field in msgspec.structs.fields(row)]
    data = msgspec.defstruct(f"{name}Data", own, kw_only=True, gc=False)
    fields: list[Any] = [("v", Literal[SCHEMA_VERSION]), ("data", data)]
    options: dict[str, Any] = {"kw_only": True, "forbid_unknown_fields": True, "gc": False}  # a tagged one is refused
    return msgspec.defstruct(f"{name}Line", fields, tag_field="type", tag=name, **options)


def _kept(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    packed = isinstance(column_for(field.type, Strings()), PackedColumn)
    kind = msgspec.Raw if packed else field.type
    if field.required:
        return (kind,)
    return kind, msgspec.Raw(msgspec.json.encode(field.default)) if packed else field.default


_LINES: dict[type[Any], type[Event]] = {_line_of(name, codec.row): codec.cls for name, codec in CODECS.items()}
_Lines: Any = Union[tuple(_LINES)]  # noqa: UP007 - the members are made above
_OURS = frozenset(_LINES.values())
_OTHER = (msgspec.MsgspecError, ValueError, RecursionError, TypeError)
_data_of = attrgetter("data")
_decode = msgspec.json.Decoder(_Lines).decode
_decode_page = msgspec.json.Decoder(list[_Lines]).decode


def read_into(columns: EventColumns, records: Iterable[bytes]) -> None:
    """Append records. Raises :class:`~hexviz.events.schema.RecordError` for a damaged one; those before it are kept."""
    remaining = iter(records)
    while page := list(islice(remaining, _PAGE)):
        if not _read_at_once(columns, _decode_each, page):
            _read_mixed(columns, page)


def read_pages_into(columns: EventColumns, pages: Iterable[bytes]) -> None:
    """Append records that come as JSON arrays, as a store keeps them, each decoded by one call; errors as above."""
    for page in pages:
        if not _read_at_once(columns, _decode_page, page):
            _read_mixed(columns, _split(page))


def _decode_each(page: list[bytes]) -> list[Any]:
    return list(map(_decode, page))


def _read_at_once(columns: EventColumns, decode: Callable[[Any], list[Any]], page: Any) -> bool:
    """Append a page; False, and nothing appended, where a record is anything else than one of our classes."""
    try:
        lines = decode(page)
        columns.extend_rows(list(map(_LINES.__getitem__, map(type, lines))), list(map(_data_of, lines)))
    except _OTHER:
        return False
    return True


def _read_mixed(columns: EventColumns, records: list[bytes]) -> None:
    """Append records of which some are of users' classes: those are made into events, all others not."""
    lines = list(map(_line_or_none, records))
    events = list(map(_summarise, from_records(r for r, line in zip(records, lines, strict=True) if line is None)))
    try:
        if not _OURS.isdisjoint(map(type, events)):
            raise TypeError("a record of ours that is no line")
        left = iter(events)
        rows = [next(left) if line is None else line.data for line in lines]
        kinds = [type(row) if line is None else _LINES[type(line)] for row, line in zip(rows, lines, strict=True)]
        columns.extend_rows(kinds, rows)
    except _OTHER:
        columns.extend(list(map(_summarise, from_records(records))))


def _line_or_none(record: bytes) -> Any:
    try:
        return _decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _split(page: bytes) -> list[bytes]:
    try:
        return list(map(bytes, msgspec.json.decode(page, type=list[msgspec.Raw])))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RecordError(f"this is not a page of records: {error}") from error
