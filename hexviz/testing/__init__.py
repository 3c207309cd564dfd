"""For tests, yours and ours: hear every event of a run, a clock that obeys, tests made of recorded failures.

``StoreContract``, ``SinkContract``, ``SourceContract`` and ``RunnerContract``, which test any store, sink, source and
runner, need pytest and are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hexviz.testing.capture import CapturedEvents, FakeClock, capture_events, sample_graph, sample_run
from hexviz.testing.policy_tests import assert_decides, policy_test_from

if TYPE_CHECKING:
    from hexviz.testing.runner_contract import RunnerContract
    from hexviz.testing.store_contract import StoreContract
    from hexviz.testing.stream_contracts import SinkContract, SourceContract, collected

__all__ = [
    "CapturedEvents",
    "FakeClock",
    "RunnerContract",
    "SinkContract",
    "SourceContract",
    "StoreContract",
    "assert_decides",
    "capture_events",
    "collected",
    "policy_test_from",
    "sample_graph",
    "sample_run",
]

_CONTRACTS = {
    "RunnerContract": "hexviz.testing.runner_contract",
    "SinkContract": "hexviz.testing.stream_contracts",
    "SourceContract": "hexviz.testing.stream_contracts",
    "StoreContract": "hexviz.testing.store_contract",
    "collected": "hexviz.testing.stream_contracts",
}


def __getattr__(name: str) -> Any:
    if name in _CONTRACTS:
        return getattr(importlib.import_module(_CONTRACTS[name]), name)
    raise AttributeError(f"module 'hexviz.testing' has no attribute {name!r}")
