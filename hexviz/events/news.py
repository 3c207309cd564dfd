"""What the observer manager tells about its own observers: that one failed, or lost events. Counted, seldom told."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from hexviz.events.events import Event, EventsDropped, ObserverFailed
from hexviz.events.forking import free_in_children

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("hexviz.observers")
_EVERY_S = 1.0
_MOST_REPORTS = 1000


class News:
    """For each observer and each reason one event at once, and then at most one a second that sums up.

    ``tell(event)`` is for news that belong to no run under way; a run numbers and tells its own.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._emitters: dict[str, Callable[..., Any]] = {}
        self._reports: dict[tuple[str, str, str], list[Any]] = {}
        self._most = _MOST_REPORTS
        self._lock = free_in_children(threading.RLock())
        self._drops_logged_s: dict[str, float] = {}

    def forget(self) -> None:
        """In a forked child: what was held back is told by the parent."""
        self._reports = {}

    def number_events_of(self, run_id: str, emit: Callable[..., Any] | None) -> None:
        """Let the run itself number and tell what there is to say about it; None when the run is over."""
        if emit is None:
            self._emitters.pop(run_id, None)
        else:
            self._emitters[run_id] = emit

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs under way that tell their own news."""
        return tuple(self._emitters)

    def take_note(
        self, kind: type[ObserverFailed | EventsDropped], observer: str, event: Event | None, reason: str
    ) -> None:
        """Something went wrong with ``event`` for ``observer``."""
        if isinstance(event, (ObserverFailed, EventsDropped)):
            return  # what goes wrong with news of this kind is counted, and makes no news
        run_id, seq = (event.run_id, event.seq) if event else ("", 0)
        key = (kind.__name__, observer, f"{reason}\0{run_id}")
        with self._lock:
            report, due = self._reports.get(key), []
            if report is None:
                due = self._retire()
                report = self._reports[key] = [kind, observer, reason, run_id, 0, seq, seq, -math.inf]
            report[4] += 1
            report[6] = seq
            if _is_due(report):
                due.append(report)
        for report in due:
            self._publish(report)

    def _retire(self) -> list[list[Any]]:
        """Where there are many reports, as of observers that fail after each run has ended: give up the old ones."""
        if len(self._reports) < self._most:
            return []
        old = {key: report for key, report in self._reports.items() if _is_due(report)}
        for key in old:
            del self._reports[key]
        self._most = _MOST_REPORTS + 2 * len(self._reports)
        return list(old.values())

    def publish(self, run_id: str | None = None) -> bool:
        """Tell now what is still held back (of one run); whether there was anything."""
        with self._lock:
            held = [report for report in self._reports.values() if run_id in (None, report[3])]
            if run_id is not None:
                self._reports = {k: r for k, r in self._reports.items() if r[3] != run_id}
        told = [self._publish(report) for report in held]
        return any(told)

    def _publish(self, report: list[Any]) -> bool:
        kind, observer, reason, run_id, count, first, last, _ = report
        with self._lock:
            report[4], report[5], report[7] = 0, last + 1, time.monotonic()
        if not count:
            return False
        if kind is EventsDropped:
            self._log_drops(observer, reason, count)
        emit = self._emitters.get(run_id)
        fields = {"observer": observer, "reason": reason, "count": count, "first_seq": first, "last_seq": last}
        if emit is not None:
            emit(kind, **fields)
        else:
            self._tell(kind(**fields, run_id=run_id))
        return True

    def _log_drops(self, observer: str, reason: str, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._drops_logged_s.get(observer, -math.inf) < _EVERY_S:
                return
            self._drops_logged_s[observer] = now
        _log.warning("observer %r lost events (%s): %d since this was told last", observer, reason, count)


def _is_due(report: list[Any]) -> bool:
    return time.monotonic() - report[7] >= _EVERY_S  # type: ignore[no-any-return]
