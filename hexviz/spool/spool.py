"""What waits for a server: see :mod:`hexviz.spool`."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hexviz.closing import Closing
from hexviz.spool.errors import SpoolError
from hexviz.spool.files import BINARY, FIRST, Entry, entries, head, note, packed, size_of, start_of, sync, write_whole
from hexviz.spool.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_BYTES = 256 * 2**20
MAX_RANGES = 1_000
"""Ranges of dropped seqs that are told apart; later ones widen the last."""

_FILE_BYTES = 4 * 2**20
_NAME = "{:012d}.spool"


class Dropped(NamedTuple):
    """Entries of a run that found no room: ``entries`` of them between two seqs."""

    run_id: str
    first_seq: int
    last_seq: int
    entries: int


class Spool(Closing):
    """The entries that wait, oldest first; of one process at a time, safe for its threads.

    ``path`` is a directory (made with mode 0700, files with 0600) that nothing else uses. Its files take ``max_bytes``
    at most; what finds no room is dropped, counted, and told by :meth:`dropped`. An entry that was damaged on the disk
    is passed over and counted in :attr:`damaged_bytes`. :meth:`close` removes the directory where nothing waits in it.

    Raises :class:`SpoolTakenError` where another has it open, :class:`SpoolError` where the place cannot serve. A
    forked child must not use its parent's spool: its calls raise SpoolError.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.path = Path(path).expanduser()
        self.max_bytes = max_bytes
        self.damaged_bytes = 0
        """Bytes in which no entry could be found: damage, or the end of what a killed process was writing."""
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._closed = False
        self._dropped: list[Dropped] = []
        self._dropped_count = 0
        with self._named_errors("opened"):
            self._lease = Lease(self.path)
            self._files = sorted(self.path.glob("[0-9]" * 12 + ".spool"))
            self._sizes = {file: file.stat().st_size for file in self._files}
        self._counts: dict[Path, int] = {}
        self._unsynced: set[Path] = set()
        self._number = int(self._files[-1].stem) + 1 if self._files else 1
        self._writing: int | None = None
        self._front: list[tuple[Entry, int]] = []
        self._given = 0

    # --- at the back ---

    def append(self, given: Iterable[Entry]) -> int:
        """Add entries, and return how many found room; the others are dropped and counted.

        What was added survives the end of this process at once, and a power cut after :meth:`sync`. Raises
        :class:`SpoolError` where the disk does not take it; nothing was added then, and nothing dropped.
        """
        with self._lock:
            self._check()
            given = list(given)
            fitting: list[bytes] = []
            room = self.max_bytes - self.nbytes - (0 if self._writing is not None else FIRST)
            for entry in given:
                data = packed(entry)
                room -= len(data)
                if room < 0:
                    break
                fitting.append(data)
            if fitting:
                self._write(b"".join(fitting), len(fitting))
            for entry in given[len(fitting) :]:
                self._drop(entry)
            return len(fitting)

    def sync(self) -> None:
        """Put on the disk what was added. Raises :class:`SpoolError`."""
        with self._lock:
            self._check()
            with self._named_errors("put on the disk"):
                for place in (*self._unsynced, self.path) if self._unsynced else ():
                    sync(place)
            self._unsynced.clear()

    # --- at the front ---

    def peek(self, most: int = 1_000) -> list[Entry]:
        """The oldest entries, ``most`` of them or fewer; an empty list only where nothing waits.

        The same ones again until :meth:`done` says that they have arrived.
        """
        with self._lock:
            self._check()
            while not self._rest and self._files:
                with self._named_errors("read"):
                    self._load()
            return [entry for entry, _ in self._front[self._given : self._given + most]]

    def done(self, count: int) -> None:
        """Let go of the ``count`` oldest entries, which :meth:`peek` has given."""
        with self._lock:
            self._check()
            if not 0 <= count <= self._rest:
                raise ValueError(f"{self._rest} entries were given, {count} cannot be done")
            if not count:
                return
            self._given += count
            with self._named_errors("written"):
                if self._rest:
                    note(self._files[0], self._front[self._given - 1][1])
                else:
                    self._remove_front()

    def __len__(self) -> int:
        """How many entries wait. What an earlier process left is counted at the first call (a second for 200 MB)."""
        with self._lock:
            self._check()
            waiting = self._files[1:] if self._front else self._files
            return self._rest + sum(map(self._count_of, waiting))

    @property
    def nbytes(self) -> int:
        """Bytes that the files take."""
        return sum(self._sizes.values())

    @property
    def dropped_count(self) -> int:
        """How many entries found no room since the spool was opened."""
        return self._dropped_count

    def dropped(self) -> list[Dropped]:
        """Which entries found no room, as ranges of neighbouring seqs of a run, oldest first."""
        with self._lock:
            return list(self._dropped)

    # --- life ---

    def close(self) -> None:
        """Let go of the place; what waits stays for the next. Twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._seal()
            mine = self._pid == os.getpid()
            self._lease.release(remove=mine and not self._files)

    def __repr__(self) -> str:
        return f"<Spool {str(self.path)!r} {self.nbytes} bytes{' closed' if self._closed else ''}>"

    # --- inside ---

    @property
    def _rest(self) -> int:
        return len(self._front) - self._given

    def _check(self) -> None:
        if self._closed or self._pid != os.getpid():
            why = "was closed" if self._closed else "belongs to the process that forked this one"
            raise SpoolError(f"the spool {self.path} {why}")

    @contextlib.contextmanager
    def _named_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except SpoolError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a path that holds NUL
            reason = getattr(error, "strerror", None) or error
            raise SpoolError(f"the spool {str(self.path)!r} cannot be {what}: {reason}") from error

    def _write(self, data: bytes, count: int) -> None:
        with self._named_errors("written"):
            if self._writing is not None and self._sizes[self._files[-1]] >= _FILE_BYTES:
                self._seal()
            handle, file = self._writing or self._begin(), self._files[-1]
            size = self._sizes[file]
            self._unsynced.add(file)
            try:
                write_whole(handle, data)
            except BaseException:
                os.ftruncate(handle, size)
                raise
            self._sizes[file] = size + len(data)
            self._counts[file] += count

    def _begin(self) -> int:
        file = self.path / _NAME.format(self._number)
        handle = self._writing = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        self._number += 1
        self._files.append(file)
        self._sizes[file], self._counts[file] = 0, 0
        try:
            write_whole(handle, head())
        except BaseException:
            self._seal()
            self._forget(file)
            raise
        self._sizes[file] = FIRST
        return handle

    def _seal(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _load(self) -> None:
        """Read the oldest file; one in which nothing waits is removed."""
        file = self._files[0]
        if self._writing is not None and len(self._files) == 1:
            self._seal()  # what is read is no longer written to
        data = file.read_bytes()
        start = start_of(data)
        self._front, self._given = list(entries(data, start)), 0
        self.damaged_bytes += len(data) - start - sum(size_of(entry) for entry, _ in self._front)
        if not self._front:
            self._remove_front()

    def _remove_front(self) -> None:
        self._front, self._given = [], 0
        self._forget(self._files[0])

    def _forget(self, file: Path) -> None:
        file.unlink(missing_ok=True)
        self._files.remove(file)
        self._sizes.pop(file)
        self._counts.pop(file, None)
        self._unsynced.discard(file)

    def _count_of(self, file: Path) -> int:
        if file not in self._counts:
            with self._named_errors("read"):
                data = file.read_bytes()
            self._counts[file] = sum(1 for _ in entries(data, start_of(data)))
        return self._counts[file]

    def _drop(self, entry: Entry) -> None:
        self._dropped_count += 1
        last = self._dropped[-1] if self._dropped else None
        follows = last is not None and last.run_id == entry.run_id and entry.seq == last.last_seq + 1
        if last is not None and (follows or len(self._dropped) >= MAX_RANGES):
            low, high = min(last.first_seq, entry.seq), max(last.last_seq, entry.seq)
            self._dropped[-1] = Dropped(last.run_id, low, high, last.entries + 1)
        else:
            self._dropped.append(Dropped(entry.run_id, entry.seq, entry.seq, 1))
