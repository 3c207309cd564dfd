"""For tests, yours and ours: hear every event of a run, a clock that obeys, tests made of recorded failures.

``StoreContract`` and ``RunnerContract``, which test any store and any runner, need pytest and are imported when they
are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hexviz.testing.capture import CapturedEvents, FakeClock, capture_events, sample_graph, sample_run
from hexviz.testing.policy_tests import assert_decides, policy_test_from

if TYPE_CHECKING:
    from hexviz.testing.runner_contract import RunnerContract
    from hexviz.testing.store_contract import StoreContract

__all__ = [
    "CapturedEvents",
    "FakeClock",
    "RunnerContract",
    "StoreContract",
    "assert_decides",
    "capture_events",
    "policy_test_from",
    "sample_graph",
    "sample_run",
]


_CONTRACTS = {"RunnerContract": "runner_contract", "StoreContract": "store_contract"}


def __getattr__(name: str) -> Any:
    if name in _CONTRACTS:
        return getattr(importlib.import_module(f"hexviz.testing.{_CONTRACTS[name]}"), name)
    raise AttributeError(f"module 'hexviz.testing' has no attribute {name!r}")
