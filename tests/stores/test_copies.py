"""A long run is read from a copy of its columns, which is never anything but what its records say."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import weakref
from datetime import timedelta
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import hexviz
from hexviz.events import events as ev
from hexviz.events.schema import to_record
from hexviz.recording import kept as recording_kept
from hexviz.recording.frames import COLUMNS
from hexviz.recording.recorder import Recorder
from hexviz.stores import copying, sqlite, sqlite_copies
from hexviz.stores.errors import StoreCorruptError, StoreWriteError
from hexviz.testing.store_contract import contract_run, kept
from tests.recording.made_events import ProgressMade


@pytest.fixture(autouse=True)
def _every_run_is_long(monkeypatch):
    monkeypatch.setattr(copying, "LONG", 1)


@pytest.fixture
def store(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        yield store


def count(store, table="copies"):
    with contextlib.closing(sqlite3.connect(store.path)) as raw:
        there = raw.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0] if there else 0


def change(store, sql):
    with contextlib.closing(sqlite3.connect(store.path)) as raw, raw:
        assert raw.execute(sql).rowcount


def from_the_copy(store, run_id="run-1"):
    """The records of the recording; fails where the pages are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(store), "pages", lambda *_: pytest.fail("the pages were read"))
        return list(store.recording(run_id).records())


def records(run):
    return [to_record(event) for event in run]


def test_a_run_with_gaps_a_class_of_the_user_and_odd_values_is_read_from_its_copy_too(store):
    run = contract_run(nodes=20)
    run[3] = ProgressMade("load", done=0.5, run_id="run-1", seq=4)
    run[5] = ev.NodeStarted("\ud800", 2**70, run_id="run-1", seq=6)
    del run[8:10]
    kept(store, run)
    first = store.recording("run-1")
    assert from_the_copy(store) == records(run)
    for name in COLUMNS:
        assert_frame_equal(getattr(store.recording("run-1").frames, name), getattr(first.frames, name))


def wait_for_a_copy(store):
    deadline = time.monotonic() + 20
    while not count(store) and time.monotonic() < deadline:
        time.sleep(0.01)
    return count(store)


def test_the_second_reader_gets_what_the_first_has_copied(store, tmp_path):
    run = contract_run(nodes=5)
    kept(store, run)
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)
    with hexviz.open_store(tmp_path / "runs.db") as other:
        assert from_the_copy(other) == records(run)
    assert store.verify() == []


def test_a_recorder_that_closes_leaves_a_copy(tmp_path):
    graph = hexviz.Graph("g")
    for i in range(20):
        graph.node(lambda: 1, name=f"n{i}")
    with hexviz.open_store(tmp_path / "runs.db") as store:
        result = hexviz.run_sync(graph, store=store)
        assert from_the_copy(store, result.run_id) == list(store.read(result.run_id))


def test_a_store_copies_a_run_that_no_recorder_and_no_reader_has_copied(store, monkeypatch):
    monkeypatch.setattr(copying, "QUIET_S", 0.01)
    run = contract_run(nodes=5)
    kept(store, run)
    assert wait_for_a_copy(store)
    assert from_the_copy(store) == records(run)


