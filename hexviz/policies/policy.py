"""What every policy shares: which nodes it is about, the checks of its numbers, and how it reads when printed."""

from __future__ import annotations

import inspect
import math
import re
import reprlib
import threading
from collections.abc import Iterable
from fnmatch import translate
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from hexviz.errors import SettingError
from hexviz.events.forking import free_in_children

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.events import Event
    from hexviz.events.models import ExecutionContext

State = TypeVar("State")
ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


class Missing:
    """The type of :data:`MISSING`: told apart from None, which is a value like any other."""

    def __repr__(self) -> str:
        return "MISSING"


_PLAIN = (str, int, float, tuple)
MISSING = Missing()
"""Stands where no value was given."""


class Policy:
    """The base of the ready-made policies.

    ``event_types`` are the classes of events that the policy wants to be asked about, ``priority`` its place among
    others (lower is asked earlier; below 50 an exception inside the policy stops the run). ``nodes`` restricts it to
    nodes by name or by shell pattern (``"load_*"``); None means every node. A policy object may serve several runs at
    once and in several threads.
    """

    priority: ClassVar[int] = 100
    event_types: tuple[type[Event], ...] = ()

    def __init__(self, nodes: str | Iterable[str] | None = None) -> None:
        self.nodes: tuple[str, ...] | None = None
        if nodes is not None:
            if not isinstance(nodes, Iterable):
                raise wrong(self, f"nodes= takes names or patterns, not {nodes!r}")
            self.nodes = (nodes,) if isinstance(nodes, str) else tuple(nodes)
            for name in self.nodes:
                if not isinstance(name, str) or not name:
                    raise wrong(self, f"nodes= takes names or patterns, not {name!r}")
        self._names = frozenset(self.nodes or ())
        self._pattern = re.compile("|".join(translate(name) for name in sorted(self._names)) or "(?!)")

    def is_about(self, event: Event, context: ExecutionContext) -> bool:
        """Whether ``event`` concerns a node that this policy was made for."""
        if self.nodes is None:
            return True
        node = node_of(event, context)
        return node in self._names or self._pattern.match(node) is not None

    def __repr__(self) -> str:
        parts = []
        for parameter in inspect.signature(type(self)).parameters.values():
            value = getattr(self, parameter.name)
            if not _same(value, parameter.default):
                parts.append(f"{parameter.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


class PerRun(Generic[State]):
    """One state per run id, at most ``limit`` of them: the run that was first seen longest ago is forgotten first."""

    def __init__(self, make: Callable[[], State], *, limit: int = 1024) -> None:
        self._make = make
        self._limit = limit
        self._states: dict[str, State] = {}
        self._lock = free_in_children(threading.Lock())

    def of(self, run_id: str) -> State:
        """The state of ``run_id``, made when it is first asked for."""
        state = self._states.get(run_id)
        if state is not None:
            return state
        with self._lock:
            while len(self._states) >= self._limit and run_id not in self._states:
                del self._states[next(iter(self._states))]
            return self._states.setdefault(run_id, self._make())

    def __len__(self) -> int:
        return len(self._states)


def node_of(event: Event, context: ExecutionContext) -> str:
    """The name of the node that ``event`` is about; empty for events of a whole run or wave."""
    if context.node_id:
        return context.node_id
    own = "name" if hasattr(event, "wave_index") and hasattr(event, "name") else "node_name"
    return str(getattr(event, own, ""))


def attempt_of(event: Event, context: ExecutionContext) -> int:
    """The attempt that ``event`` is about, from 1."""
    return max(context.attempt, getattr(event, "attempt", 1))


def run_of(event: Event, context: ExecutionContext) -> str:
    """The id of the run; empty when neither the event nor the context knows it."""
    return context.run_id or event.run_id


def number(policy: object, name: str, value: float, *, positive: bool = False, infinite: bool = False) -> float:
    """``value`` as a float; a SettingError unless it is a number, not negative and (unless allowed) finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(policy, f"{name} must be a number, not {value!r}")
    if math.isnan(value) or value < 0 or (positive and value == 0) or (math.isinf(value) and not infinite):
        wanted = "greater than 0" if positive else "0 or more"
        raise wrong(policy, f"{name} must be {wanted}{'' if infinite else ' and finite'}, not {value!r}")
    return float(value)


def count(policy: object, name: str, value: int, *, least: int = 1) -> int:
    """``value``; a SettingError unless it is an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(policy, f"{name} must be an int of at least {least}, not {value!r}")
    return value


def one_of(policy: object, name: str, value: str, allowed: Iterable[str]) -> str:
    """``value``; a SettingError that lists what is allowed unless it is among it."""
    choices = tuple(allowed)
    if value not in choices:
        raise wrong(policy, f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def error_types(policy: object, name: str, value: ErrorTypes) -> tuple[type[BaseException], ...]:
    """``value`` as a tuple of exception classes; a SettingError names what is not one."""
    types = value if isinstance(value, tuple) else (value,)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise wrong(policy, f"{name} takes exception classes, not {item!r}")
    return types


def wrong(policy: object, problem: str) -> SettingError:
    """The error for a setting that cannot work; it names the policy."""
    return SettingError(f"{type(policy).__name__}: {problem}")


def _same(value: Any, default: Any) -> bool:
    """Whether a setting is its default; values of users, which may compare in ways of their own, are not compared."""
    return value is default or (type(value) is type(default) and isinstance(value, _PLAIN) and value == default)


def _shown(value: Any) -> str:
    if isinstance(value, type) or inspect.isroutine(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    if isinstance(value, tuple):
        return f"({', '.join(_shown(item) for item in value)}{',' if len(value) == 1 else ''})"
    if value is None or isinstance(value, str | int | float):
        return reprlib.repr(value)
    return f"<{type(value).__qualname__}>"
