"""A moment of a run, as people name it: milliseconds after it began, or a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hexviz.errors import HexvizError


class MomentError(HexvizError, ValueError):
    """A moment of a run was named in a way that cannot be understood."""


def offset_of(moment: Any, started_at: datetime | None) -> float:
    """``moment`` in milliseconds after ``started_at``; a number is that already.

    Raises :class:`MomentError` for anything that is neither a number nor a time.
    """
    if isinstance(moment, datetime):
        if started_at is None:
            return 0.0
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=started_at.tzinfo)
        return (aware - started_at).total_seconds() * 1e3
    if isinstance(moment, bool) or not isinstance(moment, int | float) or moment != moment:  # noqa: PLR0124 - NaN
        raise MomentError(f"a moment is a number of milliseconds or a datetime, not {moment!r}")
    return float(moment)
