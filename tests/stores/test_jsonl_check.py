"""verify and salvage of files of JSON lines: every line that is whole is kept, everything else is told."""

import pytest

import hexviz
from hexviz.cli import main
from hexviz.events.schema import to_record
from hexviz.stores.errors import NewerStoreError, NotAStoreError, StoreWriteError
from hexviz.stores.jsonl import JsonLines, sealed, write_jsonl
from hexviz.stores.jsonl_check import is_jsonl, verify_jsonl
from hexviz.stores.run_info import Problem
from hexviz.stores.salvage import salvage
from hexviz.testing.store_contract import contract_run

RECORDS = [to_record(event) for event in contract_run()]


@pytest.fixture
def path(tmp_path):
    return write_jsonl(tmp_path / "run.jsonl", RECORDS, len(RECORDS))


def test_a_sound_file_has_no_problems(path):
    assert verify_jsonl(path) == ([], 1, len(RECORDS))


def test_a_line_that_was_changed_is_named_and_the_others_are_salvaged(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b"{", b"[", 1), *lines[5:]]))
    told = [
        Problem("", 4, "line 5: its checksum does not match"),
        Problem("", 0, f"{len(RECORDS) - 1} of {len(RECORDS)} records are whole"),
    ]
    assert verify_jsonl(path) == (told, 1, len(RECORDS) - 1)
    before = path.read_bytes()
    done = salvage(path)
    assert (done.path.name, done.runs, done.records, done.lost) == ("run.salvaged.jsonl", 1, len(RECORDS) - 1, told)
    assert list(JsonLines(done.path).records()) == [*RECORDS[:3], *RECORDS[4:]]
    assert path.read_bytes() == before


def test_a_file_that_was_cut_has_an_unclean_end(path):
    path.write_bytes(path.read_bytes()[:-20])
    problems = verify_jsonl(path).problems
    assert [problem.problem for problem in problems if problem.run_id] == ["unclean end"]
    assert [problem.problem.partition(":")[0] for problem in problems if not problem.run_id] == [
        f"line {len(RECORDS) + 1}", f"{len(RECORDS) - 1} of {len(RECORDS)} records are whole",
    ]  # fmt: skip


def test_two_records_of_one_number_are_told_and_one_that_comes_twice_is_not(path, tmp_path):
    other = RECORDS[2].replace(b'"seq":3', b'"seq":2')
    write_jsonl(tmp_path / "two.jsonl", [*RECORDS, RECORDS[0], other], len(RECORDS) + 2)
    assert verify_jsonl(tmp_path / "two.jsonl").problems == [
        Problem("run-1", 2, "there is another record of this number")
    ]


def test_a_whole_line_that_is_no_record_is_told(tmp_path):
    write_jsonl(tmp_path / "run.jsonl", [*RECORDS, b'{"type":7}'], len(RECORDS) + 1)
    ((run_id, seq, problem),) = [(p.run_id, p.seq, p.problem) for p in verify_jsonl(tmp_path / "run.jsonl").problems]
    assert (run_id, seq) == ("", 0)
    assert problem.startswith("a whole line is no record: ")


def test_what_holds_nothing_of_hexviz_or_is_of_a_newer_one_is_refused_by_name(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a":1}\n')
    (tmp_path / "b.jsonl").write_bytes(sealed(b'{"hexviz":"jsonl","v":99,"records":0}'))
    with pytest.raises(NotAStoreError):
        verify_jsonl(tmp_path / "a.jsonl")
    with pytest.raises(NewerStoreError):
        salvage(tmp_path / "b.jsonl")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_nothing_is_overwritten(path):
    salvage(path)
    with pytest.raises(StoreWriteError, match="exists already"):
        salvage(path)


def test_a_file_of_lines_is_known_by_what_it_holds_and_a_store_is_none(path, tmp_path):
    path.rename(tmp_path / "run.txt")
    hexviz.open_store(tmp_path / "runs.db").close()
    assert [is_jsonl(tmp_path / name) for name in ("run.txt", "runs.db", "none", ".")] == [True, False, False, False]


@pytest.mark.server
def test_what_is_whole_of_a_store_on_a_server_becomes_a_store_in_a_file(url, shared_server, tmp_path, capsys):
    with hexviz.open_store(url) as store:
        store.append(RECORDS)
        store.append([to_record(event) for event in contract_run("run-2")])
        store.flush()
        shared_server.execute(
            "UPDATE hexviz_segments SET page = convert_to(replace(convert_from(page, 'UTF8'), '\"seq\":7,',"
            " '\"seq\":8,'), 'UTF8') WHERE run = (SELECT min(run) FROM hexviz_segments)",
            url=url,
        )
        assert [(p.run_id, p.seq) for p in store.verify()] == [("run-1", 7)]
    assert main(["verify", url]) == 1
    assert "2 runs: 1 findings of damage" in capsys.readouterr().out
    done = salvage(url, tmp_path / "saved.db")
    assert (done.runs, done.lost) == (2, [Problem("run-1", 7, "event 7 is lost")])
    with hexviz.open_store(tmp_path / "saved.db") as saved:
        assert list(saved.read("run-1", damaged="skip")) == [*RECORDS[:6], *RECORDS[7:]]
        assert list(saved.read("run-2")) == [to_record(event) for event in contract_run("run-2")]
