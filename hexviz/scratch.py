"""What is being written, beside the place that it is for; what a killed process has left there, the next one clears up.

Whoever writes holds an advisory lock on the scratch file or directory, which ends with its process however that ends.
One that nobody holds, and that has not changed for a minute, belongs to nobody any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hexviz.spool.lease import is_free, take

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUIET_S = 60.0
"""Between making a scratch and locking it lies a moment; nobody's is only what is older by far."""
_KEPT_OF_A_NAME = 40
_UNSAFE = re.compile(r"[^a-z0-9_-]")


@contextmanager
def scratch_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file (0600) beside ``target``, open for writing, and its path; removed if it still stands there after."""
    clear_up(target)
    handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            take(handle)
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """A new directory (0700) beside ``target``; removed if it still stands there after."""
    clear_up(target)
    scratch = Path(tempfile.mkdtemp(prefix=_prefix(target), suffix=".tmp", dir=target.parent))
    try:
        with _held(scratch):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def exchange(scratch: Path, target: Path) -> None:
    """Put a directory in the place of another one, which stands beside it meanwhile under a name that ends in .old."""
    old = scratch.with_suffix(".old")
    if not target.exists():
        scratch.rename(target)
        return
    target.rename(old)
    try:
        with _held(old):
            scratch.rename(target)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        with contextlib.suppress(OSError):
            if not target.exists():
                old.rename(target)
        raise


def clear_up(target: Path) -> None:
    """Remove what dead processes have left of ``target``; an old directory that has no successor gets its name back."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError, ValueError):
        for found in sorted(target.parent.iterdir()):
            if found.name.startswith(prefix) and found.suffix in {".tmp", ".old"} and _is_nobodys(found):
                _let_go(found, target)


def _let_go(found: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        if found.suffix == ".old" and not target.exists():
            found.rename(target)
        elif found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink()


def _is_nobodys(found: Path) -> bool:
    try:
        if time.time() - found.lstat().st_ctime < _QUIET_S:
            return False
        return found.is_symlink() or is_free(found)
    except OSError:
        return False


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    if os.name != "posix":  # elsewhere a directory cannot be opened
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        take(handle)
        yield
    finally:
        os.close(handle)


def _prefix(target: Path) -> str:
    """What the scratches of a target begin with, and of no other."""
    name = target.name
    safe = _UNSAFE.sub("", name)[:_KEPT_OF_A_NAME]
    return f".{safe}.{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}."
