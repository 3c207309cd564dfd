"""Fixtures: one Kafka broker for all tests that only need some, each with an empty topic; others to be killed."""

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


@pytest.fixture
def own_broker():
    """Makes brokers that a test may start, halt and kill."""
    brokers = []

    def make(**settings):
        brokers.append(a_broker(**settings))
        return brokers[-1]

    yield make
    for each in brokers:
        each.remove()
