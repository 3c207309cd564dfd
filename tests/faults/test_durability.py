"""Section C of the fault catalogue: what flush acknowledged is there after every end of the process."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hexviz.events.schema import from_record, to_record
from hexviz.stores import sqlite, sqlite_layout, sqlite_log
from hexviz.stores.errors import StoreWriteError
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

DATA = Path(__file__).parents[1] / "stores" / "data"

# A launcher forks children that record, and kills them; it starts no thread itself, so that forking is safe.
KILLED = """
    import gc, json, os, random, select, signal, sys, time
    from hexviz.events.events import NodeStarted
    from hexviz.recording.recorder import Recorder
    from hexviz.stores.sqlite import SQLiteStore
    from hexviz.stores.salvage import salvage
    import hexviz.stores.parquet, hexviz.exports

    def forked(work, after):
        '''Run work(tell) in a child, kill it after some seconds; what it told before.'''
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            try:
                work(lambda number: os.write(write, b"%d\\n" % number))
            finally:
                os._exit(0)
        os.close(write)
        select.select([read], [], [], after)
        time.sleep(min(after * 0.5, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = b""
        while some := os.read(read, 65536):
            told += some
        os.close(read)
        return [int(line) for line in told.split()]
"""


def test_c1_what_flush_acknowledged_survives_kill_9_at_50_random_moments(in_process, tmp_path):
    program = (
        KILLED
        + """
    def record(path):
        def work(tell):
            store = SQLiteStore(path)
            recorder = Recorder(store)
            for first in range(1, 10**6, 100):
                for seq in range(first, first + 100):
                    recorder(NodeStarted("n", 1, run_id="r", seq=seq))
                recorder.flush()
                tell(seq)
        return work

    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    acked = {}
    for moment in range(50):
        path = f"{moment}.db"
        acked[path] = max(forked(record(path), rng.uniform(0.0, 0.12)), default=0)
    print(json.dumps(acked))
    """
    )
    acked = json.loads(in_process(program))
    assert len(acked) == 50
    assert sum(last > 0 for last in acked.values()) > 10
    for name, last in acked.items():
        with SQLiteStore(tmp_path / name) as store:
            there = [from_record(record).seq for record in store.read("r")] if store.list_runs() else []
            assert there == list(range(1, len(there) + 1))
            assert last <= len(there) <= last + 100
            assert [found.problem for found in store.verify()] == ["unclean end"] * bool(there)
            store.append(contract_run("next"))
            store.flush()
            assert store.list_runs()[0].events == 17


DIES = """
    import asyncio, ctypes, os, resource, signal, sys, threading, time
    import hexviz

    used = lambda: int(open("/proc/self/statm").read().split()[0]) * 4096
    graph = hexviz.Graph("dies")
    store = hexviz.open_store("runs.db")
    for i in range(5):
        graph.node(lambda value=None: 1, name=f"n{i}", after=[f"n{i - 1}"] if i else [])

    async def die(value):
        await asyncio.sleep(0.01)
        store.flush()
        sys.stdout.write(str(store.statistics()["written"]) + "\\n")
        sys.stdout.flush()
        %s
        await asyncio.sleep(10)

    graph.node(die, name="die", after=["n4"])
    try:
        hexviz.run_sync(graph, store=store, run_id="r")
    except hexviz.PipelineError:
        store.close()
        sys.exit(7)
"""


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("ctypes.string_at(0)", -11),
        ("os.abort()", -6),
        ("os.kill(os.getpid(), signal.SIGSTOP)", -9),  # stopped, and then killed from outside
        (
            "resource.setrlimit(resource.RLIMIT_AS, (used() + 2**28,) * 2); bytearray(2**33)",
            7,
        ),
    ],
    ids=["_exit", "SIGTERM", "segfault", "abort", "SIGSTOP and SIGKILL", "out of memory"],
)
def test_c2_what_flush_acknowledged_survives_every_other_death(death, code, tmp_path):
    program = "\n".join(line[4:] for line in (DIES % death).splitlines())
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with child:
        acked = int(child.stdout.readline())
        if code == -9:
            child.kill()
        try:
            child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == code
    assert acked >= 12
    with SQLiteStore(tmp_path / "runs.db") as store:
        seqs = [from_record(record).seq for record in store.read("r")]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= acked
        assert [found.problem for found in store.verify()] == ([] if code == 7 else ["unclean end"])
        store.append(contract_run("next"))
        store.flush()


# --- C3: killed while it changes what is there --------------------------------------------------------------------


def test_c3_killed_while_it_prunes_every_run_is_there_whole_or_not_at_all(in_process, tmp_path):
    program = (
        KILLED
        + """
    from hexviz.testing.store_contract import contract_run

    def fill(path):
        def work(tell):
            with SQLiteStore(path) as store:
                for number in range(30):
                    store.append(contract_run(f"run-{number}", nodes=40))
        return work

    def prune(path):
        return lambda tell: (SQLiteStore(path).prune(max_bytes=1), tell(1))

    rng = random.Random(1)
    forked(fill("runs.db"), 20)
    import shutil
    for moment in range(12):
        shutil.copyfile("runs.db", f"{moment}.db")
        forked(prune(f"{moment}.db"), rng.uniform(0, 0.03))
    """
    )
    in_process(program)
    counts = set()
    for moment in range(12):
        with SQLiteStore(tmp_path / f"{moment}.db") as store:
            infos = store.list_runs()
            counts.add(len(infos))
            assert store.verify() == []
            assert all(len(list(store.read(info.run_id))) == 122 for info in infos)
    assert counts <= {0, 30}


def test_c3_killed_while_layout_1_becomes_layout_2_every_record_is_there_once(in_process, tmp_path):
    (tmp_path / "old.db").write_bytes((DATA / "layout-1.db").read_bytes())
    program = (
        KILLED
        + """
    import shutil
    from hexviz.testing.store_contract import contract_run

    def extend(path):
        def work(tell):
            store = SQLiteStore(path)
            for run_id in ("run-1", "unended"):
                store.append([NodeStarted("n", 1, run_id=run_id, seq=100)])
                store.flush()
            tell(1)
            time.sleep(10)
        return work

    rng = random.Random(1)
    for moment in range(12):
        shutil.copyfile("old.db", f"{moment}.db")
        forked(extend(f"{moment}.db"), rng.uniform(0, 0.04))
    """
    )
    in_process(program)
    for moment in range(12):
        with SQLiteStore(tmp_path / f"{moment}.db") as store:
            seqs = {info.run_id: [from_record(r).seq for r in store.read(info.run_id)] for info in store.list_runs()}
            assert [found.problem for found in store.verify()] == ["unclean end"]
        assert seqs["run-1"] in ([*range(1, 30)], [*range(1, 30), 100])
        assert seqs["unended"] in ([*range(1, 26)], [*range(1, 26), 100])
        assert len(seqs) == 3


def test_c3_killed_while_it_salvages_there_is_no_file_or_a_whole_one(in_process, tmp_path):
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run(nodes=300))
    program = (
        KILLED
        + """
    rng = random.Random(1)
    for moment in range(12):
        forked(lambda tell: salvage("runs.db", f"{moment}.db"), rng.uniform(0, 0.15))
    """
    )
    in_process(program)
    for moment in range(12):
        if (tmp_path / f"{moment}.db").exists():
            with SQLiteStore(tmp_path / f"{moment}.db") as store:
                assert [info.events for info in store.list_runs()] == [902]
                assert store.verify() == []
    left = {found.suffix for found in tmp_path.iterdir()} - {".db", ".db-wal", ".db-shm"}
    assert left <= {".tmp"}
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert store.verify() == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_c3_killed_while_it_exports_the_old_file_or_the_new_one_stands(in_process, tmp_path, kind):
    import hexviz

    hexviz.export(hexviz.Recording(contract_run("old")), tmp_path / f"run.{kind}")
    program = (
        KILLED
        + f"""
    import hexviz
    from hexviz.testing.store_contract import contract_run
    recording = hexviz.Recording(contract_run("new", nodes=100))
    recording.frames, hexviz.load("run.{kind}")  # what takes long for the first time is done before
    rng = random.Random(1)
    seen = set()
    for moment in range(15):
        forked(lambda tell: hexviz.export(recording, "run.{kind}"), rng.uniform(0, 0.08))
        if not os.path.exists("run.{kind}"):
            (old,) = [name for name in os.listdir(".") if name.endswith(".old")]
            os.rename(old, "run.{kind}")  # a directory cannot be exchanged in one step
        runs = hexviz.load("run.{kind}").run_ids
        assert runs in (("old",), ("new",)), runs
    """
    )
    in_process(program, quiet=False, warnings="ignore")


# --- C4: what is on the disk --------------------------------------------------------------------------------------


def test_c4_flush_for_the_disk_returns_after_fsync_of_the_log_and_flush_for_the_os_calls_none(tmp_path, monkeypatch):
    synced, committed = [], []
    real = os.fsync

    def noted(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as other:
            committed.append(other.execute("SELECT events FROM runs").fetchone()[0])
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run()[:5])
        store.flush("os")
        assert synced == []
        store.append(contract_run()[5:])
        store.flush("disk")
        assert synced == [tmp_path / "runs.db-wal", tmp_path]
        assert committed == [17, 17]
        store.flush("disk")
        assert len(synced) == 4


def test_c4_c5_after_a_failed_fsync_the_records_are_written_anew_before_anything_is_acknowledged(tmp_path, monkeypatch):
    calls = []
    real = os.fsync

    def failing(handle):
        calls.append("fsync")
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr("hexviz.stores.writer._RETRY_S", 0.01)
    connections = []
    real_connect = sqlite_layout.connect
    for module in (sqlite, sqlite_log):
        monkeypatch.setattr(module, "connect", lambda path: connections.append(real_connect(path)) or connections[-1])
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run())
        with pytest.raises(StoreWriteError, match=r"Input/output error; 17 records stay queued"):
            store.flush("disk")
        store.flush("disk")
        assert store.statistics()["queued"] == 0
        assert len(connections) == 3  # the reader's, the writer's, and a new one after the error
        assert (tmp_path / "runs.db-wal").stat().st_size == 0  # the log was moved into the file
        assert list(store.read("run-1")) == [to_record(event) for event in contract_run()]
