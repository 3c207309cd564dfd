"""One Dask cluster for all tests that only need some; those that kill it start their own."""

import logging

import pytest


@pytest.fixture(scope="session")
def cluster():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=logging.CRITICAL
    )
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def client(cluster):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        yield client
