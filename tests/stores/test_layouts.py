"""Files of every layout that was ever written open, read equally and take more; each stands in tests/stores/data."""

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import hexviz
from hexviz.events.schema import from_record, to_record
from hexviz.recording.frames import COLUMNS
from hexviz.stores.errors import NewerStoreError, StoreCorruptError
from hexviz.stores.jsonl import JsonLines
from hexviz.stores.sqlite import SQLiteStore
from hexviz.stores.sqlite_layout import LAYOUT_VERSION
from tests.recording.made_events import small_run

DATA = Path(__file__).parent / "data"
LAYOUTS = [1, 2]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"layout {layout}")
def path(request, tmp_path):
    return shutil.copy(DATA / f"layout-{request.param}.db", tmp_path / "runs.db")


def golden():
    """What each file holds, by run."""
    runs = {}
    for record in JsonLines(DATA / "golden.jsonl").records():
        runs.setdefault(from_record(record).run_id, []).append(record)
    return runs


def test_there_is_a_file_of_each_layout_up_to_the_one_that_is_written():
    assert list(range(1, LAYOUT_VERSION + 1)) == LAYOUTS
    for layout in LAYOUTS:
        with sqlite3.connect(f"file:{DATA / f'layout-{layout}.db'}?mode=ro&immutable=1", uri=True) as raw:
            assert raw.execute("PRAGMA user_version").fetchone() == (layout,)
        raw.close()


def test_c8_every_layout_gives_equal_records_runs_and_frames(path):
    with hexviz.open_store(path) as store:
        assert [info.run_id for info in store.list_runs()] == [*golden()][::-1]
        assert [info.status for info in store.list_runs()] == ["running", "succeeded", "succeeded"]
        for run_id, records in golden().items():
            assert list(store.read(run_id)) == records
            assert list(store.read(run_id, last=3)) == records[-3:]
            assert list(store.read(run_id, after_seq=2)) == records[2:]
            frames, expected = store.recording(run_id).frames, hexviz.Recording.from_records(records).frames
            for name in COLUMNS:
                pd.testing.assert_frame_equal(getattr(frames, name), getattr(expected, name))
        assert [(problem.run_id, problem.problem) for problem in store.verify()] == [("unended", "unclean end")]


def test_c8_every_layout_takes_more_of_a_run_and_a_new_run(path):
    run = small_run("unended")
    with SQLiteStore(path) as store:
        store.append(run[::-1])
        store.append(small_run("new"))
        store.flush()
    with SQLiteStore(path) as store:
        assert list(store.read("unended")) == [to_record(event) for event in run]
        assert list(store.read("new")) == [to_record(event) for event in small_run("new")]
        assert list(store.read("run-1")) == golden()["run-1"]
        assert [info.events for info in store.list_runs()] == [29, 29, 5, 29]
        assert store.verify() == []


def test_every_layout_refuses_another_event_under_a_known_seq(path):
    with SQLiteStore(path) as store:
        store.append([msgspec.structs.replace(event, monotonic_ns=1) for event in small_run("run-1")])
        with pytest.raises(hexviz.HexvizError, match="with other events"):
            store.flush()
        assert list(store.read("run-1")) == golden()["run-1"]


def test_every_layout_lets_go_of_runs(path):
    with SQLiteStore(path) as store:
        for run_id in golden():
            store.delete(run_id)
        assert store.list_runs() == []
    with sqlite3.connect(path) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert all(
            raw.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,) for name in tables if name != "flushes"
        )
    raw.close()


def test_a_damaged_row_of_layout_1_stays_damaged_when_its_run_moves(tmp_path):
    path = shutil.copy(DATA / "layout-1.db", tmp_path / "runs.db")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE records SET record = replace(record, 'bad row', 'bad rOw') WHERE run = 1 AND seq = 8")
    raw.close()
    for first in (True, False):
        with SQLiteStore(path) as store:
            assert [(found.run_id, found.seq) for found in store.verify()] == [("run-1", 8), ("unended", 0)]
            with pytest.raises(StoreCorruptError, match="event 8 of run 'run-1'"):
                list(store.read("run-1"))
            assert len(list(store.read("run-1", damaged="skip"))) == 28 + (not first)
            store.append([msgspec.structs.replace(small_run()[-1], seq=30)])
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM records WHERE run = 1").fetchone() == (0,)
    raw.close()


def test_a_newer_layout_is_refused_by_name_and_left_alone(path):
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = Path(path).read_bytes()
    with pytest.raises(NewerStoreError, match="layout 99, this hexviz knows up to 2"):
        SQLiteStore(path)
    assert Path(path).read_bytes() == before


def test_a_segment_is_a_json_array_that_sql_can_look_into(path):
    with SQLiteStore(path) as store:
        store.append(small_run("new"))
    with sqlite3.connect(path) as raw:
        query = "SELECT count(*) FROM segments, json_each(CAST(page AS TEXT)) WHERE json_extract(value, '$.type') = ?"
        assert raw.execute(query, ("PipelineStarted",)).fetchone()[0] >= 1
    raw.close()
