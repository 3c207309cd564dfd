"""The runs of a store as a frame: the same columns and dtypes, empty or not."""

import pandas as pd

import hexviz
from hexviz.testing.store_contract import contract_run

DTYPES = {
    "run_id": "string",
    "pipeline": "string",
    "status": "category",
    "started_at": "datetime64[us, UTC]",
    "duration_ms": "Float64",
    "nodes": "int64",
    "events": "int64",
    "bytes": "int64",
    "tags": "object",
    "changed_at": "datetime64[us, UTC]",
}


def test_runs_are_a_frame_with_fixed_columns_and_dtypes_also_when_empty(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        assert {name: str(dtype) for name, dtype in store.runs().dtypes.items()} == DTYPES
        for run_id in ("a", "\ud800"):
            store.append(contract_run(run_id))
        store.append(contract_run("c")[:-1])
        store.flush()
        frame = store.runs()
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
        assert frame["run_id"].tolist() == ["c", "\\ud800", "a"]
        assert frame["status"].tolist() == ["running", "succeeded", "succeeded"]
        assert list(frame["status"].cat.categories) == ["running", "succeeded", "failed", "cancelled", "skipped"]
        assert frame["duration_ms"].isna().tolist() == [True, False, False]
        assert frame["tags"].tolist() == [("nightly", "eu")] * 3
        assert frame["started_at"].max() <= pd.Timestamp.now("UTC")
        assert store.runs(status="running")["run_id"].tolist() == ["c"]
