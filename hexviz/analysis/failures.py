"""What went wrong, what became of it, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.analysis.source import FramesLike, chosen_or_all, finished, milliseconds, own_nodes, said, table
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.analysis.source import Kind

_ATTEMPTS: dict[str, Kind] = {
    "run_id": "text",
    "node": "text",
    "wave": "int",
    "attempt": "int",
    "status": STATUSES,
    "start_ms": "float",
    "end_ms": "float",
    "duration_ms": "float",
    "error_type": "text",
    "error_message": "text",
}
_FAILURES: dict[str, Kind] = {
    **_ATTEMPTS,
    "attempts": "int",
    "retried": "bool",
    "backoff_ms": "float",
    "outcome": STATUSES,
    "recovered": "bool",
}
_COUNTS: dict[str, Kind] = {
    "error_type": "text",
    "attempts": "count",
    "nodes": "count",
    "recovered": "count",
    "lost_ms": "float",
    "example": "text",
}
_RETRIES: dict[str, Kind] = {
    "run_id": "text",
    "node": "text",
    "wave": "int",
    "attempts": "count",
    "failed": "count",
    "outcome": STATUSES,
    "recovered": "bool",
    "lost_ms": "float",
    "backoff_ms": "float",
    "last_error": "text",
}
_GOOD = ("succeeded", "fell_back")


def failures(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Every attempt that raised, in the order of ``frames.attempts``; of all runs in ``frames``, or of ``run_id``.

    Columns: ``run_id``, ``node``, ``wave``, ``attempt``, ``status`` (of the attempt), ``start_ms``, ``end_ms``,
    ``duration_ms``, ``error_type``, ``error_message``, ``attempts`` (Int64: how many the node made), ``retried`` (bool:
    another attempt followed), ``backoff_ms`` (the wait before that), ``outcome`` (category: the node's status in the
    end), ``recovered`` (bool: the node succeeded or fell back in the end).
    """
    attempts = table(frames, "attempts", (*list(_ATTEMPTS)[1:], "backoff_ms"), run_id, every=True)
    attempts = attempts[[*_ATTEMPTS, "backoff_ms"]]
    keys = ["run_id", "node", "attempt"]
    following = attempts[keys].assign(attempt=attempts["attempt"] - 1, next_ms=milliseconds(attempts, "backoff_ms"))
    result = attempts[said(attempts["error_type"])].merge(following, on=keys, how="left")
    result = result.merge(_outcomes(frames, run_id), on=["run_id", "node"], how="left")
    result["retried"] = result["next_ms"].notna()
    result["backoff_ms"] = result["next_ms"].fillna(0.0)
    result["recovered"] = result["outcome"].astype(object).isin(_GOOD)
    return finished("failures", result, _FAILURES, {"run_id": chosen_or_all(frames, run_id)})


def failure_counts(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Failures by class of the exception, most first; of all runs in ``frames``, or of ``run_id``.

    Columns: ``error_type``, ``attempts``, ``nodes`` (distinct in their run), ``recovered`` (attempts whose node
    succeeded or fell back in the end), int64; ``lost_ms`` (own time of these attempts), ``example`` (first message).
    """
    failed = failures(frames, run_id=run_id)
    plain = failed[["recovered", "duration_ms"]].assign(
        error_type=failed["error_type"].astype(object),
        one=own_nodes(failed),
        example=failed["error_message"].astype(object),
    )
    groups: Any = plain.groupby("error_type", sort=True)
    result = groups.agg(
        attempts=("one", "size"),
        nodes=("one", "nunique"),
        recovered=("recovered", "sum"),
        lost_ms=("duration_ms", "sum"),
        example=("example", "first"),
    ).reset_index()
    result = result.sort_values("attempts", ascending=False, kind="stable")
    return finished("failure_counts", result, _COUNTS, {"run_id": failed.attrs["run_id"]})


def retries(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """What trying again cost: one row per node that raised or was tried more than once, the costliest first.

    Columns: ``run_id``, ``node``, ``wave``, ``attempts`` and ``failed`` (int64: tries, and those that raised),
    ``outcome`` (category), ``recovered`` (bool), ``lost_ms`` (own time of all tries but the one that the outcome
    stands on; of all of them where the node did not succeed), ``backoff_ms`` (waits between tries), ``last_error``
    (``Type: message``, empty where a result was only not good enough). Of all runs in ``frames``, or of ``run_id``.
    """
    read = ("node", "wave", "attempt", "duration_ms", "backoff_ms", "error_type", "error_message")
    attempts = table(frames, "attempts", read, run_id, every=True)
    failed = said(attempts["error_type"])
    error = attempts["error_type"].astype(object) + ": " + attempts["error_message"].astype(object).fillna("")
    tries = attempts[["wave"]].assign(
        run_id=attempts["run_id"].astype(object),
        node=attempts["node"].astype(object),
        failed=failed,
        duration_ms=milliseconds(attempts, "duration_ms"),
        backoff_ms=milliseconds(attempts, "backoff_ms"),
        error=error.where(failed, None),
    )
    groups: Any = tries.groupby(["run_id", "node"], sort=False)
    result = groups.agg(
        wave=("wave", "first"),
        attempts=("failed", "size"),
        failed=("failed", "sum"),
        backoff_ms=("backoff_ms", "sum"),
        spent_ms=("duration_ms", "sum"),
        last_ms=("duration_ms", "last"),
        last_error=("error", "last"),
    ).reset_index()
    result = result[(result["attempts"] > 1) | (result["failed"] > 0)]
    result = result.merge(_outcomes(frames, run_id).drop(columns="attempts"), on=["run_id", "node"], how="left")
    outcome = result["outcome"].astype(object)
    result["recovered"] = outcome.isin(_GOOD)
    result["lost_ms"] = result["spent_ms"] - result["last_ms"].where(outcome == "succeeded", 0.0)
    costs = result["lost_ms"] + result["backoff_ms"]
    result = result.loc[costs.sort_values(ascending=False, kind="stable").index]
    return finished("retries", result, _RETRIES, {"run_id": chosen_or_all(frames, run_id)})


def _outcomes(frames: FramesLike, run_id: str | None) -> pd.DataFrame:
    nodes = table(frames, "nodes", ("node", "status", "attempts"), run_id, every=True)
    return nodes[["run_id", "node", "attempts", "status"]].rename(columns={"status": "outcome"})
