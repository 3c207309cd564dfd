"""A cluster that has another version of hexviz says so: what is sent there would fail in ways that nobody can read."""

import shutil
from pathlib import Path

import pytest

import hexviz
from hexviz import Graph, PipelineError, __version__
from hexviz.dag import VersionMismatchError
from hexviz.testing import runner_nodes as nodes
from tests.runners.dask_processes import Watched

pytestmark = pytest.mark.cluster


def short():
    graph = Graph("short")
    graph.node(nodes.load)
    return graph


@pytest.fixture
def other(tmp_path):
    """The environment of a process that finds another version of hexviz."""
    copied = tmp_path / "hexviz"
    shutil.copytree(Path(hexviz.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    face = copied / "__init__.py"
    face.write_text(face.read_text().replace(f'__version__ = "{__version__}"', '__version__ = "0.0.1"'))
    return {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}


def error_of(watched):
    with pytest.raises(PipelineError) as failed:
        watched.run(short(), 1)
    (error,) = failed.value.exceptions
    return error


def test_a_scheduler_with_another_version_is_named_with_both(start, other):
    cluster, client = start(workers=1, env=other)
    for _ in range(2):  # the first refusal leaves nothing that the second run takes for its own
        error = error_of(Watched(client))
        assert type(error) is VersionMismatchError
        assert f"the Dask scheduler {cluster.address} has hexviz 0.0.1" in str(error)
        assert f"the process that started the run has {__version__}" in str(error)


def test_a_worker_with_another_version_is_named_with_both(start, other):
    cluster, client = start(workers=0)
    cluster.workers.append(cluster.add_worker(**other))
    client.wait_for_workers(1, timeout=30)
    (worker,) = client.scheduler_info()["workers"]
    error = error_of(Watched(client))
    assert type(error.__cause__) is VersionMismatchError
    assert f"the Dask worker {worker} has hexviz 0.0.1" in str(error)
    assert f"the process that started the run has {__version__}" in str(error)
