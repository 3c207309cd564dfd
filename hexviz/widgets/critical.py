"""The chain of nodes that kept a run from being shorter, from its state alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexviz.recording.state import RunState

MOST_NODES = 50_000
"""Of larger runs the path is not marked: it would take longer than a refresh."""


def critical_nodes(state: RunState) -> list[int]:
    """The codes of the nodes on the heaviest path, first to last; a node weighs what its last attempt took.

    The path is that of :func:`hexviz.analysis.critical_path`. Empty where there are more than :data:`MOST_NODES` nodes.
    """
    nodes, attempts = state.nodes, state.attempts
    if not 0 < len(nodes) <= MOST_NODES:
        return []
    weight = [0.0] * len(nodes)
    for node, start_ms, end_ms in zip(attempts.node, attempts.start_ms, attempts.end_ms, strict=True):
        weight[node] = max(end_ms - start_ms, 0.0)
    parents: list[list[int]] = [[] for _ in weight]
    for parent, child in nodes.edges():
        parents[child].append(parent)
    finish, came_from = weight.copy(), [-1] * len(weight)
    for node in sorted(range(len(weight)), key=nodes.wave.__getitem__):
        best = max(parents[node], key=finish.__getitem__, default=-1)
        if best >= 0 and finish[best] > 0.0:
            came_from[node] = best
            finish[node] += finish[best]
    path = [max(range(len(finish)), key=finish.__getitem__)]
    while came_from[path[-1]] >= 0:
        path.append(came_from[path[-1]])
    return path[::-1]
