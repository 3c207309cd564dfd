"""The live view in a real JupyterLab: seen while the run goes on, steered in mid-run, readable afterwards."""

import re
from importlib.metadata import version

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
ANSWERS_IN_A_CELL = version("ipykernel") >= "7"  # while it awaits; older kernels answer when the cell has ended

SETUP = """
import asyncio, hexviz

def waves(count=10, width=6, seconds=0.5):
    graph = hexviz.Graph("waves")
    before = []
    for wave in range(count):
        names = [f"w{wave}_{i}" for i in range(width)]
        for i, name in enumerate(names):
            calls = []
            flaky, pause = (wave, i) == (0, 2), seconds * (0.5 + (i * 7 % 5) / 10)
            async def work(inputs=None, *, calls=calls, flaky=flaky, pause=pause):
                calls.append(1)
                await asyncio.sleep(pause)
                if flaky and len(calls) == 1:
                    raise ConnectionError("the service closed the connection")
            graph.node(work, name=name, after=before)
        before = names[:2]
    return graph

policies = [hexviz.policies.Retry(max_attempts=2)]
"""
AWAITED = "result = await hexviz.run(waves(), policies=policies, live=True, store=False); print('DONE', result.status)"
STARTED = "run = hexviz.start(waves(), policies=policies, live=True, store=False)"
RESULT = "result = await run; print('DONE', result.status)"
PAINTED = """() => {
  const c = document.querySelector('.hexviz-timeline canvas');
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let n = 0;
  for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255 && d[i + 1] > 90 && d[i] < 20) n++;
  return n;
}"""


def number(view, name):
    return int(view.get_attribute(f"data-{name}"))


def opened(notebook, name, *cells):
    notebook.write(name, [SETUP, *cells])
    notebook.open(name)
    notebook.run(0)
    notebook.wait(0)
    return notebook.page.locator(".hexviz-timeline").first


def hold_and_release(notebook, view, picture):
    view.locator(".hx-hold").click()
    sync_api.expect(view.locator(".hx-hold")).to_have_text("Release", timeout=5_000)
    sync_api.expect(view.locator(".hx-count b").nth(1)).to_have_text("0", timeout=5_000)
    rows = number(view, "rows")
    notebook.page.wait_for_timeout(600)
    assert number(view, "rows") == rows < 61
    view.screenshot(path=picture)
    view.locator(".hx-hold").click()


@pytest.mark.parametrize("way", ["awaited", "started"])
def test_the_run_is_seen_and_steered_while_it_goes_on(notebook, shots, way):
    page, expect = notebook.page, sync_api.expect
    view = opened(notebook, f"{way}.ipynb", *([AWAITED] if way == "awaited" else [STARTED, RESULT]))
    steered = way == "started" or ANSWERS_IN_A_CELL
    notebook.run(1)
    expect(view).to_have_attribute("data-controls", "live" if steered else "queued", timeout=15_000)
    expect(view).to_have_attribute("data-rows", re.compile(r"^([7-9]|[1-5]\d)$"), timeout=10_000)
    assert notebook.running(1) or way == "started"
    assert page.evaluate(PAINTED) > 500
    draws = number(view, "draws")
    page.wait_for_function(
        "d => +document.querySelector('.hexviz-timeline').dataset.draws > d + 3", arg=draws, timeout=5_000
    )
    expect(view.locator(".hx-decisions li").last).to_contain_text("Retry")
    expect(view.locator(".hx-failures li").last).to_contain_text("ConnectionError")

    if steered:
        hold_and_release(notebook, view, shots / f"live_held_{way}.png")
    else:
        expect(view).to_contain_text("controls queued: the kernel is busy")

    frozen = page.locator(".hexviz-frozen")
    expect(frozen).to_have_attribute("data-done", "true", timeout=20_000)
    expect(frozen).to_have_attribute("data-rows", "61")
    if way == "started":
        notebook.run(2)
    notebook.wait(1 if way == "awaited" else 2)
    assert "DONE succeeded" in notebook.text(1 if way == "awaited" else 2)
    assert page.evaluate("() => document.querySelector('.hexviz-frozen img').naturalWidth") > 500
    frozen.screenshot(path=shots / f"live_frozen_{way}.png")


