"""What nodes waited for: a place to run, or the next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.analysis.source import FramesLike, chosen_run, milliseconds, table

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pandas as pd

_COLUMNS = ("node", "wave", "status", "attempts", "queued_ms", "backoff_ms", "total_ms")


def waits(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """The time of each node by what it was spent on, the longest wait first.

    Columns: ``node``, ``wave``, ``status``, ``attempts``, ``queued_ms`` (ready, but no place free),
    ``backoff_ms`` (between attempts), ``running_ms`` (own time of all attempts), ``waited_ms`` (queued and back-off),
    ``wait_share`` (``waited_ms`` of everything, 0 to 1).
    ``attrs`` hold the sums ``queued_ms``, ``backoff_ms``, ``running_ms``.
    """
    nodes = table(frames, "nodes", _COLUMNS, run_id)
    result = nodes[["node", "wave", "status", "attempts"]].copy()
    result["queued_ms"] = milliseconds(nodes, "queued_ms")
    result["backoff_ms"] = milliseconds(nodes, "backoff_ms")
    result["running_ms"] = milliseconds(nodes, "total_ms")
    result["waited_ms"] = result["queued_ms"] + result["backoff_ms"]
    everything = result["waited_ms"] + result["running_ms"]
    result["wait_share"] = (result["waited_ms"] / everything.where(everything > 0)).fillna(0.0)
    result = result.sort_values("waited_ms", ascending=False, kind="stable", ignore_index=True)
    sums: dict[Hashable, float] = {
        column: float(result[column].sum()) for column in ("queued_ms", "backoff_ms", "running_ms")
    }
    result.attrs = {"hexviz_frame": "waits", "run_id": chosen_run(frames, run_id), **sums}
    return result
