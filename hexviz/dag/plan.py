"""A graph made ready to run: nodes as numbers, in topological order, with their parents, children and bindings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hexviz.dag.binding import Binding, bind
from hexviz.events.events import NodeInfo
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hexviz.dag.graph import Graph, NodeSpec


class Plan:
    """One graph and one set of ports, compiled for a run. Every list is indexed by the number of the node."""

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
        self.parents: list[tuple[int, ...]] = [tuple([number[dep] for dep in deps]) for deps in self.deps]
        self.children: list[list[int]] = [[] for _ in self.specs]
        for child, parents in enumerate(self.parents):
            for parent in parents:
                self.children[parent].append(child)
        self.bindings: list[Binding] = [
            bind(spec, parents, ports) for spec, parents in zip(self.specs, self.parents, strict=True)
        ]
        self.asynchronous: list[bool] = [is_async(spec.fn) for spec in self.specs]
        self.fns: list[Callable[..., Any]] = [spec.fn for spec in self.specs]
        self.only_parent: list[int] = [_only_parent(binding) for binding in self.bindings]
        """The parent whose result is the one argument of the node; -1 where the arguments are made in another way."""
        self._infos: tuple[NodeInfo, ...] | None = None

    def __len__(self) -> int:
        return len(self.specs)

    def call(self, index: int, initial_input: Any, results: list[Any]) -> Callable[[], Any]:
        """The node's function with the arguments it gets now."""
        args, kwargs = self.bindings[index].arguments(initial_input, results)
        return partial(self.specs[index].fn, *args, **kwargs)

    def node_infos(self) -> tuple[NodeInfo, ...]:
        """The shape of the graph, as :class:`~hexviz.events.events.PipelineStarted` carries it."""
        if self._infos is None:
            facts = zip(self.names, self.waves, self.deps, strict=True)
            self._infos = tuple([NodeInfo(name, wave, deps) for name, wave, deps in facts])
        return self._infos


def _only_parent(binding: Binding) -> int:
    simple = binding.by == "parent" and not binding.extra and not binding.target
    return binding.names[0][1] if simple else -1
