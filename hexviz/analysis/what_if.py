"""What a run would have taken with other durations, fewer workers, or waves as barriers: a simulated schedule."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING

import pandas as pd

from hexviz.analysis.critical_path import critical_path, weight_columns, weights_of
from hexviz.analysis.patterns import fitting
from hexviz.analysis.shape import Shape, shape_of
from hexviz.analysis.source import FramesLike, chosen_run, finished
from hexviz.errors import SettingError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hexviz.analysis.source import Kind

_PLAN: dict[str, Kind] = {
    "node": "text",
    "wave": "int",
    **dict.fromkeys(("ready_ms", "start_ms", "end_ms", "duration_ms", "queued_ms"), "float"),
    "worker": "count",
}
_SCALING: dict[str, Kind] = {"schedule": "text", "workers": "count", "makespan_ms": "float", "speedup": "float"}


def what_if(
    frames: FramesLike,
    *,
    durations: Mapping[str, float] | None = None,
    durations_ms: Mapping[str, float] | None = None,
    workers: int | None = None,
    schedule: str = "ready",
    run_id: str | None = None,
    weight: str = "duration_ms",
) -> pd.DataFrame:
    """Simulate the run again: every node takes its recorded time, or another one.

    ``durations`` holds factors: with ``{"train": 0.5}`` training takes half of its recorded time. ``durations_ms``
    holds milliseconds instead. Both take names of nodes, and shell patterns (``"fetch_*"``) for all nodes that fit;
    a name goes before a pattern, and milliseconds before a factor. ``weight`` is the recorded time that is meant, as in
    :func:`~hexviz.analysis.critical_path`.

    ``workers`` limits how many nodes run at once (None: no limit). ``schedule="ready"`` starts a node when its parents
    have ended, ``"wave"`` when the whole wave before it has. Ready nodes start in the order in which they became ready,
    at the same moment in the order of ``frames.nodes``. The orchestrator's own time per node is not modelled.

    One row per node: ``node``, ``wave``, ``ready_ms``, ``start_ms``, ``end_ms``, ``duration_ms``, ``queued_ms``,
    ``worker`` (int64, from 0). ``attrs``: ``makespan_ms``, ``recorded_ms`` (first start to last end of the real run),
    ``baseline_ms`` (the simulation with the recorded times: what ``makespan_ms`` is to be compared with),
    ``critical_path_ms`` (recorded), ``work_ms``, ``utilisation`` (0 to 1, where ``workers`` is given), ``schedule``,
    ``workers``. Raises :class:`~hexviz.errors.SettingError` for a number that cannot be,
    :class:`~hexviz.errors.SourceError` for a node that the run does not have.
    """
    _check_workers(workers)
    if schedule not in {"ready", "wave"}:
        raise SettingError(f"schedule must be 'ready' or 'wave', not {schedule!r}")
    path = critical_path(frames, run_id=run_id, weight=weight)
    shape = shape_of(frames, ("wave", *weight_columns(weight)), run_id)
    recorded = weights_of(shape.nodes, weight).tolist()
    times = _times(shape.nodes, recorded, durations or {}, durations_ms or {})
    gates = _wave_gates(shape) if schedule == "wave" else shape
    ready, start, worker = _simulate(gates, times, workers)
    result = shape.nodes[["node", "wave"]].copy()
    result["ready_ms"], result["start_ms"] = ready[: len(times)], start[: len(times)]
    result["end_ms"] = result["start_ms"] + pd.Series(times, dtype="float64")
    result["duration_ms"] = pd.Series(times, dtype="float64")
    result["queued_ms"] = result["start_ms"] - result["ready_ms"]
    result["worker"] = pd.Series(worker[: len(times)], dtype="int64")
    makespan = float(result["end_ms"].max()) if len(result) else 0.0
    facts = {
        "run_id": chosen_run(frames, run_id),
        "makespan_ms": makespan,
        "recorded_ms": path.attrs["run_ms"],
        "baseline_ms": makespan if times == recorded else _makespan(gates, recorded, workers),
        "critical_path_ms": path.attrs["total_ms"],
        "work_ms": sum(times),
        "utilisation": sum(times) / (makespan * workers) if workers and makespan else math.nan,
        "schedule": schedule,
        "workers": workers,
    }
    return finished("what_if", result, _PLAN, facts)


def scaling(
    frames: FramesLike,
    *,
    workers: Sequence[int] = (1, 2, 4, 8, 16, 32),
    run_id: str | None = None,
    weight: str = "duration_ms",
) -> pd.DataFrame:
    """How long the run would have taken with each number of ``workers``, with and without waves as barriers.

    Columns: ``schedule`` (ready or wave), ``workers`` (int64), ``makespan_ms``, ``speedup`` (against one worker).
    ``attrs``: ``recorded_ms``, ``critical_path_ms``, ``work_ms``, ``barrier_ms`` (waves, unlimited workers).
    """
    for number in workers:
        _check_workers(number)
    path = critical_path(frames, run_id=run_id, weight=weight)
    shape = shape_of(frames, ("wave", *weight_columns(weight)), run_id)
    times = weights_of(shape.nodes, weight).tolist()
    shapes = {"ready": shape, "wave": _wave_gates(shape)}
    rows = [(name, number, _makespan(shapes[name], times, number)) for name in shapes for number in workers]
    result = pd.DataFrame(rows, columns=["schedule", "workers", "makespan_ms"])
    result["speedup"] = sum(times) / result["makespan_ms"].where(result["makespan_ms"] > 0)
    facts = {
        "run_id": chosen_run(frames, run_id),
        "recorded_ms": path.attrs["run_ms"],
        "critical_path_ms": path.attrs["total_ms"],
        "work_ms": sum(times),
        "barrier_ms": _makespan(shapes["wave"], times, None),
    }
    return finished("scaling", result, _SCALING, facts)


def _check_workers(workers: int | None) -> None:
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise SettingError(f"workers must be an int of at least 1, or None for no limit, not {workers!r}")


def _makespan(shape: Shape, times: list[float], workers: int | None) -> float:
    _, start, _ = _simulate(shape, times, workers)
    return max((begin + took for begin, took in zip(start, times, strict=False)), default=0.0)


def _times(
    nodes: pd.DataFrame, recorded: list[float], factors: Mapping[str, float], fixed_ms: Mapping[str, float]
) -> list[float]:
    times = recorded.copy()
    names = [str(name) for name in nodes["node"]]
    for place, factor in _chosen(names, factors, "durations", "a factor of the recorded time"):
        times[place] = recorded[place] * factor
    for place, ms in _chosen(names, fixed_ms, "durations_ms", "a number of milliseconds"):
        times[place] = ms
    return times


def _chosen(names: list[str], asked: Mapping[str, float], word: str, what: str) -> Iterator[tuple[int, float]]:
    """The places of the nodes that are asked for by name or pattern, names last so that they win."""
    places = {name: place for place, name in enumerate(names)}
    for name in sorted(asked, key=lambda name: name in places):
        value = asked[name]
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise SettingError(f"{word}[{name!r}] must be {what}, 0 or more, not {value!r}")
        found = [places[hit] for hit in fitting(places, name)]
        if not found:
            raise SourceError(f"{word} names the node {name!r}, which the run does not have")
        yield from ((place, float(value)) for place in found)


def _wave_gates(shape: Shape) -> Shape:
    """The same nodes with one gate between each two waves: it opens when the wave before has ended."""
    waves = pd.to_numeric(shape.nodes["wave"]).fillna(0).astype("int64").tolist()
    numbers = sorted(set(waves))
    rows: dict[int, list[int]] = {number: [] for number in numbers}
    for node, wave in enumerate(waves):
        rows[wave].append(node)
    size = len(waves)
    parents: list[list[int]] = [[] for _ in range(size + len(numbers) - 1)] if numbers else []
    children: list[list[int]] = [[] for _ in parents]
    for gate, (before, after) in enumerate(pairwise(numbers), size):
        parents[gate], children[gate] = rows[before], rows[after]
        for node in rows[before]:
            children[node] = [gate]
        for node in rows[after]:
            parents[node] = [gate]
    return Shape(shape.nodes, parents, children, [])


def _simulate(shape: Shape, times: list[float], workers: int | None) -> tuple[list[float], list[float], list[int]]:
    """Ready time, start time and worker of each node; nodes beyond ``times`` are gates, which need no worker."""
    size, nodes = len(shape.parents), len(times)
    unmet = [len(parents) for parents in shape.parents]
    ready, start, worker = [0.0] * size, [0.0] * size, [-1] * size
    queue = [(0.0, node) for node in range(size) if not unmet[node]]
    ending: list[tuple[float, int]] = []
    free: list[int] = []
    hired, now = 0, 0.0
    while queue or ending:
        while queue and (queue[0][1] >= nodes or free or workers is None or hired < workers):
            _, node = heappop(queue)
            start[node] = now
            if node < nodes:
                if not free:
                    heappush(free, hired)
                    hired += 1
                worker[node] = heappop(free)
            heappush(ending, (now + (times[node] if node < nodes else 0.0), node))
        now = ending[0][0]
        while ending and ending[0][0] == now:
            _, node = heappop(ending)
            if node < nodes:
                heappush(free, worker[node])
            for child in shape.children[node]:
                unmet[child] -= 1
                if not unmet[child]:
                    ready[child] = now
                    heappush(queue, (now, child))
    return ready, start, worker
