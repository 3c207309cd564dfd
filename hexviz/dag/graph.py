"""A named graph of nodes: what runs after what. Knows waves and checks; knows nothing of asyncio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TypeVar, overload

import msgspec

from hexviz.dag.errors import (
    CycleDetectedError,
    DuplicateNodeError,
    GraphError,
    MissingDependencyError,
    SchemaCompatibilityError,
)
from hexviz.events.registration import is_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

RunIf = Literal["all", "any", "always"]
F = TypeVar("F", bound=Callable[..., Any])


class NodeSpec(msgspec.Struct, frozen=True, eq=False):
    """One named step.

    ``fn`` is a function, sync or async; ``deps`` are the names of its parents, in the order in which they were given
    (a set is sorted). ``params`` are fixed keyword arguments, ``timeout_s`` bounds each attempt in seconds.
    ``run_if`` says what a node needs of parents that were skipped or failed: ``"all"`` of them delivered a result
    (default), ``"any"`` of them did, or ``"always"`` run. ``in_model`` and ``out_model`` are the types that it takes
    and returns.
    """

    name: str
    fn: Callable[..., Any]
    in_model: Any = None
    out_model: Any = None
    deps: Iterable[str] = ()
    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    timeout_s: float | None = None
    run_if: RunIf = "all"

    def __post_init__(self) -> None:
        if not self.name or type(self.name) is not str:
            msg = f"a node needs a name: a non-empty string, not {self.name!r}"
            raise GraphError(msg)
        if not callable(self.fn):
            msg = f"node {self.name!r} is not callable: {type(self.fn).__name__}. Give it a function, sync or async"
            raise GraphError(msg)
        if is_generator(self.fn):
            msg = f"node {self.name!r} is a generator: calling it runs nothing. Return a list, or use no yield"
            raise GraphError(msg)
        if self.timeout_s is not None and not _is_time(self.timeout_s):
            msg = f"timeout_s of node {self.name!r} must be a positive number of seconds, not {self.timeout_s!r}"
            raise GraphError(msg)
        if self.run_if not in {"all", "any", "always"}:
            msg = f"run_if of node {self.name!r} is 'all', 'any' or 'always', not {self.run_if!r}"
            raise GraphError(msg)
        msgspec.structs.force_setattr(self, "deps", _names(self.name, self.deps))

    def after(self, *names: str) -> NodeSpec:
        """A copy that also comes after ``names``."""
        return msgspec.structs.replace(self, deps=tuple(dict.fromkeys((*self.deps, *names))))

    def __hash__(self) -> int:
        return hash((self.name, self.deps))


def _names(node: str, deps: Any) -> tuple[str, ...]:
    if isinstance(deps, str):
        msg = f"after= of node {node!r} takes a list of names, such as [{deps!r}], not a string"
        raise GraphError(msg)
    if not isinstance(deps, Iterable):
        msg = f"after= of node {node!r} takes a list of names, such as ['load'], not {type(deps).__name__}"
        raise GraphError(msg)
    names = sorted(deps) if isinstance(deps, (set, frozenset)) else deps
    names = [getattr(name, "name", None) or name for name in names]
    for name in names:
        if not isinstance(name, str):
            called = getattr(name, "__name__", None)
            instead = f": write {called!r}" if called else ""
            msg = f"after= of node {node!r} takes names, not the {type(name).__name__} itself{instead}"
            raise GraphError(msg)
    return tuple(dict.fromkeys(names))


def _is_time(seconds: Any) -> bool:
    return isinstance(seconds, SupportsFloat) and float(seconds) > 0 and math.isfinite(seconds)


class Graph:
    """A named DAG. Nodes may be added in any order; :meth:`validate` (and every run) checks the whole."""

    def __init__(self, name: str = "pipeline", nodes: Iterable[NodeSpec] | None = None) -> None:
        if not isinstance(name, str):
            msg = f"a graph's name is a string, such as Graph('etl'), not {name!r}"
            raise GraphError(msg)
        self.name = name
        self._nodes: dict[str, NodeSpec] = {}
        self._waves: list[list[str]] | None = None
        self.revision = 0
        """Counts the changes: what was compiled from another revision is stale."""
        self._compatible = -1
        self.add_many(nodes or ())

    # --- building

    @overload
    def node(self, fn: F, /) -> F: ...
    @overload
    def node(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        after: Iterable[str] = (),
        timeout_s: float | None = None,
        run_if: RunIf = "all",
        params: Mapping[str, Any] | None = None,
        in_model: Any = None,
        out_model: Any = None,
    ) -> Callable[[F], F]: ...
    @overload
    def node(
        self,
        fn: F,
        /,
        *,
        name: str | None = None,
        after: Iterable[str] = (),
        timeout_s: float | None = None,
        run_if: RunIf = "all",
        params: Mapping[str, Any] | None = None,
        in_model: Any = None,
        out_model: Any = None,
    ) -> F: ...
    def node(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        after: Iterable[str] = (),
        timeout_s: float | None = None,
        run_if: RunIf = "all",
        params: Mapping[str, Any] | None = None,
        in_model: Any = None,
        out_model: Any = None,
    ) -> Any:
        """Add a node: ``@graph.node``, ``@graph.node(after=[...])``, or ``graph.node(fn, name=..., after=[...])``.

        Without a ``name`` the node is called like its function. Returns the function, unchanged.
        """

        def add(function: Any) -> Any:
            given = name or getattr(function, "__name__", None) or type(function).__name__
            self.add(NodeSpec(given, function, in_model, out_model, after, dict(params or {}), timeout_s, run_if))
            return function

        return add if fn is None else add(fn)

    def add(self, node: NodeSpec) -> None:
        """Add a node; :class:`DuplicateNodeError` where its name is taken."""
        if node.name in self._nodes:
            raise DuplicateNodeError(self.name, node.name)
        self._nodes[node.name] = node
        self._waves = None
        self.revision += 1

    def add_many(self, nodes: Iterable[NodeSpec]) -> None:
        """Add several nodes, in order."""
        for node in nodes:
            self.add(node)

    # --- asking

    @property
    def nodes(self) -> dict[str, NodeSpec]:
        """A copy of the nodes, by name, in the order in which they were added."""
        return dict(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[NodeSpec]:
        return iter(self._nodes.values())

    def get_dependencies(self, name: str) -> tuple[str, ...]:
        """The parents of a node, in declared order."""
        return tuple(self._node(name).deps)

    def get_dependents(self, name: str) -> tuple[str, ...]:
        """The children of a node, in the order in which they were added."""
        self._node(name)
        return tuple(node.name for node in self if name in node.deps)

    def _node(self, name: str) -> NodeSpec:
        try:
            return self._nodes[name]
        except KeyError:
            msg = f"graph {self.name!r} has no node {name!r}"
            raise GraphError(msg) from None

    def waves(self) -> list[list[str]]:
        """The topological levels: the names in each wave, sorted. Raises like :meth:`validate`."""
        if self._waves is None:
            self._waves = self._levels()
        return [list(wave) for wave in self._waves]

    def _levels(self) -> list[list[str]]:
        sorter = TopologicalSorter({node.name: self._known_deps(node) for node in self})
        try:
            sorter.prepare()
        except CycleError as error:
            raise CycleDetectedError(self.name, error.args[1]) from None
        levels = []
        while sorter.is_active():
            ready = sorter.get_ready()
            levels.append(sorted(ready))
            sorter.done(*ready)
        return levels

    def _known_deps(self, node: NodeSpec) -> tuple[str, ...]:
        for dep in node.deps:
            if dep not in self._nodes:
                raise MissingDependencyError(self.name, node.name, dep, self._nodes)
        return tuple(node.deps)

    def validate(self, check_type_compatibility: bool = True) -> None:  # noqa: FBT001, FBT002 - the contract's signature
        """Check the whole graph.

        Raises :class:`CycleDetectedError`, :class:`MissingDependencyError`, or :class:`SchemaCompatibilityError` where
        the only parent of a node declares an ``out_model`` that is no subclass of the node's ``in_model``.
        """
        self.waves()
        if not check_type_compatibility or self._compatible == self.revision:
            return
        for node in self:
            if len(tuple(node.deps)) == 1:
                self._check_types(self._nodes[next(iter(node.deps))], node)
        self._compatible = self.revision

    def _check_types(self, parent: NodeSpec, child: NodeSpec) -> None:
        given, taken = parent.out_model, child.in_model
        if isinstance(given, type) and isinstance(taken, type) and not _is_subclass(given, taken):
            msg = f"node {child.name!r} takes {taken.__name__}, but its parent {parent.name!r} returns {given.__name__}"
            raise SchemaCompatibilityError(msg)

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self)} nodes>"


def _is_subclass(given: type, taken: type) -> bool:
    try:
        return issubclass(given, taken)
    except TypeError:  # Any, a TypedDict: nothing to check
        return True


class DirectedGraph(Graph):
    """A graph without a name of its own."""

    def __init__(self, nodes: Iterable[NodeSpec] | None = None) -> None:
        super().__init__("pipeline", nodes)
