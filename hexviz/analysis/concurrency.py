"""How many attempts ran, and how many waited for a place, at each moment."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_run, table


def concurrency(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """A step function over time: each row holds until the next one.

    Columns: ``offset_ms`` (since the start of the run, ascending, unique), ``running`` and ``queued`` (int64: attempts
    that run, and that are ready and wait for a place). An attempt without an end counts until the last known moment.
    ``attrs``: ``peak`` (most that ran at once), ``mean`` (over the time between first start and last end), ``busy_ms``
    (sum of all running times), ``span_ms``.
    """
    attempts = table(frames, "attempts", ("ready_ms", "start_ms", "end_ms"), run_id)
    times = attempts[["ready_ms", "start_ms", "end_ms"]].astype("float64")
    last = float(times.max().max()) if len(times) and times.notna().to_numpy().any() else 0.0
    started = times[times["start_ms"].notna()]
    start, end = started["start_ms"], started["end_ms"].fillna(last)
    ready = np.minimum(started["ready_ms"].fillna(start), start)
    steps = pd.DataFrame(
        {
            "offset_ms": np.concatenate([start, end, ready, start]),
            "running": np.repeat([1, -1, 0, 0], len(start)),
            "queued": np.repeat([0, 0, 1, -1], len(start)),
        }
    )
    result = steps.groupby("offset_ms", sort=True)[["running", "queued"]].sum().cumsum().astype("int64").reset_index()
    busy = float((end - start).sum())
    span = float(end.max() - start.min()) if len(started) else 0.0
    result.attrs = {
        "hexviz_frame": "concurrency",
        "run_id": chosen_run(frames, run_id),
        "peak": int(result["running"].max()) if len(result) else 0,
        "mean": busy / span if span else 0.0,
        "busy_ms": busy,
        "span_ms": span,
    }
    return result
