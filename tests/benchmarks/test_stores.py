"""What keeping a run costs, each beside its limit in the same process: a ratio, not a time (see docs/performance.md).

Run with ``python -m pytest tests/benchmarks/test_stores.py --benchmark-enable``; HEXVIZ_BENCH_EVENTS sets the number of
events (default 200,000; the published figures are of 1,000,000), HEXVIZ_BENCH_MANY that of the large file (default
2,000,000; published 10,000,000). Figures are medians of interleaved repeats and stand in ``extra_info``; nothing is
asserted of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter, process_time

import pytest

import hexviz
from hexviz.dag import Graph, NodeSpec, Orchestrator
from hexviz.events import NodeCompleted, NodeStarted, ObserverManager, PipelineCompleted
from hexviz.events.schema import to_records
from hexviz.events.summary import Summariser
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.stores.sqlite import SQLiteStore
from tests.stores.postgres_server import Server, programs

EVENTS = int(os.environ.get("HEXVIZ_BENCH_EVENTS", "200000"))
MANY = int(os.environ.get("HEXVIZ_BENCH_MANY", "2000000"))
REPEATS = 5
GROUP = 5_000
RUN_ID = "20260102T030405123456-0123abcd"


def made_events(count, first=1):
    """A run as it is: each node started, with parents and a worker, and completed with a small result."""
    summarise = Summariser()
    for seq in range(first, first + count, 2):
        facts = {"run_id": RUN_ID, "pipeline": "etl"}
        name = f"node-{seq % 997}"
        yield NodeStarted(name, 1 + seq % 7, ("load", "clean"), queued_ms=0.5, worker="loop", seq=seq, **facts)
        yield summarise(NodeCompleted(name, 1 + seq % 7, [1, 2, 3], 1.25, seq=seq + 1, **facts))


@pytest.fixture(scope="module")
def events():
    return list(made_events(EVENTS))


def timed(work, clock):
    started = clock()
    work()
    return clock() - started


def compare(benchmark, work, limits, *, per, repeats=REPEATS):
    """``work`` and its limits in turn, by wall and by processor time; work / limit for each."""

    def measure():
        named = {"": work, **limits}
        rounds = {name: {"wall": [], "cpu": []} for name in named}
        for _ in range(repeats):
            for name, call in named.items():
                cpu = process_time()
                rounds[name]["wall"].append(timed(call, perf_counter))
                rounds[name]["cpu"].append(process_time() - cpu)
        for clock in ("wall", "cpu"):
            mine = statistics.median(rounds[""][clock])
            benchmark.extra_info[f"us_{clock}"] = round(mine / per * 1e6, 3)
            for name in limits:
                limit = statistics.median(rounds[name][clock])
                benchmark.extra_info[f"{name}_us_{clock}"] = round(limit / per * 1e6, 3)
                benchmark.extra_info[f"{name}_ratio_{clock}"] = round(mine / limit, 3)

    benchmark.pedantic(measure, rounds=1, iterations=1)


# --- appending ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_appending_against_executemany_of_a_row_for_each_record(benchmark, events, tmp_path, durability):
    """Ratios below 1 / 0.7 = 1.43 are wanted; ``rows`` has its records ready, ``encoded_rows`` makes them as we do."""
    ready = [(1, event.seq, record) for event, record in zip(events, to_records(events), strict=True)]
    count = iter(range(10**6))

    def rows(batch_of):
        with closing(sqlite3.connect(tmp_path / f"rows-{next(count)}.db", isolation_level=None)) as raw:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA synchronous = {'NORMAL' if durability == 'os' else 'FULL'}")
            raw.execute("CREATE TABLE records (run, seq INTEGER, record BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID")
            for first in range(0, len(events), GROUP):
                raw.execute("BEGIN IMMEDIATE")
                raw.executemany("INSERT INTO records VALUES (?, ?, ?)", batch_of(first))
                raw.execute("COMMIT")

    def encoded(first):
        some = events[first : first + GROUP]
        return [(1, event.seq, record) for event, record in zip(some, to_records(some), strict=True)]

    def store():
        with SQLiteStore(tmp_path / f"store-{next(count)}.db") as kept:
            for first in range(0, len(events), GROUP):
                for event in events[first : first + GROUP]:
                    kept.put(event)
                kept.flush(durability)

    limits = {"rows": lambda: rows(lambda first: ready[first : first + GROUP]), "encoded_rows": lambda: rows(encoded)}
    compare(benchmark, store, limits, per=len(events))


def test_what_put_costs_the_run(benchmark, events, tmp_path):
    """Microseconds per event, against appending to a list."""
    with SQLiteStore(tmp_path / "runs.db") as store:

        def put():
            for event in events[:50_000]:
                store.put(event)

        def append():
            kept = []
            for event in events[:50_000]:
                kept.append(event)  # noqa: PERF402 - the call is what is compared

        compare(benchmark, put, {"list": append}, per=50_000)


# --- reading back -------------------------------------------------------------------------------------------------

TYPED = (
    "timestamp INTEGER, run_id TEXT, seq INTEGER, monotonic_ns INTEGER, pipeline TEXT, type TEXT, name TEXT,"
    " wave INTEGER, attempt INTEGER, duration_ms REAL, worker TEXT, result TEXT"
)


def typed_rows(events):
    """What :data:`TYPED` has of each event."""
    for e in events:
        yield (
            int(e.timestamp.timestamp() * 1e6), e.run_id, e.seq, e.monotonic_ns, e.pipeline, type(e).__name__, e.name,
            e.wave_index, e.attempt, getattr(e, "duration_ms", None), getattr(e, "worker", None),
            str(getattr(e, "result", "")),
        )  # fmt: skip


def keep(store, events):
    """Put the events of a run that ends, and wait until the store has made a copy; the copy's bytes, and seconds."""
    for event in (*events, PipelineCompleted("etl", 1.0, run_id=RUN_ID, seq=len(events) + 1)):
        store.put(event)
    store.flush(timeout=None)
    started = perf_counter()
    while (copy := store._copy_of(RUN_ID)[1]) is None:
        assert perf_counter() < started + 120
        time.sleep(0.1)
    return sum(map(len, copy.parts)), perf_counter() - started


