"""H3: reading a file runs nothing that is in it; whatever the bytes, they give a recording or an error with a name."""

import contextlib
import json
import random
import re
import warnings
import zlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hexviz
from hexviz.bridges.wfformat import read_wfformat
from hexviz.errors import HexvizError
from hexviz.events import events as ev
from hexviz.events.schema import CODECS, from_record, to_record
from hexviz.recording.state import RunState
from hexviz.stores import files
from hexviz.stores.jsonl import sealed
from hexviz.stores.parquet import FRAMES, ParquetRuns
from hexviz.widgets.report import report_html
from tests.recording.made_events import small_run


def examples(count):
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


TIMES = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
    "x",
]
WORDS = [
    "$float",
    "$str",
    "$bytes",
    "$int",
    "$map",
    "$time",
    "$summary",
    "$error",
    "type",
    "v",
    "data",
    "tagged",
    "name",
]
leaf = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
    | st.sampled_from([*TIMES, 2**63, -(2**63), 10**400, -1, 1e308, "nan", "!", "0xzz", "AAAA", "", "NodeStarted"])
)  # fmt: skip
tree = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def everything_made_of(recording):
    """Look at a recording in every way that there is."""
    list(recording.records())
    frames = recording.frames
    for name in (*FRAMES, "diagnostics"):
        len(getattr(frames, name))
    for run_id in recording.run_ids:
        state = RunState.from_events(recording.events(), run_id)
        report_html(state)


