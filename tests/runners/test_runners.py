"""Every runner keeps one contract: threads, processes, and a Dask cluster with results at home or left there."""

import pytest

from hexviz.dag import ProcessRunner
from hexviz.testing import RunnerContract


class TestThreads(RunnerContract):
    elsewhere = False

    @pytest.fixture
    def runner(self):
        return None


@pytest.fixture(scope="module")
def processes():
    with ProcessRunner(3) as runner:
        yield runner


class TestProcesses(RunnerContract):
    @pytest.fixture
    def runner(self, processes):
        return processes


@pytest.mark.cluster
class TestDask(RunnerContract):
    @pytest.fixture
    def runner(self, client):
        from hexviz.dag import DaskRunner

        return DaskRunner(client)


@pytest.mark.cluster
class TestDaskKeepingResults(RunnerContract):
    home = False

    @pytest.fixture
    def runner(self, client):
        from hexviz.dag import DaskRunner

        self.client = client
        return DaskRunner(client, keep_remote=True)

    def value_of(self, result):
        return self.client.gather(result)
