"""``%%hexviz`` in a real JupyterLab: the runs of the cell are seen live, and stay as pictures."""

import re

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

SETUP = """
%load_ext hexviz
import asyncio, hexviz
graph = hexviz.Graph("steps")
for i in range(8):
    async def step(inputs=None):
        await asyncio.sleep(0.5)
    graph.node(step, name=f"step {i}", after=[f"step {i - 1}"] if i else [])
"""
CELL = """%%hexviz --name seen --policy Retry
one = hexviz.start(graph, store=False)
two = await hexviz.Orchestrator().run(graph)
"""


def test_the_runs_of_a_cell_are_live_and_then_pictures(notebook, shots):
    expect = sync_api.expect
    notebook.write("magic.ipynb", [SETUP, CELL, "await one; print('DONE')", "%hexviz last"])
    notebook.open("magic.ipynb")
    notebook.run(0)
    notebook.wait(0)
    notebook.run(1)
    views = notebook.page.locator(".jp-Cell:nth-child(2) .hexviz-timeline, .jp-OutputArea .hexviz-timeline")
    expect(views).to_have_count(2, timeout=20_000)
    for view in (views.first, views.last):
        expect(view).to_have_attribute("data-rows", re.compile(r"^[1-7]$"), timeout=15_000)
        expect(view).to_contain_text("seen · steps")
    assert notebook.running(1)
    notebook.page.screenshot(path=shots / "magic_live.png")
    notebook.wait(1)
    notebook.run(2)
    notebook.wait(2)
    expect(notebook.page.locator(".hexviz-frozen")).to_have_count(2, timeout=15_000)
    pictures = notebook.outputs(1)
    assert [picture["data"]["text/plain"].partition(",")[0] for picture in pictures] == ["seen · steps: succeeded"] * 2
    notebook.run(3)
    notebook.wait(3)
    expect(notebook.page.locator(".hexviz-timeline:not(.hexviz-frozen)")).to_have_attribute("data-rows", "8")
    notebook.page.screenshot(path=shots / "magic_pictures.png")