def record_and_leave(store, events):
    """Record a run that goes on; the recorder, as it is when its process is killed, and the part that is copied."""
    recorder = Recorder(store=store)
    for first in range(0, len(events), GROUP):
        for event in events[first : first + GROUP]:
            recorder(event)
        store.flush(timeout=None)
    deadline = perf_counter() + 120
    while store._copier._grown:
        assert perf_counter() < deadline
        time.sleep(0.1)
    found = store._copy_of(RUN_ID)[1]
    return recorder, (found.events if found else 0) / len(events)


def fetched(connect, length):
    """What ADBC gives of the table of typed rows."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM events")
        assert cursor.fetch_arrow_table().num_rows == length


def test_a_stored_run_against_adbc_fetching_typed_rows_to_arrow(benchmark, events, tmp_path):
    """``recording`` is without the frame; ``first`` reads the pages, as whoever comes first to a run without a copy.

    Nobody has recorded or read the run here: the store itself has made the copy, ``left_s`` after the run's end.
    ``killed`` reads a run whose recorder has not come to its end.
    """
    from adbc_driver_sqlite import dbapi

    with closing(sqlite3.connect(tmp_path / "typed.db")) as raw:
        raw.execute(f"CREATE TABLE events ({TYPED})")
        raw.executemany(f"INSERT INTO events VALUES ({', '.join('?' * 12)})", typed_rows(events))
        raw.commit()
    with hexviz.open_store(tmp_path / "runs.db") as store, hexviz.open_store(tmp_path / "killed.db") as other:
        copy_bytes, left_s = keep(store, events)
        recorder, copied = record_and_leave(other, events)
        assert len(recorder) == len(events)
        work = {
            "pages": lambda: list(store.pages(RUN_ID)),
            "recording": lambda: store.recording(RUN_ID),
            "first": lambda: Recording.from_pages(store.pages(RUN_ID)).frames.events,
            "killed": lambda: other.recording(RUN_ID).frames.events,
        }
        benchmark.extra_info.update(
            killed_copied=round(copied, 2),
            copy_bytes_per_event=round(copy_bytes / len(events)),
            left_s=round(left_s, 2),
        )
        limits = {"adbc": lambda: fetched(lambda: dbapi.connect(str(tmp_path / "typed.db")), len(events)), **work}
        compare(benchmark, lambda: store.recording(RUN_ID).frames.events, limits, per=len(events))
        for name in work:
            benchmark.extra_info[f"{name}_of_adbc"] = round(
                benchmark.extra_info[f"{name}_us_cpu"] / benchmark.extra_info["adbc_us_cpu"], 3
            )


def test_a_run_on_a_server_against_adbc_fetching_typed_rows_to_arrow(benchmark, events):
    """The same in PostgreSQL; by the wall, since the server works for both."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi", reason="pip install adbc-driver-postgresql")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with ExitStack() as stack:
        server = Server(fsync="off")
        stack.callback(server.remove)
        url = server.start().fresh()
        raw = stack.enter_context(psycopg.connect(url, autocommit=True))
        raw.execute(f"CREATE TABLE events ({TYPED.replace('INTEGER', 'int8').replace('REAL', 'float8')})")
        with raw.cursor() as cursor, cursor.copy("COPY events FROM STDIN") as copy:
            for row in typed_rows(events):
                copy.write_row(row)
        store = stack.enter_context(hexviz.open_store(url))
        other = stack.enter_context(hexviz.open_store(server.fresh()))
        keep(store, events)
        recorder, copied = record_and_leave(other, events)
        assert len(recorder) == len(events)
        limits = {
            "adbc": lambda: fetched(lambda: dbapi.connect(url), len(events)),
            "first": lambda: Recording.from_pages(store.pages(RUN_ID)).frames.events,
            "killed": lambda: other.recording(RUN_ID).frames.events,
        }
        compare(benchmark, lambda: store.recording(RUN_ID).frames.events, limits, per=len(events))
        info = benchmark.extra_info
        info["killed_copied"] = round(copied, 2)
        for name in ("first", "killed"):
            info[f"{name}_of_adbc"] = round(info[f"{name}_us_wall"] / info["adbc_us_wall"], 3)


