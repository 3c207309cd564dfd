"""The SQLite store: what flush acknowledged is there, in order, checked, and nothing secret."""

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path, PurePosixPath, PureWindowsPath

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.errors import HexvizError
from hexviz.events import events as ev
from hexviz.events.schema import to_record
from hexviz.recording.frames import COLUMNS
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.stores.errors import (
    NewerStoreError,
    NotAStoreError,
    RunNotFoundError,
    StoreCorruptError,
    StoreReadOnlyError,
    StoreWriteError,
)
from hexviz.stores.sqlite import SQLiteStore, default_path
from hexviz.stores.sqlite_layout import uri_of
from hexviz.testing import StoreContract
from tests.recording.made_events import ProgressMade, numbered, small_run, text


@pytest.fixture
def store(tmp_path):
    with SQLiteStore(tmp_path / "runs.db", recordings=Recording) as store:
        yield store


def kept(store, events):
    store.append(events)
    store.flush()


class TestSQLiteStore(StoreContract):
    """What every store promises."""

    @pytest.fixture
    def open_store(self, tmp_path):
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(SQLiteStore(tmp_path / "runs.db"))

    @staticmethod
    def damage(store):
        with sqlite3.connect(store.path) as raw:
            (page,) = raw.execute("SELECT page FROM segments").fetchone()
            raw.execute("UPDATE segments SET page = ?", (page.replace(b"bad row", b"bad rOw", 1),))
        raw.close()


@settings(max_examples=40, deadline=None)
@given(numbered, text)
def test_record_store_read_record_gives_equal_bytes_and_equal_frames(events, run_id):
    events = [msgspec.structs.replace(event, run_id=run_id or "r") for event in events]
    with tempfile.TemporaryDirectory() as folder, SQLiteStore(Path(folder) / "runs.db") as store:
        recorder = Recorder(store)
        for event in events:
            recorder(event)
        recorder.flush()
        if not events:
            assert store.list_runs() == []
            return
        records = list(store.read(run_id or "r"))
        assert records == list(recorder.recording.records())
        back = Recording.from_records(records)
        assert list(back.records()) == records
        for name in COLUMNS:
            pd.testing.assert_frame_equal(getattr(back.frames, name), getattr(recorder.recording.frames, name))
        assert store.list_runs()[0].run_id == (run_id or "r")


def test_a_stored_run_gives_equal_frames(store):
    with Recorder(store) as recorder:
        for event in small_run():
            recorder(event)
    back = store.recording("run-1")
    assert list(back.records()) == list(recorder.recording.records())
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(back.frames, name), getattr(recorder.recording.frames, name))


def test_beside_a_damaged_record_nothing_is_added_until_it_comes_again_whole(store):
    run = small_run()
    kept(store, [event for event in run if event.seq != 12])
    TestSQLiteStore.damage(store)
    (damaged,) = store.verify()
    store.append([run[11]])
    with pytest.raises(StoreWriteError, match=r"event 12|other events"):
        store.flush()
    assert store.verify() == [damaged]
    kept(store, [run[damaged.seq - 1], run[11]])
    assert list(store.read("run-1")) == [to_record(event) for event in run]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_files_are_for_their_owner_only_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        _only_the_owner(tmp_path / "new" / "runs.db")
    finally:
        os.umask(before)


def _only_the_owner(path):
    with SQLiteStore(path) as store:
        kept(store, small_run())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert {file.name for file in path.parent.iterdir()} == {"runs.db", "runs.db-wal", "runs.db-shm"}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_secret_is_written_by_default(store):
    run = small_run()
    secret = ValueError("password=canary and https://u:canary@host")
    kept(store, [*run, ev.NodeFailed("n", 1, secret, run_id="run-1", seq=len(run) + 1)])
    with Recorder(store) as recorder:
        recorder(ev.ToolCalled("n", "t", {"q": "canary"}))
        recorder(ProgressMade("n", 1.0, {"api_key": "canary"}))
    for file in store.path.parent.iterdir():
        assert b"canary" not in file.read_bytes(), file


# --- paths that cannot serve ---


def test_a_directory_is_refused_by_name(tmp_path):
    with pytest.raises(NotAStoreError, match="directory"):
        SQLiteStore(tmp_path)


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database at all")
    with pytest.raises(NotAStoreError, match="not a SQLite file"):
        SQLiteStore(path)
    assert path.read_text().startswith("these")


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    with pytest.raises(NotAStoreError, match=r"runs\.db"):
        SQLiteStore(path)


@pytest.mark.parametrize("mark", ["PRAGMA application_id = 7", "CREATE TABLE theirs (x)"])
def test_the_database_of_another_application_is_refused_and_left_alone(tmp_path, mark):
    with sqlite3.connect(tmp_path / "app.db") as other:
        other.execute(mark)
    other.close()
    before = (tmp_path / "app.db").read_bytes()
    with pytest.raises(NotAStoreError, match="another application"):
        SQLiteStore(tmp_path / "app.db")
    assert (tmp_path / "app.db").read_bytes() == before


