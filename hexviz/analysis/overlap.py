"""Which rows of a frame touch a span of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hexviz.analysis.source import times
from hexviz.recording.moments import MomentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def overlapping(frame: pd.DataFrame, t0: Any, t1: Any, *, need: Callable[[Sequence[str]], None]) -> Any:
    """A mask of the rows from ``t0`` (included) to ``t1`` (excluded); ``need`` raises for columns that are missing.

    A row without a moment touches nothing; one that lasts no time counts as a moment.
    """
    bounds = [None if moment is None else _moment(moment) for moment in (t0, t1)]
    kinds = {type(bound) for bound in bounds if bound is not None}
    if len(kinds) > 1:
        raise MomentError(f"between takes two numbers or two times, not {t0!r} and {t1!r}")
    start, end = _by_clock(frame, need) if kinds == {pd.Timestamp} else _by_offset(frame, need)
    begin, finish = bounds
    if begin is not None and finish is not None and finish < begin:  # type: ignore[operator]
        raise MomentError(f"between ends before it begins: from {t0!r} to {t1!r}")
    touches = start.notna()
    if begin is not None:
        touches &= (end > begin) | (start >= begin) | end.isna()
    if finish is not None:
        touches &= start < finish
    return touches.to_numpy(dtype=bool)


def _moment(moment: Any) -> float | pd.Timestamp:
    if isinstance(moment, timedelta | np.timedelta64):
        return float(pd.Timedelta(moment) / pd.Timedelta(milliseconds=1))
    if isinstance(moment, Real) and not isinstance(moment, bool) and moment == moment:  # noqa: PLR0124 - NaN
        return float(moment)
    if isinstance(moment, datetime | np.datetime64 | str):
        try:
            time = pd.Timestamp(moment)
        except ValueError as error:
            raise MomentError(f"{moment!r} is not a time: {error}") from None
        if not pd.isna(time):
            return time.tz_localize("UTC") if time.tzinfo is None else time
    raise MomentError(f"a moment is a number of milliseconds, a datetime or a text that names one, not {moment!r}")


def _by_offset(frame: pd.DataFrame, need: Callable[[Sequence[str]], None]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    if "offset_ms" in frame.columns:
        return frame["offset_ms"], frame["offset_ms"]
    need(["start_ms", "end_ms"])
    return frame["start_ms"], frame["end_ms"]


def _by_clock(frame: pd.DataFrame, need: Callable[[Sequence[str]], None]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    if "timestamp" in frame.columns:
        told = times(frame, "timestamp")
        return told, told
    need(["started_at"])
    start = times(frame, "started_at")
    if "ended_at" in frame.columns:
        return start, times(frame, "ended_at")
    need(["start_ms", "end_ms"])
    return start, start + pd.to_timedelta(frame["end_ms"] - frame["start_ms"], unit="ms")
