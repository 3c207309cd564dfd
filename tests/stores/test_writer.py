"""The queue before a store: nothing is left behind, what is full waits, what is lost is counted."""

import sqlite3
import threading
import time

import pytest

from hexviz.events.events import NodeStarted
from hexviz.stores import writer as writer_module
from hexviz.stores.errors import StoreWriteError
from hexviz.stores.sqlite import SQLiteStore
from hexviz.stores.writer import Writer


class Kept:
    """A log in a list; it waits for ``gate`` and raises ``error`` while there is one."""

    passing = (OSError,)

    def __init__(self):
        self.seqs, self.error, self.gate = [], None, threading.Event()
        self.gate.set()

    def commit(self, parts, *, to_disk):
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.seqs += [seq for part in parts for seq in part.seqs]
        return []

    def catch_up(self):
        return None

    def close(self):
        pass


def event(seq):
    return NodeStarted("n", 1, run_id="r", seq=seq)


@pytest.fixture
def log():
    return Kept()


@pytest.fixture
def writer(log):
    writer = Writer(log, "test")
    yield writer
    log.gate.set()
    log.error = None
    writer.close(10)


def test_what_is_put_is_written_without_a_flush(writer, log):
    for seq in range(1, 200):
        writer.put(event(seq))
        if seq % 20 == 0:
            time.sleep(0.011)  # about when the thread falls asleep
    deadline = time.monotonic() + 20
    while len(log.seqs) < 199 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.seqs == list(range(1, 200))


def test_several_threads_put_and_nothing_is_left_behind(writer, log, monkeypatch):
    monkeypatch.setattr(writer_module, "GROUP_S", 0.0005)

    def put(first):
        for seq in range(first, first + 5_000):
            writer.put(event(seq))

    threads = [threading.Thread(target=put, args=(first,)) for first in (0, 10_000, 20_000, 30_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush("os", 20)
    assert len(set(log.seqs)) == len(log.seqs) == 20_000
    assert (writer.queued, writer.lost) == (0, 0)


def test_a_full_queue_holds_the_caller_up_until_there_is_room(writer, log, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_QUEUED", 100)
    monkeypatch.setattr(writer_module, "_BATCH", 50)
    log.gate.clear()
    done = threading.Event()

    def put():
        for seq in range(1_000):
            writer.put(event(seq))
        done.set()

    threading.Thread(target=put, daemon=True).start()
    time.sleep(0.3)
    assert not done.is_set() or writer.queued <= 1_000
    log.gate.set()
    assert done.wait(20)
    writer.flush("os", 20)
    assert log.seqs == list(range(1_000))
    assert writer.lost == 0


def test_while_writing_fails_a_full_queue_loses_and_counts_and_keeps_the_rest(writer, log, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_QUEUED", 100)
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.001)
    log.error = OSError(28, "No space left on device")
    writer.put(event(0))
    with pytest.raises(StoreWriteError, match="No space left"):
        writer.flush("os", 20)
    for seq in range(1, 2_000):
        writer.put(event(seq))
        time.sleep(0.0001)
    assert writer.lost > 0
    log.error = None
    writer.flush("os", 20)
    assert len(log.seqs) + writer.lost == 2_000
    assert log.seqs == sorted(log.seqs)


def test_after_closing_everything_is_lost_and_counted(writer, log):
    writer.put(event(1))
    assert writer.close(10) == 0
    for seq in range(2, 12):
        writer.put(event(seq))
    assert (log.seqs, writer.lost, writer.queued) == ([1], 10, 0)


def test_out_of_memory_while_writing_keeps_the_records(writer, log, monkeypatch):
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.001)
    log.error = MemoryError()
    writer.put(event(1))
    with pytest.raises(StoreWriteError):
        writer.flush("os", 20)
    log.error = None
    writer.flush("os", 20)
    assert (log.seqs, writer.refused) == ([1], 0)


def test_a_file_locked_by_another_program_is_waited_for(tmp_path):
    with SQLiteStore(tmp_path / "runs.db") as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.put(event(1))
        with pytest.raises(StoreWriteError, match=r"not written within 0\.2 s, 1 records are queued"):
            store.flush(timeout=0.2)
        other.execute("COMMIT")
        other.close()
        store.flush()
        assert len(list(store.read("r"))) == 1


def test_a_flush_after_closing_returns_at_once_and_tells_what_was_left(writer, log):
    writer.put(event(1))
    writer.close(30)
    writer.flush("os", None)
    log.error = OSError("full")
    other = Writer(log, "other")
    other.put(event(2))
    other.close(30)
    with pytest.raises(StoreWriteError, match="closed with 1 records that were not written"):
        other.flush("os", None)
