"""D1, D2, D3 and D5 for PostgreSQL with a spool: records wait on the disk for a server that is away."""

import logging
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import hexviz
from hexviz.events.schema import to_record
from hexviz.spool import Entry, SpoolTakenError
from hexviz.stores.errors import StoreUnreachableError, StoreWriteError
from hexviz.stores.postgres import PostgresStore
from hexviz.testing.store_contract import kept
from tests.faults.test_postgres import numbered, seqs

pytestmark = pytest.mark.server


def arrived(store, count, *, within_s=60.0):
    """Wait until the server has so many events of the run."""
    limit = time.monotonic() + within_s
    while store.statistics()["spooled"]:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert seqs(store) == list(range(1, count + 1))
    assert [problem.problem for problem in store.verify()] == ["unclean end"]


def test_d1_a_run_begins_without_its_server_and_everything_arrives_in_order_once_it_is_there(own_server, tmp_path):
    server = own_server()
    address = server.fresh()
    server.stop()
    graph = hexviz.Graph("g")
    began = []
    for i in range(200):
        graph.node(lambda: began.append(time.monotonic()) or 1, name=f"n{i}")
    opened = time.monotonic()
    with hexviz.open_store(address, spool=tmp_path / "spool") as store:
        result = hexviz.run_sync(graph, store=store)
        assert min(began) - opened < 2  # a limit of its own would be five seconds
        assert (result.status, result["n199"]) == ("succeeded", 1)
        assert store.statistics() == {"written": 0, "queued": 0, "refused": 0, "lost": 0, "spooled": 404}
        with pytest.raises(StoreUnreachableError):
            store.recording(result.run_id)
        server.start()
        limit = time.monotonic() + 60
        while store.statistics()["spooled"]:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert list(store.read(result.run_id)) == [to_record(event) for event in result.recording.events()]
        assert store.statistics() == {"written": 404, "queued": 0, "refused": 0, "lost": 0, "spooled": 0}
        assert store.verify() == []
    assert not (tmp_path / "spool").exists()


def test_d1_a_full_spool_drops_the_newest_and_says_which(own_server, tmp_path):
    server = own_server()
    address = server.fresh()
    server.stop()
    with PostgresStore(address, spool=tmp_path / "s", spool_bytes=50_000) as store:
        store.append(numbered(1_000))
        with pytest.raises(StoreWriteError, match=r"is full \(50000 bytes\): \d+ events of run 'r'") as told:
            store.flush()
        waiting = store.statistics()["spooled"]
        assert sum(file.stat().st_size for file in (tmp_path / "s").glob("*.spool")) <= 50_000
        assert f"{1_000 - waiting} events of run 'r' are lost, seq {waiting + 1} to 1000" in str(told.value)
        assert store.statistics() == {
            "written": 0, "queued": 0, "refused": 0, "lost": 1_000 - waiting, "spooled": waiting,
        }  # fmt: skip
        server.start()
        arrived(store, waiting)


def test_d2_what_was_flushed_around_kill_9_of_the_server_arrives_once_and_in_order(own_server, tmp_path):
    server, rng, sent = own_server(), random.Random(8), 0
    with PostgresStore(server.fresh(), spool=tmp_path / "s") as store:
        for _ in range(2):
            for _ in range(rng.randint(3, 9)):
                some = numbered(rng.randint(1, 400), first=sent + 1)
                kept(store, some)
                sent += len(some)
            server.kill()
            kept(store, numbered(50, first=sent + 1))
            sent += 50
            server.start()
        arrived(store, sent)


def test_d3_a_server_that_stops_answering_fills_the_spool_and_gets_it_when_it_answers(own_server, tmp_path):
    server = own_server()
    with PostgresStore(server.fresh(), work_s=1.0, connect_s=0.5, spool=tmp_path / "s") as store:
        kept(store, numbered(10))
        server.signal(signal.SIGSTOP)
        try:
            kept(store, numbered(2_000, first=11))
            assert store.statistics()["spooled"] == 2_000
        finally:
            server.signal(signal.SIGCONT)
        arrived(store, 2_010)


WRITER = """
    import os, sys
    from hexviz.events import events as ev
    from hexviz.stores.postgres import PostgresStore
    store = PostgresStore(sys.argv[1], spool=sys.argv[2])
    for first in range(1, 5_000, 50):
        for i in range(first, first + 50):
            store.put(ev.NodeStarted(f"n{i}", 1, run_id="r", seq=i, monotonic_ns=i))
        store.flush("disk")
        print(first + 49, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_d5_a_rerun_sends_what_a_killed_process_had_flushed_into_its_spool(own_server, tmp_path):
    server = own_server()
    address = server.fresh()
    server.stop()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), address, tmp_path / "s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.read().split()[-1] == "5000"
    server.start()
    with PostgresStore(address, spool=tmp_path / "s") as store:
        arrived(store, 5_000)
        kept(store, numbered(10, first=5_001))
        arrived(store, 5_010)


def test_d5_close_returns_in_its_time_says_how_many_wait_and_a_rerun_sends_them(own_server, tmp_path, caplog):
    server = own_server()
    address = server.fresh()
    server.stop()
    store = PostgresStore(address, spool=tmp_path / "s")
    for event in numbered(20_000):
        store.put(event)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="hexviz.stores"):
        store.close(timeout=30)
    assert time.monotonic() - began < 20
    assert f"20000 records wait in the spool {tmp_path / 's'}" in caplog.messages[-1]
    assert store.statistics()["spooled"] == 20_000
    server.start()
    with PostgresStore(address, spool=tmp_path / "s") as again:
        arrived(again, 20_000)
    assert "s3cretpw" not in caplog.text


def test_one_spool_is_for_one_store_at_a_time(url, tmp_path):
    with PostgresStore(url, spool=tmp_path / "s"), pytest.raises(SpoolTakenError):
        PostgresStore(url, spool=tmp_path / "s")


def test_a_record_that_the_server_can_never_hold_stops_none_behind_it(own_server, tmp_path):
    server = own_server()
    address = server.fresh()
    server.stop()
    with PostgresStore(address, spool=tmp_path / "s") as store:
        kept(store, numbered(3))
        store._spooled.spool.append([Entry("r", 4, b"no record")])
        kept(store, numbered(3, first=5))
        server.start()
        limit = time.monotonic() + 60
        while store.statistics()["spooled"]:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert seqs(store) == [1, 2, 3, 5, 6, 7]


def test_a_store_in_a_file_takes_no_spool(tmp_path):
    with pytest.raises(hexviz.HexvizError, match="spool= is for a store on a server"):
        hexviz.open_store(tmp_path / "runs.db", spool=tmp_path / "s")
