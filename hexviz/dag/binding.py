"""Which arguments a node's function gets: found once from its signature, before the run.

No parents: the run's input. One parent: its result. Several: by parameter name, or all of them as one dict for a
function of one parameter. Ports and fixed parameters go to parameters of their name, and only there.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from hexviz.dag.errors import NodeSignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hexviz.dag.graph import NodeSpec

MISSING: Any = object()
"""Stands for the result of a parent that was skipped, failed or never ran."""


class _Shape(NamedTuple):
    """The parameters of a function: positional ones with whether they are required, named ones, and the catch-alls."""

    positional: tuple[tuple[str, bool], ...]
    keyword_only: tuple[tuple[str, bool], ...]
    takes_args: bool
    takes_kwargs: bool

    @property
    def named(self) -> tuple[tuple[str, bool], ...]:
        return (*self.positional, *self.keyword_only)

    def accepts(self, name: str) -> bool:
        return self.takes_kwargs or any(name == known for known, _ in self.named)


class Binding(NamedTuple):
    """How to call one node.

    ``by`` is ``"nothing"``, ``"input"`` (the run's), ``"parent"``, ``"dict"`` or ``"names"``. ``target`` is the
    parameter that gets the data, empty where it is the first one by position; ``names`` pairs the parents with their
    places.
    """

    by: str
    extra: dict[str, Any]
    target: str = ""
    names: tuple[tuple[str, int], ...] = ()
    optional: frozenset[str] = frozenset()

    def arguments(self, initial_input: Any, results: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments, from the results so far."""
        match self.by:
            case "parent":
                value = results[self.names[0][1]]
                value = None if value is MISSING else value
            case "input":
                if initial_input is None and self.optional:
                    return (), self.extra
                value = initial_input
            case "dict":
                value = {name: results[index] for name, index in self.names if results[index] is not MISSING}
            case "names":
                return (), {**dict(self._by_name(results)), **self.extra}
            case _:
                return (), self.extra
        return ((), {self.target: value, **self.extra}) if self.target else ((value,), self.extra)

    def _by_name(self, results: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        for name, index in self.names:
            value = results[index]
            if value is not MISSING:
                yield name, value
            elif name not in self.optional:
                yield name, None


def bind(node: NodeSpec, parents: Sequence[int], ports: Mapping[str, Any]) -> Binding:
    """Find out how ``node`` is called; :class:`NodeSignatureError` names a parameter that nothing provides."""
    shape = _shape(node.fn)
    _check_params(node, shape)
    deps = tuple(node.deps)
    optional = frozenset(name for name, required in shape.named if not required)
    elsewhere = {*node.params, *ports}.difference(deps)
    data = [name for name, _ in shape.positional if name not in elsewhere]
    names = tuple(zip(deps, parents, strict=True))
    if len(deps) > 1 and _goes_by_name(shape, data, deps, optional, ports):
        extra = _extra(node, shape, ports, taken=set(deps))
        _check_required(node, shape, {*deps, *extra})
        return Binding("names", extra, names=tuple(n for n in names if shape.accepts(n[0])), optional=optional)
    if not data and not shape.takes_args:
        extra = _extra(node, shape, ports, taken=set())
        _check_required(node, shape, set(extra))
        return Binding("nothing", extra)
    extra = _extra(node, shape, ports, taken=set(data[:1]))
    _check_required(node, shape, {*data[:1], *extra})
    target = data[0] if data and data[0] != shape.positional[0][0] else ""
    by = "input" if not deps else "parent" if len(deps) == 1 else "dict"
    return Binding(by, extra, target, names, optional & set(data[:1]) if by == "input" else frozenset())


def _goes_by_name(
    shape: _Shape, data: list[str], deps: tuple[str, ...], optional: frozenset[str], ports: Mapping[str, Any]
) -> bool:
    """Whether a join takes its parents by parameter name; else it takes all of them as one dict."""
    if any(name in deps for name, _ in shape.named):
        return True
    required = [name for name in data if name not in optional and name not in ports]
    return len(required) > 1 or (not data and not shape.takes_args)


def _extra(node: NodeSpec, shape: _Shape, ports: Mapping[str, Any], *, taken: set[str]) -> dict[str, Any]:
    extra = {name: value for name, value in ports.items() if name not in taken and shape.accepts(name)}
    return {**extra, **node.params}


def _check_required(node: NodeSpec, shape: _Shape, provided: set[str]) -> None:
    for name, required in shape.named:
        if required and name not in provided:
            parents = ", ".join(repr(dep) for dep in node.deps) or "none"
            msg = (
                f"node {node.name!r} has a parameter {name!r} that nothing provides (its parents: {parents}). "
                f"Name it like a parent, add it to params=, or give it a default"
            )
            raise NodeSignatureError(msg)


def takes_argument(fn: Callable[..., Any], name: str) -> bool:
    """Whether ``fn`` takes an argument called ``name``."""
    return _shape(fn).accepts(name)


def _check_params(node: NodeSpec, shape: _Shape) -> None:
    for name in node.params:
        if shape is not _UNKNOWN and not shape.accepts(name):
            taken = ", ".join(repr(known) for known, _ in shape.named) or "none"
            msg = f"node {node.name!r} has params for {name!r}, which its function does not take (it takes: {taken})"
            raise NodeSignatureError(msg)


_SHAPES: WeakKeyDictionary[Callable[..., Any], _Shape] = WeakKeyDictionary()
"""A function may hold a model, a table: it is known for as long as others hold it, and no longer."""


def _shape(fn: Callable[..., Any]) -> _Shape:
    try:
        known = _SHAPES.get(fn)
        if known is None:
            known = _SHAPES[fn] = _shape_of(fn)
    except TypeError:  # it cannot be hashed, or not be held weakly
        return _shape_of(fn)
    return known


_UNKNOWN = _Shape((("value", False),), (), takes_args=False, takes_kwargs=False)
"""A builtin that does not tell its signature: it gets its data, and nothing by name."""


def _shape_of(fn: Callable[..., Any]) -> _Shape:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return _UNKNOWN
    return _Shape(
        tuple(
            (p.name, p.default is p.empty) for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
        ),
        tuple((p.name, p.default is p.empty) for p in parameters if p.kind is p.KEYWORD_ONLY),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )
