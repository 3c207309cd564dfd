"""D, C1 and O1 for PostgreSQL: servers that are absent, silent, killed and come back; writers that are killed."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

import hexviz
from hexviz.events import events as ev
from hexviz.events.schema import from_record, to_record
from hexviz.stores import postgres_line, postgres_log
from hexviz.stores.errors import StoreUnreachableError, StoreWriteError
from hexviz.stores.postgres import PostgresStore
from hexviz.testing.store_contract import contract_run, kept

pytestmark = pytest.mark.server


def numbered(count, run_id="r", first=1):
    return [ev.NodeStarted(f"n{i}", 1, run_id=run_id, seq=i, monotonic_ns=i) for i in range(first, first + count)]


def seqs(store, run_id="r"):
    return [from_record(record).seq for record in store.read(run_id)]


def flushed(store, *, within_s=60.0):
    """Flush until it works: the server may be on its way."""
    limit = time.monotonic() + within_s
    while True:
        try:
            store.flush(timeout=10)
            return
        except StoreWriteError:
            assert time.monotonic() < limit
            time.sleep(0.05)


# --- absent and silent servers ------------------------------------------------------------------------------------


@pytest.fixture
def silent_port():
    """A port that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_d1_an_absent_server_is_told_at_open_within_the_limit(silent_port):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(StoreUnreachableError, match=f"127.0.0.1:{closed}/x cannot be reached"):
        hexviz.open_store(f"postgresql://me:s3cret@127.0.0.1:{closed}/x")
    with pytest.raises(StoreUnreachableError, match=r"no answer within 1 s") as told:
        PostgresStore(f"postgresql://me:s3cret@127.0.0.1:{silent_port}/x", connect_s=1.0)
    assert time.monotonic() - began < 20
    assert "s3cret" not in str(told.value)


def test_d1_a_run_told_to_an_absent_server_does_not_begin(silent_port):
    ran = []
    graph = hexviz.Graph("g")
    graph.node(lambda: ran.append(1), name="a")
    with pytest.raises(StoreUnreachableError):
        hexviz.run_sync(graph, store=f"postgresql://me@127.0.0.1:{silent_port}/x?connect_timeout=2")
    assert ran == []


def test_d3_a_server_that_stops_answering_holds_up_neither_run_nor_flush_nor_close_and_catches_up(own_server):
    server = own_server()
    store = PostgresStore(server.fresh(), work_s=1.0, connect_s=0.5)
    kept(store, numbered(10))
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for event in numbered(5_000, first=11):
            store.put(event)
        assert time.monotonic() - began < 5
        with pytest.raises(StoreWriteError, match=r"not written within 0.5 s, 5000 records are queued"):
            store.flush(timeout=0.5)
        with pytest.raises(StoreUnreachableError):
            list(store.read("r"))
        with pytest.raises(StoreWriteError):
            store.flush(timeout=6)  # by now the writer has cut the connection, and found no other
        assert time.monotonic() - began < 30
    finally:
        server.signal(signal.SIGCONT)
    flushed(store)
    assert seqs(store) == list(range(1, 5_011))
    server.signal(signal.SIGSTOP)
    try:
        store.put(numbered(1, first=6_000)[0])
        began = time.monotonic()
        with pytest.raises(StoreWriteError, match="could not be written"):
            store.close(timeout=1)
        assert time.monotonic() - began < 10
    finally:
        server.signal(signal.SIGCONT)


# --- servers that die ---------------------------------------------------------------------------------------------


def test_d2_a_run_goes_on_when_its_server_dies_and_everything_is_there_when_it_is_back(own_server):
    server = own_server()
    with PostgresStore(server.fresh()) as store:
        graph = hexviz.Graph("g")

        @graph.node
        def first():
            store.flush()
            server.kill()
            return 1

        for i in range(20):
            graph.node(lambda first: first + 1, name=f"n{i}", after=["first"])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            result = hexviz.run_sync(graph, store=store)
        assert (result.status, result["n19"]) == ("succeeded", 2)
        assert "is not wholly kept" in str(told[0].message)
        assert store.statistics()["queued"] > 0
        with pytest.raises(StoreWriteError, match=r"127.0.0.1:\d+/postgres.*(kept and sent again|queued)"):
            store.flush(timeout=10)
        server.start()
        flushed(store)
        assert list(store.read(result.run_id)) == [to_record(event) for event in result.recording.events()]
        assert store.verify() == []


def test_o1_what_was_acknowledged_survives_kill_9_of_the_server_and_nothing_is_there_twice(own_server):
    server, rng = own_server(), random.Random(4)
    store = PostgresStore(server.fresh())
    acked, sent, failures = 0, 0, 0
    for _ in range(4):
        killer = threading.Timer(rng.uniform(0.02, 0.3), server.kill)
        killer.start()
        while True:
            kept_now = numbered(rng.randint(1, 30), first=sent + 1)
            store.append(kept_now)
            sent += len(kept_now)
            try:
                store.flush(rng.choice(["os", "disk"]), timeout=10)
                acked = sent
            except StoreWriteError:
                failures += 1
                break
        killer.join()
        server.start()
        with PostgresStore(store_url(store, server)) as other:
            found = seqs(other)
            assert found[:acked] == list(range(1, acked + 1))
            assert found == sorted(set(found))
    flushed(store)
    assert seqs(store) == list(range(1, sent + 1))
    assert store.list_runs()[0].events == sent
    assert failures == 4
    assert [problem.problem for problem in store.verify()] == ["unclean end"]
    store.close()


def store_url(store, server):
    options = store._line.address._given["options"]
    return f"{server.url}?options={options.replace('=', '%3D')}"


