"""Salvage keeps every record that is whole, says which are not, and never changes the damaged file."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from hexviz.cli import main
from hexviz.events.schema import from_record, to_record
from hexviz.stores.errors import NewerStoreError, NotAStoreError, NothingToSalvageError, StoreWriteError
from hexviz.stores.jsonl import write_jsonl
from hexviz.stores.salvage import salvage
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

DATA = Path(__file__).parent / "data"


@pytest.fixture
def path(tmp_path):
    """A store of two runs in several segments."""
    with SQLiteStore(tmp_path / "runs.db") as store:
        for run_id in ("run-1", "run-2"):
            run = contract_run(run_id, nodes=20)
            for first in range(0, len(run), 10):
                store.append(run[first : first + 10])
                store.flush()
    return tmp_path / "runs.db"


def edit(path, sql, *parameters):
    with sqlite3.connect(path) as raw:
        raw.execute(sql, parameters)
    raw.close()


def seqs_of(path, run_id):
    with SQLiteStore(path) as store:
        assert [found for found in store.verify() if "counted" in found.problem or "damaged" in found.problem] == []
        return [from_record(record).seq for record in store.read(run_id)]


def test_a_whole_store_is_copied_whole(path, tmp_path):
    done = salvage(path)
    assert (done.path, done.runs, done.records, done.lost) == (tmp_path / "runs.salvaged.db", 2, 124, [])
    with SQLiteStore(done.path) as store:
        assert [info.run_id for info in store.list_runs()] == ["run-2", "run-1"]
        assert list(store.read("run-1")) == [to_record(event) for event in contract_run("run-1", nodes=20)]
    assert sorted(found.name for found in tmp_path.iterdir() if not found.name.endswith(("-wal", "-shm"))) == [
        "runs.db",
        "runs.salvaged.db",
    ]


def test_one_damaged_record_costs_one_record(path):
    edit(path, "UPDATE segments SET page = CAST(replace(page, '\"seq\":13,', '\"seq\":93,') AS BLOB) WHERE run = 1")
    before = path.read_bytes()
    done = salvage(path)
    assert [(lost.run_id, lost.seq, lost.problem) for lost in done.lost] == [("run-1", 13, "event 13 is lost")]
    assert seqs_of(done.path, "run-1") == [seq for seq in range(1, 63) if seq != 13]
    assert seqs_of(done.path, "run-2") == list(range(1, 63))
    assert path.read_bytes() == before


def test_a_segment_that_is_gone_is_told_as_a_range(path):
    edit(path, "DELETE FROM segments WHERE run = 1 AND first_seq IN (11, 21, 51, 61)")
    done = salvage(path)
    assert [lost.problem for lost in done.lost] == ["events 11 to 30 are lost", "12 events from here on are lost"]
    assert seqs_of(done.path, "run-1") == [*range(1, 11), *range(31, 51)]


def test_runs_whose_row_is_gone_are_found_by_their_records(path):
    edit(path, "DELETE FROM runs WHERE id = 1")
    done = salvage(path)
    assert (done.runs, done.records, done.lost) == (2, 124, [])
    assert seqs_of(done.path, "run-1") == list(range(1, 63))


@pytest.mark.parametrize("column", ["first_seq", "last_seq", "count", "crc", "marks"])
def test_a_damaged_mark_never_gives_a_wrong_record(path, column):
    edit(path, f"UPDATE segments SET {column} = ? WHERE run = 1 AND first_seq = 21", b"\xff" * 160)
    done = salvage(path)
    there = seqs_of(done.path, "run-1")
    assert set(there) >= {*range(1, 21), *range(31, 63)}
    assert len(there) + (10 if done.lost else 0) == 62


def test_pages_of_zeros_in_the_middle_cost_what_stood_there(path):
    size = path.stat().st_size
    data = bytearray(path.read_bytes())
    data[size // 2 : size // 2 + 16_384] = bytes(16_384)
    path.write_bytes(data)
    done = salvage(path)
    good = {to_record(event) for run_id in ("run-1", "run-2") for event in contract_run(run_id, nodes=20)}
    with SQLiteStore(done.path) as store:
        found = [record for info in store.list_runs() for record in store.read(info.run_id)]
    assert set(found) <= good
    assert len(found) == done.records


def test_a_damaged_row_of_layout_1_costs_itself(tmp_path):
    path = shutil.copy(DATA / "layout-1.db", tmp_path / "old.db")
    edit(path, "UPDATE records SET record = replace(record, 'bad row', 'bad rOw') WHERE run = 1 AND seq = 8")
    done = salvage(path, tmp_path / "new.db")
    assert [lost.problem for lost in done.lost] == ["event 8 is lost"]
    assert (done.runs, done.records) == (3, 28 + 5 + 25)


def test_what_cannot_be_salvaged_is_a_named_error_and_leaves_nothing_behind(path, tmp_path):
    cases = [
        (tmp_path / "missing.db", NotAStoreError, "no file"),
        (tmp_path, NotAStoreError, "not a plain file"),
        (tmp_path / "text.db", NotAStoreError, "nothing of"),
        (tmp_path / "newer.db", NewerStoreError, "99"),
        (tmp_path / "other.db", NotAStoreError, "another application"),
    ]
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at")
    shutil.copy(path, tmp_path / "newer.db")
    edit(tmp_path / "newer.db", "PRAGMA user_version = 99")
    edit(tmp_path / "other.db", "CREATE TABLE theirs (x)")
    for source, error, says in cases:
        with pytest.raises(error, match=says):
            salvage(source)
    with pytest.raises(StoreWriteError, match="exists already"):
        salvage(path, tmp_path / "text.db")
    with pytest.raises(StoreWriteError, match="cannot be written"):
        salvage(path, tmp_path / "missing" / "new.db")
    assert not [found for found in tmp_path.iterdir() if "salvage" in found.name]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("runs.db", lambda path: SQLiteStore(path).close()),
        ("zero.db", lambda path: path.touch()),
        ("runs.jsonl", lambda path: write_jsonl(path, [], 0)),
    ],
)
def test_where_nothing_was_kept_there_is_nothing_to_salvage_and_nothing_is_written(tmp_path, name, make, capsys):
    make(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NothingToSalvageError, match="no run and no record"):
        salvage(tmp_path / name)
    assert main(["salvage", str(tmp_path / name)]) == 2
    assert "nothing to salvage" in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before
