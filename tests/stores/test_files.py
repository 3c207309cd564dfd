"""JSON lines and Parquet: what is written is whole, what is read is checked, and a damaged file says what it lost."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import hexviz
from hexviz import exports
from hexviz.errors import HexvizError, MissingExtraError
from hexviz.events import events as ev
from hexviz.recording.layout import COLUMNS
from hexviz.stores import files, jsonl, parquet
from hexviz.stores.errors import NewerStoreError, NotAStoreError, StoreCorruptError, StoreWriteError
from hexviz.stores.files import original_name, safe_name
from hexviz.stores.jsonl import JsonLines, sealed, unsealed
from tests.recording.made_events import Run, numbered, small_run, text

ROOT = Path(__file__).parents[2]
FORMATS = ["jsonl", "parquet"]
HOSTILE = [
    "", ".", "..", "../../etc/passwd", "C:\\", "/abs", "%2e%2e", "con", "x" * 300, "A", "a", "a\x00b", "\ud800", "😀",
    "run=1/2", "a b", "trailing.", "'; drop table ev;--", "<script>", "\u202e", "=1+1", "~",
]  # fmt: skip
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def recording(*run_ids):
    return hexviz.Recording([event for run_id in run_ids or ("run-1",) for event in small_run(run_id)])


def long_recording(nodes=60):
    run = Run().tell(ev.PipelineStarted, "etl", 1, nodes)
    for i in range(nodes):
        run.at(i).tell(ev.NodeStarted, f"n{i}", 1).tell(ev.NodeCompleted, f"n{i}", 1, i, 0.5)
    return hexviz.Recording(run.tell(ev.PipelineCompleted, "etl", 1.0).events)


def records(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return list(hexviz.load(path, **options).records())


def put_bytes(path, data):
    path.write_bytes(data)
    return path


# --- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_of_several_runs_comes_back_record_by_record(kind, tmp_path):
    before = recording("run-1", "run-2", "run-3")
    mixed = hexviz.Recording(sorted(before.events(), key=lambda event: event.seq))
    path = hexviz.export(mixed, tmp_path / f"run.{kind}")
    after = hexviz.load(path)
    assert list(after.records()) == list(mixed.records())
    assert after.run_ids == mixed.run_ids


@pytest.mark.parametrize("kind", FORMATS)
@quick
@given(events=numbered)
def test_any_recording_comes_back_with_equal_records(kind, events, tmp_path):
    before = hexviz.Recording(events)
    path = hexviz.export(before, tmp_path / f"run.{kind}")
    assert list(hexviz.load(path).records()) == list(before.records())


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_recording_comes_back_empty(kind, tmp_path):
    assert len(hexviz.load(hexviz.export(hexviz.Recording(), tmp_path / f"run.{kind}"))) == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_every_hostile_run_id_comes_back_and_nothing_is_written_elsewhere(kind, tmp_path):
    place = tmp_path / "here" / "deep"
    place.mkdir(parents=True)
    before = recording(*HOSTILE)
    hexviz.export(before, place / f"run.{kind}")
    assert hexviz.load(place / f"run.{kind}").run_ids == tuple(HOSTILE)
    assert [found.name for found in tmp_path.rglob("*") if not found.is_relative_to(place)] == ["here"]
    assert [found.name for found in place.iterdir()] == [f"run.{kind}"]


@pytest.mark.parametrize("kind", FORMATS)
def test_exporting_again_gives_the_same_bytes_and_replaces_what_was_there(kind, tmp_path):
    path = tmp_path / f"run.{kind}"
    contents = []
    for _ in range(2):
        hexviz.export(recording("a", "B"), path)
        found = sorted([path, *path.rglob("*")])
        contents.append([(f.relative_to(tmp_path), f.read_bytes()) for f in found if f.is_file()])
    assert contents[0] == contents[1]
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", FORMATS)
def test_files_are_for_their_owner_only(kind, tmp_path):
    path = hexviz.export(recording(), tmp_path / f"run.{kind}")
    modes = {found.stat().st_mode & 0o777 for found in [path, *path.rglob("*")] if found.is_file()}
    assert modes == {0o600}
    assert {found.stat().st_mode & 0o777 for found in [path, *path.rglob("*")] if found.is_dir()} <= {0o700}


def test_a_recording_that_grows_while_it_is_written_gives_a_file_that_is_whole(tmp_path):
    recorder, events = hexviz.Recorder(), small_run()
    for event in events[:10]:
        recorder(event)
    count, stable = exports._stable_records(recorder.recording)
    for event in events[10:]:
        recorder(event)
    jsonl.write_jsonl(tmp_path / "run.jsonl", stable, count)
    assert len(hexviz.load(tmp_path / "run.jsonl")) == 10


# --- JSON lines ---------------------------------------------------------------------------------------------------


def test_each_line_is_plain_json_that_duckdb_and_pandas_read(tmp_path):
    import duckdb
    import pandas as pd

    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert lines[0]["records"] == len(lines) - 1 == len(small_run())
    types = [type(event).__name__ for event in small_run()]
    assert [line["type"] for line in lines[1:]] == types
    assert list(pd.read_json(path, lines=True)["type"][1:]) == types
    told = duckdb.sql(f"select type, data.seq from read_json('{path}') where type is not null").fetchall()
    assert told == list(zip(types, range(1, len(types) + 1), strict=True))


def test_a_file_cut_at_any_byte_gives_the_longest_whole_part_and_counts_the_rest(tmp_path):
    whole = hexviz.export(long_recording(), tmp_path / "run.jsonl").read_bytes()
    expected = records(tmp_path / "run.jsonl")
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    cut = tmp_path / "cut.jsonl"
    assert len(whole) > 8192
    for size in range(len(whole) - 4096, len(whole) - 1):
        put_bytes(cut, whole[:size])
        lines = sum(end <= size + 1 for end in ends) - 1  # a line that lacks only its line feed is whole
        reader = JsonLines(cut)
        assert list(reader.records(damaged="skip")) == expected[:lines]
        full = max(end for end in (0, *ends) if end <= size + 1)
        facts = (lines, len(expected), max(size - full, 0), int(size > full))
        assert tuple(reader.statistics().values()) == facts
        with pytest.raises(StoreCorruptError, match=r"(of|after) \d+ (whole )?records"):
            list(JsonLines(cut).records())


def test_load_warns_of_what_a_cut_file_lost(tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    put_bytes(path, path.read_bytes()[:-100])
    with pytest.warns(RuntimeWarning, match=r"28 whole, 29 expected, \d+ left bytes, 1 damaged lines") as told:
        assert len(hexviz.load(path, damaged="skip")) == len(small_run()) - 1
    assert told[0].filename == __file__


@pytest.mark.parametrize("line", [2, 9, 29])
def test_a_flipped_bit_in_any_byte_of_a_line_is_found_and_told_with_its_number(line, tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    lines, good = path.read_bytes().splitlines(keepends=True), records(path)
    for i in range(len(lines[line - 1]) - 1):
        damaged = bytearray(lines[line - 1])
        damaged[i] ^= 1 << (i % 8)
        put_bytes(path, b"".join([*lines[: line - 1], bytes(damaged), *lines[line:]]))
        reader = JsonLines(path)
        assert list(reader.records(damaged="skip")) == good[: line - 2] + good[line - 1 :]
        assert reader.damage[0].line == line
        assert reader.damage[0].seq in {0, line - 1} or b'"seq"' in lines[line - 1][max(0, i - 8) : i + 4]
        with pytest.raises(StoreCorruptError, match=f"line {line}.*damaged"):
            list(JsonLines(path).records())


def test_a_damaged_record_is_reported_with_its_seq_and_run(tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    put_bytes(path, path.read_bytes().replace(b"bad row", b"bad rot"))
    with pytest.raises(StoreCorruptError, match=r"line 9, event 8 of run 'run-1'.*damaged=\"skip\""):
        hexviz.load(path)


def test_records_that_fell_out_of_the_middle_are_missed(tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    put_bytes(path, b"".join(lines[:5] + lines[8:]))
    with pytest.raises(StoreCorruptError, match="26 of 29 records"):
        hexviz.load(path)
    with pytest.warns(RuntimeWarning, match="26 whole, 29 expected"):
        assert "gap" in set(hexviz.load(path, damaged="skip").diagnostics()["problem"])


def test_lines_picked_out_of_a_file_are_read_without_its_header(tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    picked = [line for line in path.read_bytes().splitlines(keepends=True) if b'"type":"NodeFailed"' in line]
    assert len(hexviz.load(put_bytes(tmp_path / "failed.jsonl", b"\r\n".join(picked)))) == 2


def test_a_line_longer_than_the_limit_is_refused_and_passed_over(tmp_path, monkeypatch):
    path = hexviz.export(recording(), tmp_path / "run.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 2000)
    put_bytes(path, b"".join([*lines[:3], b"{" * 5_000_000 + b"\n", *lines[3:]]))
    with pytest.raises(StoreCorruptError, match=r"line 4.*too long"):
        hexviz.load(path)
    with pytest.warns(RuntimeWarning, match="5000001 left bytes"):
        assert len(hexviz.load(path, damaged="skip")) == len(small_run())


def test_a_record_nested_too_deep_is_a_named_error(tmp_path):
    deep = sealed(b'{"type":"x","v":1,"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    with pytest.raises(HexvizError, match="record"):
        hexviz.load(put_bytes(tmp_path / "run.jsonl", deep))


def test_a_sealed_line_gives_its_record_back_and_no_other():
    assert unsealed(sealed(b'{"a":1}')[:-1]) == b'{"a":1}'
    assert json.loads(sealed(b'{"a":1}')) == {"a": 1, "crc": "561bacaf"}
    assert unsealed(b'{"a":2,"crc":"561bacaf"}') is None


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", NotAStoreError, "empty"),
        (b"a,b\n1,2\n", NotAStoreError, "does not begin"),
        (b"\x1f\x8b" + bytes(50), NotAStoreError, "does not begin"),
        (b"SQLite format 3\x00" + bytes(100), NotAStoreError, "does not begin"),
        (sealed(b'{"hexviz":"jsonl","v":2,"records":0}'), NewerStoreError, "update|knows up to 1"),
        (sealed(b'{"hexviz":"jsonl","v":1,"records":0}')[:-9], StoreCorruptError, "line 1"),
        (sealed(b'{"type":"NodeStarted","v":9,"data":{}}'), HexvizError, "newer version"),
        (sealed(b'{"type":"NodeStarted","v":1,"data":{}}'), HexvizError, "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_a_named_error(content, error, says, tmp_path):
    with pytest.raises(error, match=says):
        hexviz.load(put_bytes(tmp_path / "run.jsonl", content))


def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("pipe.jsonl", "missing.jsonl", "nul\x00.jsonl"):
        with pytest.raises(NotAStoreError):
            hexviz.load(tmp_path / name)
    (tmp_path / "directory.jsonl").mkdir()
    with pytest.raises(NotAStoreError, match="not a plain file"):
        hexviz.load(tmp_path / "directory.jsonl")


# --- Parquet ------------------------------------------------------------------------------------------------------


def test_every_documented_frame_is_written():
    assert set(parquet.FRAMES) == {*COLUMNS} - {"diagnostics"}


def test_pandas_duckdb_and_polars_read_the_frames_without_hexviz(tmp_path):
    import duckdb
    import pandas as pd
    import polars as pl

    before = recording("run-1", "Run/2")
    path = hexviz.export(before, tmp_path / "runs.parquet")
    for name in parquet.FRAMES:
        frame = getattr(before.run("run-1").frames, name)
        table = pd.read_parquet(path / "run_id=run-1" / f"{name}.parquet")
        assert list(table.columns) == [column.name for column in COLUMNS[name]]
        pd.testing.assert_frame_equal(table, frame, check_categorical=False, check_dtype=False)
        both = str(path / "*" / f"{name}.parquet")
        expected = {run: len(getattr(before.run(run).frames, name)) for run in before.run_ids}
        count = "select run_id, count(*) from read_parquet('{}') group by all"
        assert dict(duckdb.sql(count.format(both)).fetchall()) == {k: n for k, n in expected.items() if n}
        rows = pl.read_parquet(both).group_by("run_id").len().rows()
        assert dict(rows) == {k: n for k, n in expected.items() if n}


def test_a_changed_byte_of_the_records_is_found_and_the_other_run_kept(tmp_path):
    path = hexviz.export(recording("run-1", "run-2"), tmp_path / "run.parquet")
    file = path / "run_id=run-1" / "records.parquet"
    data = bytearray(file.read_bytes())
    kept = list(recording("run-2").records())
    for place in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        put_bytes(file, bytes(damaged))
        with pytest.raises(StoreCorruptError, match=r"records\.parquet"):
            hexviz.load(path)
        assert set(kept) <= set(records(path, damaged="skip"))


@pytest.mark.parametrize("damage", ["missing", "truncated", "another file", "foreign columns", "a dictionary"])
def test_a_damaged_directory_is_a_named_error_in_both_modes(damage, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = hexviz.export(recording("run-1", "run-2"), tmp_path / "run.parquet")
    file = path / "run_id=run-1" / "records.parquet"
    table = pq.read_table(file)
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        put_bytes(file, file.read_bytes()[:700])
    elif damage == "another file":
        put_bytes(file, b"PAR1" + bytes(500) + b"PAR1")
    elif damage == "foreign columns":
        pq.write_table(table.rename_columns(["place", "crc", "other"]), file)
    else:
        pq.write_table(pa.concat_tables([table] * 9), file, use_dictionary=True)
    with pytest.raises(StoreCorruptError, match=r"records\.parquet"):
        hexviz.load(path)
    assert records(path, damaged="skip") == list(recording("run-2").records())


def test_loading_never_unpickles_even_where_parquet_metadata_holds_a_pickle(tmp_path):
    import pyarrow.parquet as pq

    path = hexviz.export(recording(), tmp_path / "run.parquet")
    file = path / "run_id=run-1" / "records.parquet"
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR."
    table = pq.read_table(file).replace_schema_metadata({"pandas": evil, "ARROW:extension:metadata": evil})
    pq.write_table(table, file, use_dictionary=False)
    code = f"""
