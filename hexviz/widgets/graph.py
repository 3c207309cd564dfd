"""The graph of a run as static SVG: waves are the layers, ordered so that few edges cross."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.palette import STATUS_COLORS
from hexviz.recording.state import RUNNING, STATUSES
from hexviz.widgets.text import xml_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hexviz.recording.state import RunState

MOST_NODES = 500
"""Up to so many nodes each is drawn; above, one box per wave."""

_SWEEPS = 4
_BOXED = 60
_TOP = 26


def layered(layer_of: Sequence[int], edges: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """The nodes of each layer from top to bottom, by the mean place of their neighbours (barycentre, four sweeps).

    ``layer_of[node]`` is the node's layer; ``edges`` are (parent, child). The result is the same for the same input.
    """
    layers: dict[int, list[int]] = {}
    for node, layer in enumerate(layer_of):
        layers.setdefault(layer, []).append(node)
    above: list[list[int]] = [[] for _ in layer_of]
    below: list[list[int]] = [[] for _ in layer_of]
    for parent, child in edges:
        above[child].append(parent)
        below[parent].append(child)
    place = [0.0] * len(layer_of)
    for nodes in layers.values():
        _number(nodes, place)
    order = sorted(layers)
    for sweep in range(_SWEEPS):
        neighbours = below if sweep % 2 else above
        for layer in reversed(order) if sweep % 2 else order:
            nodes = layers[layer]
            mean = {n: _mean([place[m] for m in neighbours[n]], place[n]) for n in nodes}
            nodes.sort(key=lambda n, mean=mean: (mean[n], n))  # type: ignore[misc] # a default binds the loop's value
            _number(nodes, place)
    return {layer: layers[layer] for layer in order}


def _number(nodes: Sequence[int], place: list[float]) -> None:
    """Places from 0 to 1, so that layers of different sizes can be compared."""
    for i, node in enumerate(nodes):
        place[node] = (i + 0.5) / len(nodes)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def graph_svg(state: RunState) -> str:
    """The graph of ``state`` as one SVG, coloured by status, without scripts or links; text in ``currentColor``.

    Up to :data:`MOST_NODES` nodes each is drawn (as a box with its name up to 60, then as a dot with a short name);
    beyond that each wave is one box with its counts.
    """
    if not len(state.nodes):
        return ""
    if len(state.nodes) > MOST_NODES:
        return _waves_svg(state)
    return _nodes_svg(state)


def _nodes_svg(state: RunState) -> str:
    boxed = len(state.nodes) <= _BOXED
    step_x, step_y = (190, 40) if boxed else (184, 17)
    edges = state.nodes.edges()
    layers = layered(state.nodes.wave, edges)
    tallest = max(len(nodes) for nodes in layers.values())
    height = tallest * step_y + _TOP + 16
    at: dict[int, tuple[float, float]] = {}
    for column, nodes in enumerate(layers.values()):
        first = _TOP + (tallest - len(nodes)) * step_y / 2 + step_y / 2
        for i, node in enumerate(nodes):
            at[node] = (14.0 + column * step_x, first + i * step_y)
    width = len(layers) * step_x + 10
    spans = [140.0 if boxed else 16.0 + 5.9 * len(_short(name)) for name in state.nodes.name]
    near = [(p, c) for p, c in edges if at[c][0] - at[p][0] <= step_x]
    far = [(p, c) for p, c in edges if at[c][0] - at[p][0] > step_x]
    body = [*_wave_names(layers, step_x), _edge_path(far, at, spans, 0.2), _edge_path(near, at, spans, 0.5)]
    for node, (x, y) in at.items():
        body.extend(_boxed_node(state, node, x, y) if boxed else _dotted_node(state, node, x, y))
    return _svg(width, height, f"Graph of {state.pipeline}", body)


def _wave_names(layers: dict[int, list[int]], step_x: int) -> Iterator[str]:
    for column, layer in enumerate(layers):
        if column % 2 == 0:
            yield f'<path fill="#808a96" fill-opacity=".08" d="M{column * step_x + 3} 0h{step_x}v99999h-{step_x}z"/>'
        yield f'<text x="{14 + column * step_x}" y="15" fill="#808a96">wave {layer}</text>'


def _edge_path(
    edges: Sequence[tuple[int, int]], at: dict[int, tuple[float, float]], spans: Sequence[float], opacity: float
) -> str:
    moves = []
    for parent, child in edges:
        (x0, y0), (x1, y1) = at[parent], at[child]
        x0 += spans[parent]
        bend = max((x1 - x0) / 2, 10.0)
        moves.append(f"M{x0:.0f} {y0:.1f}C{x0 + bend:.0f} {y0:.1f} {x1 - bend:.0f} {y1:.1f} {x1:.0f} {y1:.1f}")
    return f'<path fill="none" stroke="#808a96" stroke-opacity="{opacity}" d="{"".join(moves)}"/>'


def _boxed_node(state: RunState, node: int, x: float, y: float) -> Iterator[str]:
    status = state.nodes.status[node]
    ink = "#ffffff" if status == RUNNING else "#0d1117"
    color = STATUS_COLORS[STATUSES[status]]
    yield (
        f"<g><title>{_title(state, node)}</title>"
        f'<rect x="{x:.0f}" y="{y - 14:.1f}" width="140" height="28" rx="5" fill="{color}"/>'
        f'<text x="{x + 8:.0f}" y="{y + 4:.1f}" fill="{ink}">{xml_text(_short(state.nodes.name[node]))}</text></g>'
    )


def _dotted_node(state: RunState, node: int, x: float, y: float) -> Iterator[str]:
    color = STATUS_COLORS[STATUSES[state.nodes.status[node]]]
    yield (
        f'<g><title>{_title(state, node)}</title><circle cx="{x + 4:.0f}" cy="{y:.1f}" r="5" fill="{color}"/>'
        f'<text x="{x + 13:.0f}" y="{y + 3.5:.1f}" font-size="9.5" '
        f'class="hx-halo" fill="currentColor">'
        f"{xml_text(_short(state.nodes.name[node]))}</text></g>"
    )


def _short(name: str, limit: int = 20) -> str:
    """The ends of a long name tell more than its middle."""
    return name if len(name) <= limit else f"{name[:9]}…{name[-(limit - 10) :]}"


def _title(state: RunState, node: int) -> str:
    nodes = state.nodes
    return xml_text(f"{nodes.name[node]}: {STATUSES[nodes.status[node]].replace('_', ' ')}, wave {nodes.wave[node]}")


def _waves_svg(state: RunState) -> str:
    """One box per wave in a grid, its height shared out by status."""
    counts: dict[int, list[int]] = {}
    for wave, status in zip(state.nodes.wave, state.nodes.status, strict=True):
        counts.setdefault(wave, [0] * len(STATUSES))[status] += 1
    columns, step_x, step_y = 9, 132, 88
    body: list[str] = []
    for place, (wave, by_status) in enumerate(sorted(counts.items())[:400]):
        x, y = 8 + place % columns * step_x, _TOP + place // columns * step_y
        body.append(f'<text x="{x}" y="{y - 6}" fill="currentColor">wave {wave}: {sum(by_status)} nodes</text>')
        left = float(x)
        for status, count in enumerate(by_status):
            width = 116 * count / sum(by_status)
            if count:
                word = STATUSES[status]
                body.append(
                    f"<g><title>{count} {word.replace('_', ' ')}</title>"
                    f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="52" fill="{STATUS_COLORS[word]}"/></g>'
                )
            left += width
        if place % columns < columns - 1 and place < len(counts) - 1:
            body.append(f'<path d="M{x + 117} {y + 26}h13m-5 -4l5 4l-5 4" fill="none" stroke="#808a96"/>')
    rows = (min(len(counts), 400) + columns - 1) // columns
    return _svg(columns * step_x + 8, _TOP + rows * step_y, f"Waves of {state.pipeline}", body)


def _svg(width: int, height: int, title: str, body: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="system-ui,DejaVu Sans,sans-serif" font-size="11"><title>{xml_text(title)}</title>'
        f"{''.join(body)}</svg>"
    )
