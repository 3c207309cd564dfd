"""What stays: the frozen output in an untrusted notebook, in an export, and the report on its own."""

import re
import sys
import time
from pathlib import Path

import msgspec
import nbformat
import pytest

from hexviz.events import events as ev
from hexviz.recording.recording import Recording
from hexviz.recording.state import RunState
from hexviz.widgets.report import write_report
from hexviz.widgets.snapshot import frozen_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror=window.canary=1><script>window.canary=1</script>"


def told(names):
    """A run of a chain in which every second node fails."""
    origin = time.monotonic_ns()
    nodes = tuple(ev.NodeInfo(name, i + 1, names[:i][-1:]) for i, name in enumerate(names))
    events = [(0, ev.PipelineStarted, (f"chain {HOSTILE}", len(names), len(names), nodes))]
    for i, name in enumerate(names):
        events.append((10 * i + 1, ev.NodeStarted, (name, i + 1)))
        ended = (
            (ev.NodeFailed, (name, i + 1, ValueError(HOSTILE))) if i % 2 else (ev.NodeCompleted, (name, i + 1, 0, 8.0))
        )
        events.append((10 * i + 9, *ended))
        events.append((10 * i + 9, ev.ControlDecided, ("NodeFailed", 1, "skip", name, i + 1, 1, HOSTILE, 1, HOSTILE)))
    events.append((10 * len(names), ev.PipelineCompleted, ("chain", 10.0 * len(names))))
    return [
        kind(*args, run_id="r", seq=seq, monotonic_ns=origin + at_ms * 1_000_000)
        for seq, (at_ms, kind, args) in enumerate(events, 1)
    ]


EVENTS = told(tuple(f"node {i} {HOSTILE}" for i in range(8)))


