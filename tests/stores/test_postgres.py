"""The PostgreSQL store against a real server: what every store promises, and what a server far away adds to that."""

import asyncio
import contextlib
import re
import shlex
import time
from pathlib import Path

import pytest

import hexviz
from hexviz.cli import main
from hexviz.errors import MissingExtraError
from hexviz.events.schema import to_record
from hexviz.stores.errors import (
    NewerStoreError,
    NoStoreError,
    NotAStoreError,
    RunNotFoundError,
    StoreReadOnlyError,
    StoreUnreachableError,
)
from hexviz.stores.postgres import PostgresStore
from hexviz.stores.postgres_log import PostgresLog
from hexviz.stores.salvage import salvage
from hexviz.testing import StoreContract
from hexviz.testing.store_contract import contract_run, kept
from tests.test_docs import follow

pytestmark = pytest.mark.server
PAGE = Path(__file__).parents[2] / "docs" / "postgres.md"


class TestPostgresStore(StoreContract):
    """What every store promises."""

    @pytest.fixture
    def open_store(self, url):
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(PostgresStore(url))

    @staticmethod
    def damage(store):
        ((page,),) = store._line.ask("SELECT page FROM hexviz_segments")
        changed = page.replace(b"bad row", b"bad rOw", 1)
        store._line.ask("UPDATE hexviz_segments SET page = %s RETURNING 1", (changed,))


def test_open_store_takes_an_address_and_gives_runs_recordings_and_frames(url, monkeypatch):
    monkeypatch.setenv("HEXVIZ_STORE", url)
    result = hexviz.run_sync(hexviz.testing.sample_graph())
    with hexviz.open_store(url.replace("postgresql://", "postgres://")) as store:
        assert list(store.runs()["run_id"]) == [result.run_id]
        assert list(store.recording(result.run_id).frames.nodes["node"]) == ["load", "clean", "count", "join"]


def test_no_repr_error_or_warning_holds_the_password(url, shared_server):
    with PostgresStore(url) as store:
        kept(store, contract_run())
        shown = [repr(store), store.where, str(store._line.address), repr(store._line.address)]
        with pytest.raises(RunNotFoundError) as told:
            store.delete("nobody")
        shown.append(str(told.value))
    bad = [
        f"postgresql://hexviz:s3cretpw@127.0.0.1:{shared_server.port}/missing",
        f"postgresql://nobody:s3cretpw@127.0.0.1:{shared_server.port}/postgres",
        "postgresql://hexviz:s3cretpw@127.0.0.1:1/postgres",
        "postgresql://hexviz:s3cretpw@host.invalid/postgres",
        "postgresql://hexviz:s3cretpw%zz@127.0.0.1/postgres",
        "postgresql://hexviz:s3cretpw@127.0.0.1:port/postgres",
        "postgresql://hexviz:s3cretpw@[::1/postgres",
        "postgresql://hexviz@127.0.0.1:1/postgres?password=s3cretpw&sslmode=s3cretpw",
    ]
    for address in bad:
        with pytest.raises((StoreUnreachableError, NotAStoreError)) as told:
            PostgresStore(address)
        error = told.value
        while error is not None:
            shown.append(f"{error} {error.args}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert [text for text in shown if "s3cret" in text] == []
    assert "postgresql://hexviz@127.0.0.1:1/postgres cannot be reached" in " ".join(shown)


def test_the_tables_of_a_newer_hexviz_and_of_others_are_refused_by_name(url, shared_server):
    PostgresStore(url).close()
    shared_server.execute("UPDATE hexviz_layout SET version = 99", url=url)
    with pytest.raises(NewerStoreError, match=r"layout 99.*newer"):
        PostgresStore(url)
    other = shared_server.fresh()
    shared_server.execute("CREATE TABLE hexviz_runs (x int)", url=other)
    with pytest.raises(NotAStoreError, match="did not make"):
        PostgresStore(other)
    foreign = shared_server.fresh()
    shared_server.execute("CREATE TABLE hexviz_layout (x int)", url=foreign)
    with pytest.raises(NotAStoreError):
        PostgresStore(foreign)
    with pytest.raises(StoreReadOnlyError, match="search_path"):
        PostgresStore(f"{shared_server.url}?options=-csearch_path%3Dnowhere")


def test_who_only_reads_makes_no_tables(shared_server, monkeypatch, tmp_path):
    empty = shared_server.fresh()
    monkeypatch.setenv("HEXVIZ_STORE", empty)
    for read in (hexviz.dashboard, lambda _: hexviz.serve(empty), lambda _: salvage(empty, tmp_path / "saved.db")):
        with pytest.raises(NoStoreError, match="has no tables of hexviz"):
            read("last")
    found = shared_server.execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'hexviz%%' AND pg_table_is_visible(oid)", url=empty
    )
    assert found == [(0,)]
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_rights_is_told_what_is_missing(url, shared_server):
    shared_server.execute("DROP ROLE IF EXISTS guest")
    shared_server.execute("CREATE ROLE guest LOGIN")
    with pytest.raises((StoreReadOnlyError, StoreUnreachableError), match=r"permission denied|search_path"):
        PostgresStore(url.replace("hexviz:s3cretpw@", "guest@"))


