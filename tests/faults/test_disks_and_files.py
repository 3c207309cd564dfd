"""Section E of the fault catalogue: full disks, cut and changed files, paths that cannot serve, many processes."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

import hexviz
from hexviz.errors import HexvizError
from hexviz.events.schema import from_record, to_record
from hexviz.stores import copying, sqlite, sqlite_copies
from hexviz.stores.errors import (
    NewerStoreError,
    NotAStoreError,
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
    StoreWriteError,
)
from hexviz.stores.jsonl import JsonLines
from hexviz.stores.salvage import salvage
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

NODES = 60
RUN = contract_run(nodes=NODES)
GOOD = [to_record(event) for event in RUN]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a store of one run in several segments, of a JSON lines file and of a Parquet directory of it."""
    place = tmp_path_factory.mktemp("whole")
    with SQLiteStore(place / "runs.db") as store:
        for first in range(0, len(RUN), 20):
            store.append(RUN[first : first + 20])
            store.flush()
    recording = hexviz.Recording(RUN)
    hexviz.export(recording, place / "run.jsonl")
    hexviz.export(recording, place / "run.parquet")
    return place


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


# --- E1: the disk is full -----------------------------------------------------------------------------------------


def fill(store, written):
    """Record runs of 900 events until the disk is full; how many events were acknowledged of each."""
    for number in range(200):
        run_id = f"run-{number}"
        store.append(contract_run(run_id, nodes=300))
        try:
            store.flush(timeout=20)
        except StoreWriteError as error:
            written[run_id] = 0
            return str(error)
        written[run_id] = 902
    raise AssertionError("the disk was never full")


def test_e1_a_full_disk_loses_nothing_acknowledged_and_what_is_queued_is_written_once_there_is_space(small_disk):
    (small_disk / "ballast").write_bytes(bytes(3 * 2**20))
    acked = {}
    with SQLiteStore(small_disk / "runs.db") as store:
        problem = fill(store, acked)
        assert "full" in problem or "disk I/O" in problem
        assert "902 records stay queued" in problem
        full = [run_id for run_id, count in acked.items() if count == 0]
        for run_id, count in acked.items():
            if count:
                assert len(list(store.read(run_id))) == count
        (small_disk / "ballast").unlink()
        store.flush(timeout=20)
        assert [info.events for info in store.list_runs()] == [902] * len(acked)
        assert len(list(store.read(full[0]))) == 902
        assert store.verify() == []


def test_e1_a_store_closed_on_a_full_disk_says_how_much_was_not_written(small_disk):
    acked = {}
    (small_disk / "ballast").write_bytes(bytes(3 * 2**20))
    store = SQLiteStore(small_disk / "runs.db")
    fill(store, acked)
    with pytest.raises(StoreWriteError, match="902 records could not be written"):
        store.close(timeout=5)
    (small_disk / "ballast").unlink()
    with SQLiteStore(small_disk / "runs.db") as again:
        assert [info.events for info in again.list_runs()] == [902] * (len(acked) - 1)
        assert again.verify() == []