import sys, warnings, hexviz, hexviz.exports, pyarrow.parquet
hexviz.Recording, hexviz.load
seen = []
bad = ("pickle.", "subprocess.", "os.system")
sys.addaudithook(lambda name, args: seen.append(name) if name.startswith(bad) else None)
warnings.simplefilter("ignore")
print(len(hexviz.load({str(path)!r}, damaged="skip")), seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(len(small_run())), "[]"]
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        (b"", StoreCorruptError),
        (b"[]", StoreCorruptError),
        (b'{"hexviz":"csv","v":1,"files":{}}', NotAStoreError),
        (b'{"hexviz":"parquet","v":2,"files":{}}', NewerStoreError),
        (b'{"hexviz":"parquet","v":1,"files":{},"facts":{"records":3}}', StoreCorruptError),
        (b"[" * 100_000, StoreCorruptError),
    ],
)
def test_a_wrong_manifest_is_a_named_error(manifest, error, tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.parquet")
    put_bytes(path / files.MANIFEST, manifest)
    with pytest.raises(error):
        hexviz.load(path)


def test_a_manifest_cannot_point_outside_its_directory(tmp_path):
    path = hexviz.export(recording(), tmp_path / "run.parquet")
    outside = hexviz.export(recording("other"), tmp_path / "other.parquet")
    name = "../other.parquet/run_id=other/records.parquet"
    facts = json.loads((path / files.MANIFEST).read_bytes())
    facts["files"] = {name: files.checksum_of(outside / "run_id=other" / "records.parquet"), f"/{name}": ""}
    put_bytes(path / files.MANIFEST, json.dumps({**facts, "facts": {}}).encode())
    assert len(hexviz.load(path)) == 0


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hexviz\[parquet\]'"):
        hexviz.export(recording(), tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []


# --- names --------------------------------------------------------------------------------------------------------


@given(name=text | st.text(max_size=300))
def test_a_safe_name_is_one_path_part_that_can_be_turned_back(name):
    safe = safe_name(name)
    assert safe.isascii()
    assert not set(safe) & set("/\\.: \x00")
    assert len(safe) <= 200
    assert original_name(safe) in ({name} if "~" not in safe else {None})


@given(a=text, b=text)
@example(a="Run-A", b="run-a")
def test_different_names_stay_different_even_where_case_does_not_count(a, b):
    assert (safe_name(a).lower() == safe_name(b).lower()) == (a == b)
    assert safe_name("x" * 300 + a) != safe_name("x" * 300 + b) or a == b


# --- whole or not at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*FORMATS, "csv"])
@pytest.mark.parametrize("broken", ["fsync", "rename"])
def test_when_the_disk_fails_the_old_state_stays_and_no_scratch_is_left(kind, broken, tmp_path, monkeypatch):
    path = hexviz.export(recording("old"), tmp_path / f"run.{kind}")
    before = {found: found.read_bytes() for found in tmp_path.rglob("*") if found.is_file()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if broken == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(os, "replace", fail)
            patch.setattr(Path, "replace", fail)
            patch.setattr(Path, "rename", fail)
        with pytest.raises(StoreWriteError, match="No space left on device"):
            hexviz.export(recording("new"), path)
    assert {found: found.read_bytes() for found in tmp_path.rglob("*") if found.is_file()} == before


def test_the_disk_has_the_file_before_its_name_and_the_name_before_export_returns(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, Path.replace

    def noted(handle):
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    hexviz.export(recording(), tmp_path / "run.jsonl")
    assert steps == ["file", "rename", "directory"]


def test_a_process_killed_while_it_exports_leaves_the_old_file(tmp_path):
    path = hexviz.export(recording("old"), tmp_path / "run.jsonl")
    before = path.read_bytes()
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from hexviz.stores.jsonl import write_jsonl
def records():
    for i in range(10**9):
        if i == 100_000:
            print("writing", flush=True)
        yield b'{{"type":"x"}}'
write_jsonl({str(path)!r}, records(), 5)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before
    assert len(hexviz.load(path)) == len(small_run())


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_directory_with_files_of_somebody_else_is_never_replaced(kind, tmp_path):
    path = tmp_path / f"run.{kind}"
    path.mkdir()
    hexviz.export(recording(), path)  # an empty directory is no loss
    (path / "notes.txt").write_text("mine")
    with pytest.raises(StoreWriteError, match=r"notes\.txt"):
        hexviz.export(recording(), path)
    other = tmp_path / f"other.{kind}"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(StoreWriteError, match="not replaced"):
        hexviz.export(recording(), other)
    assert (path / "notes.txt").exists()
    assert (other / "thesis.txt").exists()


@pytest.mark.parametrize("kind", [*FORMATS, "csv", "trace.json"])
def test_a_path_that_cannot_be_written_is_a_named_error(kind, tmp_path):
    with pytest.raises(StoreWriteError, match="cannot be written"):
        hexviz.export(recording(), tmp_path / "missing" / f"run.{kind}")
    with pytest.raises(StoreWriteError):
        hexviz.export(recording(), tmp_path / f"nul\x00.{kind}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError):
        hexviz.export(recording(), tmp_path / "file" / f"run.{kind}")


# --- mutated files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.jsonl", "records.parquet", files.MANIFEST])
@quick
@given(seed=st.integers(0, 2**32))
def test_a_mutated_file_gives_only_named_errors_and_no_wrong_record(name, seed, tmp_path):
    rng = random.Random(seed)
    before = recording("run-1", "run-2")
    path = tmp_path / str(seed) / ("run.jsonl" if name == "run.jsonl" else "run.parquet")
    path.parent.mkdir(exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    hexviz.export(before, path)
    target = path if path.suffix == ".jsonl" else next(path.rglob(name))
    data = bytearray(target.read_bytes())
    for _ in range(rng.randint(1, 20)):
        place = rng.randrange(len(data))
        if rng.random() < 0.7:
            data[place] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.5:
            del data[place : place + rng.randint(1, 50)]
            data += b"\x00"
        else:
            data[place:place] = rng.randbytes(rng.randint(1, 50))
    put_bytes(target, bytes(data))
    good = set(before.records())
    for damaged in ("raise", "skip"):
        try:
            found = records(path, damaged=damaged)
        except HexvizError:
            continue
        assert set(found) <= good
