"""Benchmarks run on request only: they measure, and a noisy machine must not fail a test run."""

import pytest


def pytest_collection_modifyitems(config, items):
    if not config.getoption("benchmark_enable", default=False):
        reason = pytest.mark.skip(reason="a benchmark: run it with --benchmark-enable")
        for item in items:
            if "benchmarks" in item.path.parts:
                item.add_marker(reason)
