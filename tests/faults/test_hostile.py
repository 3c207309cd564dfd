"""H1: what comes from data stays data, whatever it is written into, shown on or filed under."""

import csv
import io
import json
import math
import re
import sqlite3
import subprocess
import sys
from xml.etree import ElementTree as ET

import html5lib
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from rich.console import Console

import hexviz
from hexviz.errors import HexvizError
from hexviz.events import events as ev
from hexviz.events.schema import from_record, to_record
from hexviz.recording.state import RunState
from hexviz.stores.parquet import FRAMES
from hexviz.terminal import render, safe
from hexviz.widgets.graph import graph_svg
from hexviz.widgets.recorded import static_view
from hexviz.widgets.report import report_html
from hexviz.widgets.snapshot import frozen_html
from hexviz.widgets.svg import timeline_svg
from hexviz.widgets.wire import encode, script_json
from tests.faults.hostile_runs import QUOTES, SHORT, TEXTS, harmless, told
from tests.recording.made_events import ProgressMade, text, value

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOSTILE = told(TEXTS, pipeline=QUOTES)
PAGES = {
    "report": report_html,
    "report with a title": lambda state: report_html(state, title=QUOTES),
    "frozen": frozen_html,
    "frozen with a title": lambda state: frozen_html(state, title=QUOTES),
}
PICTURES = {"timeline": timeline_svg, "graph": graph_svg}


# --- (a) HTML, SVG, widgets ---------------------------------------------------------------------------------------


def markup(html):
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    elements = [element for element in tree.iter() if isinstance(element.tag, str)]
    comments = [element for element in tree.iter() if not isinstance(element.tag, str)]
    return {(e.tag, name) for e in elements for name in ("", *e.attrib)}, len(comments), elements


@pytest.mark.parametrize("page", PAGES)
def test_h1a_no_element_attribute_or_comment_of_a_page_comes_from_data(page):
    hostile, comments, elements = markup(PAGES[page](RunState.from_events(HOSTILE.events())))
    plain, _, _ = markup(PAGES[page](RunState.from_events(told(harmless(TEXTS)).events())))
    assert hostile == plain
    assert comments == 0
    addresses = [v for e in elements for k, v in e.attrib.items() if k in {"src", "href", "srcdoc", "action"}]
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS * 30], ids=["few", "many"])
def test_h1a_no_element_or_attribute_of_a_picture_comes_from_data(picture, texts):
    def shape(recording):
        root = ET.fromstring(PICTURES[picture](RunState.from_events(recording.events())))
        return {(element.tag, name) for element in root.iter() for name in ("", *element.attrib)}

    unique = [f"{text}{i if i >= len(TEXTS) else ''}" for i, text in enumerate(texts)]
    assert shape(told(unique)) <= shape(told(harmless(unique))) | {("{http://www.w3.org/2000/svg}text", "text-anchor")}


