"""One registered observer: what waits for it, and what became of its events."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hexviz.events.config import DEFAULT_QUEUE_SIZE
from hexviz.events.forking import free_in_children
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.events import Event
    from hexviz.events.lag import SlowCall
    from hexviz.events.rows import Tally

POLL_S = 0.002
TALLIES_KEPT = 64

Overflow = Literal["drop_oldest", "drop_newest", "block"]


class Superior(Protocol):
    """The manager of an observer, as far as the observer needs it."""

    def dropped(self, entry: ObserverEntry, event: Event, reason: str) -> None:
        """An event was lost for it."""

    def failed(self, entry: ObserverEntry, event: Event | None, error: BaseException) -> None:
        """A call of it failed."""

    def told_of_batch(self, entry: ObserverEntry) -> int:
        """How many of the events that are being told now it has heard."""

    def await_elsewhere(self, awaitable: Any) -> None:
        """Wait in this thread for what a sync observer returned."""


class ObserverEntry:
    """One registered observer: what to call, what it hears, what waits for it, and what became of its events."""

    __slots__ = (
        "_lock",
        "_manager",
        "asynchronous",
        "backlog",
        "block_s",
        "busy",
        "call",
        "counted",
        "dropped",
        "event_types",
        "failed",
        "held",
        "id",
        "loop_lag_max_s",
        "now",
        "offered",
        "overflow",
        "queue_size",
        "removed",
        "scheduled",
        "settled",
        "slow_call",
        "started",
        "stuck",
        "tallies",
        "timed_out",
        "topics",
    )

    def __init__(
        self,
        observer_id: str,
        call: Callable[[Event], Any],
        manager: Superior,
        *,
        event_types: tuple[type[Event], ...] | None = None,
        topics: tuple[Callable[[str], bool], ...] | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
        overflow: Overflow = "drop_newest",
        block_s: float = 0.0,
    ) -> None:
        self.id = observer_id
        self.call = call
        self.asynchronous = is_async(call)
        self.event_types = event_types
        self.topics = topics
        self.queue_size = queue_size
        self.overflow: Overflow = overflow
        self.block_s = block_s
        self.offered = 0
        self.loop_lag_max_s = 0.0
        self.slow_call: SlowCall | None = None
        self.backlog: deque[Event] = deque()
        self.now: Event | None = None
        self.busy = False
        self.held = False
        self.scheduled = False
        self.started = 0.0
        self.stuck = False
        self.settled = True
        self.removed = False
        self.counted = 0
        self.tallies: list[Tally] = []
        self.failed = 0
        self.timed_out = 0
        self.dropped: Counter[str] = Counter()
        self._manager = manager
        self._lock = free_in_children(threading.RLock())

    @property
    def delivered(self) -> int:
        """How many events it has heard: those counted one by one, and those counted for all of a row."""
        told = self.counted + sum(tally.told for tally in self.tallies) + self._manager.told_of_batch(self)
        return max(0, told)

    def forget(self) -> None:
        """In a forked child: no call is under way, and nothing waits."""
        self.backlog.clear()
        self.now, self.started = None, 0.0
        self.stuck = self.scheduled = False
        self.settled = True
        self.set_busy(busy=False)

    def sum_up(self) -> None:
        """Nothing is on its way: the tallies of rows that are long out of use need not be kept."""
        done, self.tallies = self.tallies[:-TALLIES_KEPT], self.tallies[-TALLIES_KEPT:]
        self.counted += sum(tally.told for tally in done)

    def wants(self, event_class: type[Event]) -> bool:
        """Whether it hears this class of events."""
        return self.event_types is None or issubclass(event_class, self.event_types)

    def hears(self, event: Event) -> bool:
        """Whether the topic of ``event`` is one of those asked for."""
        return self.topics is None or any(matches(event.topic) for matches in self.topics)

    def enqueue(self, event: Event) -> None:
        """Keep ``event`` for later; where that cannot be, count what is lost, by reason."""
        with self._lock:
            if self.stuck or self.removed:
                lost, reason = event, "stuck" if self.stuck else "unregistered"
            elif len(self.backlog) < self.queue_size:
                self.backlog.append(event)
                return
            else:
                reason = "queue_full"
                lost = event
                if self.overflow == "drop_oldest":
                    self.backlog.append(event)
                    lost = self.backlog.popleft()
            self.dropped[reason] += 1
        self._manager.dropped(self, lost, reason)

    def kept_back(self, event: Event) -> bool:
        """Keep ``event`` for later where a call is under way (or nobody is to hear it any more); False where not."""
        with self._lock:
            if not self.held:
                return False
            self.enqueue(event)
            return True

    async def call_unless_held(self, event: Event) -> None:
        """Tell it ``event``, or keep that back; its row counts one more in either case."""
        if self.held and self.kept_back(event):
            self.counted -= 1
        else:
            await self.call(event)

    def next_in_line(self) -> Event | None:
        """What waited behind the call that ended; None, and nobody waits any more."""
        with self._lock:
            if self.backlog:
                return self.backlog.popleft()
            self.now = None
            self.set_busy(busy=False)
            return None

    def give_up(self) -> None:
        """The event loop of the call under way was closed: it will not end, nor will what waits behind it be heard."""
        with self._lock:
            self.dropped["cancelled"] += not self.stuck
            self.stuck, self.now = False, None
            self.drop_backlog("cancelled")
            self.set_busy(busy=False)

    def has_room(self, events: int = 1) -> bool:
        """Whether so many more events may wait for it; counted for ``overflow="block"`` alone."""
        ended = self.delivered + self.failed + self.timed_out + sum(self.dropped.values())
        return self.stuck or self.removed or self.offered - ended + min(events, self.queue_size) <= self.queue_size

    def offer(self, event: Event, *, wait: bool) -> bool:
        """Count ``event`` as one that is on its way, or as lost where there is no room, also after waiting for it."""
        deadline = time.monotonic() + self.block_s if wait else 0.0
        while not self.has_room():
            if time.monotonic() >= deadline:
                with self._lock:
                    self.offered += 1
                    self.dropped["queue_full"] += 1
                self._manager.dropped(self, event, "queue_full")
                return False
            time.sleep(POLL_S)
        with self._lock:
            self.offered += 1
        return True

    def drop_backlog(self, reason: str) -> None:
        """Count everything that waits as lost."""
        with self._lock:
            lost = tuple(self.backlog)
            self.backlog.clear()
            self.dropped[reason] += len(lost)
        for event in lost:
            self._manager.dropped(self, event, reason)

    def overran(self) -> None:
        """The call under way takes too long: count it, and lose what waits behind it until it comes back."""
        self.settled = False
        self.stuck = True
        self.timed_out += 1
        try:
            self._manager.failed(self, self.now, TimeoutError(f"observer {self.id!r} did not return in time"))
            self.drop_backlog("stuck")
        finally:
            self.settled = True

    @property
    def written_off(self) -> bool:
        """Whether it is stuck, and what there was to say and to drop because of it was said and dropped."""
        return self.stuck and self.settled

    def run(self, event: Event) -> None:
        """Call a sync observer, in a thread of the crew."""
        try:
            outcome = self.call(event)
            if outcome.__class__ is not None.__class__ and hasattr(outcome, "__await__"):
                self._manager.await_elsewhere(outcome)
        except BaseException as error:  # noqa: BLE001 - an observer may raise anything; the run must not notice
            self.count_failure(event, error)
        else:
            self.count_success()

    def set_busy(self, *, busy: bool) -> None:
        """Whether a call waits. While it is ``held``, events go to its backlog: busy, or not registered any more."""
        self.busy = busy
        self.held = busy or self.removed

    def count_success(self) -> None:
        """The call under way returned."""
        if self.stuck:
            self.stuck = False  # counted as timed out already
        else:
            self.counted += 1

    def count_failure(self, event: Event | None, error: BaseException) -> None:
        """The call under way raised."""
        if self.stuck:
            self.stuck = False
            return
        self.failed += 1
        self._manager.failed(self, event, error)

    def statistics(self) -> dict[str, Any]:
        """What became of the events so far."""
        return {
            "delivered": self.delivered,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "dropped": dict(self.dropped),
            "queued": len(self.backlog),
            "stuck": self.stuck,
            "loop_lag_max_s": self.loop_lag_max_s,
        }
