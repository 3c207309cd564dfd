"""What a recorder has kept: columns, and the latest events as they are."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from hexviz.events.forking import free_in_children
from hexviz.recording.columns import EventColumns

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.events import Event

FIRST = 40_000
GROWTH = 1.5
"""It is told that the columns have grown when there are so many events, and each time there are so many times more."""
PENDING = 8_192
"""Events that wait, as they are, to become columns: a run of some thousand nodes pays for that when it is over."""
_CHUNK = 1_024
"""Events that become columns at a time: few enough to stay in the caches, enough to share the price of a call."""


class KeptEvents:
    """Events are appended to ``pending``, from any thread, and become ``columns`` when :meth:`seal` is called.

    It knows nothing of its recorder, so that what was kept is let go of with the recorder, at once.
    """

    def __init__(self, run_id: str) -> None:
        self.columns = EventColumns()
        self.pending: list[Event] = []
        self.lock = free_in_children(threading.RLock())
        self.grown: Callable[[KeptEvents], None] | None = None
        self._next = FIRST
        self._run_id = run_id
        self._seqs: defaultdict[str, int] = defaultdict(int)

    def numbered(self, event: Event) -> Event:
        """``event`` with the next number of its run."""
        with self.lock:
            run_id = event.run_id or self._run_id
            if run_id not in self._seqs:  # news about a run that is over: its own numbering goes on
                self.seal()
                self._seqs[run_id] = self.columns.last_seq_of(run_id)
            self._seqs[run_id] += 1
            return msgspec.structs.replace(event, run_id=run_id, seq=self._seqs[run_id])

    def seal(self) -> None:
        """Turn the pending events into columns. Appending goes on meanwhile from other threads."""
        with self.lock:
            count = len(self.pending)
            for first in range(0, count, _CHUNK):
                self.columns.extend(self.pending[first : min(first + _CHUNK, count)])
            del self.pending[:count]
            if len(self.columns) >= self._next:
                self._next = int(GROWTH * len(self.columns))
                if self.grown is not None:
                    self.grown(self)

    def __len__(self) -> int:
        with self.lock:
            return len(self.columns) + len(self.pending)
