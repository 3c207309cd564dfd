"""What control may answer at each place, made safe to act on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import NodeVetoedError
from hexviz.events.models import ControlSignal

if TYPE_CHECKING:
    from hexviz.events.asking import Decision

MAX_DELAY_S = 86_400.0


def delay_of(decision: Decision) -> float:
    """The seconds to wait before a retry.

    Raises :class:`NodeVetoedError` for a delay that is no finite number from 0 to a day; it names the handler.
    """
    data = decision.response.data
    delay = data.get("delay", 0.0) if isinstance(data, Mapping) else 0.0 if data is None else data
    number = isinstance(delay, (int, float)) and not isinstance(delay, bool)
    if number and math.isfinite(delay) and 0 <= delay <= MAX_DELAY_S:
        return float(delay)
    by = decider(decision)
    msg = f"control handler {by!r} answered RETRY with the delay {delay!r}; it must be 0 to {MAX_DELAY_S:g} seconds"
    raise NodeVetoedError(msg, by)


def decider(decision: Decision) -> str:
    """The name of the handler that decided."""
    return decision.decided_by.name if decision.decided_by else ""


def veto(decision: Decision, what: str) -> NodeVetoedError:
    """The error that stands for FAIL or ERROR: the handler's own exception, or one that words its message."""
    response, by = decision.response, decider(decision)
    word = "failed" if response.signal is ControlSignal.ERROR else "vetoed"
    message = response.data if isinstance(response.data, str) else response.reason
    error = NodeVetoedError(f"{what} was {word} by control handler {by!r}{f': {message}' if message else ''}", by)
    if isinstance(response.data, BaseException):
        error.__cause__ = response.data
    return error


def mapping_of(data: Any) -> Mapping[str, Any]:
    """A FALLBACK or SKIP value for several nodes: a mapping of node -> value; anything else gives none."""
    return data if isinstance(data, Mapping) else {}
