"""A graph made ready to run: nodes as numbers, in topological order, with their parents, children and bindings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from hexviz.dag.binding import Binding, bind
from hexviz.events.events import NodeInfo
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.dag.graph import Graph, NodeSpec


Launcher: TypeAlias = Callable[[Any, list[Any]], Any]


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
        self.sync: list[int] = [i for i, asynchronous in enumerate(self.asynchronous) if not asynchronous]
        self.out_models: list[Any] = [spec.out_model for spec in self.specs]
        self.launchers: list[Launcher] = [
            _launcher(spec.fn, binding) for spec, binding in zip(self.specs, self.bindings, strict=True)
        ]
        """For each node: calls its function with the run's input and the results, where no parent's is missing."""
        self.facts: list[tuple[str, int, tuple[str, ...], str]] = [
            (name, wave, deps, "" if asynchronous else "thread")
            for name, wave, deps, asynchronous in zip(self.names, self.waves, self.deps, self.asynchronous, strict=True)
        ]
        """What the events of each node say of it: name, wave, parents, and where it runs."""
        self.unmet: list[int] = [len(parents) for parents in self.parents]
        self.roots: list[int] = [i for i, count in enumerate(self.unmet) if not count]
        self.wave_sizes: list[int] = [0, *(len(names) for names in self.wave_names)]
        self.wave_ends: list[int] = list(accumulate(self.wave_sizes))
        self._infos: tuple[NodeInfo, ...] | None = None

    def __len__(self) -> int:
        return len(self.specs)

    def launcher(self, index: int) -> Launcher:
        """Calls the node's function with what there is, also where the result of a parent is missing."""
        return partial(_launch, self.specs[index].fn, self.bindings[index])

    def node_infos(self) -> tuple[NodeInfo, ...]:
        """The shape of the graph, as :class:`~hexviz.events.events.PipelineStarted` carries it."""
        if self._infos is None:
            facts = zip(self.names, self.waves, self.deps, strict=True)
            self._infos = tuple([NodeInfo(name, wave, deps) for name, wave, deps in facts])
        return self._infos


def _launcher(fn: Callable[..., Any], binding: Binding) -> Launcher:
    """A function that calls ``fn`` as ``binding`` says, where no result is missing; frequent ways are spelt out."""
    plain = not binding.extra and not binding.target
    if plain and binding.by == "parent":
        parent = binding.names[0][1]

        def launch(_: Any, results: list[Any]) -> Any:
            return fn(results[parent])

    elif plain and binding.by == "dict" and len(binding.names) == 2:  # noqa: PLR2004 - the smallest join, and the usual one
        (name, parent), (other_name, other) = binding.names

        def launch(_: Any, results: list[Any]) -> Any:
            return fn({name: results[parent], other_name: results[other]})

    elif plain and binding.by == "dict" and len(binding.names) > 1:
        names, parents = zip(*binding.names, strict=True)
        pick = itemgetter(*parents)

        def launch(_: Any, results: list[Any]) -> Any:
            return fn(dict(zip(names, pick(results))))  # noqa: B905 - of one length by construction, and often called

    else:
        launch = partial(_launch, fn, binding)
    return launch


def _launch(fn: Callable[..., Any], binding: Binding, initial_input: Any, results: list[Any]) -> Any:
    args, kwargs = binding.arguments(initial_input, results)
    return fn(*args, **kwargs)
