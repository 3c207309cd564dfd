"""A log whose records wait on this machine's disk while its server is away."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from hexviz.events.schema import from_record
from hexviz.spool import Entry, SpoolError
from hexviz.stores.errors import StoreWriteError
from hexviz.stores.parts import Given, Part, parts_of
from hexviz.stores.writer import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.spool import Spool
    from hexviz.stores.writer import Log

_AGAIN_S = 0.5
_AT_ONCE = 2_000
_log = logging.getLogger("hexviz.stores")


class SpooledLog:
    """Writes to ``log``; what it cannot take now goes into ``spool`` and is sent later, in order.

    While anything waits, everything waits: new records queue up behind it. What finds no room in the spool is refused
    with a :class:`StoreWriteError` that names the run and the seqs.
    """

    def __init__(self, log: Log, spool: Spool) -> None:
        self._inner = log
        self.spool = spool
        self.passing = (SpoolError, OSError)
        self.sent = 0
        """Records that came from the spool and are with the server now, or refused by it."""
        self.spooled = 0
        """Records that went into the spool."""
        self.dropped = 0
        """Records that found no room in it."""
        self._again = 0.0
        self._away = False
        self._singly = False
        self._late: list[Refusal] = []
        self._left = 0

    def commit(self, parts: Sequence[Part], *, to_disk: bool) -> list[Refusal]:
        """Write all parts to the server, or else to the spool; SpoolError where neither takes them."""
        late, self._late = self._late, []
        if time.monotonic() >= self._again and not self.spool.peek(1):
            try:
                return late + self._inner.commit(parts, to_disk=to_disk)
            except self._inner.passing as error:
                self._wait(error)
        refusals = [refusal for part in parts for refusal in self._keep(part)]
        if to_disk:
            self.spool.sync()
        return late + refusals

    def _keep(self, part: Part) -> list[Refusal]:
        count = self.spool.append(map(Entry, [part.run_id] * len(part.seqs), part.seqs, part.records))
        self.spooled += count
        lost = part.seqs[count:]
        self.dropped += len(lost)
        if not lost:
            return []
        return [
            Refusal(
                len(lost),
                StoreWriteError(
                    f"the spool {self.spool.path} is full ({self.spool.max_bytes} bytes): {len(lost)} events of run "
                    f"{part.run_id!r} are lost, seq {min(lost)} to {max(lost)}"
                ),
            )
        ]

    def catch_up(self) -> float | None:
        """Send some of what waits; the seconds until the next attempt, None where nothing waits."""
        if not (entries := self.spool.peek(1 if self._singly else _AT_ONCE)):
            self._singly = False
            return None
        if (pause := self._again - time.monotonic()) > 0:
            return pause
        try:
            parts, _ = parts_of([Given(from_record(entry.record), entry.record) for entry in entries])
            self._late += self._inner.commit(parts, to_disk=False)
        except self._inner.passing as error:
            self._wait(error)
            return _AGAIN_S
        except Exception as error:  # noqa: BLE001 - what the server cannot hold must not stop the others
            if len(entries) > 1:
                self._singly = True
                return 0.0
            self._singly = False
            self._late.append(Refusal(1, StoreWriteError(f"event {entries[0].seq}: {error}")))
        self._away = False
        self.spool.done(len(entries))
        self.sent += len(entries)
        return 0.0

    def _wait(self, error: Exception) -> None:
        self._again = time.monotonic() + _AGAIN_S
        if not self._away:
            self._away = True
            _log.warning("%s; meanwhile records wait in the spool %s", error, self.spool.path)

    def close(self) -> None:
        """Let go of the connection and of the spool; what waits in it is sent by whoever opens it next."""
        self._inner.close()
        with contextlib.suppress(SpoolError):
            self._left = len(self.spool)
        self.spool.close()
        if self._left:
            _log.warning("%d records wait in the spool %s: the store sends them when it is opened with it again",
                         self._left, self.spool.path)  # fmt: skip

    @property
    def waiting(self) -> int:
        """How many records are in the spool, those of earlier processes too."""
        try:
            return len(self.spool)
        except SpoolError:  # it was closed
            return self._left
