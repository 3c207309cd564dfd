"""What a stream is made of: messages, sinks that take events, transports that carry messages, sources that bring them.

Whoever writes one for another broker writes a :class:`Transport` and a :class:`Source`; ``docs/extending.md`` shows
both, ``hexviz.testing.SinkContract`` and ``SourceContract`` test them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from hexviz.errors import HexvizError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hexviz.events.events import Event


class StreamError(HexvizError, OSError):
    """The base of all errors of streams."""


class TransportDownError(StreamError):
    """The other side cannot be reached or does not take anything now. What was to be sent is kept and tried again."""


class MessageRefusedError(StreamError):
    """The other side will never take a message, whatever happens: it is too large, for example."""


class Message(NamedTuple):
    """One event on its way."""

    run_id: str
    seq: int
    """From 1, without gaps in each run: with the run id it names the event, and receivers drop what they have."""
    topic: str
    """Dotted, such as ``pipeline.etl.wave.3.node.clean.failed``: what watchers choose by."""
    body: bytes
    """The event as a CloudEvent in JSON."""


class Sink(Protocol):
    """Takes the events of runs to somewhere else: ``Recorder(sinks=[sink])``, ``hexviz.run(..., sinks=[sink])``."""

    def put(self, event: Event, /) -> None:
        """Queue one summarised, redacted event. On the run's path: never waits, never raises."""

    def flush(self, timeout: float | None = 30.0) -> int:
        """Wait until all that was put before has arrived; the number of events that have not after ``timeout`` s."""

    def close(self, timeout: float | None = 10.0) -> int:
        """Send what waits, for ``timeout`` seconds at most; the number of events that were left. Twice is fine."""

    def statistics(self) -> dict[str, int]:
        """Events ``sent`` (acknowledged), ``queued``, ``dropped`` (no room, closed) and ``refused`` (never taken)."""


class Transport(Protocol):
    """Carries messages to one place. Called by one thread of a :class:`~hexviz.streams.sink.SpooledSink`."""

    def connect(self) -> None:
        """Be ready to send, or raise :class:`TransportDownError` within some seconds. Also called after a failure."""

    def send(self, messages: Sequence[Message]) -> None:
        """Return when the other side has acknowledged all messages, in order.

        Raises :class:`TransportDownError` for what may pass, and :class:`MessageRefusedError` where one of the
        messages can never be taken. In both cases any of the messages may have arrived; all are sent again, the
        refused ones by themselves.
        """

    def close(self) -> None:
        """Let go of everything, within some seconds. Also called after a failure, before the next ``connect``."""


class Source(Protocol):
    """Brings message bodies, each at least once, those of one run in order."""

    def __iter__(self) -> Iterator[bytes]:
        """The bodies in order of arrival; ends after :meth:`close`, which another thread may call."""

    def commit(self) -> None:
        """All bodies given so far are processed: who reads on later, where that is possible, begins behind them."""

    def close(self) -> None:
        """Let go of everything; twice is fine."""
