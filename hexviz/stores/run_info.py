"""What a store says of its runs without reading their records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hexviz.events import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

STATUS: Mapping[type[ev.Event], str] = {
    ev.PipelineStarted: "running",
    ev.PipelineCompleted: "succeeded",
    ev.PipelineFailed: "failed",
    ev.PipelineCancelled: "cancelled",
    ev.PipelineSkipped: "skipped",
}
"""The events that tell of a whole run, and the status that a run has after each."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 2**63 - 1


class RunInfo(msgspec.Struct, frozen=True):
    """What a store knows of a run without reading its records. ``duration_ms`` is None while it runs.

    ``bytes`` counts the records alone. ``changed_at`` is when records were last added, by the clock of who wrote them.
    """

    run_id: str
    pipeline: str
    status: str
    started_at: datetime | None
    duration_ms: float | None
    nodes: int
    events: int
    tags: tuple[str, ...] = ()
    bytes: int = 0
    changed_at: datetime | None = None


class Wanted(NamedTuple):
    """Which runs a store is to list; None asks for nothing. ``since_us <= started < until_us``, since 1970."""

    pipeline: str | None
    status: str | None
    since_us: int | None
    until_us: int | None


class Problem(msgspec.Struct, frozen=True):
    """One finding of ``verify`` or ``salvage``: ``seq`` is 0 where it concerns the whole run or file."""

    run_id: str
    seq: int
    problem: str


def facts_of(events: Iterable[ev.Event]) -> dict[str, Any]:
    """What events tell of their run, by the fields of :class:`RunInfo`; times as microseconds, tags as JSON."""
    facts: dict[str, Any] = {}
    for event in events:
        if isinstance(event, ev.PipelineStarted):
            tags = msgspec.json.encode([tag.encode("utf-8", "backslashreplace").decode() for tag in event.tags])
            facts |= {"pipeline": event.name, "started_us": micros(event.timestamp), "tags": tags}
            facts["nodes"] = max(min(event.total_nodes, _MOST), 0)
        else:
            facts |= {"status": STATUS[type(event)], "duration_ms": event.duration_ms}  # type: ignore[attr-defined]
    return facts


def info_of(row: Sequence[Any], text_of: Callable[[Any], str]) -> RunInfo:
    """What a store keeps of a run, in the order of :class:`RunInfo`: times as microseconds, tags as JSON."""
    run_id, pipeline, status, started_us, duration_ms, nodes, events, tags, size, changed_us = row
    return RunInfo(
        run_id=text_of(run_id),
        pipeline=text_of(pipeline),
        status=status,
        started_at=moment_of(started_us),
        duration_ms=duration_ms,
        nodes=nodes,
        events=events,
        tags=tuple(msgspec.json.decode(tags, type=list[str])),
        bytes=size,
        changed_at=moment_of(changed_us),
    )


def micros(moment: datetime | None) -> int | None:
    """Microseconds since 1970; a naive time is UTC."""
    if moment is None:
        return None
    return ((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment) - _EPOCH) // timedelta(microseconds=1)


def moment_of(us: int | None) -> datetime | None:
    """The time so many microseconds after 1970."""
    return None if us is None else _EPOCH + timedelta(microseconds=us)