# --- many events --------------------------------------------------------------------------------------------------

OPENS = """
import resource, sys
from time import perf_counter
from hexviz.stores.sqlite import SQLiteStore
started = perf_counter()
store = SQLiteStore(sys.argv[1])
opened = perf_counter()
assert len(list(store.read(sys.argv[2], last=100))) == 100
last = perf_counter()
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for page in store.pages(sys.argv[2]):
    pass
all_pages = perf_counter()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
print((opened - started) * 1e3, (last - opened) * 1e3, all_pages - last, grown / 1024)
"""


def test_a_large_file_opens_gives_its_last_events_and_is_read_in_bounded_memory(benchmark, tmp_path):
    def measure():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with SQLiteStore(tmp_path / "runs.db") as store:
            started = perf_counter()
            for event in made_events(MANY):
                store.put(event)
            store.flush(timeout=None)
            took = perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        done = subprocess.run(
            [sys.executable, "-c", OPENS, str(tmp_path / "runs.db"), RUN_ID],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        opening, last, reading, held = map(float, done.stdout.split())
        benchmark.extra_info.update(
            events=MANY,
            writing_us_per_event=round(took / MANY * 1e6, 2),
            writing_grew_mb=round(grown, 1),
            file_bytes_per_event=round((tmp_path / "runs.db").stat().st_size / MANY, 1),
            opening_ms=round(opening, 2),
            last_100_ms=round(last, 2),
            reading_pages_s=round(reading, 2),
            reading_grew_mb=round(held, 1),
        )

    benchmark.pedantic(measure, rounds=1, iterations=1)


# --- a run with a store -------------------------------------------------------------------------------------------


async def nothing(value=None):
    return None


async def a_millisecond(value=None):
    await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("nodes", "step"), [(1_000, nothing), (20_000, nothing), (2_000, a_millisecond)], ids=["1k", "20k", "2k of 1 ms"]
)
def test_a_run_with_a_store_against_the_run_without(benchmark, tmp_path, nodes, step):
    """Until the run has ended, recorded both times; 1.1 is wanted."""
    layers, width = nodes // 50, 50
    specs = [
        NodeSpec(f"l{layer}n{i}", step, deps=[f"l{layer - 1}n{i}"] if layer else [])
        for layer in range(layers)
        for i in range(width)
    ]
    graph = Graph("layered", specs)

    def run(recorder):
        async def main():
            observers = ObserverManager()
            recorder.attach(observers)
            await Orchestrator(observers=observers, max_concurrent_nodes=50).run(graph)
            recorder.detach()
            await observers.close()

        asyncio.run(main())

    stores = []

    def with_store():
        run(Recorder(store=stores[-1]))

    def measure():
        pairs = []
        for number in range(16):
            with SQLiteStore(tmp_path / f"{number}.db") as store:
                stores.append(store)
                took = {}
                for kind in ((True, False), (False, True))[number % 2]:
                    gc.collect()
                    took[kind] = timed(with_store if kind else lambda: run(Recorder()), perf_counter)
                    store.flush()
                pairs.append((took[True], took[False]))
        kept, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        benchmark.extra_info.update(
            us_per_node=round(kept / nodes * 1e6, 2),
            bare_us_per_node=round(bare / nodes * 1e6, 2),
            ratio=round(statistics.median(a / b for a, b in pairs), 3),
        )

    benchmark.pedantic(measure, rounds=1, iterations=1)
