"""Dumps of every layout that was ever written to PostgreSQL are read equally and take more, on a real server."""

import pandas as pd
import pytest

import hexviz
from hexviz.events.schema import to_record
from hexviz.recording.frames import COLUMNS
from hexviz.stores import copying
from hexviz.stores.postgres import PostgresStore
from hexviz.stores.postgres_layout import LAYOUT_VERSION
from tests.recording.made_events import small_run
from tests.stores.test_layouts import DATA, golden

pytestmark = pytest.mark.server

LAYOUTS = [1]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"layout {layout}")
def restored(request, url, shared_server):
    """The address of a store made from the dump alone."""
    dump = (DATA / f"postgres-layout-{request.param}.sql").read_text(encoding="ascii")
    shared_server.execute(dump.replace("hexviz_store.", url.rsplit("%3D")[-1] + "."))
    return url


def test_there_is_a_dump_of_each_layout_up_to_the_one_that_is_written():
    assert list(range(1, LAYOUT_VERSION + 1)) == LAYOUTS


@pytest.mark.parametrize("long", [copying.LONG, 1], ids=["records", "copy"])
def test_c8_every_layout_on_a_server_gives_equal_records_runs_and_frames(restored, monkeypatch, long):
    monkeypatch.setattr(copying, "LONG", long)
    with hexviz.open_store(restored) as store:
        assert [info.run_id for info in store.list_runs()] == [*golden()][::-1]
        assert [info.status for info in store.list_runs()] == ["running", "succeeded", "succeeded"]
        assert store._copy_of("run-1")[1] is not None
        for run_id, records in golden().items():
            assert list(store.read(run_id)) == records
            frames, expected = store.recording(run_id).frames, hexviz.Recording.from_records(records).frames
            for name in COLUMNS:
                pd.testing.assert_frame_equal(getattr(frames, name), getattr(expected, name))
        assert [(problem.run_id, problem.problem) for problem in store.verify()] == [("unended", "unclean end")]


def test_c8_every_layout_on_a_server_takes_more_of_a_run_and_a_new_run(restored):
    run = small_run("unended")
    with PostgresStore(restored) as store:
        store.append(run[::-1])
        store.append(small_run("new"))
        store.flush()
    with PostgresStore(restored) as store:
        assert list(store.read("unended")) == [to_record(event) for event in run]
        assert list(store.read("new")) == [to_record(event) for event in small_run("new")]
        assert list(store.read("run-1")) == golden()["run-1"]
        assert store.verify() == []
