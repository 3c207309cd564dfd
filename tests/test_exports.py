"""export and load: the suffix says the format, any source will do, what is unknown is refused with what is known."""

import shutil
from pathlib import Path

import pytest

import hexviz
from hexviz import cli
from hexviz.errors import WrongCallError
from hexviz.exports import FORMATS, FormatError
from hexviz.stores.errors import NotAStoreError
from hexviz.testing import sample_graph
from tests.recording.made_events import small_run

CANARY = "canary-4711"
SUFFIXES = [known.suffix for known in FORMATS]


def content(path):
    return [file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file()]


@pytest.fixture
def recording():
    return hexviz.Recording(small_run("run-1"))


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_the_suffix_and_the_format_say_the_same(known, recording, tmp_path):
    by_suffix = hexviz.export(recording, tmp_path / f"run{known.suffix}")
    upper = hexviz.export(recording, str(tmp_path / f"RUN{known.suffix.upper()}"))
    by_name = hexviz.export(recording, tmp_path / "run.whatever", format=known.name)
    assert content(by_suffix) == content(upper) == content(by_name)
    assert by_suffix == tmp_path / f"run{known.suffix}"


@pytest.mark.parametrize("name", ["run.json", "run.xlsx", "run", ".gz", "run.jsonl.gz", "run.tar"])
def test_an_unknown_suffix_is_refused_with_those_that_are_known(name, recording, tmp_path):
    with pytest.raises(FormatError) as told:
        hexviz.export(recording, tmp_path / name)
    assert all(suffix in str(told.value) for suffix in SUFFIXES)
    with pytest.raises(FormatError) as told:
        hexviz.load(tmp_path / name)
    assert [suffix for suffix in SUFFIXES if suffix in str(told.value)] == [".jsonl", ".parquet", ".wfformat.json"]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_option_or_frame_is_refused(recording, tmp_path):
    for options in ({"format": "xml"}, {"frame": "nodes"}, {"safe": False}):
        with pytest.raises(FormatError):
            hexviz.export(recording, tmp_path / "run.jsonl", **options)
    with pytest.raises(FormatError, match="there is no frame 'rows'; there are: events, runs"):
        hexviz.export(recording, tmp_path / "run.csv", frame="rows")
    with pytest.raises(FormatError, match="'raise' or 'skip', not 'ignore'"):
        hexviz.load(tmp_path / "run.jsonl", damaged="ignore")
    with pytest.raises(FormatError, match="does not read the format 'otlp'"):
        hexviz.load(tmp_path / "run.otlp.json", format="otlp")


def test_a_result_a_handle_a_recording_and_a_run_id_give_the_same_file(tmp_path):
    handle = hexviz.start(sample_graph())
    result = handle.result()
    sources = [result, handle, result.recording, result.run_id]
    files = [hexviz.export(source, tmp_path / f"{i}.jsonl").read_bytes() for i, source in enumerate(sources)]
    assert files == [files[0]] * 4
    with pytest.raises(WrongCallError):
        hexviz.export(42, tmp_path / "run.jsonl")


def test_what_was_loaded_can_go_into_a_store_and_come_out_the_same(recording, tmp_path):
    loaded = hexviz.load(hexviz.export(recording, tmp_path / "run.jsonl"))
    with hexviz.open_store() as store:
        store.append(loaded.records())
        store.flush()
        again = hexviz.export(store.recording("run-1"), tmp_path / "again.jsonl")
    assert again.read_bytes() == (tmp_path / "run.jsonl").read_bytes()


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_no_value_of_a_run_is_in_a_file(known, tmp_path):
    graph = hexviz.Graph("secretive")

    @graph.node
    async def ask(question):
        async with hexviz.tool_call("search", {"token": question}) as call:
            call.result = question
        async with hexviz.llm_call("model", [question]) as call:
            call.result = question
        return [question]

    @graph.node(after=["ask"])
    def fail(answers):
        raise ValueError(f"https://user:{answers[0]}@host/ password={answers[0]}")

    with pytest.raises(hexviz.PipelineError) as failed:
        hexviz.run_sync(graph, CANARY, store=False)
    path = hexviz.export(failed.value.recording, tmp_path / f"run{known.suffix}")
    assert not any(CANARY.encode() in data for data in content(path))
    if known.name == "parquet":
        import pyarrow.parquet as pq

        assert not any(CANARY in str(pq.read_table(file).to_pylist()) for file in path.rglob("*.parquet"))


def test_archives_are_no_recordings(recording, tmp_path):
    hexviz.export(recording, tmp_path / "run.jsonl")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path, "run.jsonl"))
    for kind in ("jsonl", "parquet", "wfformat"):
        with pytest.raises(NotAStoreError):
            hexviz.load(packed, format=kind)


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def store(recording, tmp_path):
    path = tmp_path / "kept.db"
    with hexviz.open_store(path) as store:
        store.append(recording.records())
        store.flush()
    return path


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_the_command_writes_what_the_function_writes(known, store, recording, tmp_path, capsys):
    target = tmp_path / f"by_command{known.suffix}"
    assert cli.main(["export", "run-1", str(target), "--store", str(store)]) == 0
    assert "Written:" in capsys.readouterr().out
    assert content(target) == content(hexviz.export(recording, tmp_path / f"run{known.suffix}"))


def test_the_command_takes_a_frame_and_the_exact_form(store, tmp_path):
    target = tmp_path / "nodes.csv"
    line = ["export", "last", str(target), "--store", str(store), "--frame", "nodes", "--exact"]
    assert cli.main(line) == 0
    assert target.read_text(encoding="utf-8").startswith("run_id,node,wave")


@pytest.mark.parametrize("line", [["last", "run.xlsx"], ["nobody", "run.jsonl"], ["last", "missing/run.jsonl"]])
def test_the_command_words_what_it_cannot_do_in_one_line(line, store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *line, "--store", str(store)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