def parts_of_copies(path, of):
    """How many parts are in the file of copies that were finished (IN), or were not (NOT IN)."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        return raw.execute(f"SELECT count(*) FROM copied WHERE token {of} (SELECT token FROM copies)").fetchone()[0]


def test_e1_parts_of_a_copy_that_a_full_disk_keeps_from_being_cleared_away_go_when_the_store_is_opened_again(
    small_disk, monkeypatch
):
    monkeypatch.setattr(copying, "LONG", 1)
    monkeypatch.setattr(sqlite, "_ROOM", 0)
    path = small_disk / "runs.db"
    with hexviz.open_store(path) as store:
        monkeypatch.setattr(store._writer, "_ended", None)  # the reader makes it, not the thread
        store.append(contract_run(nodes=1_500))
        store.flush()
        store._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (small_disk / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small_disk).free - 300_000)
        store.recording("run-1")
        left = parts_of_copies(path, "NOT IN")
        (small_disk / "ballast").unlink()
    hexviz.open_store(path).close()  # somebody may still be making it
    assert parts_of_copies(path, "NOT IN") == left > 0
    monkeypatch.setattr(sqlite_copies, "_STALE_S", -1)
    hexviz.open_store(path).close()
    assert parts_of_copies(path, "NOT IN") == 0


@pytest.mark.parametrize("room", [0, 130_000, 300_000])
def test_e1_a_copy_that_a_full_disk_stops_is_never_read_and_gone_once_there_is_space(small_disk, monkeypatch, room):
    """What could not be cleared away at once, since that wants room too, goes with the next copy."""
    monkeypatch.setattr(copying, "LONG", 1)
    monkeypatch.setattr(sqlite, "_ROOM", 0)
    run = contract_run(nodes=1_500)
    records = [to_record(event) for event in run]
    with hexviz.open_store(small_disk / "runs.db") as store:
        monkeypatch.setattr(store._writer, "_ended", None)  # the reader makes it, not the thread
        store.append(run)
        store.flush()
        store._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (small_disk / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small_disk).free - room)
        assert list(store.recording("run-1").records()) == records
        assert store._copy_of("run-1")[1] is None
        assert (list(store.read("run-1")), store.verify()) == (records, [])
        (small_disk / "ballast").unlink()
        assert list(store.recording("run-1").records()) == records
        assert store._copy_of("run-1")[1] is not None
        assert parts_of_copies(store.path, "IN") > 0
        assert parts_of_copies(store.path, "NOT IN") == 0
        assert list(store.recording("run-1").records()) == records


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_e1_an_export_to_a_full_disk_leaves_the_old_file_and_no_scratch(small_disk, kind):
    hexviz.export(hexviz.Recording(contract_run("old")), small_disk / f"run.{kind}")
    (small_disk / "ballast").write_bytes(bytes(7 * 2**20 + 2**19))
    before = sorted(small_disk.rglob("*"))
    with pytest.raises(StoreWriteError, match="No space left"):
        hexviz.export(hexviz.Recording(contract_run("new", nodes=3_000)), small_disk / f"run.{kind}")
    assert sorted(small_disk.rglob("*")) == before
    assert hexviz.load(small_disk / f"run.{kind}").run_ids == ("old",)


def test_e4_a_file_limit_in_the_middle_of_a_commit_leaves_no_torn_record(in_process, tmp_path):
    acked = json.loads(
        in_process(
            """
        import json, resource, signal
        from hexviz.stores.sqlite import SQLiteStore
        from hexviz.testing.store_contract import contract_run

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store, acked = SQLiteStore("runs.db"), 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        for number in range(100):
            store.append(contract_run(f"run-{number:03}", nodes=50))
            try:
                store.flush(timeout=20)
            except OSError:
                break
            acked += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.flush(timeout=20)
        store.append(contract_run("after"))
        store.close()
        print(json.dumps(acked))
        """
        )
    )
    assert 0 < acked < 100
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert [info.events for info in store.list_runs()] == [17] + [152] * (acked + 1)
        assert store.verify() == []


# --- E2, E6: paths that cannot serve, files of others -------------------------------------------------------------


def cannot_serve(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with sqlite3.connect(tmp_path / "theirs.db") as raw:
        raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    SQLiteStore(tmp_path / "newer.db").close()
    with sqlite3.connect(tmp_path / "newer.db") as raw:
        raw.execute("PRAGMA user_version = 3")
    raw.close()
    (tmp_path / "magic").write_bytes(b"SQLite format 4\x00" + bytes(5000))
    (tmp_path / "short").write_bytes(b"SQLite f")
    (tmp_path / "notes").write_text("my notes")
    return [
        ("file/runs.db", NotAStoreError),
        ("loop", NotAStoreError),
        ("loop/runs.db", NotAStoreError),
        ("pipe", NotAStoreError),
        ("theirs.db", NotAStoreError),
        ("newer.db", NewerStoreError),
        ("magic", NotAStoreError),
        ("short", NotAStoreError),
        ("notes", NotAStoreError),
        (".", NotAStoreError),
        ("nul\x00", NotAStoreError),
        ("x" * 300, NotAStoreError),
    ]


def test_e2_e6_a_path_that_cannot_serve_fails_at_once_by_name_and_is_left_alone(tmp_path):
    cases = cannot_serve(tmp_path)
    before = {found: found.read_bytes() for found in tmp_path.iterdir() if found.is_file() and not found.is_fifo()}
    for name, error in cases:
        with pytest.raises(error) as caught:
            SQLiteStore(tmp_path / name)
        assert tmp_path.name in str(caught.value), name
    assert {found: found.read_bytes() for found in before} == before


def test_e2_a_run_refuses_a_store_that_cannot_serve_before_its_first_node(tmp_path):
    (tmp_path / "file").touch()
    ran = []
    graph = hexviz.Graph("g")
    graph.node(lambda: ran.append(1), name="n")
    with pytest.raises(NotAStoreError, match="file"):
        hexviz.run_sync(graph, store=tmp_path / "file" / "runs.db")
    assert ran == []


def test_e2_a_directory_or_file_that_may_not_be_written_fails_at_open(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give rights away and look at a store as somebody else")
    (tmp_path / "locked").mkdir(mode=0o555)
    SQLiteStore(tmp_path / "theirs.db").close()
    for found in (tmp_path, *tmp_path.parents):
        if found.stat().st_uid == 0 and found.name.startswith(("pytest", "test")):
            found.chmod(0o755)
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import hexviz.stores.sqlite as s, hexviz.stores.errors as e
os.setuid(65534)
for name in ("locked/runs.db", "theirs.db"):
    try:
        s.SQLiteStore({str(tmp_path)!r} + "/" + name)
    except e.StoreReadOnlyError as error:
        print(name in str(error), "HEXVIZ_STORE" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True"] * 4, done.stdout + done.stderr
    assert issubclass(StoreReadOnlyError, StoreError)


def test_e6_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "runs.db").touch()
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run())
        store.flush()
        assert store.verify() == []


# --- E3: cut files ------------------------------------------------------------------------------------------------


def test_e3_json_lines_cut_at_every_byte_of_the_last_4_kb_give_the_longest_whole_prefix(tmp_path):
    run = contract_run(nodes=5)
    good = [to_record(event) for event in run]
    path = hexviz.export(hexviz.Recording(run), tmp_path / "run.jsonl")
    data = path.read_bytes()
    ends = [place for place, byte in enumerate(data) if byte == ord("\n")]
    for end in range(len(data) - 4096, len(data)):
        path.write_bytes(data[:end])
        reader = JsonLines(path)
        whole_lines = sum(place <= end for place in ends) - 1  # without the header; the last needs no line feed
        assert list(reader.records(damaged="skip")) == good[:whole_lines]
        assert reader.statistics()["whole"] == whole_lines
        assert whole_lines == len(good) or reader.damage
        if whole_lines < len(good):
            with pytest.raises(StoreCorruptError, match=f"{whole_lines}"):
                list(JsonLines(path).records())


def test_e3_a_store_cut_at_100_random_points_gives_a_prefix_or_a_named_error_and_salvage_says_what_is_lost(
    whole, tmp_path
):
    data = (whole / "runs.db").read_bytes()
    rng = random.Random(3)
    kept = []
    for number in range(100):
        path = tmp_path / f"{number}.db"
        path.write_bytes(data[: rng.randrange(1, len(data))])
        found = []
        with pytest.raises((StoreCorruptError, NotAStoreError)), SQLiteStore(path) as store:
            found.extend(store.read("run-1"))
        assert found == GOOD[: len(found)]
        try:
            done = salvage(path, tmp_path / f"{number}.salvaged.db")
        except NotAStoreError:
            continue
        kept.append(done.records)
        with SQLiteStore(done.path) as store:
            there = [record for info in store.list_runs() for record in store.read(info.run_id)]
        assert set(there) <= set(GOOD)
        assert done.lost or len(there) == len(GOOD)
        path.unlink()
    assert len(kept) > 30
    assert max(kept) > 0


def test_e3_a_cut_log_gives_what_was_committed_before(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")
    for first in range(0, len(RUN), 20):
        store.append(RUN[first : first + 20])
        store.flush()
    log = (tmp_path / "runs.db-wal").read_bytes()
    rng = random.Random(4)
    counts = set()
    for _ in range(40):
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            shutil.copyfile(tmp_path / "runs.db", f"{place}/runs.db")
            Path(f"{place}/runs.db-wal").write_bytes(log[: rng.randrange(len(log))])
            try:
                with SQLiteStore(f"{place}/runs.db") as cut:
                    found = list(cut.read("run-1")) if cut.list_runs() else []
            except StoreError:
                continue
            assert found == GOOD[: len(found)]
            counts.add(len(found))
    store.close()
    assert len(counts) > 3


# --- E5: changed bytes --------------------------------------------------------------------------------------------


def test_e5_20_random_byte_flips_in_each_of_1000_stores_never_give_a_wrong_record(tmp_path):
    run = contract_run(nodes=12)
    with SQLiteStore(tmp_path / "whole.db") as store:
        for first in range(0, len(run), 10):
            store.append(run[first : first + 10])
            store.flush()
    data, originals = (tmp_path / "whole.db").read_bytes(), [to_record(event) for event in run]
    good = set(originals)
    rng = random.Random(5)
    outcomes = {"whole": 0, "told": 0, "refused": 0}
    path = tmp_path / "runs.db"
    for _ in range(1_000):
        damaged = bytearray(data)
        for _ in range(20):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        for found in tmp_path.glob("runs.db*"):
            found.unlink()
        path.write_bytes(damaged)
        try:
            with SQLiteStore(path) as store:
                try:
                    records = [record for info in store.list_runs() for record in store.read(info.run_id)]
                except (HexvizError, StoreError):
                    outcomes["told"] += 1
                    assert store_verify_tells(store)
                    assert set(read_skipping(store)) <= good
                else:
                    outcomes["whole"] += 1
                    assert records == originals or store.list_runs() == [] or store_verify_tells(store)
                    assert set(records) <= good
        except (StoreError, HexvizError):
            outcomes["refused"] += 1
    assert outcomes["told"] > 150, outcomes


def store_verify_tells(store):
    try:
        return bool(store.verify())
    except StoreError:
        return True


def read_skipping(store):
    records = []
    try:
        for info in store.list_runs():
            records.extend(store.read(info.run_id, damaged="skip"))
    except HexvizError:
        pass
    return records


def test_e5_a_flip_in_any_byte_of_a_stored_record_is_found_by_its_seq_and_salvage_keeps_the_others(tmp_path):
    run = contract_run(nodes=3)
    path = tmp_path / "runs.db"
    with SQLiteStore(path) as store:
        store.append(run)
    record = to_record(run[4])
    place = path.read_bytes().index(record)
    original = path.read_bytes()
    for byte in range(0, len(record), 5):
        damaged = bytearray(original)
        damaged[place + byte] ^= 0x04
        path.write_bytes(damaged)
        with SQLiteStore(path) as store:
            assert [(found.seq, found.problem) for found in store.verify()] == [(5, "damaged record")]
            with pytest.raises(StoreCorruptError, match="event 5 of run 'run-1'"):
                list(store.pages("run-1"))
        assert path.read_bytes() == bytes(damaged)
    done = salvage(path)
    assert (done.records, [lost.seq for lost in done.lost]) == (10, [5])


@pytest.mark.parametrize("name", ["run.jsonl", "run.parquet"])
def test_e5_random_byte_flips_in_exported_files_never_give_a_wrong_record(whole, tmp_path, name):
    good = set(GOOD)
    rng = random.Random(6)
    for number in range(60):
        path = tmp_path / f"{number}{Path(name).suffix}"
        (shutil.copytree if (whole / name).is_dir() else shutil.copyfile)(whole / name, path)
        target = rng.choice([*path.rglob("*.parquet")]) if path.is_dir() else path
        damaged = bytearray(target.read_bytes())
        for _ in range(20):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        target.write_bytes(damaged)
        for mode in ("raise", "skip"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = list(hexviz.load(path, damaged=mode).records())
                except HexvizError:
                    continue
            assert set(found) <= good
            assert mode == "skip" or found == GOOD


# --- E7, E8: several processes ------------------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, {root!r})
from hexviz.events.events import NodeStarted
from hexviz.stores.sqlite import SQLiteStore
name = sys.argv[1]
with SQLiteStore("runs.db") as store:
    sys.stdin.readline()
    for seq in range(1, 301):
        store.append([NodeStarted(name, 1, run_id=name, seq=seq)])
        if seq % 10 == 0:
            store.flush()
"""


