"""A notebook that is run without a browser (nbclient, papermill, nbconvert --execute) keeps the last state."""

import os
import time
from pathlib import Path

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

CELL = """
import asyncio, threading, hexviz
graph = hexviz.Graph("headless")
for name in ("a", "b", "c"):
    async def work(inputs=None):
        await asyncio.sleep(0.05)
    graph.node(work, name=name)
for _ in range(5):
    result = await hexviz.run(graph, live=True, store=False)
"""
LEFT = """
from ipywidgets import Widget
left = [thread.name for thread in threading.enumerate() if thread.name == "hexviz-pump"]
print(len(left), sum(type(w).__name__ == "TimelineWidget" for w in Widget.widgets.values()) <= 3)
"""
ENDS_LATER = """
between = hexviz.Graph("between")
@between.node
async def wait():
    await asyncio.sleep(0.3)
hexviz.start(between, live=True, store=False);
"""
OUTLIVES = """
long = hexviz.Graph("long")
@long.node
async def sleep():
    await asyncio.sleep(60)
run = hexviz.start(long, live=True, store="runs.db")
print(run.run_id)
"""


@pytest.mark.filterwarnings("default")
def test_the_output_is_the_frozen_picture_and_reruns_leave_nothing_behind(tmp_path, monkeypatch):
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    sources = (CELL, ENDS_LATER, LEFT, OUTLIVES)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(book, timeout=90, resources={"metadata": {"path": str(tmp_path)}})
    client.on_cell_executed = lambda *, cell_index, **_: time.sleep(1.0 * (cell_index == 1))
    client.execute()
    shown = [output for output in book.cells[0].outputs if output.output_type == "display_data"]
    assert len(shown) == 5
    for output in shown:
        assert set(output.data) == {"text/html", "text/plain"}
        assert 'data-rows="3"' in output.data["text/html"]
        assert output.data["text/plain"].startswith("headless: succeeded")
    (between,) = book.cells[1].outputs
    assert between.data["text/plain"].startswith("between: succeeded")
    printed = "".join(output.text for output in book.cells[2].outputs if output.output_type == "stream")
    assert "0 True" in printed
    view, run_id = book.cells[3].outputs
    assert view.data["text/plain"].startswith("long had not ended")
    assert f"hexviz report {run_id.text.strip()}" in view.data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in view.data
    states = book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    shown = states[view.data["application/vnd.jupyter.widget-view+json"]["model_id"]]
    assert shown["state"]["note"] == view.data["text/plain"]
