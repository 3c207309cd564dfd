"""Who has a directory or a file: advisory locks, which end with their process however that ends."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from hexviz.spool.errors import SpoolTakenError

try:
    import fcntl
except ImportError:  # Windows: two processes at one spool are not found out there
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path


def take(handle: int) -> bool:
    """Lock an open file or directory until it is closed; False where another has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Whether nobody has a file or directory; False where that cannot be known."""
    if fcntl is None:
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
        if remove:
            with contextlib.suppress(OSError):
                self._file.unlink()
                self._file.parent.rmdir()
        os.close(self._handle)
