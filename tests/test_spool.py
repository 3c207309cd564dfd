"""The spool: what waits on the disk for a server comes back in order, whatever happened to the process meanwhile."""

import contextlib
import errno
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hexviz.spool import Dropped, Entry, Spool, SpoolError, SpoolTakenError, files, lease
from hexviz.spool import spool as spool_module


def entries(count, first=1, run_id="r", size=20):
    return [Entry(run_id, seq, b"x" * size) for seq in range(first, first + count)]


def everything(spool, most=7):
    found = []
    while some := spool.peek(most):
        found += some
        spool.done(len(some))
    return found


class Machine(RuleBasedStateMachine):
    """Against a list: appends, deliveries, and processes that close, or end without a word."""

    def __init__(self):
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.path = Path(self.place.name) / "spool"
        self.spool, self.waiting, self.seq, self.given = Spool(self.path), [], 0, 0

    @rule(records=st.lists(st.binary(max_size=60) | st.just(b"\xffhx\n" * 9), max_size=9), run_id=st.text(max_size=3))
    def append(self, records, run_id):
        some = [Entry(run_id, self.seq + place, record) for place, record in enumerate(records)]
        self.seq += len(some)
        assert self.spool.append(some) == len(some)
        self.waiting += some

    @rule(most=st.integers(1, 12))
    def peek(self, most):
        found = self.spool.peek(most)
        assert found == self.waiting[: len(found)]
        assert bool(found) == bool(self.waiting)
        self.given = max(self.given, len(found))

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def done(self, data):
        count = data.draw(st.integers(0, self.given))
        self.spool.done(count)
        del self.waiting[:count]
        self.given -= count

    @rule(close=st.booleans())
    def another_process(self, close):
        if close:
            self.spool.close()
        else:
            os.close(self.spool._lease._handle)  # what is left of it is what the disk holds
        self.spool, self.given = Spool(self.path), 0

    @invariant()
    def as_many_wait(self):
        assert len(self.spool) == len(self.waiting)

    def teardown(self):
        self.spool.close()
        assert self.path.exists() == bool(self.waiting)
        self.place.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_many_files_are_read_in_order_and_removed_as_they_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "_FILE_BYTES", 2_000)
    with Spool(tmp_path / "s") as spool:
        for first in range(1, 1_000, 10):
            spool.append(entries(10, first))
        files = len(list(spool.path.glob("*.spool")))
        assert files > 10
        assert everything(spool) == entries(1_000)
        assert (list(spool.path.glob("*.spool")), spool.nbytes) == ([], 0)
    assert not (tmp_path / "s").exists()


def test_beyond_its_bytes_entries_are_dropped_counted_and_named_and_room_comes_back(tmp_path):
    with Spool(tmp_path / "s", max_bytes=2_000) as spool:
        kept = spool.append(entries(100))
        assert 0 < kept < 100
        assert sum(file.stat().st_size for file in spool.path.glob("*.spool")) <= 2_000
        assert spool.append(entries(2, run_id="b", first=8)) == 0
        assert spool.dropped() == [Dropped("r", kept + 1, 100, 100 - kept), Dropped("b", 8, 9, 2)]
        assert spool.dropped_count == 102 - kept
        assert everything(spool) == entries(kept)
        assert spool.append(entries(3, first=200)) == 3
        assert everything(spool) == entries(3, first=200)


def test_the_list_of_what_was_dropped_is_bounded(tmp_path):
    with Spool(tmp_path / "s", max_bytes=0) as spool:
        spool.append([Entry(f"r{i}", i, b"") for i in range(3_000)])
        assert len(spool.dropped()) == spool_module.MAX_RANGES
        assert sum(dropped.entries for dropped in spool.dropped()) == spool.dropped_count == 3_000


def test_files_are_for_their_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with Spool(tmp_path / "s") as spool:
            spool.append(entries(1))
            modes = {file.name.partition(".")[2]: file.stat().st_mode & 0o777 for file in spool.path.iterdir()}
            assert modes == {"": 0o600, "spool": 0o600}
            assert spool.path.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_a_second_spool_at_the_place_is_refused_until_the_first_is_closed(tmp_path):
    with Spool(tmp_path / "s") as first:
        first.append(entries(1))
        with pytest.raises(SpoolTakenError, match="open elsewhere"):
            Spool(tmp_path / "s")
    first.close()
    with pytest.raises(SpoolError, match="was closed"):
        first.append(entries(1))
    with Spool(tmp_path / "s") as second:
        assert everything(second) == entries(1)


class WindowsLocks:
    """The locks that ``msvcrt`` has, made of those of Linux: of bytes, from where the file stands, for one handle."""

    LK_NBLCK = 2

    @staticmethod
    def locking(handle, mode, count):
        import fcntl

        assert (mode, os.lseek(handle, 0, os.SEEK_CUR)) == (WindowsLocks.LK_NBLCK, 2**31 - 2)
        only_reads = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        kind = fcntl.F_RDLCK if only_reads else fcntl.F_WRLCK  # Linux wants a handle that writes for the other
        place = struct.pack("hhqqi4x", kind, os.SEEK_CUR, 0, count, 0)
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, place)


