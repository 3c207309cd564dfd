"""What holds for every test."""

import gc
import logging
import os
import signal
import sys
import warnings

import pytest
from hypothesis import settings

from tests.services.fixtures import broker, proxy, second, topic, victim  # noqa: F401 - fixtures for every room

settings.register_profile("shared machines", deadline=None)
settings.load_profile("shared machines")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a shell: its children would too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path, monkeypatch):
    """No test reads or writes the store of the person who runs it."""
    monkeypatch.setenv("HEXVIZ_STORE", str(tmp_path / "runs.db"))


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


@pytest.fixture(scope="module", autouse=True)
def what_dask_leaves():
    """Connections that ``distributed`` left unclosed are collected here, not in a test that knows nothing of them."""
    yield
    if "distributed" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="module")
def cluster():
    """One Dask cluster of two processes for the tests of a file; those that kill it start their own."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
    options = {
        "n_workers": 2,
        "threads_per_worker": 2,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of that cluster, when both of its workers are there."""
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        yield client
