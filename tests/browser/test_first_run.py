"""The first notebook, as a newcomer runs it: in a browser, its timeline growing while the cell still runs."""

import shutil
from pathlib import Path

import nbformat
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAME = "01_first_run.ipynb"
ATTEMPTS = 218
ROWS = "n => +(document.querySelector('.hexviz-timeline')?.dataset.rows ?? 0) > n"


def test_the_first_notebook_shows_its_run_while_the_cell_still_runs(notebook, shots):
    page, expect = notebook.page, sync_api.expect
    shutil.copytree(NOTEBOOKS, notebook.folder, dirs_exist_ok=True)
    cells = nbformat.read(NOTEBOOKS / NAME, as_version=4).cells
    code = [index for index, cell in enumerate(cells) if cell.cell_type == "code"]
    (live,) = [index for index in code if "live-run" in cells[index].metadata.get("tags", [])]
    notebook.open(NAME)
    for index in code[: code.index(live)]:
        notebook.run(index)
        notebook.wait(index)

    page.set_viewport_size({"width": 1300, "height": 1150})  # the whole view in one picture
    notebook.run(live)
    page.wait_for_function(ROWS, arg=20, timeout=30_000)
    before = int(page.locator(".hexviz-timeline").get_attribute("data-rows"))
    page.wait_for_function(ROWS, arg=max(before + 20, ATTEMPTS // 2), timeout=10_000)
    assert notebook.running(live)
    assert 20 < before < ATTEMPTS
    page.locator(".hexviz-timeline").scroll_into_view_if_needed()
    page.screenshot(path=shots / "first_run_midway.png")
    assert notebook.running(live)

    frozen = page.locator(".hexviz-frozen")
    expect(frozen).to_have_attribute("data-rows", str(ATTEMPTS), timeout=30_000)
    for index in code[code.index(live) + 1 :]:
        notebook.run(index)
        notebook.wait(index)
    errors = [output for index in code for output in notebook.outputs(index) if output["output_type"] == "error"]
    assert errors == []
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=20_000)
    assert notebook.complaints == []
    page.screenshot(path=shots / "first_run_figure.png")
