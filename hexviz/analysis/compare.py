"""Two runs of the same graph, node by node."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_run, table

_COLUMNS = ("node", "wave", "status", "attempts", "start_ms", "end_ms", "duration_ms")


def compare(
    before: FramesLike, after: FramesLike, *, run_before: str | None = None, run_after: str | None = None
) -> pd.DataFrame:
    """Set the nodes of two runs side by side, the largest change of duration first.

    ``before`` and ``after`` may be the same frames where ``run_before`` and ``run_after`` choose the runs. Columns:
    ``node``, ``wave``, ``status_before``, ``status_after``, ``attempts_before``, ``attempts_after``,
    ``duration_ms_before``, ``duration_ms_after``, ``delta_ms`` (after - before; NaN where one is unknown), ``ratio``
    (after / before), ``change``: ``"both"``, ``"added"`` or ``"removed"``, ``status_changed`` (bool).
    ``attrs``: ``run_before``, ``run_after``, ``run_ms_before``, ``run_ms_after`` (first start to last end).
    """
    left, right = table(before, "nodes", _COLUMNS, run_before), table(after, "nodes", _COLUMNS, run_after)
    chosen = ["node", "wave", "status", "attempts", "duration_ms"]
    sides = [
        side[chosen].assign(status=side["status"].astype(object), node=side["node"].astype(object))
        for side in (left, right)
    ]
    both = sides[0].merge(
        sides[1], on="node", how="outer", suffixes=("_before", "_after"), indicator="change", sort=False
    )
    both["change"] = both["change"].map({"both": "both", "left_only": "removed", "right_only": "added"}).astype(object)
    both["wave"] = both["wave_before"].combine_first(both["wave_after"])
    both["delta_ms"] = both["duration_ms_after"] - both["duration_ms_before"]
    both["ratio"] = both["duration_ms_after"] / both["duration_ms_before"].where(both["duration_ms_before"] > 0)
    both["status_changed"] = (both["change"] == "both") & (both["status_before"] != both["status_after"])
    columns = [
        "node",
        "wave",
        *(f"{c}_{s}" for c in chosen[2:] for s in ("before", "after")),
        "delta_ms",
        "ratio",
        "change",
    ]
    rank = np.argsort(-both["delta_ms"].abs().fillna(-1.0).to_numpy(), kind="stable")
    result = both[[*columns, "status_changed"]].iloc[rank].reset_index(drop=True)
    result.attrs = {
        "hexviz_frame": "compare",
        "run_before": chosen_run(before, run_before),
        "run_after": chosen_run(after, run_after),
        "run_ms_before": _span(left),
        "run_ms_after": _span(right),
    }
    return result


def _span(nodes: pd.DataFrame) -> float:
    span = nodes["end_ms"].max() - nodes["start_ms"].min()
    return float(span) if pd.notna(span) else 0.0
