"""The files of a spool: a head that notes how much is done, then entries with a checksum each."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"hexviz spool 1\n\0"
_NOTED = struct.Struct("<QI")  # how many bytes of the file are done, and the CRC-32 of that
FIRST = len(_MAGIC) + _NOTED.size
"""Bytes of the head."""
_MARK = b"\xffhx\n"  # no text in UTF-8 holds it, so that the next entry is found again after damage
_HEAD = struct.Struct("<4sIqII")  # mark, CRC-32 of the rest, seq, bytes of the run id, bytes of the record
BINARY = getattr(os, "O_BINARY", 0)


class Entry(NamedTuple):
    """One record (any bytes), and by which run and number it is known; a number beyond 64 bits becomes the nearest."""

    run_id: str
    seq: int
    record: bytes


def packed(entry: Entry) -> bytes:
    """An entry as it stands in a file."""
    run_id = entry.run_id.encode("utf-8", "surrogatepass")
    seq = max(-(2**63), min(entry.seq, 2**63 - 1))
    front = _HEAD.pack(_MARK, 0, seq, len(run_id), len(entry.record))
    body = front[8:] + run_id + entry.record
    return _MARK + zlib.crc32(body).to_bytes(4, "little") + body


def size_of(entry: Entry) -> int:
    """Bytes that it takes there."""
    return _HEAD.size + len(entry.run_id.encode("utf-8", "surrogatepass")) + len(entry.record)


def entries(data: bytes, start: int) -> Iterator[tuple[Entry, int]]:
    """The whole entries from ``start`` on, each with the place where it ends."""
    at = start
    while (at := data.find(_MARK, at)) >= 0:
        if at + _HEAD.size <= len(data):
            _, crc, seq, id_size, size = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + id_size + size
            if end <= len(data) and zlib.crc32(data[at + 8 : end]) == crc:
                run_id = data[at + _HEAD.size : end - size].decode("utf-8", "surrogatepass")
                yield Entry(run_id, seq, data[end - size : end]), end
                at = end
                continue
        at += 1


def start_of(data: bytes) -> int:
    """Where what is not done begins; all of it where the note is damaged: rather twice than never."""
    if data.startswith(_MAGIC) and len(data) >= FIRST:
        done, _ = _NOTED.unpack_from(data, len(_MAGIC))
        if data[len(_MAGIC) : FIRST] == _noted(done) and FIRST <= done <= len(data):
            return int(done)
    return min(FIRST, len(data))


def head() -> bytes:
    """What a file begins with; nothing is done."""
    return _MAGIC + _noted(FIRST)


def _noted(done: int) -> bytes:
    return _NOTED.pack(done, zlib.crc32(done.to_bytes(8, "little")))


def note(file: Path, done: int) -> None:
    """Note in the head how many bytes of the file are done."""
    handle = os.open(file, os.O_WRONLY | BINARY)
    try:
        os.lseek(handle, len(_MAGIC), os.SEEK_SET)
        write_whole(handle, _noted(done))
    finally:
        os.close(handle)


def write_whole(handle: int, data: bytes) -> None:
    """Write all of it, or raise."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def sync(path: Path) -> None:
    """Put on the disk what was written to a file, or the names in a directory."""
    if path.is_dir() and os.name != "posix":  # where a directory cannot be opened
        return
    handle = os.open(path, os.O_RDONLY | BINARY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
