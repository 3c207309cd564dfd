"""C5: the n-th write, fsync, rename or open fails. What was acknowledged is there, the run and its files are whole."""

import contextlib
import errno
import os
import resource
import signal

import pytest

from hexviz.errors import HexvizError
from hexviz.events.schema import from_record
from hexviz.spool import Entry, Spool, SpoolError
from hexviz.stores.errors import StoreWriteError
from hexviz.stores.files import new_directory, read_manifest
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

CALLS = ("fsync", "open", "rename", "replace", "mkdir", "write", "ftruncate", "unlink")


class Failing:
    """Makes the n-th call of the functions above fail, once."""

    def __init__(self, monkeypatch, code):
        self.left, self.code = 0, code
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real):
        def call(*args, **more):
            self.left -= 1
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **more)

        return call


@pytest.fixture(params=[errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def failing(request, monkeypatch):
    return Failing(monkeypatch, request.param)


def write_directory(word, target):
    with new_directory(target, "test", {}) as scratch:
        for name in ("a", "b"):
            (scratch / name).write_text(word)


def read_directory(target):
    words = {(target / name).read_text() for name in read_manifest(target, "test").files}
    return words.pop() if len(words) == 1 else words


def test_c5_a_directory_whose_nth_call_fails_leaves_the_old_or_the_new_one_whole(failing, tmp_path):
    target, told, seen = tmp_path / "run.csv", 0, set()
    for n in range(1, 200):
        write_directory("old", target)
        failing.left = n
        try:
            write_directory("new", target)
        except HexvizError:
            told += 1
        done, failing.left = failing.left > 0, 0
        beside = [found.name for found in tmp_path.iterdir() if found != target]
        assert all(found.endswith(".old") for found in beside)  # it could not be removed; a later write does it
        seen.add(read_directory(target))
        if done:
            break
    assert done
    assert told > 3
    assert seen == {"old", "new"}


def test_c5_a_spool_whose_nth_call_fails_keeps_what_it_took_and_says_what_it_did_not(failing, tmp_path):
    for n in range(1, 200):
        failing.left = 0
        kept, path = [], tmp_path / str(n)
        with Spool(path) as spool:
            failing.left = n
            for seq in range(1, 30):
                with contextlib.suppress(SpoolError):
                    spool.append([Entry("r", seq, b"x" * seq)])
                    kept.append(seq)
                if seq % 10 == 0:
                    with contextlib.suppress(SpoolError):
                        spool.sync()
            done, failing.left = failing.left > 0, 0
        with Spool(path) as spool:
            assert [entry.seq for entry in spool.peek(99)] == kept
        if done:
            return
    pytest.fail("every call failed")


def test_c5_a_store_whose_writes_fail_at_200_places_keeps_what_it_acknowledged_and_goes_on(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run, failures = contract_run(nodes=2), 0
    try:
        with SQLiteStore(tmp_path / "runs.db") as store:
            store.append(run)
            store.flush()
            log = tmp_path / "runs.db-wal"
            for n in range(200):
                events = contract_run(f"run-{n}", nodes=2)
                store.append(events)
                size = max(log.stat().st_size, 2**15)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200 * n, hard))
                try:
                    store.flush(timeout=10)
                except StoreWriteError:
                    failures += 1
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
                store.flush(timeout=10)
                assert [from_record(record).seq for record in store.read(f"run-{n}")] == [e.seq for e in events]
            assert store.verify() == []
            assert len(store.list_runs()) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert failures > 50
