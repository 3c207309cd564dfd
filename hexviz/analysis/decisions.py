"""What control decided, and how each handler voted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.analysis.source import FramesLike, chosen_run, table

if TYPE_CHECKING:
    import pandas as pd

_FACTS = ["offset_ms", "checked_seq", "event_type", "node", "wave", "attempt", "signal", "decided_by", "reason"]


def decisions(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """One row per decision (``frames.decisions`` has one per vote), in the order in which they fell.

    Columns: ``seq``, ``offset_ms``, ``checked_seq``, ``event_type``, ``node``, ``wave``, ``attempt``, ``signal``,
    ``decided_by``, ``reason``, ``votes`` (int64: handlers asked), ``latency_us`` (their own time, summed), ``errors``
    (int64: handlers that failed), ``shadow`` (bool: a shadow handler would have interfered).
    """
    votes = table(frames, "decisions", ("seq", *_FACTS, "handler", "vote", "latency_us", "error", "shadow"), run_id)
    interfering = votes["shadow"].fillna(value=False).astype(bool) & ~votes["vote"].astype(object).isin(
        ["proceed", None]
    )
    marked = votes.assign(
        _asked=votes["handler"].fillna("").astype(str) != "",
        _failed=votes["error"].fillna("").astype(str) != "",
        _shadow=interfering,
    )
    groups = marked.groupby("seq", sort=True)
    result = groups[_FACTS].first()
    result["votes"] = groups["_asked"].sum().astype("int64")
    result["latency_us"] = groups["latency_us"].sum().astype("float64")
    result["errors"] = groups["_failed"].sum().astype("int64")
    result["shadow"] = groups["_shadow"].any().astype(bool)
    result = result.reset_index()
    result.attrs = {"hexviz_frame": "decisions", "run_id": chosen_run(frames, run_id)}
    return result


def decision_counts(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """Count who decided what, most first: ``decided_by``, ``signal``, ``decisions``, ``nodes`` (distinct)."""
    fallen = decisions(frames, run_id=run_id)
    plain = fallen.assign(
        signal=fallen["signal"].astype(object), decided_by=fallen["decided_by"].fillna("").astype(object)
    )
    groups = plain.groupby(["decided_by", "signal"], sort=True)["node"]
    counted = groups.agg(["size", "nunique"]).astype("int64").reset_index()
    counted = counted.set_axis(["decided_by", "signal", "decisions", "nodes"], axis=1)
    counted = counted.sort_values("decisions", ascending=False, kind="stable", ignore_index=True)
    counted.attrs = {"hexviz_frame": "decision_counts", "run_id": fallen.attrs["run_id"]}
    return counted


def handler_votes(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """How each handler voted: ``handler``, ``vote``, ``votes``, ``decisive``, ``errors``, ``mean_latency_us``.

    One row per handler and vote, by priority and then by number of votes. Where the recording holds noteworthy checks
    only (the default), so does this.
    """
    votes = table(frames, "decisions", ("handler", "priority", "vote", "latency_us", "error", "decisive"), run_id)
    votes = votes[votes["handler"].fillna("").astype(str) != ""]
    plain = votes.assign(
        vote=votes["vote"].astype(object),
        handler=votes["handler"].astype(object),
        decisive=votes["decisive"].fillna(value=False).astype("int64"),
        failed=(votes["error"].fillna("").astype(str) != "").astype("int64"),
    )
    groups = plain.groupby(["priority", "handler", "vote"], sort=True)
    result = groups.agg(
        votes=("latency_us", "size"),
        decisive=("decisive", "sum"),
        errors=("failed", "sum"),
        mean_latency_us=("latency_us", "mean"),
    ).reset_index()
    result = result.sort_values(["priority", "votes"], ascending=[True, False], kind="stable", ignore_index=True)
    result.attrs = {"hexviz_frame": "handler_votes", "run_id": chosen_run(frames, run_id)}
    return result