def test_opening_from_many_threads_at_once_makes_the_tables_once(url):
    import threading

    opened, errors = [], []

    def go():
        try:
            opened.append(PostgresStore(url))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in opened:
        store.close()
    assert (len(opened), errors) == (8, [])


def test_without_psycopg_the_error_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hexviz\[postgres\]'"):
        hexviz.open_store("postgresql://x@127.0.0.1/x")


def test_flush_disk_waits_for_standbys_and_flush_os_for_this_server_whatever_its_default(url, shared_server):
    said = []
    shared_server.execute("ALTER ROLE hexviz SET synchronous_commit = off")
    try:
        with PostgresStore(url) as store:
            tell = PostgresLog._tell

            def noting(log, *args):
                said.append(log._connection.execute("SHOW synchronous_commit").fetchone()[0])
                tell(log, *args)

            store._writer._log._tell = noting.__get__(store._writer._log)
            kept(store, contract_run())
            store.append(contract_run("run-2"))
            store.flush("disk")
            store.flush("disk")
            assert shared_server.execute("SELECT flushes FROM hexviz_layout", url=url) == [(2,)]
    finally:
        shared_server.execute("ALTER ROLE hexviz RESET synchronous_commit")
    assert said == ["local", "on"]


def test_a_run_of_many_segments_is_read_whole_and_from_both_ends(url):
    run = contract_run(nodes=200)
    with PostgresStore(url) as store:
        for first in range(0, len(run), 50):
            kept(store, run[first : first + 50])
        records = [to_record(event) for event in run]
        assert len(store._line.ask("SELECT 1 FROM hexviz_segments")) == 13
        assert list(store.read("run-1")) == records
        assert list(store.read("run-1", last=120)) == records[-120:]
        assert list(store.read("run-1", after_seq=333)) == records[333:]


def test_a_run_id_longer_than_any_index_takes_is_kept(url):
    with PostgresStore(url) as store:
        kept(store, contract_run("x" * 100_000))
        assert store.find("x" * 99_999) == "x" * 100_000


def test_a_child_after_fork_reads_on_a_connection_of_its_own(url, in_process_with):
    in_process_with(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        from hexviz.stores.postgres import PostgresStore
        from hexviz.testing.store_contract import contract_run, kept
        store = PostgresStore(URL)
        kept(store, contract_run())
        for _ in range(5):
            child = os.fork()
            if child == 0:
                ok = len(list(store.read("run-1"))) == 17
                store.put(contract_run("other")[0])
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert len(list(store.read("run-1"))) == 17
        assert [info.run_id for info in store.list_runs()] == ["run-1"]
        store.close()
        """,
        url,
    )


@pytest.fixture
def in_process_with(tmp_path):
    import subprocess
    import sys
    import textwrap

    def run(program, url):
        program = textwrap.dedent(program).replace("URL", repr(url))
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_closed_store_leaves_no_thread_and_no_connection(url, shared_server):
    import threading

    before = threading.active_count()
    with PostgresStore(url) as store:
        kept(store, contract_run())
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hexviz'"
    for _ in range(200):
        if shared_server.execute(sql) == [(0,)] and threading.active_count() <= before:
            return
        time.sleep(0.02)
    pytest.fail(f"{shared_server.execute(sql)} connections, {threading.enumerate()}")


def test_the_examples_of_the_page_run_as_written(shared_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = shared_server.fresh()
    page = re.sub(r"postgresql://[^\s\"`]+", lambda _: address, PAGE.read_text(encoding="utf-8"))
    blocks = re.findall(r"^```(python|sh|sql)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    asyncio.run(follow("docs/postgres.md", [block for language, block in blocks if language == "python"], names := {}))
    for line in "".join(block for language, block in blocks if language == "sh").splitlines():
        program, *rest = shlex.split(line)
        if program == "export":
            monkeypatch.setenv(*rest[0].split("=", 1))
        else:
            assert (program, main(rest)) == ("hexviz", 0)
    queries = [query for language, block in blocks if language == "sql" for query in block.split(";") if query.strip()]
    listed, slowest = (shared_server.execute(query, url=address) for query in queries)
    ran = [names["away"].run_id, names["result"].run_id]
    assert [row[0] for row in listed] == ran
    assert sorted(row[0] for row in slowest) == ["count", "count", "load", "load"]
    with hexviz.open_store("saved.db") as saved:
        assert {info.run_id: info.events for info in saved.list_runs()}[ran[1]] == len(names["result"].recording)


def test_what_is_whole_in_a_damaged_run_can_be_taken_to_another_store(url, tmp_path):
    with PostgresStore(url) as store, hexviz.open_store(tmp_path / "saved.db") as saved:
        kept(store, contract_run())
        TestPostgresStore.damage(store)
        saved.append(store.read("run-1", damaged="skip"))
        saved.flush()
        assert len(list(saved.read("run-1"))) == 16
