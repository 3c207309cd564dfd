"""What every analysis reads and writes: a frame of one run or of several, its columns checked; fixed dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pandas as pd

from hexviz.errors import SourceError
from hexviz.recording.arrays import TEXT_DTYPE, typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hexviz.recording.frames import Frames

Kind: TypeAlias = "str | tuple[str, ...]"
"""Of a column: ``text``, ``int`` (Int64), ``count`` (int64), ``float``, ``bool``, ``time``, or its categories."""


class HasFrames(Protocol):
    """Anything with the frames of a recording as attributes: ``nodes``, ``attempts``, ``edges``, ``decisions``, ..."""

    @property
    def nodes(self) -> pd.DataFrame:
        """One row per node."""


FramesLike: TypeAlias = "Frames | HasFrames"
"""Named both, because to some type checkers a cached property, as those of ``Frames``, is no property."""


def table(
    frames: FramesLike, name: str, columns: Sequence[str], run_id: str | None = None, *, every: bool = False
) -> pd.DataFrame:
    """The frame ``name`` of one run, index from 0; a new frame, which the caller may change.

    ``run_id`` chooses the run where the frames hold several; with ``every`` none need be chosen, all are meant then,
    and a column ``run_id`` is there in any case. Raises :class:`~hexviz.errors.SourceError` where the frame or a column
    is missing, the run is not there, or several are, one is needed, and none was chosen.
    """
    frame: Any = getattr(frames, name, None)
    if not isinstance(frame, pd.DataFrame):
        raise SourceError(_wrong_source(frames, name))
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise SourceError(
            f"the frame {name!r} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )
    if "run_id" not in frame.columns:
        return frame.reset_index(drop=True).assign(run_id="") if every else frame.reset_index(drop=True)
    if every:
        chosen = None if run_id is None else chosen_run(frames, run_id)
    else:
        chosen = run_id if run_id is not None else _only_run(frames)
    return (frame if chosen is None else frame[frame["run_id"] == chosen]).reset_index(drop=True)


def _wrong_source(given: Any, name: str) -> str:
    """What to pass in the place of what has no frame ``name``."""
    wanted = f"expected the frames of a run, not {type(given).__name__}"
    if isinstance(given, pd.DataFrame):
        return f"{wanted}: one frame is not enough, pass all of them, such as result.recording.frames"
    if isinstance(given, str):
        return f"{wanted}: with hexviz.open_store() as store: frames = store.recording(RUN_ID).frames"
    if hasattr(given, "frames"):
        return f"{wanted}: pass its .frames"
    if hasattr(given, "recording"):
        return f"{wanted}: pass its .recording.frames"
    return f"{wanted}, which has no frame {name!r}: pass the .frames of a recording, such as result.recording.frames"


def run_ids(frames: FramesLike) -> list[str]:
    """The ids of the runs that the frames hold, in order of appearance."""
    for name in ("runs", "nodes"):
        frame = getattr(frames, name, None)
        if isinstance(frame, pd.DataFrame) and "run_id" in frame.columns and len(frame):
            return [str(run) for run in frame["run_id"].unique()]
    return []


def chosen_run(frames: FramesLike, run_id: str | None) -> str:
    """The id of the run that is meant: ``run_id``, or the only one there is ("" where there is none)."""
    if run_id is None:
        return _only_run(frames) or ""
    runs = run_ids(frames)
    if run_id not in runs:
        raise SourceError(f"there is no run {run_id!r} in these frames; they hold {_listed(runs)}")
    return run_id


def chosen_or_all(frames: FramesLike, run_id: str | None) -> str:
    """The id of the run that is meant; "" where none was chosen and there are several."""
    return chosen_run(frames, run_id) if run_id is not None or len(run_ids(frames)) < 2 else ""  # noqa: PLR2004 - several


def numbers(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column as float64, whatever a file or a merge made of its dtype; NaN where it holds no number."""
    return pd.to_numeric(frame[column], errors="coerce").astype("float64")


def times(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    """A column of UTC times, also where a file made texts of them; NaT where it holds no time."""
    if isinstance(frame[column].dtype, pd.DatetimeTZDtype):
        return frame[column]
    return pd.to_datetime(frame[column], utc=True, errors="coerce", format="ISO8601")


def milliseconds(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column of milliseconds as float64, NaN (never ran, still running) as 0."""
    return numbers(frame, column).fillna(0.0)


def said(column: pd.Series[Any]) -> pd.Series[bool]:
    """Where a column of texts says something: neither missing nor empty."""
    return column.notna() & (column.astype(object) != "")


def own_nodes(frame: pd.DataFrame) -> pd.Series[int]:
    """A number for each node of each run: the same name in two runs is two nodes."""
    keys = [frame["run_id"].astype(object), frame["node"].astype(object)]
    return frame.groupby(keys, sort=False, dropna=False).ngroup()


def finished(name: str, frame: pd.DataFrame, kinds: Mapping[str, Kind], attrs: Mapping[Any, Any]) -> pd.DataFrame:
    """The result ``name``: exactly the columns of ``kinds``, each of its fixed dtype, also where it is empty."""
    result = pd.DataFrame({column: _cast(frame[column], kind) for column, kind in kinds.items()})
    result = result.reset_index(drop=True)
    result.attrs = {**attrs, "hexviz_frame": name}
    return result


_DTYPES = {"int": "Int64", "count": "int64", "float": "float64", "bool": "bool"}


def _cast(column: pd.Series[Any], kind: Kind) -> pd.Series[Any]:
    if isinstance(kind, tuple):
        words: Any = pd.Categorical(column.astype(object), categories=pd.Index(kind, dtype=object))
        return pd.Series(words, index=column.index)
    if kind == "text":
        if column.dtype == TEXT_DTYPE:
            return column.fillna("")
        return pd.Series(typed("text", column.astype(object).where(column.notna(), "").tolist()), index=column.index)
    if kind == "time":
        return column.astype("datetime64[us, UTC]")  # the same unit whatever a file made of it
    if kind == "int":
        return pd.to_numeric(column).astype("Int64")
    return column.astype(_DTYPES[kind])  # type: ignore[call-overload, no-any-return]


def _only_run(frames: FramesLike) -> str | None:
    runs = run_ids(frames)
    if len(runs) > 1:
        raise SourceError(f"these frames hold {len(runs)} runs; choose one with run_id=, such as {_listed(runs)}")
    return runs[0] if runs else None


def _listed(runs: Sequence[str]) -> str:
    return ", ".join(map(repr, runs[:3])) + (", ..." if len(runs) > 3 else "") if runs else "none"  # noqa: PLR2004 - enough to see
