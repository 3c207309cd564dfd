"""Policies and handlers as people give them: one or several, plain functions or objects that hear events too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hexviz.errors import RegistrationTypeError, named
from hexviz.events.config import NULL_OBSERVER_MANAGER
from hexviz.events.control_manager import ControlManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.models import BaseEventManager


def several(given: Any) -> Iterable[Any]:
    """One handler, or several, as a list; raises :class:`RegistrationTypeError` for anything else."""
    if callable(given) or hasattr(given, "handle"):
        return (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise RegistrationTypeError(
            f"a handler is a function or an object with a handle method, or several in a list, not {named(given)}"
        )
    return given


def register_policy(control: ControlManager, observers: BaseEventManager, policy: Any) -> Callable[[], object]:
    """Ask ``policy`` by its own priority; one that must hear events as well (``observe``) hears them in line.

    Returns what undoes it.
    """
    taken = {handler.name for handler in control.handlers}
    base = getattr(policy, "name", None) or getattr(policy, "__name__", None) or type(policy).__name__
    name = next(n for n in (base, *(f"{base}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    known = {key: getattr(policy, key) for key in ("priority", "event_types", "shadow") if hasattr(policy, key)}
    asked = control.register(policy, name=str(name), **known)
    if not (hasattr(policy, "observe") and hasattr(policy, "observed_types")):
        return lambda: control.unregister(asked)
    told = observers.register(policy.observe, event_types=policy.observed_types, lossless=True)
    return lambda: (control.unregister(asked), observers.unregister(told))


def control_of(policies: Any) -> ControlManager:
    """A manager that asks ``policies`` as :func:`run` does; a :class:`ControlManager` is given back as it is."""
    if isinstance(policies, ControlManager):
        return policies
    control = ControlManager()
    for policy in several(policies):
        register_policy(control, NULL_OBSERVER_MANAGER, policy)
    return control
