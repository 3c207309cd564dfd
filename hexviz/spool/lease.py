"""Who has a directory or a file: locks of the system, which end with their process however that ends.

On POSIX an advisory lock of the whole file (``flock``). Windows has locks of bytes alone, which others then cannot read
or write: there it is a byte far beyond the end of any file of ours, and directories, which cannot be opened, have none.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any

from hexviz.spool.errors import SpoolTakenError

if TYPE_CHECKING:
    from pathlib import Path

_FAR = 2**31 - 2
"""The byte that stands for a file on Windows, where an offset has 31 bits."""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_posix, _windows = _module("fcntl"), _module("msvcrt")


def take(handle: int) -> bool:
    """Lock an open file or directory until it is closed; False where another has it."""
    if _posix is not None:
        return _take_all(handle)
    return _windows is None or _take_a_byte(handle)


def _take_all(handle: int) -> bool:
    try:
        _posix.flock(handle, _posix.LOCK_EX | _posix.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_a_byte(handle: int) -> bool:
    place = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, _FAR, os.SEEK_SET)
    try:
        _windows.locking(handle, _windows.LK_NBLCK, 1)
    except OSError:  # there is one error for all reasons
        return False
    finally:
        os.lseek(handle, place, os.SEEK_SET)
    return True


def is_free(path: Path) -> bool:
    """Whether nobody has a file or directory; False where that cannot be known."""
    if _posix is None and _windows is None:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        return take(handle)
    finally:
        os.close(handle)


class Lease:
    """The right to a directory."""

    def __init__(self, path: Path) -> None:
        self._file = path / "lock"
        self._handle = self._taken()

    def _taken(self) -> int:
        while True:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            if not take(handle):
                os.close(handle)
                raise SpoolTakenError(
                    f"the spool {self._file.parent} is open elsewhere: give each process a directory of its own"
                )
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), self._file.stat()):
                    return handle
            os.close(handle)  # whoever had it has removed it meanwhile

    def release(self, *, remove: bool) -> None:
        """Let others have it; with ``remove`` the directory goes too where nothing is left in it."""
        with contextlib.ExitStack() as closing:
            closing.callback(os.close, self._handle)
            if _posix is None:  # where an open file cannot be removed; nor can one that another has opened meanwhile
                closing.close()
            if remove:
                with contextlib.suppress(OSError):
                    self._file.unlink()
                    self._file.parent.rmdir()