def load_or_refuse(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            recording = hexviz.load(path, **options)
        except HexvizError:
            return None
    everything_made_of(recording)
    return recording


def json_bytes(value):
    return json.dumps(value).encode("utf-8", "backslashreplace")


# --- records ------------------------------------------------------------------------------------------------------


def of_the_same_type(value):
    if type(value) in {int, float}:
        odd = [2**63, -(2**63), 2**63 - 1, 2**64, 10**30, -1, 0, 1.5, 1e308, -1e-320]
        return st.sampled_from([number for number in odd if type(value) is float or type(number) is int])
    if type(value) is str:
        return st.text(max_size=5) | st.sampled_from(["load", "clean", "retry", "\u2028", "x" * 5_000])
    if type(value) is list:
        return st.just([]) | st.lists(st.sampled_from(value), max_size=4) if value else st.just(["a", "a"])
    return st.just(value)


@st.composite
def odd_records(draw):
    """Records of every class in which some fields are of another type, missing, or too many."""
    event = draw(st.sampled_from(small_run()))
    record = json.loads(to_record(event))
    data = record["data"]
    for name in draw(st.lists(st.sampled_from(sorted(data)), max_size=3, unique=True)):
        kind = draw(st.integers(0, 7))
        if kind == 0:
            data.pop(name)
        elif name in {"timestamp", "ready_at"}:
            data[name] = draw(st.sampled_from(TIMES))
        elif kind > 2:
            data[name] = draw(of_the_same_type(data[name]))
        else:
            data[name] = draw(leaf if kind == 1 else tree)
    data.update(draw(st.just({}) | st.dictionaries(st.text(max_size=3), tree, max_size=2)))
    record["type"] = draw(st.sampled_from([record["type"]] * 4 + [*CODECS, "os.system", "builtins.eval", ""]))
    record["tagged"] = draw(st.booleans())
    return json_bytes(record)


@examples(150)
@given(record=odd_records())
def test_h3_any_record_gives_an_event_that_works_or_a_named_error(record):
    try:
        event = from_record(record)
    except HexvizError:
        return
    again = to_record(event)
    assert to_record(from_record(again)) == again
    everything_made_of(hexviz.Recording([event]))


@examples(60)
@given(
    records=st.lists(odd_records() | st.binary(max_size=30) | tree.map(json_bytes), max_size=6), damaged=st.booleans()
)
def test_h3_json_lines_with_right_checksums_give_a_recording_or_a_named_error(records, damaged, tmp_path):
    path = tmp_path / "run.jsonl"
    header = b'{"hexviz":"jsonl","v":1,"records":%d}' % len(records)
    path.write_bytes(sealed(header) + b"".join(sealed(record.replace(b"\n", b"")) for record in records))
    load_or_refuse(path, damaged="skip" if damaged else "raise")


@examples(60)
@given(
    data=st.binary(max_size=200)
    | st.text(st.sampled_from('{}[]":,\n\r\x00hexvizjsonl1"crc"'), max_size=80).map(str.encode)
)
def test_h3_any_bytes_are_no_recording_by_name(data, tmp_path):
    for name, format_ in (("run.jsonl", None), ("run.wfformat.json", None), ("x.json", "wfformat")):
        (tmp_path / name).write_bytes(data)
        load_or_refuse(tmp_path / name, format=format_)
    path = tmp_path / "run.db"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    with contextlib.suppress(HexvizError), hexviz.open_store(path) as store:
        store.list_runs()


@pytest.mark.parametrize("depth", [50, 190, 300, 900, 5_000, 100_000])
@pytest.mark.parametrize("form", ['{"x":%s,%s}', '{"name":%s,"wave_index":1,%s}'])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"$map":[[1,', "]]}"), ('{"a":', "}")])
def test_h3_nesting_is_bounded_by_a_named_error(depth, form, brackets, tmp_path):
    deep = brackets[0] * depth + "1" + brackets[1] * depth
    base = '"timestamp":"2026-01-01T00:00:00Z","run_id":"r","seq":1,"monotonic_ns":1,"pipeline":"p"'
    for name in ("other.Thing", "NodeStarted"):
        record = f'{{"type":"{name}","v":1,"data":{form % (deep, base)},"tagged":true}}'
        (tmp_path / "run.jsonl").write_bytes(sealed(record.encode()))
        loaded = load_or_refuse(tmp_path / "run.jsonl")
        assert loaded is None or depth < 500
        (tmp_path / "x.wfformat.json").write_bytes(record.encode())
        assert load_or_refuse(tmp_path / "x.wfformat.json") is None


# --- WfFormat -----------------------------------------------------------------------------------------------------

INSTANCE = {
    "name": "x", "schemaVersion": "1.5", "workflow": {
        "specification": {"tasks": [{"name": "a", "id": "a", "parents": [], "children": ["b"]},
                                    {"name": "b", "id": "b", "parents": ["a"], "children": []}]},
        "execution": {"makespanInSeconds": 3, "executedAt": "2026-01-01T00:00:00Z",
                      "tasks": [{"id": "a", "runtimeInSeconds": 1, "executedAt": "2026-01-01T00:00:00Z"},
                                {"id": "b", "runtimeInSeconds": 2}]}},
    "runtimeSystem": {"name": "hexviz", "version": "1"},
}  # fmt: skip


def places(value, path=()):
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


@examples(200)
@given(
    path=st.sampled_from(list(places(INSTANCE))), new=tree, second=st.sampled_from(list(places(INSTANCE))), other=leaf
)
def test_h3_a_changed_instance_of_wfformat_gives_a_run_or_a_named_error(path, new, second, other):
    document = changed(INSTANCE, path, new)
    with contextlib.suppress(LookupError, TypeError):
        document = changed(document, second, other)
    try:
        workflow = read_wfformat(json_bytes(document))
    except HexvizError:
        return
    everything_made_of(hexviz.Recording(workflow.events()))


@pytest.mark.parametrize("number", ["NaN", "1e999", "-1", "1" * 400, '"1"', "null", "9e9", "1e-320"])
def test_h3_odd_numbers_of_seconds_are_refused_or_read(number):
    text = json.dumps(INSTANCE).replace('"runtimeInSeconds": 2', f'"runtimeInSeconds": {number}')
    with contextlib.suppress(HexvizError):
        everything_made_of(hexviz.Recording(read_wfformat(text.encode()).events()))


# --- Parquet ------------------------------------------------------------------------------------------------------


def with_new_checksum(path, file):
    facts = json.loads((path / files.MANIFEST).read_bytes())
    facts["files"][file.relative_to(path).as_posix()] = files.checksum_of(file)
    (path / files.MANIFEST).write_bytes(json.dumps(facts).encode())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return hexviz.export(hexviz.Recording(small_run()), tmp_path_factory.mktemp("parquet") / "run.parquet")


@examples(40)
@given(seed=st.integers(0, 2**32))
def test_h3_parquet_files_changed_together_with_their_checksums_are_read_or_refused(seed, exported):
    rng = random.Random(seed)
    file = exported / "run_id=run-1" / "records.parquet"
    original = file.read_bytes()
    data = bytearray(original)
    for _ in range(rng.randint(1, 10)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        file.write_bytes(data)
        with_new_checksum(exported, file)
        for damaged in ("raise", "skip"):
            load_or_refuse(exported, damaged=damaged)
    finally:
        file.write_bytes(original)
        with_new_checksum(exported, file)


def test_h3_each_byte_of_what_a_parquet_file_says_of_itself_may_be_wrong(exported):
    file = exported / "run_id=run-1" / "records.parquet"
    original = file.read_bytes()
    length, whole = int.from_bytes(original[-8:-4], "little"), len(list(ParquetRuns(exported).records()))
    try:
        for place in range(len(original) - 8 - length, len(original)):
            data = bytearray(original)
            data[place] = (data[place] + 1) % 256
            file.write_bytes(data)
            with_new_checksum(exported, file)
            runs = ParquetRuns(exported)
            assert len(list(runs.records(damaged="skip"))) == whole or runs.damage
    finally:
        file.write_bytes(original)
        with_new_checksum(exported, file)


@examples(30)
@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), odd_records() | st.binary(max_size=9) | st.none())
    )
)
def test_h3_parquet_rows_of_any_content_are_read_or_refused(rows, exported):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = exported / "run_id=run-1" / "records.parquet"
    original = file.read_bytes()
    schema = pa.schema([("place", pa.int64()), ("crc", pa.uint32()), ("record", pa.binary())])
    columns = [[p for p, _ in rows], [zlib.crc32(r or b"") for _, r in rows], [r for _, r in rows]]
    try:
        pq.write_table(pa.table(columns, schema=schema), file, use_dictionary=False)
        with_new_checksum(exported, file)
        load_or_refuse(exported, damaged="skip")
    finally:
        file.write_bytes(original)
        with_new_checksum(exported, file)


# --- nothing is run -----------------------------------------------------------------------------------------------

WATCH = """
import msgspec, os, pickle, sqlite3, sys, warnings
import hexviz, hexviz.exports, hexviz.stores.sqlite, pyarrow.parquet
from hexviz.events.events import EVENT_CLASSES
from hexviz.events.schema import _Base, field_types
from hexviz.errors import HexvizError
place, outcomes, seen, armed = sys.argv[1], [], [], False
warnings.simplefilter("ignore")
for cls in EVENT_CLASSES:
    field_types(cls)  # our own annotations, compiled once
msgspec.convert({"timestamp": 0, "run_id": "", "seq": 0, "monotonic_ns": 0, "pipeline": ""}, _Base, strict=False)
loaded = set(sys.modules)  # pyarrow brings cloudpickle

def look(name):
    path = os.path.join(place, name)
    try:
        if name.endswith(".db"):
            with hexviz.open_store(path) as store:
                for info in store.list_runs():
                    len(store.recording(info.run_id).frames.nodes)
                store.verify()
        else:
            recording = hexviz.load(path, damaged="skip")
            len(recording.frames.nodes)
            recording.diagnostics()
        outcomes.append((name, "read"))
    except HexvizError as error:
        outcomes.append((name, type(error).__name__))

names = sorted(n for n in os.listdir(place) if not n.endswith(("-wal", "-shm")))
for name in names:
    if name.startswith("good"):
        look(name)
outcomes.clear()
FORBIDDEN = ("pickle.", "exec", "compile", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn",
             "os.fork",
             "socket.", "ctypes.", "sqlite3.load_extension", "sqlite3.enable_load_extension", "import", "marshal.loads")

def hook(name, args):
    if not armed:
        return
    if name.startswith(FORBIDDEN):
        seen.append((name, repr(args)[:200]))
    elif name == "open" and isinstance(args[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(args[0]))
        if not path.startswith(place) and path != os.devnull:
            seen.append((name, path))

sys.addaudithook(hook)
for name in names:
    armed = True
    look(name)
    armed = False
for module in ("joblib", "dill", "cloudpickle", "yaml"):
    if module in set(sys.modules) - loaded:
        seen.append(("module", module))
print(repr((outcomes, seen)))
"""


def evil_files(place):
    """Files that run something when somebody reads them without care. Returns their names."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    evil = b"cposix\nsystem\n(S'touch " + str(place / "canary").encode() + b"'\ntR."
    recording = hexviz.Recording(small_run())
    base = '"timestamp":"2026-01-01T00:00:00Z","run_id":"r","seq":1,"monotonic_ns":1,"pipeline":"p"'
    objects = [
        '{"py/object":"os.system","py/reduce":[{"py/function":"os.system"},["touch x"]]}',
        '{"__reduce__":["os.system"]}',
        '{"$type":"os.system"}', '{"!!python/object/apply:os.system":["touch x"]}', '{"$summary":{"type":"os.system"}}',
        '"!!python/object/apply:os.system [touch x]"', '{"__class__":"os.system"}', '{"$bytes":"Y29zCnN5c3RlbQo="}',
    ]  # fmt: skip
    records = [
        f'{{"type":"{name}","v":1,"data":{{"x":{value},"name":{value},{base}}},"tagged":true}}'.encode()
        for name in ("os.system", "builtins.exec", "posix.system", "__main__.Evil", "subprocess.Popen", "NodeStarted")
        for value in objects
    ]
    (place / "evil.jsonl").write_bytes(b"".join(map(sealed, records)))
    for i, record in enumerate(records):
        (place / f"evil{i}.jsonl").write_bytes(sealed(record))
    for name in ("pickle.jsonl", "pickle.wfformat.json", "pickle.db"):
        (place / name).write_bytes(evil)
    np.save(place / "array", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (place / "array.npy").rename(place / "array.jsonl")
    (place / "tag.jsonl").write_bytes(b"!!python/object/apply:os.system ['touch x']\n")
    with hexviz.open_store(place / "evil.db") as store:
        store.append(record for record in records if _readable(record))
        store.append(recording.records())
    path = hexviz.export(recording, place / "meta.parquet")
    file = path / "run_id=run-1" / "records.parquet"
    table = pq.read_table(file)
    names = {b"pandas": evil, b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    field = table.schema.field("record").with_metadata(names)
    schema = pa.schema([table.schema.field("place"), table.schema.field("crc"), field], metadata=names)
    pq.write_table(table.cast(schema), file, use_dictionary=False)
    with_new_checksum(path, file)
    return len(records)


def _readable(record):
    with contextlib.suppress(HexvizError):
        from_record(record)
        return True
    return False


def test_h3_loading_runs_imports_and_opens_nothing_that_a_file_names(in_process, tmp_path):
    place = tmp_path / "files"
    place.mkdir()
    for suffix in ("jsonl", "parquet"):
        hexviz.export(hexviz.Recording(small_run()), place / f"good.{suffix}")
    hexviz.export(hexviz.Recording(small_run()), place / "good.wfformat.json")
    (place / "good_broken.jsonl").write_bytes(b"{}\n")
    with hexviz.open_store(place / "good.db") as store:
        store.append(small_run())
    evil_files(place)
    program = WATCH.replace("sys.argv[1]", repr(str(place.resolve())))
    outcomes, seen = eval(in_process(program, quiet=False, warnings="ignore"))
    assert seen == [], "\n".join(map(repr, seen))
    told = dict(outcomes)
    assert not (place / "canary").exists()
    assert {told["good.jsonl"], told["good.db"], told["meta.parquet"], told["evil.db"]} == {"read"}
    assert {told["pickle.jsonl"], told["pickle.db"], told["array.jsonl"], told["tag.jsonl"]} == {"NotAStoreError"}
    assert told["pickle.wfformat.json"] == "SourceError"


def test_h3_reading_loads_no_library_that_unpickles(in_process, tmp_path):
    hexviz.export(hexviz.Recording(small_run()), tmp_path / "run.jsonl")
    in_process("""
        import sys, hexviz
        with hexviz.open_store("runs.db") as store:
            store.append(hexviz.load("run.jsonl").records())
            store.flush()
        assert {"joblib", "dill", "cloudpickle", "yaml"}.isdisjoint(sys.modules)
    """)


def test_h3_nothing_of_hexviz_knows_how_to_unpickle():
    from pathlib import Path

    source = {f: f.read_text(encoding="utf-8") for f in Path(hexviz.__file__).parent.rglob("*.py")}
    words = ("pickle", "marshal", "shelve", "yaml", "joblib", "dill", "__import__", "eval(", "exec(", "allow_pickle")
    lines = [(f.name, line) for f, code in source.items() for line in code.splitlines()]
    said = [(name, line) for name, line in lines if any(word in line for word in words)]
    allowed = {"options.py", "packing.py"}  # what is behind --policy; a run's own values, to its workers and back
    said = [(name, line) for name, line in said if name not in allowed]
    uses = [(name, line) for name, line in said if re.match(r"\s*(import|from)\b", line) or re.search(r"\w+\(", line)]
    assert uses == []


def test_h5_there_is_no_import_of_archives_and_a_compressed_file_is_refused_by_name(tmp_path):
    import gzip
    import tarfile
    import zipfile

    run = hexviz.export(hexviz.Recording(small_run()), tmp_path / "run.jsonl")
    bomb = gzip.compress(bytes(50_000_000))
    for name in ("run.jsonl", "run.wfformat.json"):
        (tmp_path / name).write_bytes(bomb)
        with pytest.raises(HexvizError):
            hexviz.load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.write(run, "../../evil.jsonl")
    with tarfile.open(tmp_path / "run.tar", "w") as archive:
        archive.add(run, "/evil.jsonl")
    for name in ("run.zip", "run.tar"):
        for format_ in (None, "jsonl", "parquet", "wfformat"):
            with pytest.raises(HexvizError):
                hexviz.load(tmp_path / name, format=format_)


# --- H4: who may read what is written -----------------------------------------------------------------------------


def test_h4_every_file_is_for_its_owner_only_whatever_the_umask(in_process, tmp_path):
    in_process("""
        import os
        os.umask(0)
        import asyncio, hexviz, hexviz.testing
        from pathlib import Path
        here = Path("a/b/c")
        store = hexviz.open_store(here / "runs.db")
        result = asyncio.run(hexviz.run(hexviz.testing.sample_graph(), None, store=store))
        store.flush("disk")
        for suffix in ("jsonl", "parquet", "csv", "trace.json", "otlp.json", "ocel.json", "wfformat.json"):
            hexviz.export(result.recording, here / f"run.{suffix}")
        hexviz.export(result.recording, here / "nodes.csv", frame="nodes")
        hexviz.report(result.recording, here / "report.html")
        hexviz.testing.policy_test_from(result.recording, "load", here / "test_policy.py")
        found = [here.parent.parent, *here.parent.parent.rglob("*")]
        print(sorted({(f.suffix if f.is_file() else "directory", oct(f.stat().st_mode & 0o777)) for f in found}))
        wrong = [str(f) for f in found if f.stat().st_mode & 0o777 != (0o700 if f.is_dir() else 0o600)]
        assert wrong == [], wrong
        assert {"runs.db", "runs.db-wal", "runs.db-shm"} <= {f.name for f in found}
        store.close()
    """)


def test_a_time_that_is_none_in_utc_is_a_named_error():
    for moment in TIMES[:2]:
        record = to_record(ev.WaveStarted(1, (), timestamp=datetime(2026, 1, 1, tzinfo=UTC)))
        record = record.replace(b"2026-01-01T00:00:00Z", moment.encode())
        with pytest.raises(HexvizError):
            from_record(record)
    assert msgspec.json.decode(record)
