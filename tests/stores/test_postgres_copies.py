"""A long run is read from a copy of its columns in PostgreSQL too, which is never anything but what its records say."""

import contextlib

import pytest

import hexviz
from hexviz.events.schema import to_record
from hexviz.recording import kept as recording_kept
from hexviz.stores import copying
from hexviz.stores.postgres import PostgresStore
from hexviz.testing.store_contract import contract_run, kept
from tests.stores.test_copies import recorded, wait_for_a_beginning

pytestmark = pytest.mark.server
RUN = contract_run(nodes=5)
RECORDS = [to_record(event) for event in RUN]


@pytest.fixture(autouse=True)
def _every_run_is_long(monkeypatch):
    monkeypatch.setattr(copying, "LONG", 1)


@pytest.fixture
def store(url):
    with hexviz.open_store(url) as store:
        yield store


def count(store, table="hexviz_copies"):
    return store._line.ask(f"SELECT count(*) FROM {table}")[0][0]


def from_the_copy(store, run_id="run-1"):
    """The records of the recording; fails where the pages are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresStore, "pages", lambda *_: pytest.fail("the pages were read"))
        return list(store.recording(run_id).records())


def test_the_second_reader_gets_what_the_first_has_copied(store, url):
    kept(store, RUN)
    assert list(store.recording("run-1").records()) == RECORDS
    with hexviz.open_store(url) as other:
        assert from_the_copy(other) == RECORDS
    assert store.verify() == []


def test_a_recorder_that_closes_leaves_a_copy(store):
    result = hexviz.run_sync(hexviz.testing.sample_graph(), store=store)
    assert from_the_copy(store, result.run_id) == list(store.read(result.run_id))


def test_of_a_run_that_goes_on_the_beginning_is_copied_and_only_the_rest_is_read(store, url, monkeypatch):
    monkeypatch.setattr(recording_kept, "FIRST", 10)
    monkeypatch.setattr(copying, "_LOOK_S", 0.01)
    run = contract_run(nodes=20)
    recorder = recorded(store, run[:30])
    assert wait_for_a_beginning(store, recorder) == 30
    for event in run[30:-1]:
        recorder(event)
    store.flush()
    with hexviz.open_store(url) as other, monkeypatch.context() as patch:
        patch.setattr(hexviz.Recording, "from_pages", lambda *_: pytest.fail("all of it was read"))
        assert list(other.recording("run-1").records()) == [to_record(event) for event in run[:-1]]
    recorder(run[-1])
    recorder.close()
    assert store._copy_of("run-1")[1].events == len(run)


def test_a_store_that_closes_makes_the_copies_that_are_due(store, url):
    with hexviz.open_store(url) as other:
        kept(other, RUN)
    assert from_the_copy(store) == RECORDS


def test_what_is_added_after_the_copy_is_read_and_copied(store):
    kept(store, [event for event in RUN if event.seq != 7])
    store.recording("run-1")
    kept(store, [RUN[6]])
    assert list(store.recording("run-1").records()) == RECORDS
    assert from_the_copy(store) == RECORDS
    assert count(store) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE hexviz_copied SET data = data || 'x' WHERE part = 2",
        "UPDATE hexviz_copied SET crc = crc + 1 WHERE part = 0",
        "DELETE FROM hexviz_copied WHERE part = 5",
        "UPDATE hexviz_copies SET parts = parts + 1",
        "UPDATE hexviz_copies SET made_of = ''",
        "DROP TABLE hexviz_copied",
        "DROP TABLE hexviz_copied, hexviz_copies",
    ],
)
def test_a_copy_that_is_not_whole_is_passed_over_and_made_anew(store, damage, shared_server, url):
    kept(store, RUN)
    store.recording("run-1")
    shared_server.execute(damage, url=url)
    assert list(store.recording("run-1").records()) == RECORDS
    assert from_the_copy(store) == RECORDS


def test_deleting_a_run_deletes_its_copy_and_no_other(store):
    for run_id in ("a", "b"):
        kept(store, contract_run(run_id, nodes=5))
        store.recording(run_id)
    parts = count(store, "hexviz_copied")
    store.delete("a")
    assert (count(store), count(store, "hexviz_copied")) == (1, parts // 2)


def test_who_may_make_no_tables_reads_the_records(store, shared_server, url):
    kept(store, RUN)
    schema = url.rpartition("%3D")[2]
    shared_server.execute(
        f"CREATE ROLE reads_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO reads_{schema};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reads_{schema}"
    )
    with contextlib.closing(hexviz.open_store(url.replace("hexviz:s3cretpw", f"reads_{schema}"))) as reader:
        for _ in range(2):
            assert list(reader.recording("run-1").records()) == RECORDS
