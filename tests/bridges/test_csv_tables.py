"""CSV that no spreadsheet runs; and, where asked for, CSV that gives back every character."""

import csv
import io
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hexviz
from hexviz.bridges.csv_tables import csv_lines, without_formulas
from hexviz.recording.layout import COLUMNS
from hexviz.stores.parquet import FRAMES
from tests.bridges.made_runs import broken, hostile, shown, small

TROUBLE = st.text(st.sampled_from("=+-@\t\r\n,;|\"' ab1\uff1d") | st.characters(codec="utf-8"), max_size=12)


def parsed(data, **form):
    return list(csv.reader(io.StringIO(data.decode(), newline=""), **form))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM", "'@SUM"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ('a",=1', "a\",'=1"),
        ("a;=1", "a;'=1"),
        ("a\n=1", "a\n'=1"),
        ("\x00=1", "'\x00=1"),
        ("\ufeff\u3000=1", "'\ufeff\u3000=1"),
        ("\x0b=1", "'\x0b=1"),
        ("a-1=b@c+d", "a-1=b@c+d"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_what_may_begin_a_formula_gets_an_apostrophe_in_front(text, written):
    assert without_formulas(text) == written


@settings(max_examples=200)
@given(text=TROUBLE)
def test_no_cell_begins_with_a_formula_whatever_separator_is_in_force(text):
    line = b"".join(csv_lines(pd.DataFrame({"a": [text]}))).decode().removeprefix("a\n")
    for piece in re.split(r'[,;|\t\r\n"]', line):
        assert not piece.lstrip(" \u00a0").startswith(tuple("=+-@\uff1d"))


@settings(max_examples=200)
@given(texts=st.lists(TROUBLE, min_size=1, max_size=4))
def test_the_exact_form_gives_back_every_character(texts):
    data = b"".join(csv_lines(pd.DataFrame({"a": texts, "b": texts}), safe=False))
    assert parsed(data) == [["a", "b"], *([text, text] for text in texts)]


@pytest.mark.parametrize("made", [small, hostile, broken])
def test_a_directory_has_a_file_for_each_frame_with_its_documented_columns(made, tmp_path):
    recording = made()
    path = hexviz.export(recording, tmp_path / "run.csv", safe=False)
    assert sorted(file.stem for file in path.glob("*.csv")) == sorted(FRAMES)
    for name in FRAMES:
        rows = parsed((path / f"{name}.csv").read_bytes())
        frame = getattr(recording.frames, name)
        assert rows[0] == [column.name for column in COLUMNS[name]]
        assert len(rows) == len(frame) + 1
        for place, column in enumerate(COLUMNS[name]):
            if column.kind == "text":
                assert [row[place] for row in rows[1:]] == list(frame[column.name])


def test_cells_are_plain_numbers_iso_times_and_nothing_where_a_value_is_missing(tmp_path):
    path = hexviz.export(small(), tmp_path / "nodes.csv", frame="nodes")
    first, *_, last = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    told = [first[name] for name in ("run_id", "wave", "status", "started_at", "duration_ms")]
    assert told == ["run-1", "1", "succeeded", "2026-01-02T03:04:05.001000Z", "9.5"]
    assert (last["node"], last["started_at"], last["duration_ms"]) == ("tell", "", "")
    assert '"run-1","load",1,' in path.read_text(encoding="utf-8")


def test_a_hostile_run_is_safe_in_every_file(tmp_path):
    path = hexviz.export(hostile(), tmp_path / "run.csv")
    cells = [cell for file in path.glob("*.csv") for row in parsed(file.read_bytes()) for cell in row]
    assert {cell for cell in cells if re.match(r"[ \u00a0]*[=+\-@\t\r]", cell)} == set()
    assert "'=HYPERLINK(1)" in cells
    assert shown("\ud800") in cells


def test_the_same_recording_gives_the_same_bytes(tmp_path):
    first, second = (hexviz.export(hostile(), tmp_path / f"{i}.csv") for i in (1, 2))
    assert [f.read_bytes() for f in sorted(first.iterdir())] == [f.read_bytes() for f in sorted(second.iterdir())]
