"""The unit in which stores keep records: the records of one run that were committed together.

A segment is one JSON array of records (``page``), beside it packed for each record its seq, where it ends in the page
and its CRC-32 (``marks``), and one checksum over all of that. A whole page is checked by one checksum and decoded by
one call; only where that checksum fails is each record looked at, so that damage costs the damaged records alone.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.events.schema import RecordError, from_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SEQ = 2**63 - 1
MAX_PAGE_BYTES = 8 * 2**20
"""No page grows larger by more than one record: what reading holds at a time."""
MAX_PAGE_RECORDS = 1_024
"""Pages of 10,000 records take twice as long to read: what is decoded at a time no longer fits the caches."""
_MARK_BYTES = 16


class Segment(NamedTuple):
    """Records of one run with ascending seqs. Segments of a run never overlap."""

    first_seq: int
    last_seq: int
    length: int
    crc: int
    marks: bytes
    page: bytes


COLUMNS = "first_seq, last_seq, count, crc, marks, page"
"""What the fields of a :class:`Segment` are called in the tables of stores."""


class Opened(NamedTuple):
    """What could be read of a segment: the records that are whole, and the seqs of those that are not."""

    seqs: Sequence[int]
    records: list[bytes]
    damaged: list[int]


def pack(run_id: str, seqs: Sequence[int], records: Sequence[bytes]) -> Segment:
    """One segment of records in order of their seqs, which must ascend."""
    return pack_marked(run_id, seqs, records, list(map(zlib.crc32, records)))


def pack_marked(run_id: str, seqs: Sequence[int], records: Sequence[bytes], crcs: Sequence[int]) -> Segment:
    """One segment with the checksums that the records had before: one that was damaged stays so."""
    page = b"[%b]" % b",".join(records)
    ends = list(accumulate(map(len, records), _end, initial=0))[1:]
    marks = _packed("q", seqs) + _packed("I", ends) + _packed("I", crcs)
    bounds = (seqs[0], seqs[-1], len(seqs))
    return Segment(*bounds, _checksum(run_id, bounds, marks, page), marks, page)


def _end(before: int, size: int) -> int:
    return before + size + 1


def pack_all(run_id: str, seqs: Sequence[int], records: Sequence[bytes]) -> list[Segment]:
    """As many segments as the limits of a page ask for."""
    if len(records) <= MAX_PAGE_RECORDS and sum(map(len, records)) <= MAX_PAGE_BYTES:
        return [pack(run_id, seqs, records)] if records else []
    segments, first, size = [], 0, 0
    for place, record in enumerate(records):
        if place > first and (size + len(record) > MAX_PAGE_BYTES or place - first >= MAX_PAGE_RECORDS):
            segments.append(pack(run_id, seqs[first:place], records[first:place]))
            first, size = place, 0
        size += len(record)
    return [*segments, pack(run_id, seqs[first:], records[first:])]


def is_whole(run_id: str, segment: Segment) -> bool:
    """Whether nothing in the segment has changed since it was written. Never raises, whatever a damaged file gives."""
    first, last, count, crc, marks, page = segment
    if type(marks) is not bytes or type(page) is not bytes or type(count) is not int:
        return False
    return len(marks) == count * _MARK_BYTES and crc == _checksum(run_id, (first, last, count), marks, page)


def open_segment(run_id: str, segment: Segment) -> Opened:
    """The records of a segment; where it is damaged, those whose own checksums are right."""
    whole = is_whole(run_id, segment)
    marks, page, count = segment.marks, segment.page, segment.length
    if not whole and (type(marks) is not bytes or type(page) is not bytes or len(marks) % _MARK_BYTES):
        return Opened((), [], _claimed(segment))
    count = len(marks) // _MARK_BYTES
    seqs = _unpacked("q", marks[: 8 * count])
    ends = _unpacked("I", marks[8 * count : 12 * count])
    records = [page[start + 1 : end] for start, end in zip((0, *ends[:-1]), ends, strict=True)]
    if whole:
        return Opened(seqs, records, [])
    return _sift(run_id, seqs, records, _unpacked("I", marks[12 * count :]))


def _sift(run_id: str, seqs: Sequence[int], records: list[bytes], crcs: Sequence[int]) -> Opened:
    kept_seqs: list[int] = []
    kept: list[bytes] = []
    damaged: list[int] = []
    for seq, record, crc in zip(seqs, records, crcs, strict=True):
        if zlib.crc32(record) == crc and _is_of(record, run_id, seq) and (not kept_seqs or kept_seqs[-1] < seq):
            kept_seqs.append(seq)
            kept.append(record)
        else:
            damaged.append(seq)
    return Opened(kept_seqs, kept, damaged)


def _is_of(record: bytes, run_id: str, seq: int) -> bool:
    """Whether the record says itself that it is that event: a mark may be damaged beside a sound record."""
    try:
        event = from_record(record)
    except RecordError:
        return False
    return event.seq == seq and event.run_id == run_id


def _claimed(segment: Segment) -> list[int]:
    first, last, count = segment.first_seq, segment.last_seq, segment.length
    if type(first) is int and type(last) is int and 0 <= last - first < 10 * MAX_PAGE_RECORDS:
        return list(range(first, last + 1))
    return [0] * count if type(count) is int and 0 < count < 10 * MAX_PAGE_RECORDS else [0]


# --- adding to what is there --------------------------------------------------------------------------------------


class Merge(NamedTuple):
    """How records join the segments of a run: those written anew, and the ``first_seq`` of those that they replace.

    ``added`` lists the seqs that are new, ``refused`` those that are there with another record.
    """

    fresh: list[Segment]
    replaced: list[int]
    added: list[int]
    refused: list[int]


def merge(
    run_id: str,
    given: dict[int, bytes],
    bounds: Sequence[tuple[int, int]],
    load: Callable[[int], Segment],
) -> Merge:
    """Join records (by seq) to a run whose segments have these ``bounds`` (first and last seq, ascending).

    A record that is there already with equal bytes changes nothing, and takes the place of a damaged one. One that is
    there with other bytes is refused. ``load`` gives the segment that begins with a seq.
    """
    firsts = [first for first, _ in bounds]
    inside: dict[int, list[int]] = {}
    between: dict[int, list[int]] = {}
    for seq in sorted(given):
        place = bisect_right(firsts, seq) - 1
        hit = place >= 0 and seq <= bounds[place][1]
        (inside if hit else between).setdefault(place, []).append(seq)
    merged = Merge([], [], [], [])
    for seqs in between.values():
        merged.fresh.extend(pack_all(run_id, seqs, [given[seq] for seq in seqs]))
        merged.added.extend(seqs)
    for place, seqs in inside.items():
        _merge_into(run_id, firsts[place], load(firsts[place]), {seq: given[seq] for seq in seqs}, merged)
    return merged


def _merge_into(run_id: str, first: int, segment: Segment, given: dict[int, bytes], merged: Merge) -> None:
    opened = open_segment(run_id, segment)
    known = dict(zip(opened.seqs, opened.records, strict=True))
    damaged = set(opened.damaged)
    new = {seq: record for seq, record in given.items() if seq not in known}
    merged.refused.extend(seq for seq in given if seq in known and known[seq] != given[seq])
    if damaged - new.keys():  # what is damaged and does not come again stays to be seen, so nothing can join it
        merged.refused.extend(new)
        return
    if not new:
        return
    merged.added.extend(seq for seq in new if seq not in damaged)
    known |= new
    seqs = sorted(known)
    merged.replaced.append(first)
    merged.fresh.extend(pack_all(run_id, seqs, [known[seq] for seq in seqs]))


def _checksum(run_id: str, bounds: tuple[int, int, int], marks: bytes, page: bytes) -> int:
    head = f"{run_id}\n{bounds}".encode("utf-8", "surrogatepass")
    return zlib.crc32(page, zlib.crc32(marks, zlib.crc32(head)))


def _packed(typecode: str, numbers: Sequence[int]) -> bytes:
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpacked(typecode: str, data: bytes) -> Any:
    numbers = array(typecode, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
