"""Calls inside nodes: tools and language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.analysis.groups import grouped_by
from hexviz.analysis.source import FramesLike, chosen_or_all, finished, numbers, own_nodes, table
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hexviz.analysis.source import Kind

_COLUMNS = ("node", "kind", "name", "status", "duration_ms", "input_tokens", "output_tokens")
_GROUPS: dict[str, Kind] = {
    "run_id": "text",
    "node": "text",
    "kind": ("tool", "llm"),
    "name": "text",
    "status": STATUSES,
}
_MEASURES: dict[str, Kind] = {
    **dict.fromkeys(("calls", "failed", "unfinished", "nodes"), "count"),
    **dict.fromkeys(("total_ms", "mean_ms", "p50_ms", "p95_ms", "max_ms"), "float"),
    **dict.fromkeys(("input_tokens", "output_tokens"), "count"),
}


def calls(frames: FramesLike, *, by: Sequence[str] | str = ("kind", "name"), run_id: str | None = None) -> pd.DataFrame:
    """Calls by tool or model, the longest total first; of all runs in ``frames``, or of ``run_id``.

    ``by`` names other groups, one or several of ``run_id``, ``node``, ``kind``, ``name``, ``status``. After these
    columns (texts; ``kind`` and ``status`` categories) come, per group:

    - ``calls``, ``failed``, ``unfinished`` (no end was recorded), ``nodes`` (distinct in their run): int64
    - ``total_ms``, ``mean_ms``, ``p50_ms``, ``p95_ms``, ``max_ms``: float64, over the calls that ended, with linear
      interpolation between two of them; NaN where none has
    - ``input_tokens``, ``output_tokens``: int64 sums, 0 where the provider gave none

    Raises :class:`~hexviz.errors.SourceError` for a missing column,
    :class:`~hexviz.errors.SettingError` for a group of another name.
    """
    groups = grouped_by(by, _GROUPS)
    made = table(frames, "calls", _COLUMNS, run_id, every=True)
    ended = numbers(made, "duration_ms")
    plain = made[list(groups)].astype(object).assign(
        failed=made["status"].astype(object) == "failed",
        unfinished=ended.isna(),
        one=own_nodes(made),
        duration_ms=ended,
        input_tokens=numbers(made, "input_tokens").fillna(0).astype("int64"),
        output_tokens=numbers(made, "output_tokens").fillna(0).astype("int64"),
    )  # fmt: skip
    parts: Any = plain.groupby(list(groups), sort=True, dropna=False)
    result = parts.agg(
        calls=("one", "size"),
        failed=("failed", "sum"),
        unfinished=("unfinished", "sum"),
        nodes=("one", "nunique"),
        total_ms=("duration_ms", "sum"),
        mean_ms=("duration_ms", "mean"),
        max_ms=("duration_ms", "max"),
        input_tokens=("input_tokens", "sum"),
        output_tokens=("output_tokens", "sum"),
    )
    for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95)):
        result[name] = parts["duration_ms"].quantile(share)
    result = result.reset_index().sort_values("total_ms", ascending=False, kind="stable")
    return finished("calls_by_name", result, groups | _MEASURES, {"run_id": chosen_or_all(frames, run_id)})
