"""Which runs a store lets go of, by age and by size."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from hexviz.stores.run_info import RunInfo

QUIET = timedelta(days=1)
"""A run without an end that was added to more recently is being written, and is not pruned."""


def to_prune(
    infos: Sequence[RunInfo], now: datetime, max_age: timedelta | None, max_bytes: int | None
) -> list[RunInfo]:
    """The runs to remove, oldest first: those that began too long ago, then the oldest until the others are small.

    ``infos`` stand in the order in which they came. A run is as old as its begin, whenever it was imported.
    """
    by_age = sorted((info for info in infos if not _is_being_written(info, now)), key=lambda info: _began(info, now))
    old = [info for info in by_age if max_age is not None and now - _began(info, now) > max_age]
    left = by_age[len(old) :]
    total = sum(info.bytes for info in infos) - sum(info.bytes for info in old)
    while left and max_bytes is not None and total > max_bytes:
        total -= left[0].bytes
        old.append(left.pop(0))
    return old


def _began(info: RunInfo, now: datetime) -> datetime:
    return info.started_at or info.changed_at or now


def _is_being_written(info: RunInfo, now: datetime) -> bool:
    return info.status == "running" and info.changed_at is not None and now - info.changed_at < QUIET
