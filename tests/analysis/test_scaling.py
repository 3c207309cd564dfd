"""scaling: what more workers would bring."""

from __future__ import annotations

from hexviz.analysis import scaling
from tests.analysis.made_frames import diamond


def test_more_workers_bring_the_run_down_to_its_critical_path_and_no_further():
    rows = scaling(diamond(), workers=(1, 2, 4))
    ready = rows[rows["schedule"] == "ready"]["makespan_ms"].tolist()
    assert ready[0] == rows.attrs["work_ms"] == 115
    assert ready == sorted(ready, reverse=True)
    assert ready[-1] == rows.attrs["critical_path_ms"] == 65
    assert rows["makespan_ms"].iloc[-1] == rows.attrs["barrier_ms"] == 85
    assert rows["speedup"].iloc[0] == 1.0
