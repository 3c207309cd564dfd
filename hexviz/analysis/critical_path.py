"""The critical path: the chain of nodes that kept the run from being shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hexviz.analysis.shape import Shape, shape_of
from hexviz.analysis.source import FramesLike, Kind, chosen_run, finished, milliseconds, numbers, table
from hexviz.errors import SettingError
from hexviz.recording.layout import STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.recording.arrays import Array

_SAME_MOMENT_MS = 1e-3
_READ = {"duration_ms": ("duration_ms",), "total_ms": ("total_ms",), "elapsed_ms": ("total_ms", "backoff_ms")}
WEIGHTS = tuple(_READ)
TIMES = ("start_ms", "end_ms")
_SLACK: dict[str, Kind] = {
    "node": "text",
    "wave": "int",
    "status": STATUSES,
    **dict.fromkeys((*TIMES, "duration_ms", "earliest_ms", "latest_ms", "slack_ms"), "float"),
    "on_path": "bool",
}
_PATH: dict[str, Kind] = {"order": "count", **_SLACK, "gap_ms": "float", "share": "float"}
_WAVES: dict[str, Kind] = {
    "wave": "int",
    "nodes": "count",
    "longest_node": "text",
    **dict.fromkeys(("longest_ms", "work_ms", "barrier_end_ms", "barrier_start_ms"), "float"),
}


def critical_path(frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms") -> pd.DataFrame:
    """The heaviest path through the graph, from a node without parents to one without children.

    ``weight`` says what a node weighs: ``duration_ms`` (its last attempt), ``total_ms`` (all its attempts) or
    ``elapsed_ms`` (these and the back-off between them: what its children really waited for). A node that never ran
    weighs 0; one that still runs counts to the last known moment. One row per node of the path, in its order:

    - ``order`` (int64, from 1), ``node``, ``wave``, ``status``
    - ``start_ms``, ``end_ms``: when it really ran, since the start of the run; ``duration_ms``: its weight
    - ``earliest_ms``: the weight of the path before it; ``gap_ms``: from its predecessor's end on the path to its start
    - ``share``: its part of the whole path, 0 to 1; ``slack_ms``: 0 on this path; ``on_path``: True

    ``attrs["total_ms"]`` is the weight of the path, ``attrs["run_ms"]`` the time from the first start to the last end.
    """
    nodes, places = _solve(frames, run_id, weight)
    return _as_path(nodes.iloc[places].reset_index(drop=True), nodes.attrs["total_ms"], nodes.attrs)


def path_by_clock(frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms") -> pd.DataFrame:
    """The chain of nodes that were really waited for, told by the clock alone: it needs no edges.

    From the node that ended last back to a node without parents: before each node stands the parent whose end made it
    ready, known by that moment (``parents_ms`` of ``frames.nodes``, which is the end of its last parent). Columns and
    ``attrs`` as those of :func:`critical_path`; a queue or a back-off can make it another chain than the heaviest one.
    """
    read = ("node", "wave", "status", "parents_ms", *weight_columns(weight))
    nodes = table(frames, "nodes", read, run_id)
    weights = weights_of(nodes, weight)
    end = numbers(nodes, "end_ms")
    places = _walk_by_clock(
        end.fillna(numbers(nodes, "start_ms") + weights).to_numpy(),
        milliseconds(nodes, "parents_ms").to_numpy(),
        milliseconds(nodes, "wave").to_numpy(),
    )
    path: pd.DataFrame = nodes.iloc[places].reset_index(drop=True)
    path["duration_ms"] = weights.iloc[places].to_numpy()
    total = float(path["duration_ms"].sum())
    path["earliest_ms"] = path["duration_ms"].cumsum() - path["duration_ms"]
    path = path.assign(latest_ms=path["earliest_ms"], slack_ms=0.0, on_path=True)
    facts = {"run_id": chosen_run(frames, run_id), "weight": weight, "total_ms": total, "run_ms": span_of(nodes)}
    return _as_path(path, total, facts)


def slack(frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms") -> pd.DataFrame:
    """How much longer each node could have taken without making the critical path longer.

    One row per node, in the order of ``frames.nodes``: ``node``, ``wave``, ``status``, ``start_ms``, ``end_ms``,
    ``duration_ms`` (the weight), ``earliest_ms`` and ``latest_ms`` (earliest and latest start that the weights allow),
    ``slack_ms`` (their difference), ``on_path`` (bool: on the critical path that :func:`critical_path` names).
    """
    return _solve(frames, run_id, weight)[0]


def _solve(frames: FramesLike, run_id: str | None, weight: str) -> tuple[pd.DataFrame, list[int]]:
    """The frame of :func:`slack`, and the positions of the critical path in it, first to last."""
    shape = shape_of(frames, ("wave", "status", *weight_columns(weight)), run_id)
    weights = weights_of(shape.nodes, weight)
    finish, came_from, tail = _longest(shape, weights.tolist())
    path = _heaviest(shape, finish, came_from)
    total = finish[path[-1]] if path else 0.0
    result = shape.nodes[["node", "wave", "status", *TIMES]].copy()
    result["duration_ms"] = weights
    result["earliest_ms"] = np.asarray(finish, dtype="float64") - weights
    result["latest_ms"] = (total - np.asarray(tail, dtype="float64")).clip(min=0.0)
    result["slack_ms"] = (result["latest_ms"] - result["earliest_ms"]).clip(lower=0.0)
    result["on_path"] = np.isin(np.arange(len(result)), path)
    result.loc[result["on_path"], "slack_ms"] = 0.0
    facts = {"run_id": chosen_run(frames, run_id), "weight": weight, "total_ms": total, "run_ms": span_of(shape.nodes)}
    return finished("slack", result, _SLACK, facts), path


def wave_barrier(frames: FramesLike, *, run_id: str | None = None, weight: str = "duration_ms") -> pd.DataFrame:
    """What the run would have cost at least, had each wave waited for the whole wave before it.

    One row per wave: ``wave``, ``nodes`` (count), ``longest_node``, ``longest_ms`` (its weight), ``work_ms`` (sum of
    weights), ``barrier_start_ms`` and ``barrier_end_ms`` (with unlimited workers). ``attrs`` hold ``barrier_ms`` (the
    sum of ``longest_ms``), ``critical_path_ms`` and their ``ratio`` (1.0 where the barrier costs nothing).
    """
    nodes = table(frames, "nodes", ("node", "wave", *weight_columns(weight)), run_id)
    weighed = nodes.assign(weight=weights_of(nodes, weight))
    waves = (
        weighed.groupby("wave", sort=True, observed=True)["weight"].agg(["size", "max", "sum", "idxmax"]).reset_index()
    )
    result = pd.DataFrame(
        {
            "wave": waves["wave"],
            "nodes": waves["size"].astype("int64"),
            "longest_node": nodes["node"].loc[waves["idxmax"]].reset_index(drop=True),
            "longest_ms": waves["max"].astype("float64"),
            "work_ms": waves["sum"].astype("float64"),
        }
    )
    result["barrier_end_ms"] = result["longest_ms"].cumsum()
    result["barrier_start_ms"] = result["barrier_end_ms"] - result["longest_ms"]
    barrier = float(result["longest_ms"].sum())
    path = float(slack(frames, run_id=run_id, weight=weight).attrs["total_ms"])
    facts = {"barrier_ms": barrier, "critical_path_ms": path, "ratio": barrier / path if path else 1.0}
    return finished("wave_barrier", result, _WAVES, {"run_id": chosen_run(frames, run_id), **facts})


def weight_columns(weight: str) -> tuple[str, ...]:
    """The columns of ``nodes`` that a weight needs. Raises SettingError for an unknown weight."""
    if weight not in WEIGHTS:
        raise SettingError(f"weight must be one of {', '.join(WEIGHTS)}, not {weight!r}")
    return (*_READ[weight], *TIMES)


def weights_of(nodes: pd.DataFrame, weight: str) -> pd.Series[float]:
    """What each node weighs, in milliseconds: see :func:`critical_path`."""
    parts = [milliseconds(nodes, column) for column in _READ[weight]]
    known = sum(parts[1:], parts[0])
    start, end = (numbers(nodes, column) for column in TIMES)
    runs_still = start.notna() & end.isna()
    if not runs_still.any():
        return known
    before = sum(milliseconds(nodes, column) for column in ("total_ms", "backoff_ms") if column in nodes)
    so_far = (max(start.max(), end.max()) if end.notna().any() else start.max()) - start - before
    return known + so_far.clip(lower=0.0).where(runs_still, 0.0)


def _longest(shape: Shape, weights: list[float]) -> tuple[list[float], list[int], list[float]]:
    """Per node: the weight of the heaviest path that ends with it, the parent on it, and the same from it on."""
    finish, tail = weights.copy(), weights.copy()
    came_from = [-1] * len(weights)
    for node in shape.order:
        best = -1.0
        for parent in shape.parents[node]:
            if finish[parent] > best:
                best, came_from[node] = finish[parent], parent
        if best > 0:
            finish[node] += best
    for node in reversed(shape.order):
        tail[node] += max((tail[child] for child in shape.children[node]), default=0.0)
    return finish, came_from, tail


def _as_path(path: pd.DataFrame, total_ms: float, attrs: Mapping[Any, Any]) -> pd.DataFrame:
    path["order"] = np.arange(1, len(path) + 1)
    path["gap_ms"] = path["start_ms"] - path["end_ms"].shift(1)
    path["share"] = path["duration_ms"] / total_ms if total_ms else 0.0
    return finished("critical_path", path, _PATH, attrs)


def _walk_by_clock(end_ms: Array, ready_ms: Array, wave: Array) -> list[int]:
    """The positions of the chain that ends last, first to last: each ended when the next one became ready."""
    if not len(end_ms) or np.isnan(end_ms).all():
        return []
    node = int(np.nanargmax(end_ms))
    path = [node]
    while ready_ms[node] > 0:
        off = np.where(wave < wave[node], np.abs(end_ms - ready_ms[node]), np.inf)
        off[np.isnan(off)] = np.inf
        before = int(off.argmin())
        if off[before] > _SAME_MOMENT_MS:
            break
        path.append(before)
        node = before
    return path[::-1]


def _heaviest(shape: Shape, finish: list[float], came_from: list[int]) -> list[int]:
    """The positions of the heaviest path, first to last, and on to a leaf where what follows weighs nothing."""
    if not finish:
        return []
    last = node = max(range(len(finish)), key=finish.__getitem__)
    path = [node]
    while came_from[node] >= 0:
        node = came_from[node]
        path.append(node)
    path.reverse()
    while weightless := [child for child in shape.children[last] if came_from[child] == last]:
        last = weightless[0]
        path.append(last)
    return path


def span_of(nodes: pd.DataFrame) -> float:
    """From the first start to the last end, in milliseconds; 0 where nothing ended."""
    span = pd.to_numeric(nodes["end_ms"]).max() - pd.to_numeric(nodes["start_ms"]).min()
    return float(span) if pd.notna(span) else 0.0
