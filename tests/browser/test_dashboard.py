"""The dashboard in a real JupyterLab: its panels, its selection, its pace, two runs on one axis, a flood of events."""

import re

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

SETUP = """
import asyncio, hexviz
def grid(waves, width, seconds):
    graph, before = hexviz.Graph("grid"), []
    for wave in range(waves):
        names = [f"w{wave}_{i:02}" for i in range(width)]
        for name in names:
            async def work(inputs=None, seconds=seconds):
                await asyncio.sleep(seconds)
            graph.node(work, name=name, after=before[:2])
        before = names
    return graph
"""
STARTED = "run = hexviz.start(grid(60, 3, 0.4), store=False); view = hexviz.dashboard(run, panels='all'); view"
COUNT = "from ipywidgets.widgets import widget; count = lambda: len(widget._instances)"
FLOOD = """
import threading, time
from hexviz.events import NodeCompleted, NodeStarted, NodeInfo, ObserverManager, PipelineStarted
observers = ObserverManager()
view = hexviz.dashboard(observers)
sent = []
view.display()
send = view.widget.send
view.widget.send = lambda message, buffers=(): (sent.append(sum(map(len, buffers))), send(message, buffers=buffers))
def flood():
    names = [f"n{i}" for i in range(20_000)]
    start = PipelineStarted("flood", 20, len(names), tuple(NodeInfo(n, 1 + i // 1000, ()) for i, n in enumerate(names)))
    observers.notify_nowait(start)
    began, told = time.monotonic(), 0
    while time.monotonic() - began < 4:
        name = names[told % 20_000]
        number = 1 + told // 20_000
        observers.notify_nowait(NodeStarted(name, 1 + told % 20_000 // 1000, attempt=number))
        observers.notify_nowait(NodeCompleted(name, 1 + told % 20_000 // 1000, None, 1.0, attempt=number))
        told += 1
        if told % 250 == 0:
            time.sleep(max(0, began + told / 25_000 - time.monotonic()))
    globals().update(took=time.monotonic() - began)
thread = threading.Thread(target=flood); thread.start()
"""


def opened(notebook, name, *cells):
    notebook.write(name, [SETUP, *cells])
    notebook.open(name)
    notebook.run(0)
    notebook.wait(0)
    return notebook.page.locator(".hexviz-timeline").first


def test_all_panels_live_a_selection_as_a_frame_and_another_pace(notebook, shots):
    page, expect = notebook.page, sync_api.expect
    cells = (
        "print(view.selection[['node', 'attempt']].to_string())",
        "view.select(['w0_01', 'w0_02']); print('LIT')",
        "print('PACE', view._pump._period_s)",
    )
    view = opened(notebook, "panels.ipynb", STARTED, *cells)
    notebook.run(1)
    expect(view).to_have_attribute("data-controls", "live", timeout=15_000)
    expect(view.locator(".hx-graph svg")).to_be_visible()
    expect(view.locator(".hx-health tbody tr")).not_to_have_count(0, timeout=10_000)
    expect(view.locator(".hx-overhead tbody")).to_contain_text("kernel time", timeout=10_000)
    expect(view).not_to_have_attribute("data-rows", "0")
    view.screenshot(path=shots / "lab_panels.png")

    view.locator(".hx-search").fill("w0_0")
    view.locator(".hx-search").press("Enter")
    expect(view).to_have_attribute("data-selected", re.compile(r"^3$"))
    view.locator(".hx-rate").select_option("2")
    for cell in (2, 3, 4):
        notebook.run(cell)
        notebook.wait(cell)
    assert "w0_02        1" in notebook.text(2)
    expect(view).to_have_attribute("data-lit", "2")
    assert "PACE 0.5" in notebook.text(4)
    view.locator(".hx-cancel").click()
    expect(page.locator(".hexviz-frozen")).to_contain_text("cancelled", timeout=10_000)


def test_a_flood_of_events_keeps_to_its_bytes_and_the_kernel_answers(notebook):
    asked = "import time; t = time.monotonic(); answer = 1 + 1; print('ANSWER', answer)"
    view = opened(notebook, "flood.ipynb", FLOOD, asked, "thread.join(); print('SENT', len(sent), sum(sent), took)")
    notebook.run(1)
    notebook.wait(1)
    sync_api.expect(view).to_have_attribute("data-rows", re.compile(r"^\d{3,}$"), timeout=10_000)
    notebook.run(2)
    notebook.wait(2, seconds=10)
    assert "ANSWER 2" in notebook.text(2)
    notebook.run(3)
    notebook.wait(3, seconds=20)
    messages, size, took = (float(word) for word in notebook.text(3).split()[1:])
    assert messages <= 10 * took + 4
    assert size <= 100_000 * took + 1_000_000  # the second part is what a view asks for when it appears


def test_two_runs_stand_on_one_axis_and_zoom_together(notebook, shots):
    cells = (
        COUNT + "; before = count()\na, b = [await hexviz.run(grid(3, 4, s), store=False) for s in (0.05, 0.09)]",
        "hexviz.compare_view(a, b)",
        "print('WIDGETS', count() - before)",
    )
    opened(notebook, "compare.ipynb", *cells)
    for cell in (1, 2):
        notebook.run(cell)
        notebook.wait(cell)
    views = notebook.page.locator(".hexviz-timeline")
    sync_api.expect(views).to_have_count(2)
    for at in (0, 1):
        sync_api.expect(views.nth(at)).to_have_attribute("data-rows", "12", timeout=10_000)
    views.nth(1).locator(".hx-slider").fill("300")
    for at in (0, 1):
        sync_api.expect(views.nth(at)).not_to_have_attribute("data-shown", "12")
    said = []
    for cell in (3, 2, 2, 3):
        notebook.run(cell)
        notebook.wait(cell)
        said.append(notebook.text(3))
    assert "WIDGETS" in said[0]
    assert said[0] == said[-1]  # what the cell showed when it ran before is gone
    notebook.page.set_viewport_size({"width": 1300, "height": 1700})  # both runs and the table in one picture
    notebook.page.locator(".jp-OutputArea-output", has=views.first).screenshot(path=shots / "lab_compare.png")
