"""What holds for every test."""

import os

import pytest
from hypothesis import settings

from tests.services.fixtures import broker, own_broker, proxy, topic  # noqa: F401 - fixtures for every room

settings.register_profile("shared machines", deadline=None)
settings.load_profile("shared machines")


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path, monkeypatch):
    """No test reads or writes the store of the person who runs it."""
    monkeypatch.setenv("HEXVIZ_STORE", str(tmp_path / "runs.db"))


def pytest_collection_modifyitems(items):
    """Browser tests come last: playwright keeps an event loop running in this thread as long as its browser is open."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under CI=true a skipped test that wants a browser or a server fails: a test that did not run shows nothing."""
    report = yield
    needed = next((name for name in ("browser", "cluster", "kafka", "server") if item.get_closest_marker(name)), None)
    if "benchmarks" in item.path.parts:  # they run on request only
        return report
    if report.skipped and os.environ.get("CI") == "true" and needed:
        report.outcome = "failed"
        report.longrepr = f"a {needed} test must not be skipped under CI=true: {report.longrepr}"
    return report
