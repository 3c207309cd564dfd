"""One PostgreSQL server for all tests that only need some; each test gets an empty store of its own."""

import pytest

from tests.stores.postgres_server import Server, programs


def a_server(**options):
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return Server(**options)


@pytest.fixture(scope="session")
def shared_server():
    server = a_server(fsync="off")
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def url(shared_server):
    """The address of an empty store."""
    return shared_server.fresh()


@pytest.fixture
def own_server():
    """Starts servers that a test may stop and kill: ``own_server(option=value)``."""
    servers = []

    def start(**options):
        servers.append(a_server(**options))
        return servers[-1].start()

    yield start
    for server in servers:
        server.remove()
