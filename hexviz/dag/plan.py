"""A graph made ready to run: nodes as numbers, in topological order, with their parents, children and bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.dag.binding import Binding, bind
from hexviz.events.events import NodeInfo
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.dag.graph import Graph, NodeSpec


class Plan:
    """One graph and one set of ports, compiled once for a run. Every list is indexed by the number of the node."""

    def __init__(self, graph: Graph, ports: Mapping[str, Any]) -> None:
        nodes = graph.nodes
        levels = graph.waves()
        self.name = graph.name
        self.wave_names: list[tuple[str, ...]] = [tuple(level) for level in levels]
        self.specs: list[NodeSpec] = [nodes[name] for level in levels for name in level]
        number = {spec.name: i for i, spec in enumerate(self.specs)}
        self.names: list[str] = [spec.name for spec in self.specs]
        self.waves: list[int] = [w for w, level in enumerate(levels, start=1) for _ in level]
        self.deps: list[tuple[str, ...]] = [tuple(spec.deps) for spec in self.specs]
        self.parents: list[tuple[int, ...]] = [tuple(number[dep] for dep in deps) for deps in self.deps]
        self.children: list[list[int]] = [[] for _ in self.specs]
        for child, parents in enumerate(self.parents):
            for parent in parents:
                self.children[parent].append(child)
        self.bindings: list[Binding] = [
            bind(spec, parents, ports) for spec, parents in zip(self.specs, self.parents, strict=True)
        ]
        self.asynchronous: list[bool] = [is_async(spec.fn) for spec in self.specs]

    def __len__(self) -> int:
        return len(self.specs)

    def node_infos(self) -> tuple[NodeInfo, ...]:
        """The shape of the graph, as :class:`~hexviz.events.events.PipelineStarted` carries it."""
        return tuple(NodeInfo(*facts) for facts in zip(self.names, self.waves, self.deps, strict=True))
