"""``hexviz.record_dask`` keeps what Dask computes as it keeps runs of its own."""

import pytest

import hexviz

dask = pytest.importorskip("dask", reason="dask is not installed: pip install -e '.[dask]'")


def test_a_local_computation_is_recorded_and_kept_in_the_store(tmp_path):
    path = tmp_path / "runs.db"
    with hexviz.record_dask(name="sums", store=path) as recording:
        assert dask.delayed(sum)([1, 2]).compute(scheduler="sync") == 3
    assert list(recording.frames.nodes["status"]) == ["succeeded"]
    with hexviz.open_store(path) as store:
        (info,) = store.list_runs()
        assert (info.pipeline, info.status) == ("sums", "succeeded")


@pytest.mark.cluster
def test_a_computation_on_a_cluster_is_recorded(client):
    with hexviz.record_dask(client, store=False) as recording:
        assert client.compute(dask.delayed(sum)([1, 2])).result() == 3
    assert list(recording.frames.nodes["status"]) == ["succeeded"]
    assert recording.frames.attempts["worker"].iloc[0].startswith("tcp://127.0.0.1")