def test_a_reader_that_copies_does_the_work_of_the_store(store, monkeypatch):
    monkeypatch.setattr(copying, "QUIET_S", 0.05)
    kept(store, contract_run(nodes=5))
    assert store._copier._thread is not None
    store.recording("run-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(store), "pages", lambda *_: pytest.fail("the pages were read again"))
        while (thread := store._copier._thread) is not None:
            thread.join(20)
    assert count(store) == 1


def test_what_a_recorder_has_copied_the_store_does_not_look_at_again(tmp_path, monkeypatch):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        recorded(store, contract_run(nodes=5)).close()
        monkeypatch.setattr(type(store), "leave_copy", lambda *_: pytest.fail("it was"))
        assert store._copier._due == {}
    assert count(store) == 1


def test_a_store_that_closes_makes_the_copies_that_are_due(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        for run_id in ("run-1", "run-2"):
            kept(store, contract_run(run_id, nodes=5))
        kept(store, contract_run("run-3", nodes=5)[:-1])
    assert count(store) == 2
    with hexviz.open_store(tmp_path / "runs.db") as again:
        assert from_the_copy(again) == records(contract_run(nodes=5))


def test_closing_does_not_wait_for_copies_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(copying.Copier.close, "__defaults__", (0.0,))
    with hexviz.open_store(tmp_path / "runs.db") as store:
        kept(store, contract_run(nodes=5))
    assert count(store) == 0


def test_no_copy_is_made_until_nothing_is_written_any_more(store, monkeypatch):
    monkeypatch.setattr(copying, "QUIET_S", 0.02)
    with monkeypatch.context() as writing:
        writing.setattr(type(store), "idle_s", lambda _: 0.01)
        kept(store, contract_run(nodes=5))
        time.sleep(0.1)
        assert count(store) == 0
    assert wait_for_a_copy(store)


def test_a_run_whose_writer_is_gone_is_copied_by_its_reader(store):
    run = contract_run(nodes=5)[:-1]
    kept(store, run)
    change(store, "UPDATE runs SET changed_us = changed_us - 120000000")
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)


def test_a_run_that_goes_on_is_not_copied(store):
    kept(store, contract_run()[:-1])
    store.recording("run-1")
    assert count(store) == 0


def test_a_short_run_is_not_copied(store, monkeypatch):
    monkeypatch.setattr(copying, "LONG", 18)
    kept(store, contract_run())
    store.recording("run-1")
    assert count(store) == 0


def test_what_is_added_after_the_copy_is_read_and_copied(store):
    run = contract_run(nodes=5)
    kept(store, [event for event in run if event.seq != 7])
    store.recording("run-1")
    kept(store, [run[6]])
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)
    assert count(store) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE copied SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE length(data) > 1",
        "UPDATE copied SET data = x'07' WHERE part = 3",
        "DELETE FROM copied WHERE part = 5",
        "UPDATE copied SET part = part + 1000",
        "UPDATE copied SET data = 7 WHERE part = 2",
        "UPDATE copies SET parts = parts - 1",
        "UPDATE copies SET made_of = x'00'",
        "DROP TABLE copied",
    ],
)
def test_a_copy_that_is_not_whole_is_passed_over_and_made_anew(store, damage):
    run = contract_run(nodes=5)
    kept(store, run)
    store.recording("run-1")
    with contextlib.closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute(damage)
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)
    assert count(store, "copied") > 5


def test_a_damaged_page_is_found_where_there_is_no_copy_and_by_verify_in_any_case(store):
    kept(store, contract_run(nodes=5))
    store.recording("run-1")
    change(store, "UPDATE segments SET page = replace(page, 'load', 'lord')")
    assert store.verify() != []
    change(store, "DELETE FROM copies")
    with pytest.raises(StoreCorruptError):
        store.recording("run-1")
    assert count(store) == 0


def test_deleting_a_run_deletes_its_copy_and_no_other(store):
    for run_id in ("a", "b"):
        kept(store, contract_run(run_id, nodes=5))
        store.recording(run_id)
    parts = count(store, "copied")
    store.delete("a")
    assert (count(store), count(store, "copied")) == (1, parts // 2)
    assert from_the_copy(store, "b") == records(contract_run("b", nodes=5))


def test_the_last_room_on_a_disk_is_left_to_the_records(store, monkeypatch):
    kept(store, contract_run(nodes=5))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "_ROOM", 10**15)
        assert list(store.recording("run-1").records()) == records(contract_run(nodes=5))
        assert count(store, "copied") == 0
    store.recording("run-1")
    assert count(store) == 1


