"""Messages become events again: each once, in order, and what cannot be read costs only itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from hexviz.closing import Closing
from hexviz.events.cloud_events import MAX_BYTES, from_cloud_event, topic_of, wire_topic
from hexviz.events.events import printable
from hexviz.events.topics import compile_topics
from hexviz.streams.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hexviz.events.events import Event
    from hexviz.streams.models import Source

_LOG_EVERY_S = 30.0

_log = logging.getLogger("hexviz.streams")


def wanted_topics(topics: str | Iterable[str] | None) -> tuple[Callable[[str], bool], ...] | None:
    """What tells whether a message's topic is wanted (:func:`~hexviz.events.topics.compile_topics`); None: all are."""
    patterns = [topics] if isinstance(topics, str) else topics
    return compile_topics(None if patterns is None else [p if type(p) is not str else wire_topic(p) for p in patterns])


class Reader(Closing):
    """The events of a :class:`~hexviz.streams.models.Source`: ``for event in Reader(source): ...``.

    An event that comes again (the same run id and ``seq``) is left out; one that bears no number (``seq`` 0: somebody
    told it by hand) where its bytes come again. A message that cannot be read (not an event, of another schema, longer
    than ``max_bytes``) is skipped, counted, and given to ``dead_letter(body, error)``; what that raises is counted too.
    ``run_id`` and ``topics`` (patterns such as ``pipeline.etl.**.failed``) choose events. ``commit`` says that all
    events given so far are processed.
    """

    def __init__(
        self,
        source: Source,
        *,
        run_id: str | None = None,
        topics: str | Iterable[str] | None = None,
        dead_letter: Callable[[bytes, Exception], object] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.source = source
        self._run_id = run_id
        self._topics = wanted_topics(topics)
        self._dead_letter = dead_letter
        self._max_bytes = max_bytes
        self._seen = Seen()
        self._counts = dict.fromkeys(("given", "duplicates", "not_wanted", "poison", "dead_letter_failures"), 0)
        self._next_log = 0.0

    def __iter__(self) -> Iterator[Event]:
        for body in self.source:
            try:
                event = self._event(body)
            except Exception as error:  # noqa: BLE001 - a message from anywhere; the others are read all the same
                self._bury(body, error)
                continue
            if event is not None:
                self._counts["given"] += 1
                yield event

    def _event(self, body: bytes) -> Event | None:
        event = from_cloud_event(body, max_bytes=self._max_bytes)
        seen = self._seen
        if not (seen.is_new(event.run_id, event.seq) if event.seq > 0 else seen.is_new_body(body)):
            self._counts["duplicates"] += 1
            return None
        if self._run_id not in {None, event.run_id} or not self._wants(topic_of(body)):
            self._counts["not_wanted"] += 1
            return None
        return event

    def _wants(self, topic: str) -> bool:
        return self._topics is None or any(matches(topic) for matches in self._topics)

    def _bury(self, body: bytes, error: Exception) -> None:
        self._counts["poison"] += 1
        if time.monotonic() >= self._next_log:
            self._next_log = time.monotonic() + _LOG_EVERY_S
            _log.warning("a message of %d bytes was skipped: %.300s", len(body), printable(error))
        if self._dead_letter is not None:
            try:
                self._dead_letter(body, error)
            except Exception:  # noqa: BLE001 - reading goes on
                self._counts["dead_letter_failures"] += 1

    def gaps(self, run_id: str) -> list[tuple[int, int]]:
        """The seqs of a run that have not come, as ranges (first, last), up to the last that came.

        What the source itself leaves out, because it was asked for some topics only, is in no message and counts.
        """
        return self._seen.gaps(run_id)

    def statistics(self) -> dict[str, int]:
        """Counts: ``given`` events, ``duplicates``, ``not_wanted``, ``poison``, ``dead_letter_failures``, ``missing``.

        ``missing`` is the number of events in all gaps.
        """
        return self._counts | {"missing": self._seen.missing()}

    def commit(self) -> None:
        """All events given so far are processed: who reads on later begins behind them."""
        self.source.commit()

    def close(self) -> None:
        """Close the source, which ends the iteration; another thread may do so."""
        self.source.close()
