"""Fixtures: one Kafka broker for all tests that only need some, each with an empty topic; some to be killed."""

import pytest

from tests.services import kafka_broker
from tests.services.proxy import Proxy


def a_broker(**settings):
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: pip install -e '.[kafka]'")
    if reason := kafka_broker.missing():
        pytest.skip(reason)
    return kafka_broker.Broker(**settings)


@pytest.fixture(scope="session")
def broker():
    made = a_broker()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def topic(broker):
    """The address of an empty topic."""
    return broker.fresh()


@pytest.fixture
def proxy(broker):
    made = Proxy(broker.proxy_port, broker.proxied_port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def victim():
    """A broker that tests may start, halt and kill; not up in the beginning, its data on a disk of their own."""
    made = a_broker(auto_create_topics_enable="true", num_partitions=2)
    made.mount_disk()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def second(victim):
    """A second broker beside it."""
    made = a_broker(beside=victim)
    yield made
    made.remove()