def test_a_path_below_a_file_is_a_named_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotAStoreError, match="file"):
        SQLiteStore(tmp_path / "file" / "runs.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_a_named_error(tmp_path):
    path = tmp_path / "runs.db"
    path.touch(mode=0o400)
    with pytest.raises(StoreReadOnlyError, match="cannot be written"):
        SQLiteStore(path)


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "runs.db").touch()
    with SQLiteStore(tmp_path / "runs.db") as store:
        kept(store, small_run())


def test_the_default_path_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HEXVIZ_STORE", str(tmp_path / "x.db"))
    assert default_path() == tmp_path / "x.db"
    monkeypatch.delenv("HEXVIZ_STORE")
    assert default_path().name == "runs.db"


# --- life and death ---


def test_a_failing_write_reaches_flush_not_the_run_and_is_tried_again(store):
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("ALTER TABLE segments RENAME TO away")
    store.append(small_run())
    with pytest.raises(StoreWriteError, match="records"):
        store.flush()
    blocker.execute("ALTER TABLE away RENAME TO segments")
    blocker.close()
    store.flush()
    assert store.statistics() == {"written": len(small_run()), "queued": 0, "refused": 0, "lost": 0}


def test_a_forked_child_never_writes_the_file_of_its_parent(store):
    kept(store, small_run()[:3])
    child = os.fork()
    if child == 0:
        store.append(small_run("child"))
        os._exit(0)
    os.waitpid(child, 0)
    kept(store, small_run()[3:])
    assert [run.run_id for run in store.list_runs()] == ["run-1"]
    assert store.verify() == []


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from hexviz.stores.sqlite import SQLiteStore
from hexviz.events.events import NodeStarted
store = SQLiteStore({path!r})
for first in range(1, 10**6, 100):
    store.append([NodeStarted(f"n{{seq}}", 1, run_id="r", seq=seq) for seq in range(first, first + 100)])
    store.flush()
    os.write(1, f"{{first + 99}}\\n".encode())
"""


@pytest.mark.parametrize("moment", range(5))
def test_what_flush_acknowledged_survives_kill_9(tmp_path, moment):
    script = KILLED.format(root=str(Path(__file__).parents[2]), path=str(tmp_path / "runs.db"))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    acknowledged = 0
    for _ in range(moment + 1):
        acknowledged = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split(b"\n")
    child.wait()
    child.stdout.close()
    acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])
    with SQLiteStore(tmp_path / "runs.db") as store:
        there = [event.seq for event in Recording.from_records(store.read("r"))]
        assert there == list(range(1, len(there) + 1))
        assert len(there) >= acknowledged
        assert [problem.problem for problem in store.verify()] == ["unclean end"]
        kept(store, small_run())


def test_an_unclosed_store_is_written_at_the_end_of_the_process(tmp_path):
    script = KILLED.partition("for first")[0] + 'store.append([NodeStarted("n", 1, run_id="r", seq=1)])'
    script = script.format(root=str(Path(__file__).parents[2]), path=str(tmp_path / "runs.db"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert len(list(store.read("r"))) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(100, 40_000), st.integers(0, 255))
def test_a_flipped_byte_anywhere_gives_right_records_or_a_named_error(place, byte):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        with SQLiteStore(path) as store:
            kept(store, small_run())
        damaged = bytearray(path.read_bytes())
        damaged[place % len(damaged)] = byte
        path.write_bytes(damaged)
        whole = {to_record(event) for event in small_run()}
        try:
            with SQLiteStore(path) as store:
                assert {*store.read("run-1")} <= whole
        except (NotAStoreError, NewerStoreError, StoreCorruptError, RunNotFoundError):
            pass


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path):
    failures = []

    def open_it(path, barrier):
        barrier.wait()
        try:
            SQLiteStore(path).close()
        except HexvizError as error:
            failures.append(error)

    for round_ in range(10):
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=open_it, args=(tmp_path / f"{round_}.db", barrier)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert failures == []


def test_a_file_that_sqlite_cannot_open_is_an_error_of_ours(tmp_path):
    deep = tmp_path.joinpath(*["d" * 120] * 6)  # SQLite takes names of up to 512 characters, the file system more
    with pytest.raises(NotAStoreError, match="cannot be opened"):
        SQLiteStore(deep / "runs.db")


def test_letting_go_of_a_run_while_another_process_writes_for_long_is_an_error_of_ours(store):
    kept(store, small_run())
    store._reader.execute("PRAGMA busy_timeout = 1")
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreWriteError, match="locked"):
            store.delete("run-1")
    assert len(list(store.read("run-1"))) == len(small_run())


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PureWindowsPath(r"C:\data\my runs.db"), "file:///C:/data/my%20runs.db?mode=rw"),
        (PureWindowsPath(r"\\server\share\runs.db"), "file:////server/share/runs.db?mode=rw"),
        (PurePosixPath("/data/a?b#c%.db"), "file:///data/a%3Fb%23c%25.db?mode=rw"),
    ],
)
def test_every_path_has_an_address_that_sqlite_takes(path, uri):
    """A path of Windows with a server would name an authority, which SQLite refuses (https://sqlite.org/uri.html)."""
    assert uri_of(path) == uri
