"""What nodes waited for: their parents, a place to run or a policy, or the next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_or_all, finished, milliseconds, table
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    from hexviz.analysis.source import Kind

CAUSES = ("parents", "queued", "backoff", "running")
_READ = ("node", "wave", "status", "attempts", "parents_ms", "queued_ms", "backoff_ms", "total_ms")
_TIMES = ("parents_ms", "queued_ms", "backoff_ms", "running_ms", "waited_ms", "wait_share")
_WAITS: dict[str, Kind] = {
    "run_id": "text",
    "node": "text",
    "wave": "int",
    "status": STATUSES,
    "attempts": "int",
    **dict.fromkeys(_TIMES, "float"),
}
_CAUSES: dict[str, Kind] = {
    "cause": CAUSES,
    "nodes": "count",
    **dict.fromkeys(("total_ms", "share", "mean_ms", "longest_ms"), "float"),
    "longest_node": "text",
}


def waits(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """The time of each node by what it was spent on, the longest wait first; of all runs in ``frames``, or ``run_id``.

    Columns: ``run_id``, ``node``, ``wave``, ``status``, ``attempts``, then float64 ``parents_ms`` (since the start of
    the run, until its parents had ended), ``queued_ms`` (for a place or a policy, all attempts), ``backoff_ms``
    (between attempts), ``running_ms`` (own time of all attempts), ``waited_ms`` (queued and back-off: what could have
    been saved), ``wait_share`` (``waited_ms`` of it and of running, 0 to 1). Unknown times count as 0. ``attrs`` hold
    the sums ``queued_ms``, ``backoff_ms``, ``running_ms``.
    """
    nodes = table(frames, "nodes", _READ, run_id, every=True)
    result = nodes[["run_id", "node", "wave", "status", "attempts"]].assign(
        parents_ms=milliseconds(nodes, "parents_ms"),
        queued_ms=milliseconds(nodes, "queued_ms"),
        backoff_ms=milliseconds(nodes, "backoff_ms"),
        running_ms=milliseconds(nodes, "total_ms"),
    )
    result["waited_ms"] = result["queued_ms"] + result["backoff_ms"]
    everything = result["waited_ms"] + result["running_ms"]
    result["wait_share"] = (result["waited_ms"] / everything.where(everything > 0)).fillna(0.0)
    result = result.sort_values("waited_ms", ascending=False, kind="stable")
    sums: dict[str, float] = {
        column: float(result[column].sum()) for column in ("queued_ms", "backoff_ms", "running_ms")
    }
    return finished("waits", result, _WAITS, {"run_id": chosen_or_all(frames, run_id), **sums})


def wait_causes(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Where the time of all nodes went, one row per cause; of all runs in ``frames``, or of ``run_id``.

    Columns: ``cause`` (category: ``parents``, ``queued`` for a place or a policy, ``backoff``, ``running``), ``nodes``
    (int64: those that spent time on it), float64 ``total_ms`` (over nodes, which do it at the same time: more than the
    run took), ``share`` of the totals (0 to 1), ``mean_ms`` and ``longest_ms`` per node, and ``longest_node``. Four
    rows, also where nothing ran.
    """
    times = waits(frames, run_id=run_id)
    rows = []
    for cause in CAUSES:
        spent = times[f"{cause}_ms"]
        longest = int(spent.to_numpy().argmax()) if (spent > 0).any() else None
        rows.append(
            {
                "cause": cause,
                "nodes": int((spent > 0).sum()),
                "total_ms": float(spent.sum()),
                "mean_ms": float(spent.mean()) if len(spent) else 0.0,
                "longest_ms": float(spent.max()) if len(spent) else 0.0,
                "longest_node": "" if longest is None else times["node"].iloc[longest],
            }
        )
    result = pd.DataFrame(rows)
    total = float(result["total_ms"].sum())
    result["share"] = result["total_ms"] / total if total else 0.0
    return finished("wait_causes", result, _CAUSES, {"run_id": times.attrs["run_id"]})
