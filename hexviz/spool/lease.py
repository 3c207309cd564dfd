"""The right to a directory."""

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


class Lease:
    """The right to a directory: an advisory lock, which ends with its process however that ends."""

    def __init__(self, path: Path) -> None:
        self._file = path / "lock"
        self._handle = self._taken()

    def _taken(self) -> int:
        while True:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), self._file.stat()):
                        return handle
            except BlockingIOError:
                os.close(handle)
                raise SpoolTakenError(
                    f"the spool {self._file.parent} is open elsewhere: give each process a directory of its own"
                ) from None
            os.close(handle)  # whoever had it has removed it meanwhile

    def release(self, *, remove: bool) -> None:
        """Let others have it; with ``remove`` the directory goes too where nothing is left in it."""
        if remove:
            with contextlib.suppress(OSError):
                self._file.unlink()
                self._file.parent.rmdir()
        os.close(self._handle)
