"""The magics in a real kernel: what a notebook that was run without a browser holds afterwards."""

import os
from pathlib import Path

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytestmark = pytest.mark.filterwarnings("default")

ROOT = str(Path(__file__).parents[2])
SETUP = """
import asyncio, hexviz
%load_ext hexviz
graph = hexviz.Graph("etl")
@graph.node
async def load():
    await asyncio.sleep(0.05)
@graph.node(after=["load"])
def clean(_):
    print("cleaned")
slow = hexviz.Graph("slow")
@slow.node
async def sleep():
    await asyncio.sleep(4)
"""


@pytest.fixture
def run_cells(tmp_path, monkeypatch):
    """Run cells in a kernel of their own; gives the outputs of each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run_cells(*cells):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)])
        client = nbclient.NotebookClient(
            book, timeout=90, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
        assert book.cells[0].outputs == []
        return [cell.outputs for cell in book.cells[1:]]

    return run_cells


def shown(outputs):
    """What the pictures among the outputs say in text."""
    pictures = [output for output in outputs if output.output_type == "display_data"]
    for picture in pictures:
        assert set(picture.data) == {"text/html", "text/plain"}
        assert "<script" not in picture.data["text/html"]
    return [picture.data["text/plain"].partition(",")[0] for picture in pictures]


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_every_run_of_a_cell_is_shown_and_stays_as_a_picture(run_cells):
    cells = run_cells(
        "%%hexviz --name nightly\n"
        "r = await hexviz.run(graph)\n"
        "r = hexviz.run_sync(graph)\n"
        "r = await hexviz.Orchestrator().run(graph)\n"
        "handle = hexviz.start(slow)\n"
        "task = asyncio.ensure_future(hexviz.Orchestrator().run(slow))",
        "await task; await handle; print(handle.status)",
        "_ = await hexviz.Orchestrator().run(graph)",
        "%hexviz last",
        "%hexviz runs",
    )
    assert shown(cells[0]) == ["nightly · etl: succeeded"] * 3 + ["nightly · slow: succeeded"] * 2
    assert printed(cells[0]).count("cleaned") == 3
    assert "succeeded" in printed(cells[1])
    assert shown(cells[2]) == []
    assert cells[3][0].data["text/plain"].startswith("slow: succeeded")
    assert "data:image/svg+xml" in cells[3][0].data["text/html"]
    assert cells[4][0].data["text/html"].count("nightly") == 5


def test_an_exception_in_the_cell_or_in_a_run_is_told_as_without_the_magic(run_cells):
    cells = run_cells(
        "%%hexviz\nr = await hexviz.run(graph)\n1 / 0",
        "bad = hexviz.Graph('bad')\n@bad.node\ndef fails():\n    raise KeyError('no such row')",
        "%%hexviz\nawait hexviz.run(bad)",
        "%%hexviz --moon\nprint('not reached')",
        "_ = await hexviz.run(graph)",
    )
    assert shown(cells[0]) == ["etl: succeeded"]
    assert cells[0][-1].get("ename") == "ZeroDivisionError"
    assert shown(cells[2]) == ["bad: failed"]
    assert "PipelineError" in printed(cells[2])  # IPython prints a group of exceptions
    assert "not reached" not in printed(cells[3])
    assert "unknown: --moon" in printed(cells[3]) + str(cells[3])
    assert shown(cells[4]) == []


def test_off_silences_live_views_and_magics(run_cells):
    cells = run_cells(
        "%hexviz off",
        "%%hexviz\nr = await hexviz.run(graph, live=True)\nr = await hexviz.Orchestrator().run(graph)",
        "%hexviz last",
        "%hexviz runs",
        "hexviz.dashboard(r.run_id)",
        "%hexviz on\n%hexviz last",
    )
    assert cells[0] == []
    assert shown(cells[1]) == []
    assert cells[2] == cells[3] == []
    assert set(cells[4][0].data) == {"text/plain"}
    assert cells[5][0].data["text/plain"].startswith("etl: succeeded")


def test_twenty_runs_of_a_cell_leave_no_thread_no_widget_and_no_watcher(run_cells):
    count = (
        "import threading, gc\nfrom ipywidgets import Widget\nfrom hexviz.dag.watching import WATCHER\ngc.collect()\n"
        "print(sum(t.name.startswith('hexviz') for t in threading.enumerate()), "
        "sum(type(w).__name__ == 'TimelineWidget' for w in Widget.widgets.values()) <= 3, WATCHER.get())"
    )
    cell = "%%hexviz\nr = await hexviz.run(graph)\nr = await hexviz.Orchestrator().run(graph)"
    *cells, left = run_cells(*[cell] * 20, count)
    assert [shown(outputs) for outputs in cells] == [["etl: succeeded"] * 2] * 20
    assert printed(left).startswith("0 True None\n")


def test_a_run_that_fails_in_the_first_cell_of_a_kernel_ends_the_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cell = """import hexviz
graph = hexviz.Graph("etl")
@graph.node
def load():
    raise FileNotFoundError("data.csv")
await hexviz.run(graph, store=False)"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    resources = {"metadata": {"path": str(tmp_path)}}
    with pytest.raises(nbclient.exceptions.CellExecutionError, match=r"data\.csv"):
        nbclient.NotebookClient(book, timeout=30, resources=resources).execute()
