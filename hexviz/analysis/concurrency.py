"""How many attempts ran, how many waited for a place, and how many places stood idle, at each moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_run, finished, table
from hexviz.errors import SettingError

if TYPE_CHECKING:
    from hexviz.analysis.source import Kind

_COLUMNS: dict[str, Kind] = {"offset_ms": "float", "running": "count", "queued": "count", "idle": "count"}
_TIMES = ["ready_ms", "start_ms", "end_ms"]


def concurrency(frames: FramesLike, *, slots: int | None = None, run_id: str | None = None) -> pd.DataFrame:
    """A step function over time: each row holds until the next one.

    ``slots`` is how many attempts could run at once (``max_concurrent_nodes`` of the run); by default the most that
    ever did, so that ``idle`` is then measured against the run's own best.

    Columns: ``offset_ms`` (since the start of the run, ascending, unique), ``running``, ``queued`` and ``idle`` (int64:
    attempts that run, that are ready and wait for a place, and places that stand empty). An attempt without an end
    counts until the last known moment. ``attrs``: ``slots``, ``peak`` (most that ran at once), ``mean`` (over the time
    between first start and last end, ``span_ms``), ``busy_ms`` (sum of all running times), ``idle_ms`` (sum over places
    of the time that they stood empty in that span), ``idle_while_queued_ms`` (the part of it during which somebody
    waited: a policy, a gate, or a busy event loop held it up), ``utilisation`` (0 to 1).

    Raises :class:`~hexviz.errors.SettingError` where ``slots`` is not a whole number of at least 1, or fewer than ran
    at once.
    """
    attempts = table(frames, "attempts", _TIMES, run_id)
    times = attempts[_TIMES].astype("float64")
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
    peak = int(result["running"].max()) if len(result) else 0
    places = _places(slots, peak)
    result["idle"] = places - result["running"]
    first, end_of_all = (float(start.min()), float(end.max())) if len(started) else (0.0, 0.0)
    busy, span = float((end - start).sum()), end_of_all - first
    # No place counts as idle before the first start: nothing could have filled it.
    held = result["offset_ms"].shift(-1).sub(result["offset_ms"]).where(result["offset_ms"] >= first, 0.0).fillna(0.0)
    idle = held * result["idle"]
    facts = {
        "slots": places,
        "peak": peak,
        "mean": busy / span if span else 0.0,
        "busy_ms": busy,
        "span_ms": span,
        "idle_ms": float(idle.sum()),
        "idle_while_queued_ms": float((held * np.minimum(result["idle"], result["queued"])).sum()),
        "utilisation": busy / (span * places) if span and places else 0.0,
    }
    return finished("concurrency", result, _COLUMNS, {"run_id": chosen_run(frames, run_id), **facts})


def _places(slots: int | None, peak: int) -> int:
    if slots is None:
        return peak
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
        raise SettingError(f"slots must be a whole number of at least 1, or None for the peak, not {slots!r}")
    if slots < peak:
        raise SettingError(f"slots must be at least {peak}, the number of attempts that ran at once, not {slots}")
    return slots
