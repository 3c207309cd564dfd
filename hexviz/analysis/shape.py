"""The shape of a run's graph as numbers: nodes are 0, 1, 2, ..., parents and children are lists of them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hexviz.analysis.source import FramesLike, table
from hexviz.errors import SourceError


@dataclass(frozen=True, slots=True)
class Shape:
    """``nodes`` is the frame that the numbers point into; ``order`` is topological, by position where it is free."""

    nodes: pd.DataFrame
    parents: list[list[int]]
    children: list[list[int]]
    order: list[int]


def shape_of(frames: FramesLike, columns: tuple[str, ...], run_id: str | None = None) -> Shape:
    """Read the shape from ``frames.nodes`` (with ``columns``) and ``frames.edges``. No recursion, linear in both.

    Raises :class:`~hexviz.errors.SourceError` for a node that stands twice, an edge to a node that is not there, and a
    cycle.
    """
    nodes = table(frames, "nodes", ("node", *columns), run_id)
    edges = table(frames, "edges", ("source", "target"), run_id)
    index = pd.Index(nodes["node"].astype(object))
    if not index.is_unique:
        raise SourceError(f"the node {index[index.duplicated()][0]!r} stands twice in the frame 'nodes'")
    ends = [index.get_indexer(pd.Index(edges[side].astype(object))) for side in ("source", "target")]
    for side, codes in zip(("source", "target"), ends, strict=True):
        if (codes < 0).any():
            name = edges[side][int((codes < 0).argmax())]
            raise SourceError(f"the frame 'edges' names the node {name!r}, which the frame 'nodes' does not have")
    parents: list[list[int]] = [[] for _ in range(len(nodes))]
    children: list[list[int]] = [[] for _ in range(len(nodes))]
    for source, target in zip(ends[0].tolist(), ends[1].tolist(), strict=True):
        parents[target].append(source)
        children[source].append(target)
    return Shape(nodes, parents, children, _order(nodes, parents, children))


def _order(nodes: pd.DataFrame, parents: list[list[int]], children: list[list[int]]) -> list[int]:
    unmet = [len(p) for p in parents]
    order = [node for node, count in enumerate(unmet) if not count]
    for node in order:
        for child in children[node]:
            unmet[child] -= 1
            if not unmet[child]:
                order.append(child)
    if len(order) < len(unmet):
        stuck = next(node for node, count in enumerate(unmet) if count)
        raise SourceError(f"the frame 'edges' holds a cycle, on it or behind it is the node {nodes['node'][stuck]!r}")
    return order
