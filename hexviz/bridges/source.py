"""What every bridge reads: the frames of a recording, row by row."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_MS = 1e15


class FramesLike(Protocol):
    """The frames of a recording as attributes: ``runs``, ``attempts``, ``edges``, ... (docs/frames.md)."""

    def __getattr__(self, name: str) -> Any:
        """A frame."""


class Span(NamedTuple):
    """From when to when, in milliseconds since the start of the run; ``open`` where the end was never told."""

    start_ms: float
    end_ms: float
    open: bool = False


def rows(frame: Any, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of some columns as plain values; what is missing is None."""
    return zip(*(_values(frame[column]) for column in columns), strict=True)


def _values(series: Any) -> list[Any]:
    return [None if missing else value for value, missing in zip(series.tolist(), series.isna().tolist(), strict=True)]


def micros(moment: Any) -> int:
    """Microseconds since 1970 of a time of a frame; 0 where it is missing."""
    return 0 if moment is None else (moment.to_pydatetime() - _EPOCH) // _MICROSECOND


def iso(moment: Any) -> str:
    """A time of a frame in ISO 8601, UTC, to the microsecond."""
    when = _EPOCH if moment is None else moment.to_pydatetime()
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


def span(start_ms: Any, end_ms: Any, duration_ms: Any, last_ms: float) -> Span | None:
    """The span of an attempt or a call; one without an end lasts to ``last_ms``. None where no time is known."""
    start, end, duration = finite(start_ms), finite(end_ms), finite(duration_ms)
    if start is None and end is None:
        return None
    if end is None:
        known = start if start is not None else 0.0
        return Span(known, max(known, last_ms), open=True)
    if start is None:
        start = end - (duration or 0.0)
    return Span(start, max(start, end))


def finite(value: Any) -> float | None:
    """A number of milliseconds that a trace can hold, or None."""
    if value is None or not math.isfinite(value) or abs(value) > _MOST_MS:
        return None
    return float(value)


def last_offsets(frames: FramesLike) -> dict[str, float]:
    """Of each run the offset of its last event, in milliseconds."""
    last: dict[str, float] = {}
    for run_id, offset_ms in rows(frames.events, "run_id", "offset_ms"):
        last[run_id] = max(last.get(run_id, 0.0), finite(offset_ms) or 0.0)
    return last


def in_lines(opening: bytes, items: Iterator[Any], closing: bytes) -> Iterator[bytes]:
    """A JSON document whose long list has one item a line; equal items give equal bytes."""
    yield opening
    separator = b"\n"
    for item in items:
        yield separator + msgspec.json.encode(item)
        separator = b",\n"
    yield b"\n" + closing
