"""What every analysis reads: one frame of one run, its columns checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from hexviz.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence


class FramesLike(Protocol):
    """Anything with the frames of a recording as attributes: ``nodes``, ``attempts``, ``edges``, ``decisions``, ..."""

    @property
    def nodes(self) -> pd.DataFrame:
        """One row per node."""


def table(frames: FramesLike, name: str, columns: Sequence[str], run_id: str | None = None) -> pd.DataFrame:
    """The frame ``name`` of one run, index from 0.

    ``run_id`` chooses the run where the frames hold several. Raises :class:`~hexviz.errors.SourceError` where the frame
    or a column is missing, the run is not there, or several are and none was chosen.
    """
    frame: Any = getattr(frames, name, None)
    if not isinstance(frame, pd.DataFrame):
        raise SourceError(f"{type(frames).__name__} has no frame {name!r}; give the .frames of a recording")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise SourceError(
            f"the frame {name!r} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )
    if "run_id" not in frame.columns:
        return frame.reset_index(drop=True)
    chosen = run_id if run_id is not None else _only_run(frames)
    if chosen is None:
        return frame.reset_index(drop=True)
    return frame[frame["run_id"] == chosen].reset_index(drop=True)


def run_ids(frames: FramesLike) -> list[str]:
    """The ids of the runs that the frames hold, in order of appearance."""
    for name in ("runs", "nodes"):
        frame = getattr(frames, name, None)
        if isinstance(frame, pd.DataFrame) and "run_id" in frame.columns and len(frame):
            return [str(run) for run in frame["run_id"].unique()]
    return []


def chosen_run(frames: FramesLike, run_id: str | None) -> str:
    """The id of the run that is meant: ``run_id``, or the only one there is ("" where there is none)."""
    runs = run_ids(frames)
    if run_id is None:
        return _only_run(frames) or ""
    if run_id not in runs:
        raise SourceError(f"there is no run {run_id!r} in these frames; they hold {_listed(runs)}")
    return run_id


def milliseconds(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column of milliseconds as float64, NaN (never ran, still running) as 0."""
    return pd.to_numeric(frame[column], errors="coerce").astype("float64").fillna(0.0)


def _only_run(frames: FramesLike) -> str | None:
    runs = run_ids(frames)
    if len(runs) > 1:
        raise SourceError(f"these frames hold {len(runs)} runs; choose one with run_id=, such as {_listed(runs)}")
    return runs[0] if runs else None


def _listed(runs: Sequence[str]) -> str:
    return ", ".join(map(repr, runs[:3])) + (", ..." if len(runs) > 3 else "") if runs else "none"  # noqa: PLR2004 - enough to see
