"""Who only reads makes and changes nothing: every command and function, at a path where no store is that can serve."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import hexviz
from hexviz.cli import main
from hexviz.errors import HexvizError
from hexviz.policies import Retry
from hexviz.stores.errors import NewerStoreError, NoStoreError, NotAStoreError, StoreReadOnlyError
from hexviz.stores.salvage import salvage
from hexviz.stores.sqlite import SQLiteStore
from hexviz.stores.sqlite_layout import LAYOUT_VERSION


def sqlite_file(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def newer(path):
    SQLiteStore(path).close()
    sqlite_file(path, f"PRAGMA user_version = {LAYOUT_VERSION + 1}")


PLACES = {
    "missing": (lambda path: None, NoStoreError),
    "in a directory that is missing": (lambda path: path.parent.rmdir(), NoStoreError),
    "of zero bytes": (lambda path: path.touch(), NoStoreError),
    "a database without tables": (lambda path: sqlite_file(path, "PRAGMA journal_mode = WAL"), NoStoreError),
    "a directory": (lambda path: path.mkdir(), NotAStoreError),
    "text": (lambda path: path.write_text("not a database, " * 100), NotAStoreError),
    "the database of others": (lambda path: sqlite_file(path, "CREATE TABLE theirs (id)"), NotAStoreError),
    "of a newer layout": (newer, NewerStoreError),
}
COMMANDS = [
    "runs --store {path}",
    "show last --store {path}",
    "watch last --store {path}",
    "report last --store {path} --output {out}",
    "export last {out}.jsonl --store {path}",
    "verify {path}",
    "verify --store {path}",
    "salvage {path} --output {out}",
    "prune --max-age 1d --store {path}",
    "serve --port 0 --store {path}",
]
BY_PATH = [
    hexviz.watch,
    lambda path: hexviz.watch(path, run="run-1"),
    hexviz.serve,
    lambda path: hexviz.serve(path, run="last"),
]
OF_THE_DEFAULT_STORE = [
    lambda out: hexviz.dashboard("last"),
    lambda out: hexviz.report("last", out),
    lambda out: hexviz.export("last", out.with_suffix(".jsonl")),
    lambda out: hexviz.backtest("last", [Retry(2)]),
    lambda out: hexviz.compare_view("last", "last"),
]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept" / "runs.db"


def state_of(path):
    """Every file and directory below the grandparent of ``path``; of files the content and the time of change."""
    found = sorted(path.parents[1].rglob("*"))
    return [(item, item.is_file() and (item.stat().st_mtime_ns, item.read_bytes())) for item in found]


@pytest.mark.parametrize("kind", PLACES)
def test_a_command_that_reads_makes_and_changes_nothing(path, kind, capsys):
    PLACES[kind][0](path)
    before = state_of(path)
    for line in COMMANDS:
        words = [word.format(path=path, out=path.parents[1] / "out") for word in line.split()]
        assert main(words) == 2, line
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1), line
        assert str(path) in told.err, line
        assert state_of(path) == before, line


@pytest.mark.parametrize("kind", PLACES)
def test_a_function_that_reads_makes_and_changes_nothing(path, kind, monkeypatch):
    make, error = PLACES[kind]
    make(path)
    before = state_of(path)
    monkeypatch.setenv("HEXVIZ_STORE", str(path))
    calls = [lambda read=read: read(path) for read in BY_PATH]
    calls += [lambda read=read: read(path.parents[1] / "out") for read in OF_THE_DEFAULT_STORE]
    for call in calls:
        with pytest.raises(error, match=r"runs\.db"):
            call()
        assert state_of(path) == before


@pytest.mark.parametrize("form", ["jsonl", "parquet", "wfformat"])
@pytest.mark.parametrize("kind", PLACES)
def test_loading_what_is_no_export_is_a_named_error_and_changes_nothing(path, kind, form):
    PLACES[kind][0](path)
    before = state_of(path)
    with pytest.raises(HexvizError, match=r"runs\.db"):
        hexviz.load(path, format=form)
    assert state_of(path) == before


def test_the_runs_of_a_default_store_that_is_not_there_yet_are_none_and_it_is_not_made(path, monkeypatch, capsys):
    monkeypatch.setenv("HEXVIZ_STORE", str(path))
    assert main(["runs"]) == 0
    assert "Make one: hexviz demo" in capsys.readouterr().out
    assert not path.exists()


def test_a_store_that_may_not_be_read_or_written_is_a_named_error_of_every_reader(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give rights away and look at a store as somebody else")
    for name, mode in (("none.db", 0o000), ("read.db", 0o444)):
        SQLiteStore(path.with_name(name)).close()
        path.with_name(name).chmod(mode)
    for found in (path.parent, *path.parents[1:]):
        if found.stat().st_uid == 0 and found.name.startswith(("pytest", "popen", "test", "kept")):
            found.chmod(0o755)
    before = state_of(path)
    program = """
import os, sys
sys.path.insert(0, sys.argv[1])
import hexviz.serving, hexviz.watching
from tests.test_only_reading import COMMANDS, BY_PATH, main
os.setuid(65534)
for path in sys.argv[2:]:
    for line in COMMANDS:
        if not (line.startswith("salvage") and path.endswith("read.db")):  # a copy of its own is all that it needs
            print(main([word.format(path=path, out=path + ".out") for word in line.split()]))
    for read in BY_PATH:
        try:
            read(path)
        except OSError as error:
            print(type(error).__name__)
"""
    names = [str(path.with_name(name)) for name in ("none.db", "read.db")]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, root, *names], capture_output=True, text=True, check=False, timeout=60
    )
    refused = [StoreReadOnlyError.__name__] * len(BY_PATH)
    assert done.stdout.split() == ["2"] * len(COMMANDS) + refused + ["2"] * (len(COMMANDS) - 1) + refused, done.stderr
    assert done.stderr.count(".db cannot be") == 2 * len(COMMANDS) - 1, done.stderr
    assert state_of(path) == before


def test_salvaging_zero_bytes_says_that_there_is_nothing_and_writes_nothing(path):
    path.touch()
    with pytest.raises(HexvizError, match="nothing to salvage"):
        salvage(path)
    assert [item.name for item in path.parent.iterdir()] == ["runs.db"]
    assert path.stat().st_size == 0
