"""Files and directories that appear whole or not at all, and names that are safe on every file system.

What is written goes beside its place first, is put on the disk (fsync), and is then renamed into place, and the
directory is put on the disk too. A process that dies in between leaves the old state. Files are readable by their owner
only (0600, directories 0700).
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.errors import HexvizError
from hexviz.scratch import clear_up, exchange, scratch_directory, scratch_file
from hexviz.stores.errors import NewerStoreError, NotAStoreError, StoreCorruptError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANIFEST = "_hexviz.json"
"""Names what a directory holds. Readers of Parquet data sets pass over names that begin with an underscore."""

_VERSION = 1
_MAX_MANIFEST = 64 * 2**20
_MAX_NAME = 150
_KEPT_OF_A_LONG_NAME = 80
_UNSAFE = re.compile(rb"[^a-z0-9_-]")
_ESCAPE = re.compile(rb"%([0-9a-f]{2})")


class Manifest(msgspec.Struct):
    """What a directory says of itself: its format, the checksum of each file, and facts of the format's own."""

    hexviz: str
    v: int
    files: dict[str, str]
    facts: dict[str, Any] = {}


# --- names --------------------------------------------------------------------------------------------------------


def safe_name(text: str) -> str:
    """``text`` as a part of a path: percent-encoded but for ``a-z 0-9 _ -``, so that names never differ by case only.

    :func:`original_name` gives the text back. A text too long for a file name is cut and ends in ``~`` and a hash;
    whoever writes such a name keeps the text elsewhere.
    """
    raw = text.encode("utf-8", "surrogatepass")
    name = _UNSAFE.sub(lambda match: b"%%%02x" % match[0][0], raw).decode("ascii")
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[:_KEPT_OF_A_LONG_NAME]}~{hashlib.sha256(raw).hexdigest()}"


def original_name(name: str) -> str | None:
    """The text that :func:`safe_name` was given; None for a name that was cut, or that it never makes."""
    raw = name.encode("utf-8", "surrogatepass")
    try:
        text = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), raw).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return text if safe_name(text) == name else None


# --- one file -----------------------------------------------------------------------------------------------------


