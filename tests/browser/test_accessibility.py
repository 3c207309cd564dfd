"""What a screen reader and a keyboard find: axe-core's rules on each page, in both themes, and the tree to be read."""

import re

import pytest

from hexviz.recording.state import RunState
from hexviz.streams import WebSocketBroadcaster
from hexviz.widgets.page import LivePage
from hexviz.widgets.panels import PANELS
from hexviz.widgets.report import report_html
from tests.browser.made_runs import told

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = pytest.mark.browser
WORKERS = ("process 1", "process 2", "process 3")
BOTH = pytest.mark.parametrize("stage", ["light", "dark"], indirect=True)


def broken_rules(page):
    """The rules that the page breaks, each with the first places."""
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"][:3]]) for rule in found]


@BOTH
def test_a_live_view_and_a_recorded_one_break_no_rule(stage):
    for options in ({"live": True, "controllable": True, "part": 0.6}, {"player": True, "outcome": "failed"}):
        made = {name: options.pop(name) for name in ("part", "outcome") if name in options}
        view = stage.show(told(60, workers=WORKERS, **made), panels=list(PANELS), **options)
        view.locator(".hx-table-toggle").click()
        sync_api.expect(view.locator(".hx-attempts tbody tr").first).to_be_visible()
        assert broken_rules(stage.page) == []
        view.locator(".hx-contrast").click()
        sync_api.expect(view.locator(".hx-contrast")).to_have_attribute("aria-pressed", "true")
        assert broken_rules(stage.page) == []


@BOTH
def test_the_report_breaks_no_rule(stage):
    page = stage.page.context.new_page()
    page.set_content(report_html(RunState.from_events(told(60, outcome="failed", workers=WORKERS))))
    sync_api.expect(page.locator(".hexviz-timeline")).to_have_attribute("data-done", "true")
    assert broken_rules(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_server_breaks_no_rule(chromium, scheme):
    context = chromium.new_context(color_scheme=scheme)
    with WebSocketBroadcaster(page=LivePage()) as server:
        page = context.new_page()
        page.goto(server.page_url)
        for event in told(60, outcome="failed", workers=WORKERS):
            server.put(event)
        sync_api.expect(page.locator(".hexviz-timeline")).to_have_attribute("data-done", "true", timeout=20_000)
        assert broken_rules(page) == []
    context.close()


def test_the_tree_that_is_read_names_the_run_its_state_and_every_part(stage):
    view = stage.show(told(60, outcome="failed", workers=WORKERS), panels=list(PANELS), player=True)
    tree = view.aria_snapshot()
    assert tree.startswith('- region "Run nightly":')
    assert '- status: "nightly: failed, ' in tree
    assert '- progressbar "Nodes ended"' in tree
    assert '- slider "Timeline of nightly: failed, ' in tree or "- 'slider \"Timeline of nightly: failed, " in tree
    for title in ("Workers", "Decisions", "Calls", "Failures", "Observers", "Cost of watching", "Graph"):
        assert f'- heading "{title}' in tree
    assert "text: nightly failed " in tree
    assert re.search(r"time: \d+ ms\n +- text: retry \w+ Retry disk", tree)
    assert view.locator(".hx-decisions li").first.text_content().split()[2:5] == ["fail", "train_03", "·"]
    assert '- button "Event before"' in tree
    assert '- slider "Time shown"' in tree
    assert '- table "Workers"' in tree
    assert '- cell "process 1"' in tree


def test_the_arrow_keys_tell_an_attempt_in_words_and_the_slider_the_time(stage):
    view = stage.show(told(60), player=True)
    view.locator(".hx-canvas").focus()
    stage.page.keyboard.press("ArrowDown")
    timeline = view.get_by_role("slider", name="Timeline of nightly")
    said = "fetch_00: status succeeded, wave 1, attempt 1, started at"
    assert timeline.get_attribute("aria-valuetext").startswith(said)
    stage.page.keyboard.press("Escape")
    assert timeline.get_attribute("aria-valuetext") == "arrow keys go from attempt to attempt"
    view.get_by_role("button", name="Event before").click()
    whole = stage.page.evaluate("() => handle.view.store.endMs")
    assert stage.page.evaluate("() => handle.view.cut") < whole
    assert view.locator(".hx-slider").get_attribute("aria-valuetext") == view.locator(".hx-at").inner_text()