def test_an_untrusted_notebook_shows_the_picture_and_the_tables(notebook, shots):
    output = nbformat.v4.new_output("display_data", {"text/html": frozen_html(RunState.from_events(EVENTS))})
    notebook.write("mailed.ipynb", ["1"], [[output]])
    notebook.open("mailed.ipynb")
    picture = notebook.page.locator(".jp-OutputArea img[alt^='Timeline of chain']")
    sync_api.expect(picture).to_be_visible(timeout=10_000)
    assert picture.evaluate("e => e.naturalWidth") > 500
    assert notebook.page.locator(".jp-OutputArea table").count() == 2
    assert notebook.page.evaluate("() => window.canary") is None
    notebook.page.screenshot(path=shots / "untrusted.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_from_disk_without_a_network(chromium, tmp_path, shots, scheme):
    path = write_report(Recording(EVENTS), tmp_path / "report.html")
    context = chromium.new_context(viewport={"width": 1300, "height": 900}, color_scheme=scheme, offline=True)
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    view = page.locator(".hexviz-timeline")
    sync_api.expect(view).to_have_attribute("data-rows", "8")
    sync_api.expect(view).to_have_attribute("data-shown", "8")
    sync_api.expect(view.locator(".hx-decisions li")).to_have_count(8)
    view.locator(".hx-slider").fill("400")
    page.wait_for_function("() => +document.querySelector('.hexviz-timeline').dataset.shown < 8", timeout=5_000)
    sync_api.expect(view.locator(".hx-summary")).to_contain_text(f"{view.get_attribute('data-shown')} attempts")
    view.locator(".hx-canvas").hover(position={"x": 110, "y": 10})
    sync_api.expect(view.locator(".hx-tip")).to_contain_text("node 0")
    page.screenshot(path=shots / f"report_{scheme}.png", full_page=True)
    assert page.evaluate("() => window.canary") is None
    assert (complaints, asked) == ([], [path.as_uri()])
    context.close()


def many(size):
    """A run of ``size`` nodes in waves of 100."""
    origin = time.monotonic_ns()
    names = [f"task {i}" for i in range(size)]
    nodes = tuple(
        ev.NodeInfo(name, i // 100 + 1, (names[i - 100],) if i >= 100 else ()) for i, name in enumerate(names)
    )
    events = [(0, ev.PipelineStarted, ("many", size // 100, size, nodes))]
    for i, name in enumerate(names):
        events.append((i // 100 * 10 + 1, ev.NodeStarted, (name, i // 100 + 1)))
        events.append((i // 100 * 10 + 9, ev.NodeCompleted, (name, i // 100 + 1, 0, 8.0)))
    events.append((size // 10, ev.PipelineCompleted, ("many", size / 10)))
    events.sort(key=lambda event: event[0])
    return [
        kind(*args, run_id="r", seq=seq, monotonic_ns=origin + at_ms * 1_000_000)
        for seq, (at_ms, kind, args) in enumerate(events, 1)
    ]


def test_the_report_of_ten_thousand_attempts_opens_from_disk(chromium, tmp_path, shots):
    path = write_report(Recording(many(10_000)), tmp_path / "report.html")
    assert path.stat().st_size <= 3_000_000
    context = chromium.new_context(viewport={"width": 1300, "height": 900}, offline=True)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    view = page.locator(".hexviz-timeline")
    sync_api.expect(view).to_have_attribute("data-rows", "10000", timeout=30_000)
    page.wait_for_function("() => +document.querySelector('.hexviz-timeline').dataset.shown === 10000", timeout=30_000)
    view.locator(".hx-slider").fill("500")
    page.wait_for_function("() => +document.querySelector('.hexviz-timeline').dataset.shown < 10000", timeout=10_000)
    page.screenshot(path=shots / "report_10000.png", full_page=True)
    assert len(re.findall(rb"/Type ?/Page\b", page.pdf())) <= 12
    assert complaints == []
    context.close()


def test_on_a_narrow_page_a_long_text_takes_a_few_lines_and_is_written_over_no_other(chromium, tmp_path, shots):
    reason = (
        "the index closed the connection before the answer came; it is asked again after a pause, three times at most"
    )
    events = [msgspec.structs.replace(event, reason=reason) if hasattr(event, "reason") else event for event in EVENTS]
    path = write_report(Recording(events), tmp_path / "report.html")
    context = chromium.new_context(viewport={"width": 600, "height": 900})
    page = context.new_page()
    page.goto(path.as_uri())
    sync_api.expect(page.locator(".hexviz-timeline")).to_have_attribute("data-rows", "8")
    rows = page.locator(".hx-tall").first.locator("tbody tr")
    lines = rows.evaluate_all(
        "rows => rows.map((row) => row.offsetHeight / parseFloat(getComputedStyle(row).lineHeight))"
    )
    assert len(lines) == 8
    assert max(lines) < 8
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    over = page.evaluate(
        "() => [...document.querySelectorAll('td')].filter((cell) => cell.scrollWidth > cell.clientWidth + 1).length"
    )
    assert over == 0  # no cell is written over its neighbour
    page.screenshot(path=shots / "report_600_pixels.png", full_page=True)
    context.close()


def test_the_printed_report_is_light_whole_and_without_buttons(chromium, tmp_path, shots):
    path = write_report(Recording(many(300)), tmp_path / "report.html")
    context = chromium.new_context(viewport={"width": 794, "height": 1000}, color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    sync_api.expect(page.locator(".hexviz-timeline")).to_have_attribute("data-rows", "300")
    page.emulate_media(media="print")
    rows = page.locator(".hx-tall tbody tr")
    assert rows.count() == 300
    assert sum(row.is_visible() for row in rows.all()) == 100
    sync_api.expect(page.get_by_text("on paper the first 100")).to_be_visible()
    table = page.locator(".hx-tall").last
    assert table.evaluate("e => e.scrollHeight <= e.clientHeight")
    assert page.locator(".hx-slider").is_hidden()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=shots / "report_printed.png", full_page=True)
    context.close()


def test_the_play_button_goes_through_the_run(chromium, tmp_path):
    path = write_report(Recording(EVENTS), tmp_path / "report.html")
    context = chromium.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator(".hx-play").click()
    page.wait_for_function(
        "() => { const n = +document.querySelector('.hexviz-timeline').dataset.shown; return n > 1 && n < 8; }"
    )
    page.locator(".hx-play").click()
    sync_api.expect(page.locator(".hx-play")).to_have_text("Play")
    context.close()


def test_an_export_to_html_shows_the_picture_without_scripts(chromium, tmp_path, shots):
    subprocess = pytest.importorskip("subprocess")
    pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    output = nbformat.v4.new_output("display_data", {"text/html": frozen_html(RunState.from_events(EVENTS))})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    nbformat.write(book, tmp_path / "export.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR", str(tmp_path / "export.ipynb")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(Path(tmp_path / "export.html").as_uri())
    sync_api.expect(page.locator("img[alt^='Timeline of chain']")).to_be_visible()
    page.screenshot(path=shots / "nbconvert.png")
    context.close()
