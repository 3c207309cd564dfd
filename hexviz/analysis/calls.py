"""Calls inside nodes: tools and language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.analysis.source import FramesLike, chosen_run, table

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("kind", "name", "node", "status", "duration_ms", "input_tokens", "output_tokens")


def calls(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Calls by tool or model, the longest total first.

    Columns: ``kind`` (tool or llm), ``name``, ``calls``, ``failed``, ``nodes`` (distinct), ``total_ms``, ``mean_ms``,
    ``p95_ms``, ``max_ms``, ``input_tokens``, ``output_tokens`` (sums; 0 where the provider gave none).
    """
    made = table(frames, "calls", _COLUMNS, run_id)
    plain = made.assign(
        kind=made["kind"].astype(object),
        name=made["name"].fillna("").astype(object),
        failed=(made["status"].astype(object) == "failed").astype("int64"),
        duration_ms=made["duration_ms"].astype("float64"),
        input_tokens=made["input_tokens"].fillna(0).astype("int64"),
        output_tokens=made["output_tokens"].fillna(0).astype("int64"),
    )
    groups = plain.groupby(["kind", "name"], sort=True)
    result = groups.agg(
        calls=("node", "size"),
        failed=("failed", "sum"),
        nodes=("node", "nunique"),
        total_ms=("duration_ms", "sum"),
        mean_ms=("duration_ms", "mean"),
        p95_ms=("duration_ms", lambda times: times.quantile(0.95)),
        max_ms=("duration_ms", "max"),
        input_tokens=("input_tokens", "sum"),
        output_tokens=("output_tokens", "sum"),
    ).reset_index()
    result = result.sort_values("total_ms", ascending=False, kind="stable", ignore_index=True)
    result.attrs = {"hexviz_frame": "calls_by_name", "run_id": chosen_run(frames, run_id)}
    return result
