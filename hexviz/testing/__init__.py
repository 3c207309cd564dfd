"""For tests, yours and ours: hear every event of a run, a clock that obeys, tests made of recorded failures.

``StoreContract``, which tests any store, needs pytest and is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hexviz.testing.capture import CapturedEvents, FakeClock, capture_events, sample_graph, sample_run
from hexviz.testing.policy_tests import assert_decides, policy_test_from

if TYPE_CHECKING:
    from hexviz.testing.store_contract import StoreContract

__all__ = [
    "CapturedEvents",
    "FakeClock",
    "StoreContract",
    "assert_decides",
    "capture_events",
    "policy_test_from",
    "sample_graph",
    "sample_run",
]


def __getattr__(name: str) -> Any:
    if name == "StoreContract":
        return importlib.import_module("hexviz.testing.store_contract").StoreContract
    raise AttributeError(f"module 'hexviz.testing' has no attribute {name!r}")