def test_h1a_the_view_of_a_notebook_and_what_goes_to_its_widget_are_harmless():
    view = static_view(HOSTILE, title=TEXTS[1])
    bundle = view._static._repr_mimebundle_()
    assert (
        markup(bundle["text/html"])[0] == markup(frozen_html(RunState.from_events(told(harmless(TEXTS)).events())))[0]
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", bundle["text/plain"])
    message, _ = encode(view.state, view.state.delta(full=True))
    script = script_json(message)
    assert not set(script) & set("<>&\u2028\u2029")
    assert json.loads(script) == message
    assert max(len(found) for found in re.findall(r'"((?:[^"\\]|\\.)*)"', script)) < 3_000


def test_h1a_frames_shown_as_html_are_escaped_by_pandas():
    for name in FRAMES:
        shown = getattr(HOSTILE.frames, name).head(200)._repr_html_()
        assert {tag for tag, _ in markup(shown)[0]} <= {
            "html", "head", "body", "div", "style", "table", "thead", "tbody", "tr", "th", "td", "p"
        }  # fmt: skip


# --- (b) file names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["db", "jsonl", "parquet", "csv", "trace.json", "otlp.json", "ocel.json", "html"])
def test_h1b_no_file_appears_outside_the_place_that_was_named(suffix, tmp_path):
    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    step = 3 if suffix in {"csv", "parquet", "html"} else 1  # nine files for each
    for i, run_id in list(enumerate(SHORT))[::step]:
        recording = told((SHORT * 2)[i : i + 3], run_id=run_id)
        if suffix == "db":
            with hexviz.open_store(place / "runs.db") as store:
                store.append(recording.records())
        elif suffix == "html":
            hexviz.report(recording, place / "run.html")
        else:
            hexviz.export(recording, place / f"run.{suffix}")
    outside = [f for f in tmp_path.rglob("*") if not f.is_relative_to(place) and f not in place.parents]
    assert outside == []
    assert {f.name.split("-")[0] for f in place.iterdir()} == {"runs.db" if suffix == "db" else f"run.{suffix}"}


# --- (c) SQL ------------------------------------------------------------------------------------------------------


def test_h1c_hostile_ids_filters_and_prefixes_are_parameters_and_change_nothing(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        for i, run_id in enumerate(SHORT):
            store.append(told(SHORT[i - 3 : i + 1] if i >= 3 else SHORT[:4], run_id=run_id).records())
        store.flush()
        assert [info.run_id for info in reversed(store.list_runs())] == list(dict.fromkeys(SHORT))
        for hostile in SHORT:
            assert store.find(hostile) == hostile
            assert len(list(store.read(hostile))) > 10
            found = store.list_runs(pipeline=hostile, tag=hostile, status=hostile)
            assert found == []
        for hostile in ("%", "_", "' OR '1'='1", "*", "\x00%"):
            with pytest.raises(HexvizError):
                store.read(hostile).__next__()
        assert [p.problem for p in store.verify()] == []
        store.delete("'; drop table runs;--")
        assert len(store.list_runs()) == len(set(SHORT)) - 1
    tables = sqlite3.connect(tmp_path / "runs.db").execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {"segments", "runs"} <= {name for (name,) in tables}


# --- (d) terminals ------------------------------------------------------------------------------------------------

STEERING = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def test_h1d_no_view_in_a_terminal_obeys_what_data_say():
    out = io.StringIO()
    console = Console(file=out, width=200, color_system=None)
    state = RunState.from_events(list(HOSTILE.events())[:-1])
    console.print(render(state))
    console.print(render(RunState.from_events(HOSTILE.events())))
    assert not STEERING.search(out.getvalue())
    out.getvalue().encode()


@given(text)
def test_h1d_any_text_made_safe_is_one_line_that_can_be_printed(text):
    assert not STEERING.search(safe(text))
    assert "\n" not in safe(text)
    safe(text).encode()


def test_h1d_the_command_line_shows_a_hostile_run_without_obeying_it(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append(HOSTILE.records())
        store.append(told(SHORT[20:30], run_id="\ud800\x1b[2J", pipeline="\ud800").records())
    for arguments in (["runs"], ["show", "last"], ["show", "\x1b]52;c;x\x07"], ["report", "last", "-o", "r.html"]):
        command = [sys.executable, "-m", "hexviz", *arguments, "--store", "runs.db"]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=60, check=False)
        shown = (done.stdout + done.stderr).decode()
        assert not STEERING.search(shown), shown
        assert "Traceback" not in shown
        assert shown


def test_h1d_lines_for_a_log_hold_no_control_character():
    for event in HOSTILE.events():
        line = event.log_message()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line), line


# --- (e) CSV ------------------------------------------------------------------------------------------------------


def test_h1e_a_spreadsheet_finds_no_formula_and_the_exact_mode_gives_every_character_back(tmp_path):
    recording = told(SHORT)
    for mode in ("safe", "exact"):
        path = hexviz.export(recording, tmp_path / f"{mode}.csv", safe=mode == "safe")
        for name in FRAMES:
            data = (path / f"{name}.csv").read_bytes().decode()
            rows = list(csv.DictReader(io.StringIO(data, newline="")))
            cells = [cell for row in rows for cell in row.values()]
            frame = getattr(recording.frames, name)
            if mode == "safe":
                begins = [cell for cell in cells if re.match(r"[ \u00a0]*[=+\-@\t\r]", cell) and not _number(cell)]
                assert begins == []
            for column in ("node", "error_message"):
                if mode == "exact" and column in frame:
                    assert [row[column] for row in rows] == frame[column].fillna("").tolist()
    assert '"-1"' in (tmp_path / "exact.csv" / "nodes.csv").read_text(encoding="utf-8")


def _number(cell):
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", cell) is not None and cell not in TEXTS


# --- (f) values come back -----------------------------------------------------------------------------------------

VALUES = [
    *TEXTS, math.nan, math.inf, -math.inf, -0.0, 1e308, 2**63, -(2**63) - 1, 2**64, 10**400, -(10**5000),
    b"", b"\x00\xff",
    bytes(range(256)), True, None, [], {}, {"": None, "\ud800": b"\x00"}, {1: 2, None: 3, 1.5: 4}, {"$float": "nan"},
    {"$map": [[1, 2]]}, [[["\udfff"]]], 1.7976931348623157e308, 5e-324,
]  # fmt: skip


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def through_store(events, place):
    with hexviz.open_store(place / "runs.db") as store:
        store.append(events)
        store.flush()
        return list(store.recording(events[0].run_id).events())


def through(suffix):
    def there_and_back(events, place):
        path = hexviz.export(hexviz.Recording(events), place / f"run.{suffix}")
        return list(hexviz.load(path).events())

    return there_and_back


WAYS = {
    "record": lambda events, _: [from_record(to_record(event)) for event in events],
    "recording": lambda events, _: list(hexviz.Recording(events).events()),
    "sqlite": through_store,
    "jsonl": through("jsonl"),
    "parquet": through("parquet"),
}


@pytest.mark.parametrize("way", WAYS)
def test_h1f_every_value_comes_back_equal(way, tmp_path):
    values = [item for item in VALUES if not isinstance(item, str) or len(item) <= 4096]
    events = [ProgressMade("n", 0.5, item, run_id="r\ud800\x00", seq=i) for i, item in enumerate(values, 1)]
    back = WAYS[way](events, tmp_path)
    assert [type(event) for event in back] == [ProgressMade] * len(values)
    wrong = [(a.extra, b.extra) for a, b in zip(events, back, strict=True) if not same(a.extra, b.extra)]
    assert wrong == []
    assert {event.run_id for event in back} == {"r\ud800\x00"}


@pytest.mark.parametrize("way", ["sqlite", "jsonl", "parquet"])
@quick
@given(value=value)
def test_h1f_any_value_comes_back_as_its_record_says(way, value, tmp_path):
    event = ProgressMade("n", 0.5, value, run_id="r", seq=1)
    for file in tmp_path.glob("runs.db*"):
        file.unlink()
    (back,) = WAYS[way]([event], tmp_path)
    assert to_record(back) == to_record(event)


def test_h1f_a_text_of_ten_megabytes_is_kept_short_and_never_whole(tmp_path):
    big = "<b>\x1b" * 2_500_000
    events = [
        ev.NodeFailed(big[:40], 1, ValueError(big), run_id="r", seq=1),
        ProgressMade("n", 0.5, big, run_id="r", seq=2),
    ]
    failed, made = through_store(events, tmp_path)
    assert (len(failed.error.message), len(made.extra)) == (4096, 4096)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 200_000
    assert len(msgspec.json.encode(to_record(events[0]).decode())) < 100_000
