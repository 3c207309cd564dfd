"""Each notebook runs from a clean kernel, from top to bottom, in the directory where a reader opens it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BUSY = "held up the event loop"  # true of any node where the machine had no time for it
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def executed(path, tmp_path, monkeypatch):
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    return client.execute()


def test_the_notebooks_are_these():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_first_run",
        "02_machine_learning",
        "03_frames_and_replay",
        "04_policies_and_backtest",
        "05_watch_from_elsewhere",
        "06_dask",
    ]


def test_a_notebook_is_committed_without_outputs_and_begins_with_words(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)
    assert notebook.cells[0].cell_type == "markdown"


@pytest.mark.timeout(180)
def test_a_notebook_runs_from_a_clean_kernel_and_its_last_state_stays_readable(executed):
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    said = [o.text for cell in code for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
    assert [line for text in said for line in text.splitlines() if BUSY not in line] == []
    (live,) = [cell for cell in code if "live-run" in cell.metadata.get("tags", [])]
    pages = "".join(output.get("data", {}).get("text/html", "") for output in live.outputs)
    assert "data:image/svg+xml;base64," in pages
    assert "<script" not in pages
