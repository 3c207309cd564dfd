"""The chain of nodes that kept a run from being shorter, from its state alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexviz.recording.state import RunState


def critical_nodes(state: RunState) -> list[int]:
    """The codes of the nodes on the heaviest path, first to last; a node weighs what its last attempt took.

    The path is that of :func:`hexviz.analysis.critical_path`. A microsecond or two for each node and edge, so large
    runs ask for it off the loop.
    """
    nodes, attempts = state.nodes, state.attempts
    count = len(nodes)
    if not count:
        return []
    finish = [0.0] * count
    for node, start_ms, end_ms in zip(attempts.node, attempts.start_ms, attempts.end_ms, strict=True):
        finish[node] = max(end_ms - start_ms, 0.0)
    came_from = [-1] * count
    code_of = nodes.code.get
    for node in sorted(range(count), key=nodes.wave.__getitem__):
        heaviest = 0.0
        for name in nodes.parents[node]:
            parent = code_of(name, count)
            if parent < count and finish[parent] > heaviest:
                heaviest = finish[parent]
                came_from[node] = parent
        finish[node] += heaviest
    path = [max(range(count), key=finish.__getitem__)]
    while came_from[path[-1]] >= 0:
        path.append(came_from[path[-1]])
    return path[::-1]
