"""Faults C5 to C7 and C10: failing writes, clocks that jump, odd recordings through a store, and many events."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

import hexviz
from hexviz.events import events as ev
from hexviz.events.schema import from_record, to_record
from hexviz.recording.recording import Recording
from hexviz.stores import files, sqlite_log
from hexviz.stores.errors import StoreWriteError
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

# --- C5: input and output fail ------------------------------------------------------------------------------------


class Failing:
    """A connection whose n-th statement from now fails once."""

    def __init__(self, connection, countdown, error):
        self._connection, self._countdown, self._error = connection, countdown, error

    def execute(self, *arguments):
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            raise self._error
        return self._connection.execute(*arguments)

    def executemany(self, *arguments):
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            raise self._error
        return self._connection.executemany(*arguments)

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.mark.parametrize("kind", [errno.EIO, errno.ENOSPC, errno.EINTR], ids=["EIO", "ENOSPC", "EINTR"])
def test_c5_an_error_at_the_nth_statement_is_told_once_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("hexviz.stores.writer._RETRY_S", 0.001)
    real, countdown = sqlite_log.connect, [0]
    error = OSError(kind, os.strerror(kind))
    run = contract_run(nodes=10)
    told = []
    for nth in range(1, 60):
        path = tmp_path / f"{nth}.db"
        store = SQLiteStore(path)
        monkeypatch.setattr(sqlite_log, "connect", lambda place: Failing(real(place), countdown, error))
        countdown[0] = nth
        for first in range(0, len(run), 8):
            store.append(run[first : first + 8])
            try:
                store.flush("disk")
            except StoreWriteError as problem:
                told.append(str(problem))
        store.close()
        monkeypatch.setattr(sqlite_log, "connect", real)
        with SQLiteStore(path) as again:
            assert list(again.read("run-1")) == [to_record(event) for event in run]
            assert again.verify() == []
    assert 20 < len(told) < 60
    assert all(os.strerror(kind) in problem for problem in told)


def test_c5_a_store_that_cannot_be_written_changes_no_result_and_the_error_is_told(tmp_path):
    graph = hexviz.Graph("g")
    graph.node(lambda: 1, name="a")
    graph.node(lambda value: value + 1, name="b", after=["a"])
    store = hexviz.open_store(tmp_path / "runs.db")
    (tmp_path / "runs.db").rename(tmp_path / "away.db")
    with pytest.warns(RuntimeWarning, match=r"runs\.db"):
        result = hexviz.run_sync(graph, store=store)
    assert dict(result) == {"a": 1, "b": 2}
    (tmp_path / "away.db").rename(tmp_path / "runs.db")
    store.close()
    with hexviz.open_store(tmp_path / "runs.db") as again:
        assert [info.status for info in again.list_runs()] == ["succeeded"]


def failing(real, nth):
    """``real``, but for its n-th call."""
    calls = []

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == nth:
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments, **options)

    return call


def failing_writes(nth):
    def write(path, chunks):
        step = failing(lambda chunk: chunk, nth)
        return files.write_file(path, map(step, chunks))

    return write


@pytest.mark.parametrize(
    ("call", "nth"),
    [("write", 1), ("write", 2), ("write", 18), ("fsync", 1), ("fsync", 2), ("replace", 1), ("mkstemp", 1)],
)
def test_c5_an_export_that_fails_at_any_call_leaves_the_old_file_or_the_new_one_and_no_scratch(
    tmp_path, monkeypatch, call, nth
):
    path = hexviz.export(Recording(contract_run("old")), tmp_path / "run.jsonl")
    before = path.read_bytes()
    target, replacement = {
        "write": ("hexviz.stores.jsonl.write_file", failing_writes(nth)),
        "fsync": ("os.fsync", failing(os.fsync, nth)),
        "replace": ("pathlib.Path.replace", failing(Path.replace, nth)),
        "mkstemp": ("tempfile.mkstemp", failing(tempfile.mkstemp, nth)),
    }[call]
    with monkeypatch.context() as patch:
        patch.setattr(target, replacement)
        with pytest.raises(StoreWriteError, match="Input/output error"):
            hexviz.export(Recording(contract_run("new")), path)
    assert list(tmp_path.iterdir()) == [path]
    if (call, nth) == ("fsync", 2):  # the directory's: the new file stands, its name may not be on the disk yet
        assert hexviz.load(path).run_ids == ("new",)
    else:
        assert path.read_bytes() == before


# --- C6: clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jumps",
    [
        [timedelta(hours=-1)],
        [timedelta(days=3650)],
        [timedelta(days=3650), timedelta(days=-3650)],
        [timedelta(minutes=5), timedelta(minutes=-5)] * 4,
    ],
    ids=["back 1 h", "ahead 10 years", "there and back", "two hosts with 5 min skew"],
)
def test_c6_wall_clocks_that_jump_change_neither_order_nor_durations(tmp_path, jumps):
    run = contract_run(nodes=5)
    shifted = [msgspec.structs.replace(e, timestamp=e.timestamp + jumps[e.seq % len(jumps)] * (e.seq > 6)) for e in run]
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append(shifted)
        store.flush()
        assert [from_record(record).seq for record in store.read("run-1")] == [event.seq for event in run]
        attempts = store.recording("run-1").frames.attempts
        assert (attempts["duration_ms"].dropna() >= 0).all()
        expected = Recording(run).frames.attempts["duration_ms"]
        assert attempts["duration_ms"].tolist() == expected.tolist()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system sets no time zone within a process")
def test_c6_a_time_zone_that_changes_in_mid_run_changes_no_time(in_process):
    out = in_process(
        """
        import os, time
        import hexviz

        def travel(zone):
            os.environ["TZ"] = zone
            time.tzset()

        travel("Pacific/Kiritimati")
        graph = hexviz.Graph("g")
        graph.node(lambda: travel("Pacific/Pago_Pago"), name="a")
        graph.node(lambda _: 1, name="b", after=["a"])
        result = hexviz.run_sync(graph, store="runs.db")
        with hexviz.open_store("runs.db") as store:
            info = store.list_runs()[0]
            frames = store.recording(info.run_id).frames
        stamps = frames.events["timestamp"]
        print(stamps.is_monotonic_increasing, str(stamps.dt.tz), abs(info.started_at.timestamp() - time.time()) < 600)
        print((frames.attempts["duration_ms"] >= 0).all(), len(frames.diagnostics))
        """
    )
    assert out.split() == ["True", "UTC", "True", "True", "0"]


def test_c6_a_frozen_clock_stops_no_store(in_process):
    out = in_process(
        """
        import time
        frozen = time.time()
        time.time = lambda: frozen
        time.time_ns = lambda: int(frozen * 1e9)
        import hexviz
        graph = hexviz.Graph("g")
        graph.node(lambda: 1, name="a")
        hexviz.run_sync(graph, store="runs.db")
        with hexviz.open_store("runs.db") as store:
            print(store.list_runs()[0].status, store.verify())
        """
    )
    assert out.split() == ["succeeded", "[]"]


# --- C7: odd recordings -------------------------------------------------------------------------------------------


def odd(name):
    run = contract_run()
    other = contract_run("run-2")
    return {
        "out of order": (run[::-1], set()),
        "duplicated": (run + run[3:9] + run, set()),
        "gap": (run[:4] + run[7:], {"gap"}),
        "no end": (run[:-1], {"no end"}),
        "interleaved": ([event for both in zip(run, other, strict=True) for event in both], set()),
        "no start": (run[1:], set()),
    }[name]


@pytest.mark.parametrize("name", ["out of order", "duplicated", "gap", "no end", "interleaved", "no start"])
def test_c7_odd_recordings_are_kept_and_told_by_diagnostics(tmp_path, name):
    events, expected = odd(name)
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append(events)
        store.flush()
        recording = store.recording("run-1")
        mine = sorted({event.seq for event in events if event.run_id == "run-1"})
        assert [event.seq for event in recording] == mine
        assert expected <= set(recording.diagnostics()["problem"])
        frames = recording.frames
        assert len(frames.events) == len(mine)
        assert not (frames.attempts["duration_ms"].dropna() < 0).any()


# --- C10: many events ---------------------------------------------------------------------------------------------

MANY = 200_000

READ_BACK = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
from hexviz.stores.sqlite import SQLiteStore
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = SQLiteStore("runs.db")
last = list(store.read("r", last=100))
count = sum(1 for _ in store.read("r"))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(last), count, (after - before) / 1024]))
"""


def test_c10_many_events_are_read_a_page_at_a_time_and_the_last_ones_without_the_others(tmp_path):
    node = ev.NodeStarted("node", 1, run_id="r", monotonic_ns=1)
    with SQLiteStore(tmp_path / "runs.db") as store:
        for seq in range(1, MANY + 1):
            store.put(msgspec.structs.replace(node, seq=seq))
        store.flush()
        asked = []
        store._reader.set_trace_callback(asked.append)
        assert [from_record(record).seq for record in store.read("r", last=100)] == list(range(MANY - 99, MANY + 1))
        store._reader.set_trace_callback(None)
        assert sum("page FROM segments" in sql for sql in asked) == 1
        pages = [len(page) for page in store.pages("r")]
        assert max(pages) < 9 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK.format(root=str(Path(__file__).parents[2]))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
    )
    last, count, grown_mb = json.loads(done.stdout)
    assert (last, count) == (100, MANY)
    assert grown_mb < 32  # the file has 50
