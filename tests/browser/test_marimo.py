"""The views in a marimo notebook, served as an app and opened in a real browser."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("marimo", reason="marimo is not installed")
pytestmark = pytest.mark.browser
HERE = Path(__file__).parent


@pytest.fixture
def address(tmp_path):
    """Where a marimo server of its own shows the notebook."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "marimo", "--yes", "run", str(HERE / "marimo_notebook.py"), "--headless"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-token"]
    homes = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": str(HERE.parents[1])}
    log = tmp_path / "marimo.log"
    with (
        log.open("w") as sink,
        subprocess.Popen(command, env=os.environ | homes, stdout=sink, stderr=subprocess.STDOUT) as server,
    ):
        try:
            for _ in range(300):
                assert server.poll() is None, log.read_text()
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_a_run_is_live_and_can_be_held_and_a_recorded_one_has_its_player(address, chromium, shots):
    context = chromium.new_context(viewport={"width": 1300, "height": 1500}, color_scheme="dark")
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    recorded, live = page.locator(".hexviz-timeline").nth(0), page.locator(".hexviz-timeline").nth(1)
    sync_api.expect(live).to_have_attribute("data-controls", "live", timeout=30_000)
    sync_api.expect(recorded).to_have_attribute("data-rows", "3")
    sync_api.expect(recorded.locator(".hx-player")).to_be_visible()
    live.locator(".hx-hold").click()
    sync_api.expect(live.locator(".hx-hold")).to_have_text("Release")
    assert live.get_attribute("data-done") == "false"
    page.screenshot(path=shots / "marimo.png")
    live.locator(".hx-hold").click()
    sync_api.expect(live).to_have_attribute("data-done", "true", timeout=15_000)
    sync_api.expect(live).to_have_attribute("data-rows", "12")
    context.close()
    assert complaints == []