def write_file(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> Path:
    """Write ``chunks`` to ``path``, whole or not at all. Raises :class:`StoreWriteError` where that cannot be done."""
    target = Path(path)
    if target.is_dir():
        raise StoreWriteError(f"{target} is a directory: name a file in it")
    with named_errors(target):
        with scratch_file(target) as (file, scratch):
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            scratch.replace(target)
        sync_directory(target.parent)
    return target


def read_whole(path: str | os.PathLike[str], *, most_bytes: int) -> bytes:
    """The content of a plain file of at most ``most_bytes``. Raises :class:`NotAStoreError` where there is none."""
    source = plain_file(path)
    try:
        size = source.stat().st_size
        if size > most_bytes:
            raise NotAStoreError(f"{source} has {size} bytes, more than the {most_bytes} that are read at once")
        data = source.read_bytes()
    except OSError as error:
        raise NotAStoreError(f"{source} cannot be read: {error.strerror or error}") from error
    if data[:2] == b"\x1f\x8b" or data[:4] == b"PK\x03\x04":
        raise NotAStoreError(f"{source} is compressed: unpack it first, hexviz opens no archives")
    return data


def plain_file(path: str | os.PathLike[str]) -> Path:
    """``path``, which must be a plain file: a pipe or a device could block or never end. NotAStoreError otherwise."""
    source = Path(path)
    try:
        if source.is_file():
            return source
        known = source.exists()
    except (OSError, ValueError) as error:
        raise NotAStoreError(f"{str(source)!r} cannot be opened: {error}") from error
    raise NotAStoreError(f"{source} is not a plain file" if known else f"there is no file {source}")


# --- a directory --------------------------------------------------------------------------------------------------


@contextmanager
def new_directory(path: str | os.PathLike[str], kind: str, facts: dict[str, Any]) -> Iterator[Path]:
    """A scratch directory to fill; when the block ends well it stands at ``path``, with its :data:`MANIFEST`.

    An earlier directory of the same ``kind`` is replaced. Any other directory that is not empty, and one that holds a
    file that hexviz did not write, is refused: :class:`StoreWriteError`. The old directory is renamed before the new
    one takes its place; a process that dies between the two leaves it beside, under a name that ends in ``.old``, and
    the next to write there gives it its name back first.
    """
    target = Path(path)
    clear_up(target)
    _check_replaceable(target, kind)
    with named_errors(target), scratch_directory(target) as scratch:
        yield scratch
        _finish(scratch, kind, facts)
        exchange(scratch, target)
        sync_directory(target.parent)


def read_manifest(path: str | os.PathLike[str], kind: str) -> Manifest:
    """The manifest of a directory of that ``kind``; :class:`NotAStoreError` where it is not one."""
    target = Path(path)
    if not target.is_dir():
        known = "a file" if target.exists() else "not there"
        raise NotAStoreError(f"{target} is {known}: a directory that hexviz wrote is expected")
    if not (target / MANIFEST).is_file():
        raise NotAStoreError(f"{target} has no {MANIFEST}, so it is not a directory that hexviz wrote")
    try:
        manifest = msgspec.json.decode(read_whole(target / MANIFEST, most_bytes=_MAX_MANIFEST), type=Manifest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise StoreCorruptError(f"{target / MANIFEST} is damaged: {error}") from error
    if manifest.hexviz != kind:
        raise NotAStoreError(f"{target} holds {manifest.hexviz!r}, not {kind!r}")
    if manifest.v > _VERSION:
        raise NewerStoreError(f"{target} has format {manifest.v}, this hexviz knows up to {_VERSION}: update hexviz")
    return manifest


def checksum_of(path: Path) -> str:
    """The CRC-32 of a file, eight hexadecimal digits."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


def _check_replaceable(target: Path, kind: str) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise StoreWriteError(f"{target} exists and is not a directory: name another path")
    if not target.is_dir() or not any(target.iterdir()):
        return
    try:
        known = {MANIFEST, *read_manifest(target, kind).files}
    except (NotAStoreError, StoreCorruptError) as error:
        raise StoreWriteError(f"{target} exists and is not replaced: {error}. Name another path.") from error
    for found in target.rglob("*"):
        name = found.relative_to(target).as_posix()
        if name not in known and (found.is_symlink() or not found.is_dir()):
            raise StoreWriteError(f"{target} is not replaced: it holds {name!r}, which hexviz did not write")


def _finish(scratch: Path, kind: str, facts: dict[str, Any]) -> None:
    written = sorted(found for found in scratch.rglob("*") if found.is_file())
    names = {found.relative_to(scratch).as_posix(): checksum_of(found) for found in written}
    manifest = scratch / MANIFEST
    manifest.write_bytes(msgspec.json.format(msgspec.json.encode(Manifest(kind, _VERSION, names, facts)), indent=1))
    for found in (*written, manifest):
        found.chmod(0o600)
        sync(found)
    for found in sorted(scratch.rglob("*"), reverse=True):
        if found.is_dir():
            found.chmod(0o700)
            sync_directory(found)
    sync_directory(scratch)


# --- the disk -----------------------------------------------------------------------------------------------------


@contextmanager
def named_errors(target: Path) -> Iterator[None]:
    """Errors of the file system as :class:`StoreWriteError`, naming ``target``."""
    try:
        yield
    except HexvizError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that holds NUL
        reason = getattr(error, "strerror", None) or error
        raise StoreWriteError(f"{str(target)!r} cannot be written: {reason}. Nothing was changed.") from error


def sync(path: Path) -> None:
    """Put what was written to a file on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_and_directory(path: Path) -> None:
    """Put a file that was renamed into place on the disk, and its name."""
    sync(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk."""
    if os.name == "posix":  # elsewhere a directory cannot be opened
        sync(path)