def start(program, *words, cwd):
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", program.format(root=root), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def test_e7_four_processes_write_300_events_each_into_one_store(tmp_path):
    children = [start(WRITER, f"run-{number}", cwd=tmp_path) for number in range(4)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, "")
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert sorted((info.run_id, info.events) for info in store.list_runs()) == [(f"run-{n}", 300) for n in range(4)]
        for number in range(4):
            assert [from_record(r).seq for r in store.read(f"run-{number}")] == list(range(1, 301))


def test_e7_of_two_processes_with_one_run_id_one_is_kept_whole_and_the_other_refused_by_name(tmp_path):
    children = [start(WRITER, "run-0", cwd=tmp_path) for _ in range(2)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert sorted(code for _, code in ends) == [0, 1]
    assert any("RunTakenError" in errors and "run 'run-0' with other events" in errors for errors, _ in ends)
    with SQLiteStore(tmp_path / "runs.db") as store:
        records = list(map(from_record, store.read("run-0")))
        assert [event.seq for event in records] == list(range(1, 301))
        clock = [event.monotonic_ns for event in records]
        assert clock == sorted(clock)


READER = """
import json, sys
sys.path.insert(0, {root!r})
from hexviz.events.schema import from_record
from hexviz.stores.sqlite import SQLiteStore
with SQLiteStore("runs.db") as store:
    print("ready", flush=True)
    print(json.dumps([from_record(record).seq for record in store.tail("run", timeout=30, poll_s=0.002)]))
"""


def test_e8_four_processes_tail_a_run_that_a_fifth_writes_and_see_every_event_in_order(tmp_path):
    run = contract_run("run", nodes=100)
    with SQLiteStore(tmp_path / "runs.db") as store:
        children = [start(READER, cwd=tmp_path) for _ in range(4)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for event in run:
            store.append([event])
            store.flush(timeout=10)
        for child in children:
            out, errors = child.communicate(timeout=60)
            assert errors == ""
            assert json.loads(out) == list(range(1, len(run) + 1))


def test_e8_a_reader_in_the_middle_of_a_run_never_holds_up_the_writer(tmp_path):
    with SQLiteStore(tmp_path / "runs.db") as store, SQLiteStore(tmp_path / "runs.db") as reader:
        store.append(RUN[:100])
        store.flush()
        reading = reader.read("run-1")
        next(reading)
        done = threading.Event()

        def write():
            store.append(RUN[100:])
            store.flush(timeout=10)
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        assert done.wait(10)  # while the reader holds on to its page
        thread.join()
        assert len(list(reading)) == len(RUN) - 1


# --- E9: the file goes away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_e9_a_run_whose_store_goes_away_ends_as_it_would_have_and_says_what_was_not_kept(tmp_path, how):
    def lose():
        hexviz_store.flush()
        for found in list(tmp_path.glob("runs.db*")):
            found.unlink() if how == "deleted" else found.rename(tmp_path / f"moved{found.name[4:]}")
        return 2

    graph = hexviz.Graph("g")
    graph.node(lose, name="lose")
    graph.node(lambda two: two + 1, name="after", after=["lose"])
    with hexviz.open_store(tmp_path / "runs.db") as hexviz_store:
        with pytest.warns(RuntimeWarning, match=r"deleted, moved or replaced"):
            result = hexviz.run_sync(graph, store=hexviz_store)
        assert result["after"] == 3
        assert result.recording.frames.nodes["status"].tolist() == ["succeeded"] * 2
        with contextlib.suppress(StoreWriteError):
            hexviz_store.close(timeout=1)


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_e9_a_file_that_goes_away_while_open_is_told_and_ends_no_run(tmp_path, how):
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run())
        store.flush()
        if how == "deleted":
            for found in tmp_path.glob("runs.db*"):
                found.unlink()
        else:
            (tmp_path / "runs.db").rename(tmp_path / "moved.db")
        store.append(contract_run("later"))
        with pytest.raises(StoreWriteError, match=r"deleted, moved or replaced.*runs\.db"):
            store.flush()
        assert not (tmp_path / "runs.db").exists()
        if how == "renamed":
            (tmp_path / "moved.db").rename(tmp_path / "runs.db")
            store.flush()
            assert [info.events for info in store.list_runs()] == [17, 17]
            return
        with pytest.raises(StoreWriteError, match="17 records could not be written"):
            store.close(timeout=2)
