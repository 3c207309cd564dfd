"""What observers get to hold of a value that a run goes on to use."""

from __future__ import annotations

from typing import Any

CONTAINERS = frozenset((dict, list, set))
"""What is copied; anything else is handed on as it is."""
_MOST_ITEMS = 1000
_DEEPEST = 50


def detached(value: Any) -> Any:
    """A copy of a small plain container, so that no observer changes what the run uses; anything else as it is."""
    if type(value) not in CONTAINERS or len(value) > _MOST_ITEMS:
        return value
    return _copied(value, [_MOST_ITEMS], 0)


def _copied(value: Any, budget: list[int], depth: int) -> Any:
    kind = type(value)
    if kind not in CONTAINERS or depth > _DEEPEST:
        return value
    budget[0] -= len(value)
    if budget[0] < 0:
        return value
    if kind is dict:
        return {key: _copied(item, budget, depth + 1) for key, item in value.items()}
    if kind is list:
        return [_copied(item, budget, depth + 1) for item in value]
    return set(value)
