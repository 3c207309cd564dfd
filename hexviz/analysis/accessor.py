"""``df.hexviz``: what can be asked of any frame of a recording, or of a part of one.

Everything goes by columns, never by ``df.attrs``, which a merge, a concat and most file formats lose. So it works as
well on frames that were filtered, put together from several recordings, or read from Parquet.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hexviz.analysis.compare import compare_sides
from hexviz.analysis.critical_path import critical_path, path_by_clock, weight_columns
from hexviz.analysis.measures import READ, Side
from hexviz.analysis.overlap import overlapping
from hexviz.analysis.patterns import fitting
from hexviz.analysis.source import finished, milliseconds, numbers, said, times
from hexviz.analysis.timeline import TIMES, stretches
from hexviz.errors import SourceError
from hexviz.recording.layout import COLUMNS, RUN_STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.analysis.source import Kind

_RUNS: dict[str, Kind] = {
    "run_id": "text",
    "pipeline": "text",
    "status": RUN_STATUSES,
    "rows": "count",
    "nodes": "int",
    "failed": "int",
    "first_at": "time",
    "last_at": "time",
    "duration_ms": "float",
}
_METHODS = ("runs", "node", "failed", "slowest", "between", "timeline", "critical_path", "compare")


# Where this module is loaded anew, pandas would warn as if a stranger had taken the name.
if getattr(getattr(pd.DataFrame, "hexviz", None), "__module__", "") == __name__:
    del pd.DataFrame.hexviz  # type: ignore[attr-defined]


@pd.api.extensions.register_dataframe_accessor("hexviz")
class HexvizAccessor:
    """Questions to a frame of a recording: ``frames.attempts.hexviz.failed()``.

    Selections (``node``, ``failed``, ``slowest``, ``between``) give rows of the frame as they are, with their index;
    the others give new frames with columns of their own. Nothing changes the frame. Where the answer needs a column
    that is not there, a :class:`~hexviz.errors.SourceError` says which, and which frames of a recording have it.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        return f"<df.hexviz of {len(self._frame)} rows: {', '.join(f'{name}()' for name in _METHODS)}>"

    # --- rows of this frame

    def node(self, name: str) -> pd.DataFrame:
        """The rows about the node ``name``, or about all that fit a shell pattern (``"fetch_*"``); none if none do.

        For every frame with a column ``node``; of ``edges`` the rows in which it is one end.
        """
        if not isinstance(name, str):
            raise SourceError(f"node(name) takes the name of a node or a pattern, not {name!r}")
        ends = ["source", "target"] if self._has("source", "target") else ["node"]
        self._need("node", ends)
        columns = [self._frame[end].astype(object) for end in ends]
        chosen = fitting((each for column in columns for each in column.unique()), name)
        rows = [column.isin(chosen).to_numpy() for column in columns]
        return self._frame[np.logical_or.reduce(rows)]

    def failed(self) -> pd.DataFrame:
        """What went wrong.

        Of ``attempts`` and ``calls`` those that raised, also where a later attempt or a fallback made up for it; of
        ``nodes`` and ``runs`` those that failed in the end; of ``waves`` those with such a node; of ``events`` those
        that tell of a failure; of ``decisions`` the votes of handlers that failed; of ``observers`` their failures.
        """
        return self._frame[self._wrong("failed").to_numpy()]

    def slowest(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` rows with the largest ``duration_ms``, the largest first; rows without one are left out."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise SourceError(f"slowest(n) takes a number of rows, 0 or more, not {n!r}")
        self._need("slowest", ["duration_ms"])
        known = self._frame[self._frame["duration_ms"].notna()]
        return known.sort_values("duration_ms", ascending=False, kind="stable").head(n)

    def between(self, t0: Any = None, t1: Any = None) -> pd.DataFrame:
        """The rows that touch the time from ``t0`` (included) to ``t1`` (excluded); None is open.

        A number, or a ``timedelta``, counts milliseconds from the start of each run (``start_ms``, ``end_ms``,
        ``offset_ms``); a ``datetime`` or a text such as ``"2026-05-01 12:00"`` is a time (``started_at``, ``ended_at``,
        ``timestamp``), UTC where it names no zone. What has begun and not ended goes on for ever. Raises
        :class:`~hexviz.recording.moments.MomentError` for anything else, for a mixture, and for an end before a start.
        """
        touches: Any = overlapping(self._frame, t0, t1, need=lambda columns: self._need("between", columns))
        rows: pd.DataFrame = self._frame[touches]
        return rows

    # --- new frames

    def runs(self) -> pd.DataFrame:
        """One row per run that this frame tells about, in order of appearance.

        Columns: ``run_id``, ``pipeline``, ``status`` (category, of ``runs`` only), ``rows`` (int64, of this frame),
        ``nodes`` and ``failed`` (Int64: nodes that stand here, rows of :meth:`failed`), ``first_at`` and ``last_at``
        (UTC), ``duration_ms`` (from the first moment to the last one). What the frame cannot tell is missing.
        """
        self._need("runs", ["run_id"])
        frame, run = self._frame, self._frame["run_id"].astype(object)
        groups = frame.groupby(run, sort=False)
        result = pd.DataFrame({"rows": groups.size()})
        texts = frame["pipeline"].astype(object) if self._has("pipeline") else pd.Series("", frame.index, dtype=object)
        result["pipeline"] = texts.groupby(run, sort=False).first()
        result["status"] = groups["status"].last() if self._has("status", "schedule") else None
        result["nodes"] = self._nodes_by(run)
        result["failed"] = self._wrong("failed").groupby(run, sort=False).sum() if self._can_fail() else pd.NA
        first, last = _span(frame, ("started_at", "ended_at"), ("timestamp", "timestamp"))
        result["first_at"], result["last_at"] = first.groupby(run).min(), last.groupby(run).max()
        if self._has("schedule", "duration_ms"):
            result["duration_ms"] = groups["duration_ms"].last()
        else:
            first, last = _span(frame, ("start_ms", "end_ms"), ("offset_ms", "offset_ms"))
            result["duration_ms"] = last.groupby(run).max() - first.groupby(run).min()
        return finished("runs_of_frame", result.rename_axis("run_id").reset_index(), _RUNS, {})

    def timeline(self) -> pd.DataFrame:
        """What happened when, one row per stretch of time: see :func:`hexviz.analysis.timeline`.

        Of ``attempts`` it tells queue, back-off and running apart; of ``nodes``, ``waves`` and ``calls`` it has one row
        each, of the kind ``running``.
        """
        self._need("timeline", ["start_ms", "end_ms"])
        frame = self._frame.assign(**{name: "" for name in ("run_id", "node") if name not in self._frame})
        for name in ("wave", "attempt", "status"):
            if name not in frame:
                frame[name] = pd.NA
        if not self._has("attempt", *TIMES):
            frame = frame.assign(ready_ms=frame["start_ms"], backoff_ms=0.0)
        return stretches(frame)

    def critical_path(
        self, edges: pd.DataFrame | None = None, *, run_id: str | None = None, weight: str = "duration_ms"
    ) -> pd.DataFrame:
        """The chain of nodes that kept the run from being shorter, for ``nodes`` and ``attempts``.

        These frames do not know who waits for whom. So by itself this is the chain that was really waited for, as
        the clock tells it: :func:`hexviz.analysis.path_by_clock`. With the frame that knows,
        ``frames.nodes.hexviz.critical_path(frames.edges)``, it is the heaviest chain through the graph:
        :func:`hexviz.analysis.critical_path`.
        """
        needed = ("node", "wave", "status", *weight_columns(weight))
        if edges is None:
            nodes = self._nodes("critical_path", (*needed, "parents_ms"))
            return path_by_clock(_frames(nodes=nodes), run_id=run_id, weight=weight)
        nodes = self._nodes("critical_path", needed)
        return critical_path(_frames(nodes=nodes, edges=edges), run_id=run_id, weight=weight)

    def compare(self, other: pd.DataFrame, *, noise_ms: float = 2.0, noise_share: float = 0.1) -> pd.DataFrame:
        """What is different in ``other``, the same frame of other runs: see :func:`hexviz.analysis.compare`.

        For ``nodes`` and ``attempts`` (status, attempts, timing), ``decisions``, and ``calls`` (calls, tokens). Each
        side stands for the runs of which it has rows. The structure takes the edges too:
        ``hexviz.analysis.compare(frames, other_frames)``.
        """
        if not isinstance(other, pd.DataFrame):
            raise SourceError(f"compare(other) takes a frame of another run, not {type(other).__name__}")
        before, after = self._side(), HexvizAccessor(other)._side()  # noqa: SLF001 - of the same class
        if set(before.tables) != set(after.tables):
            words = " and ".join("/".join(side.tables) for side in (before, after))
            raise SourceError(f"compare takes two frames of the same kind, not {words}")
        return compare_sides(before, after, noise_ms=noise_ms, noise_share=noise_share)

    # --- columns

    def _has(self, *columns: str) -> bool:
        return all(column in self._frame.columns for column in columns)

    def _need(self, method: str, columns: Sequence[str]) -> None:
        missing = [column for column in columns if column not in self._frame.columns]
        if not missing:
            return
        owners = [name for name, cols in COLUMNS.items() if set(columns) <= {col.name for col in cols}]
        has = ", ".join(map(str, self._frame.columns[:8])) + (", ..." if len(self._frame.columns) > 8 else "")  # noqa: PLR2004 - enough to see
        word = "column" if len(missing) == 1 else "columns"
        raise SourceError(
            f"df.hexviz.{method}() needs the {word} {', '.join(map(repr, missing))}, which this frame lacks (it has "
            f"{has or 'no column'}). Of the frames of a recording {', '.join(owners) or 'none'} "
            f"{'have' if len(owners) > 1 else 'has'} what it takes"
        )

    def _can_fail(self) -> bool:
        return any(self._has(*columns) for columns in _TELLS_OF_FAILURE)

    def _wrong(self, method: str) -> pd.Series[bool]:
        frame = self._frame
        if self._has("event_type") and not self._has("vote"):
            return frame["event_type"].astype(object).map(lambda name: str(name).endswith("Failed")).astype(bool)
        if self._has("vote", "error"):
            return said(frame["error"])
        if self._has("observer", "event"):
            return frame["event"].astype(object) == "failed"
        if self._has("wave", "failed"):
            return (frame["failed"] > 0).fillna(value=False).astype(bool)
        self._need(method, ["status"])
        failed = frame["status"].astype(object) == "failed"
        one_try = self._has("error_type") and not self._has("attempts")
        return failed | said(frame["error_type"]) if one_try else failed

    def _nodes_by(self, run: pd.Series[Any]) -> Any:
        """How many nodes each run has here."""
        if self._has("node"):
            nodes = self._frame["node"].astype(object)
            return nodes.where(said(nodes)).groupby(run, sort=False).nunique()
        return self._frame["nodes"].groupby(run, sort=False).sum() if self._has("nodes") else pd.NA

    def _nodes(self, method: str, columns: Sequence[str]) -> pd.DataFrame:
        """This frame with one row per node: as it is, or made of attempts."""
        if not self._has("attempt", "queued_ms") or self._has("attempts"):
            self._need(method, columns)
            return self._frame
        tries = self._frame.assign(
            run_id=self._frame["run_id"].astype(object) if self._has("run_id") else "",
            node=self._frame["node"].astype(object),
            total_ms=milliseconds(self._frame, "duration_ms"),
            attempts=1,
        ).sort_values("attempt", kind="stable")
        keys = ["run_id", "node"]
        groups = tries.groupby(keys, sort=False)
        summed = ["total_ms", "parents_ms", "queued_ms", "backoff_ms", "attempts"]
        sums = groups[[column for column in summed if column in tries]].sum()
        starts = groups["start_ms"].min()
        last = tries.drop_duplicates(keys, keep="last")[[*keys, "wave", "status", "duration_ms", "end_ms"]]
        return last.merge(sums.join(starts).reset_index(), on=keys, how="left")

    def _side(self) -> Side:
        if self._has(*READ["decisions"], "vote"):
            name, frame = "decisions", self._frame
        elif self._has(*READ["calls"]):
            name, frame = "calls", self._frame
        else:
            name, frame = "nodes", self._nodes("compare", READ["nodes"])
        frame = frame if "run_id" in frame.columns else frame.assign(run_id="")
        runs = tuple(str(run) for run in frame["run_id"].unique())
        return Side(runs or ("",), {name: frame.reset_index(drop=True)})


_TELLS_OF_FAILURE = (("event_type",), ("vote", "error"), ("observer", "event"), ("wave", "failed"), ("status",))


def _frames(**frames: pd.DataFrame) -> Any:
    return SimpleNamespace(**frames)


def _span(frame: pd.DataFrame, *pairs: tuple[str, str]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """The first and the last moments of each row, by the first pair of columns that is there."""
    clock = pairs[0][0] == "started_at"
    read = times if clock else numbers
    for first, last in pairs:
        if first in frame.columns:
            return read(frame, first), read(frame, last if last in frame.columns else first)
    nothing = pd.Series(None, index=frame.index, dtype="datetime64[us, UTC]" if clock else "float64")
    return nothing, nothing
