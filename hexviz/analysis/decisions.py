"""What control decided, and how each handler voted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.analysis.groups import grouped_by
from hexviz.analysis.source import FramesLike, chosen_or_all, finished, own_nodes, said, table
from hexviz.recording.layout import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hexviz.analysis.source import Kind

_FACTS: dict[str, Kind] = {
    "offset_ms": "float",
    "checked_seq": "int",
    "event_type": "text",
    "node": "text",
    "wave": "int",
    "attempt": "int",
    "signal": SIGNALS,
    "decided_by": "text",
    "reason": "text",
}
_DECISIONS: dict[str, Kind] = {
    "run_id": "text",
    "seq": "int",
    **_FACTS,
    "votes": "count",
    "latency_us": "float",
    "errors": "count",
    "shadow": "bool",
}
_GROUPS = ("run_id", "decided_by", "signal", "node", "wave", "attempt", "event_type")
_VOTES: dict[str, Kind] = {
    "priority": "int",
    "handler": "text",
    "vote": SIGNALS,
    "votes": "count",
    "decisive": "count",
    "errors": "count",
    "mean_latency_us": "float",
}


def decisions(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """One row per decision (``frames.decisions`` has one per vote), by run and in the order in which they fell.

    Columns: ``run_id``, ``seq`` (Int64), ``offset_ms``, ``checked_seq``, ``event_type``, ``node``, ``wave``,
    ``attempt``, ``signal`` (category), ``decided_by``, ``reason``, ``votes`` (int64: handlers asked), ``latency_us``
    (their own time, summed), ``errors`` (int64: handlers that failed), ``shadow`` (bool: a shadow handler would have
    interfered). Of all runs in ``frames``, or of ``run_id``.
    """
    read = ("seq", *_FACTS, "handler", "vote", "latency_us", "error", "shadow")
    votes = table(frames, "decisions", read, run_id, every=True)
    interfering = votes["shadow"].fillna(value=False).astype(bool) & ~votes["vote"].astype(object).isin(
        ["proceed", None]
    )
    marked = votes.assign(
        _run=votes["run_id"].factorize()[0],
        _asked=said(votes["handler"]),
        _failed=said(votes["error"]),
        _shadow=interfering,
    )
    groups: Any = marked.groupby(["_run", "seq"], sort=True)
    result = groups[["run_id", *_FACTS]].first()
    result["votes"] = groups["_asked"].sum()
    result["latency_us"] = groups["latency_us"].sum()
    result["errors"] = groups["_failed"].sum()
    result["shadow"] = groups["_shadow"].any()
    return finished("decisions", result.reset_index(), _DECISIONS, {"run_id": chosen_or_all(frames, run_id)})


def decision_counts(
    frames: FramesLike, *, by: Sequence[str] | str = ("decided_by", "signal"), run_id: str | None = None
) -> pd.DataFrame:
    """Count who decided what, most first; of all runs in ``frames``, or of ``run_id``.

    ``by`` names other groups, one or several of ``run_id``, ``decided_by``, ``signal``, ``node``, ``wave``,
    ``attempt``, ``event_type``: ``by=("decided_by", "node")`` tells which policy decided about which node. After them
    come ``decisions`` and ``nodes`` (distinct in their run), int64. ``decided_by`` is empty where nobody decided: a
    shadow handler would have interfered, or a handler failed. Raises
    :class:`~hexviz.errors.SettingError` for a group of another name.
    """
    kinds = grouped_by(by, {name: _DECISIONS[name] for name in _GROUPS})
    fallen = decisions(frames, run_id=run_id)
    plain = fallen[list(kinds)].astype(object)
    plain["one"] = own_nodes(fallen)
    groups: Any = plain.groupby(list(kinds), sort=True, dropna=False)["one"]
    counted = groups.agg(["size", "nunique"]).reset_index()
    counted = counted.rename(columns={"size": "decisions", "nunique": "nodes"})
    counted = counted.sort_values("decisions", ascending=False, kind="stable")
    columns: dict[str, Kind] = kinds | {"decisions": "count", "nodes": "count"}
    return finished("decision_counts", counted, columns, {"run_id": fallen.attrs["run_id"]})


def handler_votes(frames: FramesLike, *, run_id: str | None = None) -> pd.DataFrame:
    """How each handler voted, of all runs in ``frames``, or of ``run_id``.

    One row per handler and vote, by priority and then by number of votes: ``priority`` (Int64), ``handler``, ``vote``
    (category), ``votes``, ``decisive`` (votes that decided), ``errors`` (int64), ``mean_latency_us``. Where the
    recording holds noteworthy checks only (the default), so does this.
    """
    read = ("handler", "priority", "vote", "latency_us", "error", "decisive")
    votes = table(frames, "decisions", read, run_id, every=True)
    votes = votes[said(votes["handler"])]
    plain = votes[["priority", "latency_us"]].assign(
        vote=votes["vote"].astype(object),
        handler=votes["handler"].astype(object),
        decisive=votes["decisive"].fillna(value=False).astype("int64"),
        failed=said(votes["error"]).astype("int64"),
    )
    groups = plain.groupby(["priority", "handler", "vote"], sort=True, dropna=False)
    result = groups.agg(
        votes=("failed", "size"),
        decisive=("decisive", "sum"),
        errors=("failed", "sum"),
        mean_latency_us=("latency_us", "mean"),
    ).reset_index()
    result = result.sort_values(["priority", "votes"], ascending=[True, False], kind="stable")
    return finished("handler_votes", result, _VOTES, {"run_id": chosen_or_all(frames, run_id)})
