"""What each attempt did when: stretches of time, ready to be drawn by anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_or_all, finished, milliseconds, table
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    from hexviz.analysis.source import Kind

STRETCHES = ("backoff", "queued", "running")
TIMES = ("ready_ms", "start_ms", "end_ms", "backoff_ms")
_FACTS = ("node", "wave", "attempt", "status")
_TIMELINE: dict[str, Kind] = {
    "run_id": "text",
    "node": "text",
    "wave": "int",
    "attempt": "int",
    "status": STATUSES,
    "kind": STRETCHES,
    **dict.fromkeys(("start_ms", "end_ms", "duration_ms"), "float"),
    "open": "bool",
}


def timeline(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """One row per stretch of time of every attempt that started; of all runs in ``frames``, or of ``run_id``.

    Columns: ``run_id``, ``node``, ``wave``, ``attempt``, ``status`` (of the attempt), ``kind`` (category: ``backoff``
    before a later attempt, ``queued`` for a place or a policy, ``running``), float64 ``start_ms`` and ``end_ms`` (since
    the start of the run), ``duration_ms``, and ``open`` (bool: it had no end yet and is drawn to the last known moment
    of its run). Stretches without length are left out, except for ``running``. Ordered by run and start.
    """
    attempts = table(frames, "attempts", (*_FACTS, *TIMES), run_id, every=True)
    return stretches(attempts, chosen_or_all(frames, run_id))


def stretches(attempts: pd.DataFrame, run_id: str = "") -> pd.DataFrame:
    """The rows of :func:`timeline`, of a frame of attempts with a ``run_id``."""
    run = attempts["run_id"].astype(object)
    last = attempts[["start_ms", "end_ms"]].max(axis=1).groupby(run, sort=False).transform("max")
    started = attempts["start_ms"].notna()
    attempts, last = attempts[started], last[started]
    start, end = attempts["start_ms"], attempts["end_ms"].fillna(last)
    ready = attempts["ready_ms"].fillna(start).clip(upper=start)
    spans = {
        "backoff": (ready - milliseconds(attempts, "backoff_ms"), ready),
        "queued": (ready, start),
        "running": (start, end),
    }
    parts = []
    for kind, (begin, finish) in spans.items():
        part = attempts[["run_id", *_FACTS]].assign(kind=kind, start_ms=begin, end_ms=finish)
        part["open"] = attempts["end_ms"].isna() & (kind == "running")
        parts.append(part if kind == "running" else part[finish > begin])
    result = pd.concat(parts)
    result["duration_ms"] = result["end_ms"] - result["start_ms"]
    order = pd.DataFrame({"run": result["run_id"].astype(object).factorize()[0], "at": result["start_ms"].to_numpy()})
    by = order.sort_values(["run", "at"], kind="stable").index
    return finished("timeline", result.reset_index(drop=True).iloc[by], _TIMELINE, {"run_id": run_id})
