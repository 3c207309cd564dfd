"""What went wrong, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.analysis.source import FramesLike, chosen_run, table

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ["node", "wave", "attempt", "status", "start_ms", "end_ms", "duration_ms", "error_type", "error_message"]


def failures(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Every attempt that raised, in the order of ``frames.attempts``.

    Columns: ``node``, ``wave``, ``attempt``, ``status`` (of the attempt), ``start_ms``, ``end_ms``, ``duration_ms``,
    ``error_type``, ``error_message``, ``attempts`` (how many the node made), ``outcome`` (the node's final status),
    ``recovered`` (bool: the node succeeded or fell back in the end).
    """
    attempts = table(frames, "attempts", _COLUMNS, run_id)
    nodes = table(frames, "nodes", ("node", "status", "attempts"), run_id)
    failed = attempts[attempts["error_type"].fillna("").astype(str) != ""][_COLUMNS]
    ends = nodes[["node", "attempts", "status"]].rename(columns={"status": "outcome"})
    result = failed.merge(ends, on="node", how="left")
    result["recovered"] = result["outcome"].astype(object).isin(["succeeded", "fell_back"])
    result.attrs = {"hexviz_frame": "failures", "run_id": chosen_run(frames, run_id)}
    return result


def failure_counts(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Failures by class: ``error_type``, ``attempts``, ``nodes`` (distinct), ``recovered``, ``example``; most first."""
    failed = failures(frames, run_id=run_id)
    groups = failed.assign(error_type=failed["error_type"].astype(object)).groupby("error_type", sort=True)
    result = groups.agg(
        attempts=("node", "size"),
        nodes=("node", "nunique"),
        recovered=("recovered", "sum"),
        example=("error_message", "first"),
    ).reset_index()
    result = result.sort_values("attempts", ascending=False, kind="stable", ignore_index=True)
    result.attrs = {"hexviz_frame": "failure_counts", "run_id": failed.attrs["run_id"]}
    return result
