"""Records as lines of JSON, readable by anything, each with a checksum.

The first line is a header: ``{"hexviz":"jsonl","v":1,"records":N,"crc":"..."}``. Every other line is one record (see
:mod:`hexviz.events.schema`) with one more member at its end, ``"crc":"xxxxxxxx"``: the CRC-32 of the line without that
member, eight hexadecimal digits. A line stays plain JSON, and what fell out of the file is counted by the header.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from hexviz.stores.errors import NewerStoreError, NotAStoreError, StoreCorruptError, StoreError
from hexviz.stores.files import plain_file, write_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VERSION = 1
MAX_LINE_BYTES = 2**28
"""No line is longer: 256 MiB hold the shape of a graph of more than a million nodes."""

_SEALED = re.compile(rb',"crc":"([0-9a-f]{8})"}\Z')
_SEQ = re.compile(rb'"seq":(\d{1,19})[,}]')
_RUN = re.compile(rb'"run_id":"([^"\\]{1,200})"')
_SKIP = 'damaged="skip" gives the others'


class Damage(msgspec.Struct, frozen=True):
    """One thing wrong with a file: the line (from 1; 0: the whole file), the event's ``seq`` if it can be told."""

    line: int
    seq: int
    problem: str


class _Header(msgspec.Struct):
    hexviz: str
    v: int
    records: int


def sealed(record: bytes) -> bytes:
    """One line: the record with its checksum as its last member."""
    return b'%s,"crc":"%08x"}\n' % (record[:-1], zlib.crc32(record))


def unsealed(line: bytes) -> bytes | None:
    """The record of a line; None where its checksum is missing or wrong."""
    found = _SEALED.search(line)
    if found is None:
        return None
    record = line[: found.start()] + b"}"
    return record if zlib.crc32(record) == int(found[1], 16) else None


def write_jsonl(path: str | os.PathLike[str], records: Iterable[bytes], count: int) -> Path:
    """Write ``count`` records to ``path``, whole or not at all. Raises :class:`StoreWriteError`."""
    header = msgspec.json.encode(_Header("jsonl", VERSION, count))
    return write_file(path, _lines(header, records))


def _lines(header: bytes, records: Iterable[bytes]) -> Iterator[bytes]:
    yield sealed(header)
    for record in records:
        yield sealed(record)


class JsonLines:
    """Reads a file of records. After reading, ``damage`` lists what was wrong, ``expected`` what the header promised.

    ``whole`` counts the records that were read, ``left_bytes`` the bytes of the lines that were not.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = plain_file(path)
        self.expected: int | None = None
        self.whole = 0
        self.left_bytes = 0
        self.damage: list[Damage] = []

    def records(self, *, damaged: str = "raise") -> Iterator[bytes]:
        """The records in order of the file.

        A damaged line or an early end raises :class:`StoreCorruptError`; with ``damaged="skip"`` the whole lines are
        given, and ``damage`` tells of the others. A file that holds no record of hexviz raises
        :class:`NotAStoreError`, one of a newer format :class:`NewerStoreError`.
        """
        skip = damaged == "skip"
        try:
            with self.path.open("rb") as file:
                yield from self._read(file, skip=skip)
        except StoreError:
            raise
        except OSError as error:
            raise StoreCorruptError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _read(self, file: BinaryIO, *, skip: bool) -> Iterator[bytes]:
        self.expected, self.whole, self.left_bytes, self.damage = None, 0, 0, []
        first = self._read_header(file, skip=skip)
        for number, (line, size) in enumerate(_numbered(file), first):
            if not line and size <= 2:  # noqa: PLR2004 - an empty line, ended by one or two bytes
                continue
            record = unsealed(line)
            if record is None:
                self._note(number, line, size, skip=skip)
                continue
            self.whole += 1
            yield record
        self._check_end(skip=skip)

    def _read_header(self, file: BinaryIO, *, skip: bool) -> int:
        """Read the header, if there is one; the number of the line that follows."""
        line, size = next(_numbered(file), (b"", 0))
        record = unsealed(line)
        if record is None:
            if not line and not size:
                raise NotAStoreError(f"{self.path} is empty")
            if not skip and not line.startswith(b'{"hexviz":"jsonl"'):
                raise NotAStoreError(f"{self.path} does not begin with the header of a hexviz file (.jsonl)")
            self._note(1, line, size, skip=skip)
            return 2
        try:
            header = msgspec.json.decode(record, type=_Header)
        except (msgspec.DecodeError, RecursionError):
            file.seek(0)  # a part of a file, without its header: the line is a record
            return 1
        if header.v > VERSION:
            raise NewerStoreError(f"{self.path} has format {header.v}, this hexviz knows up to {VERSION}")
        self.expected = header.records
        return 2

    def _note(self, number: int, line: bytes, size: int, *, skip: bool) -> None:
        self.left_bytes += size
        seq, run = _SEQ.search(line), _RUN.search(line)
        finding = Damage(number, int(seq[1]) if seq else 0, "its checksum does not match" if line else "it is too long")
        self.damage.append(finding)
        if skip:
            return
        event = f", event {finding.seq}" if seq else ""
        of_run = f" of run {run[1].decode('utf-8', 'replace')!r}" if run else ""
        after = f" after {self.whole} whole records" if self.whole else ""
        raise StoreCorruptError(
            f"{self.path}: line {number}{event}{of_run} is damaged or cut ({finding.problem}){after}; {_SKIP}"
        )

    def _check_end(self, *, skip: bool) -> None:
        if skip and not self.whole and self.expected is None:
            raise NotAStoreError(f"{self.path} holds no record that hexviz could read")
        if self.expected in (None, self.whole):
            return
        told = f"{self.whole} of {self.expected} records are whole"
        if not skip:
            raise StoreCorruptError(f"{self.path} does not end where it should: {told}; {_SKIP}")
        self.damage.append(Damage(0, 0, told))

    def statistics(self) -> dict[str, Any]:
        """What the last reading found: ``whole``, ``expected`` (None: no header), ``left_bytes``, ``damaged_lines``."""
        lines = sum(1 for finding in self.damage if finding.line)
        return {
            "whole": self.whole,
            "expected": self.expected,
            "left_bytes": self.left_bytes,
            "damaged_lines": lines,
        }


def _numbered(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each line without its end, and its size in bytes; of a line that is too long only the size, and no bytes."""
    while line := file.readline(MAX_LINE_BYTES):
        size = len(line)
        if size == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while rest := file.readline(2**20):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            line = b""
        yield line.rstrip(b"\r\n"), size