def test_a_copy_for_which_there_is_no_room_leaves_nothing(store):
    run = contract_run(nodes=5)
    kept(store, run)
    with contextlib.closing(sqlite3.connect(store.path)) as raw:
        raw.executescript(sqlite_copies._TABLES)
        raw.execute(
            "CREATE TRIGGER full BEFORE INSERT ON copied WHEN NEW.part = 4 BEGIN SELECT RAISE (ABORT, 'full'); END"
        )
        assert list(store.recording("run-1").records()) == records(run)
        assert (count(store), count(store, "copied"), count(store, "copying")) == (0, 0, 0)
        raw.execute("DROP TRIGGER full")
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)
    tokens = "SELECT count(DISTINCT token) FROM copied"
    with contextlib.closing(sqlite3.connect(store.path)) as raw:
        assert raw.execute(tokens).fetchone() == (1,)


def test_a_process_that_is_killed_while_it_copies_leaves_every_record_and_no_copy(tmp_path):
    program = f"""
        import os, signal, hexviz
        from hexviz.stores import copying
        from hexviz.testing.store_contract import contract_run
        copying.LONG, seen = 1, []
        def watch(sql):
            seen.append(sql.startswith("INSERT INTO copied"))
            if sum(seen) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        store = hexviz.open_store({str(tmp_path / "runs.db")!r})
        store._reader.set_trace_callback(watch)
        store.append(contract_run(nodes=5))
        store.close()
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with hexviz.open_store(tmp_path / "runs.db") as again:
        assert (again.verify(), count(again), count(again, "copied"), count(again, "copying")) == ([], 0, 4, 1)
        assert list(again.recording("run-1").records()) == records(contract_run(nodes=5))


def test_what_a_killed_process_has_begun_to_copy_goes_when_the_store_is_opened_a_minute_later(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        for run_id in ("run-1", "run-2"):
            kept(store, contract_run(run_id, nodes=5))
            store.recording(run_id)
    change(store, "DELETE FROM copies WHERE run = 1")
    change(
        store,
        "INSERT INTO copying SELECT DISTINCT token, run, CAST(strftime('%s', 'now') AS INTEGER)"
        " FROM copied WHERE run = 1",
    )
    parts = count(store, "copied")
    hexviz.open_store(store.path).close()
    assert count(store, "copied") == parts  # somebody may still be making it
    change(store, "UPDATE copying SET begun_s = begun_s - 100")
    with hexviz.open_store(store.path) as again:
        assert (count(again, "copied"), count(again, "copying")) == (parts / 2, 0)
        assert from_the_copy(again, "run-2") == records(contract_run("run-2", nodes=5))


def test_what_a_killed_process_has_begun_to_copy_goes_when_its_run_or_any_later_goes(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        for run_id in ("run-1", "run-2"):
            kept(store, contract_run(run_id, nodes=5))
            store.recording(run_id)
        change(store, "UPDATE copied SET run = 99 WHERE run = 1 AND part < 4")
        store.delete("run-2")
        left = "SELECT count(*) FROM copied WHERE run = 99"
        with contextlib.closing(sqlite3.connect(store.path)) as raw:
            assert raw.execute(left).fetchone() == (0,)


def test_a_copy_of_a_run_that_was_deleted_meanwhile_is_not_kept(store, tmp_path):
    kept(store, contract_run(nodes=5))
    parts = store.recording("run-1").to_columns()
    made_of, key = store._copy_of("run-1")[0], store._long_run("run-1")
    with hexviz.open_store(tmp_path / "runs.db") as other:
        other.delete("run-1")
        kept(other, contract_run("run-2", nodes=7)[:-1])
    assert store._long_run("run-2") == key
    assert store._copies.write(key, made_of, parts) is False
    assert count(store, "copied") == 0


def test_reading_does_not_wait_for_whoever_writes(store, tmp_path):
    kept(store, contract_run())
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert list(store.recording("run-1").records()) == records(contract_run())
    assert count(store) == 0


def recorded(store, run):
    recorder = Recorder(store=store)
    for event in run:
        recorder(event)
    return recorder


def wait_for_a_beginning(store, recorder, run_id="run-1"):
    """Let the recorder's events become columns, and wait until the store has copied them; how many it has copied."""
    recorder.flush()
    deadline = time.monotonic() + 10
    while (copy := store._copy_of(run_id)[1]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return copy.events


@pytest.fixture
def _soon(monkeypatch):
    monkeypatch.setattr(recording_kept, "FIRST", 10)
    monkeypatch.setattr(copying, "_LOOK_S", 0.01)


@pytest.mark.usefixtures("_soon")
def test_of_a_run_that_goes_on_the_beginning_is_copied_and_only_the_rest_is_read(store, tmp_path, monkeypatch):
    run = contract_run(nodes=20)
    run[3] = ProgressMade("load", done=0.5, run_id="run-1", seq=4)
    recorder = recorded(store, run[:30])
    assert wait_for_a_beginning(store, recorder) == 30
    for event in run[30:-1]:
        recorder(event)
    store.flush()
    with hexviz.open_store(tmp_path / "runs.db") as other, monkeypatch.context() as patch:
        patch.setattr(hexviz.Recording, "from_pages", lambda *_: pytest.fail("all of it was read"))
        found = other.recording("run-1")
        assert list(found.records()) == records(run[:-1])
        whole = hexviz.Recording(run[:-1])
        for name in COLUMNS:
            assert_frame_equal(getattr(found.frames, name), getattr(whole.frames, name))
    recorder(run[-1])
    recorder.close()
    assert store._copy_of("run-1")[1].events == len(run)
    assert from_the_copy(store) == records(run)


@pytest.mark.usefixtures("_soon")
def test_a_longer_copy_is_not_replaced_by_a_shorter_one(store):
    run = contract_run(nodes=20)
    recorder = recorded(store, run)
    recorder.close()
    assert store.keep_beginning("run-1", hexviz.Recording(run[:30]), 10) is True
    assert store._copy_of("run-1")[1].events == len(run)


@pytest.mark.usefixtures("_soon")
def test_a_beginning_whose_records_are_others_now_is_passed_over(store):
    run = contract_run(nodes=20)
    recorder = recorded(store, run[:30])
    wait_for_a_beginning(store, recorder)
    change(store, "UPDATE segments SET crc = crc + 1 WHERE first_seq = 1")
    with pytest.raises(StoreCorruptError):
        store.recording("run-1")


@pytest.mark.usefixtures("_soon")
def test_no_beginning_is_copied_of_what_the_store_has_refused_or_does_not_have_yet(store, tmp_path):
    run = contract_run(nodes=20)
    kept(store, run[:-1])
    with hexviz.open_store(tmp_path / "runs.db") as other:
        mine = hexviz.Recording(
            [ev.NodeStarted("mine", 1, run_id="run-1", monotonic_ns=7, seq=event.seq) for event in run[:30]]
        )
        assert other.keep_beginning("run-1", mine, 30) is False  # nothing of it was written here
        other.append(mine)
        with pytest.raises(StoreWriteError):
            other.flush()
        assert other.keep_beginning("run-1", mine, 30) is True
    assert count(store) == 0


@pytest.mark.usefixtures("_soon")
def test_a_store_that_is_closed_holds_nothing_of_a_recorder_that_goes_on(tmp_path):
    store = hexviz.open_store(tmp_path / "runs.db")
    recorder = recorded(store, contract_run(nodes=20)[:30])
    store.columns_grew("run-1", recorder.recording)
    columns = weakref.ref(recorder.recording.columns.strings)
    store.close()
    store.columns_grew("run-1", recorder.recording)
    del recorder
    assert columns() is None


def test_after_a_kill_the_beginning_is_there_and_the_first_reader_copies_all(tmp_path, monkeypatch):
    program = f"""
        import os, signal, hexviz
        from hexviz.recording import kept
        from hexviz.stores import copying
        from hexviz.testing.store_contract import contract_run
        from tests.stores.test_copies import recorded, wait_for_a_beginning
        copying.LONG, kept.FIRST = 1, 10
        store = hexviz.open_store({str(tmp_path / "runs.db")!r})
        run = contract_run(nodes=20)
        recorder = recorded(store, run[:30])
        wait_for_a_beginning(store, recorder)
        for event in run[30:-1]:
            recorder(event)
        store.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=False, cwd=Path(__file__).parents[2]
    )
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(copying, "_STALE", timedelta(0))
    run = contract_run(nodes=20)[:-1]
    with hexviz.open_store(tmp_path / "runs.db") as store:
        assert store._copy_of("run-1")[1].events == 30
        assert [found.problem for found in store.verify()] == ["unclean end"]
        with monkeypatch.context() as patch:
            patch.setattr(hexviz.Recording, "from_pages", lambda *_: pytest.fail("all of it was read"))
            assert list(store.recording("run-1").records()) == records(run)
        assert store._copy_of("run-1")[1].events == len(run)
        assert from_the_copy(store) == records(run)


def test_events_that_were_refused_leave_no_copy(tmp_path, store):
    kept(store, contract_run(nodes=5))
    with hexviz.open_store(tmp_path / "runs.db") as other:
        mine = [ev.NodeStarted("mine", 1, run_id="run-1", seq=event.seq) for event in contract_run(nodes=5)]
        recorder = recorded(other, mine)
        with pytest.raises(StoreWriteError):
            recorder.close()
        assert other.keep_columns("run-1", recorder.recording) is False
    assert count(store) == 0


def test_a_recorder_that_heard_only_a_part_leaves_no_copy(store):
    run = contract_run(nodes=5)
    kept(store, run[:4])
    recorded(store, run[4:]).close()
    assert count(store) == 0


def test_what_a_recorder_heard_out_of_order_is_copied_by_the_first_reader(store):
    run = contract_run(nodes=5)
    recorded(store, [*run[:3], run[4], run[3], *run[5:]]).close()
    assert count(store) == 0
    assert list(store.recording("run-1").records()) == records(run)
    assert from_the_copy(store) == records(run)


def test_two_processes_that_copy_at_once_leave_one_copy(store):
    run = contract_run(nodes=300)
    kept(store, run)
    program = """
        import sys, hexviz
        from hexviz.stores import copying
        copying.LONG = 1
        with hexviz.open_store(sys.argv[1]) as opened:
            input()
            assert len(opened.recording("run-1")) == int(sys.argv[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), store.path, str(len(run))]
    readers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    for reader in readers:
        reader.stdin.write(b"\n")
        reader.stdin.flush()
    assert [reader.wait(60) for reader in readers] == [0, 0]
    for reader in readers:
        reader.stdin.close()
    assert count(store) == 1
    assert from_the_copy(store) == records(run)


def test_a_recorder_that_closes_after_its_store_raises_nothing(tmp_path):
    store = hexviz.open_store(tmp_path / "runs.db")
    recorder = recorded(store, contract_run(nodes=5))
    store.close()
    recorder.close()
    with hexviz.open_store(tmp_path / "runs.db") as again:
        assert list(again.read("run-1")) == records(contract_run(nodes=5))


def test_a_forked_child_copies_nothing_into_the_store_of_its_parent(tmp_path):
    program = f"""
        import os, hexviz
        from hexviz.recording.recorder import Recorder
        from hexviz.stores import copying
        from hexviz.testing.store_contract import contract_run
        copying.LONG = 1
        store = hexviz.open_store({str(tmp_path / "runs.db")!r})
        recorder = Recorder(store=store)
        for event in contract_run():
            recorder(event)
        store.flush()
        if not os.fork():
            recorder.close()
            os._exit(store.keep_columns("run-1", recorder.recording))
        assert os.wait()[1] == 0
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    with hexviz.open_store(tmp_path / "runs.db") as again:
        assert count(again) == 0