def test_d2_a_server_that_was_restarted_is_found_again_by_reader_and_writer(own_server):
    server = own_server()
    with PostgresStore(server.fresh()) as store:
        kept(store, numbered(5))
        server.stop()
        server.start()
        assert seqs(store) == [1, 2, 3, 4, 5]
        kept(store, numbered(5, first=6))
        assert seqs(store) == list(range(1, 11))


def test_d3_connections_cut_while_records_are_sent_lose_and_double_nothing(url, shared_server):
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hexviz'"
    stop = threading.Event()

    def cut():
        while not stop.wait(0.03):
            shared_server.execute(sql)

    cutter = threading.Thread(target=cut)
    with PostgresStore(url) as store:
        cutter.start()
        try:
            for first in range(1, 20_000, 500):
                store.append(numbered(500, first=first))
                with contextlib.suppress(StoreWriteError):
                    store.flush(timeout=10)
        finally:
            stop.set()
            cutter.join()
        flushed(store)
        assert seqs(store) == list(range(1, 20_001))
        assert store.list_runs()[0].events == 20_000


def test_d3_a_commit_whose_acknowledgement_was_lost_is_sent_again_and_there_once(url):
    with PostgresStore(url) as store:
        kept(store, contract_run()[:3])
        log = store._writer._log
        commit, lost = type(log).commit, []

        def losing(parts, *, to_disk):
            found = commit(log, parts, to_disk=to_disk)
            if not lost:
                lost.append(1)
                raise postgres_line.driver().OperationalError("the answer was lost")
            return found

        log.commit = losing
        store.append(contract_run())
        with pytest.raises(StoreWriteError):
            store.flush()
        store.flush()
        assert list(store.read("run-1")) == [to_record(event) for event in contract_run()]
        assert store.list_runs()[0].events == 17


def test_d10_without_synchronous_commit_the_loss_is_seen(own_server, monkeypatch):
    """The control: the same oracle on a store that acknowledges too early must fail, or it could see no loss at all."""
    monkeypatch.setattr(postgres_log, "_COMMIT", {False: "off", True: "off"})
    server = own_server(wal_writer_delay="10s", wal_writer_flush_after="1GB", synchronous_commit="off")
    losses = 0
    for _ in range(3):
        address = server.fresh()
        store = PostgresStore(address)
        server.execute("CHECKPOINT")
        kept(store, numbered(50))
        server.kill()
        store.close()
        server.start()
        with PostgresStore(address) as again:
            found = seqs(again) if again.last_run_id() == "r" else []
        losses += len(found) < 50
        if losses:
            break
    assert losses, "no acknowledged record was lost in three attempts"


# --- writers that die ---------------------------------------------------------------------------------------------

WRITER = """
    import sys
    from hexviz.events import events as ev
    from hexviz.stores.postgres import PostgresStore
    store = PostgresStore(sys.argv[1])
    i = 0
    print("ready", flush=True)
    while True:
        for _ in range(25):
            i += 1
            store.put(ev.NodeStarted(f"n{i}", 1, run_id=sys.argv[2], seq=i, monotonic_ns=i))
        store.flush()
        print(i, flush=True)
"""


def test_c1_what_a_writer_had_acknowledged_when_it_was_killed_is_there(url):
    rng = random.Random(7)
    with PostgresStore(url) as store:
        for attempt in range(6):
            command = [sys.executable, "-c", textwrap.dedent(WRITER), url, f"run-{attempt}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout.readline() == "ready\n"
                time.sleep(rng.uniform(0.0, 0.4))
                child.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
                acked = [int(line) for line in child.stdout.read().split()]
            last = acked[-1] if acked else 0
            found = seqs(store, f"run-{attempt}") if last else []
            assert found[:last] == list(range(1, last + 1))
            assert found == list(range(1, len(found) + 1))
            assert len(found) - last <= 25
        assert {problem.problem for problem in store.verify()} <= {"unclean end"}
        kept(store, contract_run("after"))


def test_e7_four_processes_write_one_store_and_a_second_writer_of_a_run_is_refused(url):
    program = textwrap.dedent("""
        import sys
        from hexviz.stores.errors import RunTakenError
        from hexviz.stores.postgres import PostgresStore
        from hexviz.testing.store_contract import contract_run
        with PostgresStore(sys.argv[1]) as store:
            for some in (sys.argv[2], "shared"):
                run = contract_run(some, nodes=99)
                for first in range(0, 299, 10):
                    store.append(run[first : first + 10])
                    store.flush()
    """)
    command = [sys.executable, "-c", program, url]
    children = [subprocess.Popen([*command, str(i)], stderr=subprocess.PIPE, text=True) for i in range(4)]
    for child in children:
        assert (child.wait(60), child.stderr.read()) == (0, "")
        child.stderr.close()
    with PostgresStore(url) as store:
        assert {info.run_id: info.events for info in store.list_runs()} == dict.fromkeys([*"0123", "shared"], 299)
        assert store.verify() == []


def test_e8_a_reader_follows_a_run_that_another_process_writes(url):
    program = textwrap.dedent("""
        import sys, time
        from hexviz.stores.postgres import PostgresStore
        from hexviz.testing.store_contract import contract_run
        with PostgresStore(sys.argv[1]) as store:
            for event in contract_run(nodes=20):
                store.put(event)
                time.sleep(0.01)
    """)
    with PostgresStore(url) as store, subprocess.Popen([sys.executable, "-c", program, url]) as child:
        told = [from_record(record).seq for record in store.tail("run-1", timeout=30)]
        assert child.wait(30) == 0
    assert told == list(range(1, 63))