@pytest.fixture
def _on_windows(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("the locks of Windows are made of those of Linux")
    monkeypatch.setattr(lease, "_posix", None)
    monkeypatch.setattr(lease, "_windows", WindowsLocks)


@pytest.mark.usefixtures("_on_windows")
def test_with_the_locks_of_windows_a_second_spool_is_refused_too(tmp_path):
    with Spool(tmp_path / "s") as first:
        first.append(entries(1))
        with pytest.raises(SpoolTakenError, match="open elsewhere"):
            Spool(tmp_path / "s")
    with Spool(tmp_path / "s") as second:
        assert everything(second) == entries(1)


@pytest.mark.usefixtures("_on_windows")
def test_with_the_locks_of_windows_a_file_is_free_when_it_is_closed_and_stands_where_it_stood(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    with (tmp_path / "f").open("rb+", buffering=0) as file:
        file.seek(2)
        assert lease.is_free(tmp_path / "f")
        assert lease.take(file.fileno())
        assert not lease.is_free(tmp_path / "f")
        assert file.read() == b"c"
    assert lease.is_free(tmp_path / "f")


@pytest.mark.parametrize("place", ["a file", "below a file", "\0"])
def test_a_place_that_cannot_serve_is_named(tmp_path, place):
    (tmp_path / "a file").write_bytes(b"")
    path = tmp_path / ("a file/s" if place == "below a file" else place)
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(path)


def test_a_forked_child_cannot_use_it_and_takes_nothing_from_its_parent(tmp_path):
    code = f"""
import os, sys
from hexviz.spool import Spool, SpoolError, Entry
spool = Spool({str(tmp_path / "s")!r})
spool.append([Entry("r", 1, b"x")])
if not os.fork():
    try:
        spool.append([Entry("r", 2, b"y")])
    except SpoolError as error:
        spool.close()
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
assert spool.peek(9) == [Entry("r", 1, b"x")]
try:
    Spool({str(tmp_path / "s")!r})
except SpoolError:
    print("still taken")
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "still taken\n"


WRITER = """
import sys
from hexviz.spool import spool
from hexviz.spool import Entry, Spool
spool._FILE_BYTES = 20_000
kept = Spool(sys.argv[1])
seq = 0
while True:
    kept.append([Entry("r", seq + i, b"%d" % (seq + i)) for i in range(1, 51)])
    seq += 50
    print(seq, flush=True)
    if not seq % 500:
        kept.done(len(kept.peek(20)))
"""


def test_what_was_appended_before_kill_9_is_given_by_the_next_in_order(tmp_path):
    rng = random.Random(3)
    for number in range(4):
        path = tmp_path / str(number)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        for _ in range(rng.randint(5, 60)):
            acked = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        acked = int(rest[-1]) if rest else acked
        with Spool(path) as spool:
            count, found = len(spool), everything(spool)
        seqs = [entry.seq for entry in found]
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        assert (seqs[0] - 1) <= 20 * (acked // 500 + 1)
        assert acked <= seqs[-1] <= acked + 50
        assert count == len(found)
        assert all(entry.record == b"%d" % entry.seq for entry in found)


def test_damage_costs_the_entries_that_it_hit(tmp_path):
    rng = random.Random(5)
    for number in range(60):
        path = tmp_path / str(number)
        with Spool(path) as spool:
            spool.append(entries(50, size=30))
        file = next(path.glob("*.spool"))
        data = bytearray(file.read_bytes())
        hits = [rng.randrange(len(data)) for _ in range(3)]
        for hit in hits:
            data[hit] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        with Spool(path) as spool:
            found = everything(spool)
            assert set(found) <= set(entries(50, size=30))
            assert found == sorted(found)
            assert len(found) >= 47
            assert (spool.damaged_bytes > 0) == (len(found) < 50)


def test_a_file_cut_anywhere_gives_the_entries_before_the_cut(tmp_path):
    with Spool(tmp_path / "s") as spool:
        spool.append(entries(5))
    file = next((tmp_path / "s").glob("*.spool"))
    whole = file.read_bytes()
    size = (len(whole) - files.FIRST) // 5
    for cut in range(len(whole)):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(whole[:cut])
        with Spool(tmp_path / "s") as spool:
            assert everything(spool) == entries(max(0, (cut - files.FIRST) // size))


def test_a_disk_that_takes_no_more_leaves_the_spool_as_it_was(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Spool(tmp_path / "s") as spool:
        spool.append(entries(10))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
            with pytest.raises(SpoolError, match="cannot be written") as told:
                spool.append(entries(500, first=11))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert told.value.__cause__.errno == errno.EFBIG
        spool.append(entries(5, first=11))
        assert (len(spool), spool.dropped_count) == (15, 0)
        assert everything(spool) == entries(15)


def test_sync_puts_every_file_that_was_written_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "_FILE_BYTES", 500)
    with Spool(tmp_path / "s") as spool:
        for first in range(1, 50, 10):
            spool.append(entries(10, first))
        synced = []

        def fsync(handle, real=os.fsync):
            synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        spool.sync()
        assert set(synced) == {str(spool.path), *map(str, spool.path.glob("*.spool"))}
        spool.sync()
        assert len(synced) == len(set(synced))


def test_more_than_was_given_cannot_be_done(tmp_path):
    with Spool(tmp_path / "s") as spool, contextlib.suppress(SpoolError):
        spool.append(entries(3))
        with pytest.raises(ValueError, match="0 entries were given"):
            spool.done(1)
