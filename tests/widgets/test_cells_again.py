"""A cell that is run again lets go of the live view that it showed before, in a front end that names its cells."""

import os
from pathlib import Path

import pytest

manager = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

VIEW = "import hexviz\nview = hexviz.dashboard(hexviz.ObserverManager())\nview"
COUNT = """
import threading
from ipywidgets import Widget
print(
    sum(thread.name == "hexviz-pump" for thread in threading.enumerate()),
    sum(type(widget).__name__ == "TimelineWidget" for widget in Widget.widgets.values()),
)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a cell by its name, as JupyterLab does: ``run(cell, code)`` gives what it prints."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))

    def run_cell(cell, code):
        request = client.session.msg("execute_request", {"code": code, "silent": False, "store_history": True})
        request["metadata"]["cellId"] = cell
        client.shell_channel.send(request)
        printed = ""
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            content = message["content"]
            assert message["msg_type"] != "error", content
            printed += content["text"] if content.get("name") == "stdout" else ""
            if content.get("execution_state") == "idle":
                return printed

    yield run_cell
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("default")
def test_a_live_view_goes_when_its_cell_runs_again_and_those_of_other_cells_stay(run):
    for _ in range(4):
        run("one", VIEW)
    assert run("count", COUNT).split() == ["1", "1"]
    run("two", VIEW)
    run("one", VIEW)
    assert run("count", COUNT).split() == ["2", "2"]
