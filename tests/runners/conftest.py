"""What the tests of runners share."""

import pytest

from tests.runners.dask_processes import Cluster


@pytest.fixture
def start(request):
    """Starts clusters of processes: ``start(workers=2) -> (cluster, client)``."""
    pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
    from distributed import Client

    opened = []

    def begin(**options):
        cluster = Cluster(**options)
        opened.append(cluster.stop)
        client = Client(cluster.address, set_as_default=False, timeout=20)
        opened.append(lambda: client.close(timeout=0.5))
        if cluster.workers:
            client.wait_for_workers(len(cluster.workers), timeout=30)
        return cluster, client

    yield begin
    for stop in reversed(opened):
        stop()