def test_cancel_reaches_the_run(notebook):
    view = opened(notebook, "cancel.ipynb", STARTED)
    notebook.run(1)
    sync_api.expect(view).to_have_attribute("data-controls", "live", timeout=15_000)
    sync_api.expect(view).not_to_have_attribute("data-rows", "0")
    view.locator(".hx-cancel").click()
    frozen = notebook.page.locator(".hexviz-frozen")
    sync_api.expect(frozen).to_contain_text("cancelled", timeout=10_000)
    assert int(frozen.get_attribute("data-rows")) < 61


def test_a_page_that_is_reloaded_in_mid_run_shows_all_of_it_again(notebook):
    view = opened(notebook, "reload.ipynb", STARTED.replace("waves()", "waves(24)"))
    notebook.run(1)
    sync_api.expect(view).to_have_attribute("data-rows", re.compile(r"^(1[3-9]|2\d)$"), timeout=15_000)
    notebook.save()
    notebook.page.reload()
    again = notebook.page.locator(".hexviz-timeline").first
    sync_api.expect(again).to_have_attribute("data-rows", re.compile(r"^(\d\d|1[0-3]\d)$"), timeout=30_000)
    sync_api.expect(again).to_have_attribute("data-controls", "live", timeout=15_000)
    sync_api.expect(again).to_have_attribute("data-done", "true", timeout=30_000)
    sync_api.expect(again).to_have_attribute("data-rows", "145")


def test_the_view_follows_the_theme(notebook, shots):
    view = opened(notebook, "themes.ipynb", STARTED)
    notebook.run(1)
    sync_api.expect(view).not_to_have_attribute("data-rows", "0", timeout=15_000)
    light = view.evaluate("e => getComputedStyle(e).backgroundColor")
    view.screenshot(path=shots / "live_light.png")
    notebook.theme("JupyterLab Dark")
    notebook.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    sync_api.expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)
    dark = view.evaluate("e => getComputedStyle(e).backgroundColor")
    view.screenshot(path=shots / "live_dark.png")
    notebook.theme("JupyterLab Light")
    assert light != dark


def test_a_saved_notebook_shows_the_last_state_when_it_is_opened_again(notebook, shots):
    opened(notebook, "saved.ipynb", AWAITED)
    notebook.run(1)
    notebook.wait(1)
    sync_api.expect(notebook.page.locator(".hexviz-frozen")).to_have_attribute("data-rows", "61")
    notebook.save()
    notebook.open("saved.ipynb")
    picture = notebook.page.locator(".jp-OutputArea img[alt^='Timeline of waves']")
    sync_api.expect(picture).to_be_visible(timeout=10_000)
    assert picture.evaluate("e => e.naturalWidth") > 500
    notebook.page.screenshot(path=shots / "saved_again.png")


def test_a_recorded_run_has_a_slider_that_works_in_the_browser(notebook, shots):
    cells = (
        "result = await hexviz.run(waves(3), policies=policies, store=False)",
        "hexviz.dashboard(result.recording)",
    )
    view = opened(notebook, "recorded.ipynb", *cells)
    for cell in (1, 2):
        notebook.run(cell)
        notebook.wait(cell)
    sync_api.expect(view).to_have_attribute("data-rows", "19", timeout=10_000)
    sync_api.expect(view).to_have_attribute("data-shown", "19")
    view.locator(".hx-slider").fill("300")
    notebook.page.wait_for_function(
        "() => +document.querySelector('.hexviz-timeline').dataset.shown < 19", timeout=5_000
    )
    view.screenshot(path=shots / "recorded.png")
