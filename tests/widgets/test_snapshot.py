"""The picture that stays."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import html5lib
import pytest

from hexviz.events import events as ev
from hexviz.palette import ACCENT
from hexviz.recording.state import RunState
from hexviz.widgets.snapshot import format_ms, frozen_html, plain_text
from hexviz.widgets.svg import axis_ticks, timeline_svg
from tests.browser.made_runs import told

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {"html", "head", "body", "div", "b", "span", "img", "table", "tbody", "tr", "th", "td"}


def elements(html):
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    return [element for element in tree.iter() if isinstance(element.tag, str)]


def picture(html):
    (source,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    return base64.b64decode(source).decode("utf-8")


def test_one_bar_per_attempt_in_the_colour_of_its_status(runs):
    root = ET.fromstring(timeline_svg(RunState.from_events(runs.story())))
    bars = [bar.get("fill") for bar in root.iter(f"{SVG}rect") if bar.get("rx")]
    assert bars == ["#009e73", "#e69f00", "#009e73", "#cc79a7"]


def test_the_wait_and_the_backoff_are_drawn_apart(runs):
    root = ET.fromstring(timeline_svg(RunState.from_events(runs.story())))
    assert [bar.get("fill") for bar in root.iter(f"{SVG}rect") if bar.get("fill").startswith("url")] == [
        "url(#w)",
        "url(#b)",
    ]


def test_where_letters_are_large_the_waves_that_are_named_stand_apart(runs):
    infos = tuple(ev.NodeInfo(f"n{i}", i + 1) for i in range(30))
    state = RunState.from_events(runs.tell([(0, ev.PipelineStarted, ("deep", 30, 30, infos), {})]))
    texts = ET.fromstring(timeline_svg(state, height=450)).findall(f"{SVG}text")
    waves = [text for text in texts if text.find(f"{SVG}tspan") is not None]
    named = [float(text.get("y")) for text in waves if text.get("class") == "t"]
    assert len(waves) > len(named) > 10
    assert min(below - above for above, below in pairwise(named)) >= 17


@pytest.mark.parametrize("nodes", [0, 3, 40, 41, 300, 3000])
def test_any_size_of_run_is_a_picture_without_scripts_and_links(runs, nodes):
    state = RunState.from_events(runs.many(nodes)) if nodes else RunState()
    svg = timeline_svg(state)
    root = ET.fromstring(svg)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "style", "defs", "pattern", "path", "rect", "text", "tspan"
    }  # fmt: skip
    assert "href" not in svg
    assert len(svg) < 400_000


def test_a_frozen_output_keeps_what_untrusted_notebooks_keep(runs):
    html = frozen_html(RunState.from_events(runs.story()))
    assert {element.tag for element in elements(html)} <= ALLOWED
    assert 'data-rows="4"' in html
    assert 'data-done="true"' in html


def test_workers_are_a_table_in_which_the_dead_one_is_named(runs):
    state = RunState.from_events(told(30, outcome="failed", workers=("process 1", "<b>2</b>")))
    html = frozen_html(state)
    assert "Workers: 2" in html
    assert re.search(r"&lt;b&gt;2&lt;/b&gt;</td>.*lost at \d+ ms</td>", html)
    assert "Workers" not in frozen_html(RunState.from_events(runs.story()))


def test_nothing_from_data_becomes_markup(runs):
    plain = frozen_html(RunState.from_events(runs.story()))
    for hostile in runs.HOSTILE:
        state = RunState.from_events(
            runs.story((f"1{hostile}", f"2{hostile}", f"3{hostile}"), error=hostile, reason=hostile)
        )
        html = frozen_html(state, title=hostile)
        html.encode("utf-8")
        assert [e.tag for e in elements(html)] == [e.tag for e in elements(plain)]
        assert {name for e in elements(html) for name in e.attrib} == {
            name for e in elements(plain) for name in e.attrib
        }
        ET.fromstring(picture(html))


def test_an_unfinished_run_says_so(runs):
    state = RunState.from_events(runs.story()[:8])
    assert "unfinished" in plain_text(state)
    assert "unfinished" in frozen_html(state)
    assert "not started" in plain_text(RunState())


DURATIONS = json.loads((Path(__file__).parents[1] / "js" / "durations.json").read_text())


@pytest.mark.parametrize(("ms", "text"), [*DURATIONS, (float("nan"), "-")])
def test_a_duration_is_written_for_people_as_the_page_writes_it(ms, text):
    assert format_ms(ms) == text


@pytest.mark.parametrize("end_ms", [1, 17, 905, 4_380, 61_000, 3_600_000, 1e9])
def test_ticks_are_round_in_order_and_not_too_close(end_ms):
    ticks = axis_ticks(end_ms, 900)
    assert ticks[0][0] == 0
    assert [at for at, _ in ticks] == sorted(at for at, _ in ticks)
    assert 1 <= len(ticks) <= 13
    assert len({label for _, label in ticks}) == len(ticks)


def test_the_picture_of_an_ended_run_marks_its_critical_path(runs):
    whole, part = RunState.from_events(runs.story()), RunState.from_events(runs.story()[:-1])
    line = re.compile(f'stroke="{ACCENT}" stroke-width="1.6" d="M([^"]+)"')
    (places,) = line.findall(timeline_svg(whole))
    assert len(places.split("L")) == 6  # three nodes, each with its beginning and its end
    assert line.findall(timeline_svg(part)) == []


def test_thousands_are_set_apart_in_the_picture_that_stays_as_in_the_live_one():
    state = RunState.from_events(told(2_000))
    nodes = f"{len(state.nodes):,}"
    assert "," in nodes
    assert f"{nodes} of {nodes} nodes" in plain_text(state)
    assert f"{state.counts_by_status['succeeded']:,} succeeded" in frozen_html(state)
