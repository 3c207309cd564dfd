"""What a killed process left beside a place is cleared up by the next to write there; nothing else is touched."""

import signal
import subprocess
import sys
import textwrap

import pytest

import hexviz
from hexviz import scratch
from hexviz.stores.salvage import salvage
from hexviz.stores.sqlite import SQLiteStore
from hexviz.testing.store_contract import contract_run

RECORDING = hexviz.Recording(contract_run())

DYING = """
    import os, sys, time
    from pathlib import Path
    from hexviz.scratch import exchange, scratch_directory, scratch_file
    target = Path(sys.argv[1])
    with scratch_file(target) as (file, path), scratch_directory(target) as place:
        file.write(b"half")
        file.flush()
        (place / "some").write_bytes(b"half")
        print("ready", flush=True)
        sys.stdin.readline()
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(scratch, "_QUIET_S", -60.0)


def writer_of(target):
    """A process in the middle of writing ``target``."""
    command = [sys.executable, "-c", textwrap.dedent(DYING), target]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    return child


def killed(child):
    child.communicate(b"\n")
    assert child.returncode == -signal.SIGKILL


def beside(target):
    return sorted(found.suffix for found in target.parent.iterdir() if found.name.startswith("."))


@pytest.mark.parametrize("name", ["run.jsonl", "run.parquet", "run.trace.json", "run.csv"])
def test_the_next_export_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path, name):
    target = tmp_path / name
    dead, living = writer_of(target), writer_of(target)
    killed(dead)
    assert beside(target) == [".tmp"] * 4
    hexviz.export(RECORDING, target)
    assert beside(target) == [".tmp"] * 2
    killed(living)
    hexviz.export(RECORDING, target)
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_the_next_report_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path):
    target = tmp_path / "report.html"
    dead, living = writer_of(target), writer_of(target)
    killed(dead)
    hexviz.report(RECORDING, target)
    assert beside(target) == [".tmp"] * 2
    killed(living)
    hexviz.report(RECORDING, target)
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_the_next_salvage_removes_what_a_killed_one_left(tmp_path):
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.append(contract_run())
    killed(writer_of(tmp_path / "saved.db"))
    salvage(tmp_path / "runs.db", tmp_path / "saved.db")
    assert beside(tmp_path / "saved.db") == []


def test_what_is_of_another_place_or_of_somebody_else_stays(tmp_path):
    killed(writer_of(tmp_path / "other.jsonl"))
    (tmp_path / ".run.jsonl.tmp").write_bytes(b"not ours")
    before = sorted(tmp_path.iterdir())
    hexviz.export(RECORDING, tmp_path / "run.jsonl")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "run.jsonl"])


def test_what_is_young_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_QUIET_S", 60.0)
    killed(writer_of(tmp_path / "run.jsonl"))
    hexviz.export(RECORDING, tmp_path / "run.jsonl")
    assert beside(tmp_path / "run.jsonl") == [".tmp"] * 2


def half_exchanged(target):
    """As a process leaves it that dies when it has moved the old directory and not yet the new one."""
    old = next(target.parent.glob(".*.tmp")).with_suffix(".old")
    target.rename(old)


def test_an_old_directory_without_a_successor_gets_its_name_back_before_the_next_replaces_it(tmp_path):
    target = tmp_path / "run.parquet"
    hexviz.export(hexviz.Recording(contract_run("old")), target)
    killed(writer_of(target))
    half_exchanged(target)
    scratch.clear_up(target)
    assert hexviz.load(target).run_ids == ("old",)
    assert beside(target) == []


def test_an_old_directory_that_has_a_successor_is_removed(tmp_path):
    target = tmp_path / "run.parquet"
    hexviz.export(hexviz.Recording(contract_run("old")), target)
    killed(writer_of(target))
    half_exchanged(target)
    with scratch.scratch_directory(tmp_path / "elsewhere") as new:
        (new / "x").write_bytes(b"")
        new.rename(target)
    scratch.clear_up(target)
    assert [found.name for found in tmp_path.iterdir()] == ["run.parquet"]
    assert (target / "x").exists()


def test_a_link_in_the_name_of_a_scratch_is_removed_and_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").write_bytes(b"1")
    link = tmp_path / f"{scratch._prefix(tmp_path / 'run.jsonl')}abc.tmp"
    link.symlink_to(tmp_path / "precious")
    hexviz.export(RECORDING, tmp_path / "run.jsonl")
    assert not link.is_symlink()
    assert (tmp_path / "precious" / "x").read_bytes() == b"1"


def test_no_two_names_share_their_scratches():
    names = ["run", "run.x", "run.X", "r" * 50, "r" * 51, "R" * 50, "", "é", "e"]
    prefixes = [scratch._prefix(scratch.Path("place") / name) for name in names if name]
    assert len(set(prefixes)) == len(prefixes)
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)
