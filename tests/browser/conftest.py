"""JupyterLab on a free port of 127.0.0.1 and a headless Chromium, both started by the tests and stopped again."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from hexviz.recording.state import RunState
from hexviz.widgets.assets import asset
from hexviz.widgets.wire import Outbox, base64_buffers, message_of

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("HEXVIZ_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "hexviz-test"
CURRENT = "window.jupyterapp.shell.currentWidget"


class Notebook:
    """One notebook in one page: opened, its cells run without waiting, read from the notebook's own model."""

    def __init__(self, page, base, folder):
        self.page, self.base, self.folder = page, base, folder
        self.complaints = []
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"Uncaught {error}"))

    def write(self, name, cells, outputs=()):
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        for cell, output in zip(notebook.cells, outputs, strict=False):
            cell.outputs = output
        nbformat.write(notebook, self.folder / name)

    def open(self, name, *, kernel=True):
        self.page.goto(f"{self.base}/lab/tree/{name}?token={TOKEN}&reset")
        self.page.wait_for_function(f"() => window.jupyterapp && {CURRENT}?.content?.widgets?.length", timeout=60_000)
        if kernel:
            idle = f"() => {CURRENT}?.sessionContext?.session?.kernel?.status === 'idle'"
            self.page.wait_for_function(idle, timeout=60_000)

    def run(self, index):
        """Start a cell; the test goes on while it runs."""
        script = f"""i => {{ const w = {CURRENT}; w.content.deselectAll(); w.content.activeCellIndex = i;
                     void window.jupyterapp.commands.execute('notebook:run-cell'); return null; }}"""
        self.page.evaluate(script, index)

    def running(self, index):
        return self.page.evaluate(f"i => {CURRENT}.content.widgets[i].model.executionState", index) == "running"

    def wait(self, index, seconds=60):
        ended = f"""i => {{ const m = {CURRENT}.content.widgets[i].model;
                    return m.executionState === 'idle' && m.executionCount != null; }}"""
        self.page.wait_for_function(ended, arg=index, timeout=seconds * 1000)

    def outputs(self, index):
        return self.page.evaluate(f"i => {CURRENT}.content.widgets[i].model.outputs.toJSON()", index)

    def text(self, index):
        return "".join(output.get("text", "") for output in self.outputs(index))

    def save(self):
        self.page.evaluate(f"async () => {{ await {CURRENT}.context.save(); return null; }}")

    def theme(self, name):
        self.page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })", name)


def _get(url, method="GET"):
    request = urllib.request.Request(url, headers={"Authorization": f"token {TOKEN}"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def _stop_kernels(base):
    for session in json.loads(_get(f"{base}/api/sessions")):
        with contextlib.suppress(OSError):
            _get(f"{base}/api/sessions/{session['id']}", "DELETE")


def _wait_until_up(base, process, log):
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            _get(f"{base}/api/status")
            return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer within a minute: {log.read_text()}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of a JupyterLab of its own, and the folder of its notebooks."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home = tmp_path_factory.mktemp("lab")
    folder, log = home / "nb", home / "lab.log"
    folder.mkdir()
    settings = home / "config_dir" / "labconfig"
    settings.mkdir(parents=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "default_setting_overrides.json").write_text(json.dumps(quiet))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {f"JUPYTER_{word}": str(home / word.lower()) for word in ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")}
    environment = {
        **os.environ,
        **places,
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(ROOT),
        "HEXVIZ_STORE": str(home / "runs.db"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
        "--LabApp.extension_manager=readonly", "--ServerApp.terminals_enabled=False",
    ]  # fmt: skip
    with (
        log.open("w") as sink,
        subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT) as server,
    ):
        try:
            base = f"http://127.0.0.1:{port}"
            _wait_until_up(base, server, log)
            yield base, folder
            _stop_kernels(base)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def chromium():
    """One headless browser for each file: playwright keeps an event loop in this thread until it is closed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no chromium at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go: ``HEXVIZ_SHOTS`` if set (CI keeps them), else a temporary folder."""
    folder = Path(os.environ.get("HEXVIZ_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Stage:
    """A bare page with one view: what the widget shows, without a kernel between."""

    def __init__(self, page):
        self.page, self.complaints = page, []
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"Uncaught {error}"))
        style = f"<style>{asset('report.css')}{asset('timeline.css')}</style>"
        body = "<body class='hx-page'><main><h1>A view</h1></main></body>"
        page.set_content(f"<html lang='en'><title>a view</title>{style}{body}</html>")
        page.add_script_tag(type="module", content=f"{asset('timeline.js')}\nglobalThis.hx = {{ mount, bytesOf }};")
        page.wait_for_function("() => globalThis.hx")

    def mount(self, **options):
        script = """options => {
            globalThis.handle?.destroy();
            document.querySelector('.hexviz-timeline')?.remove();
            globalThis.drawn = [];
            const onDrawn = (seq) => globalThis.drawn.push([seq, performance.now()]);
            const root = document.querySelector('main').appendChild(document.createElement('div'));
            globalThis.handle = hx.mount(root, { ...options, onDrawn });
        }"""
        self.page.evaluate(script, options)
        return self.page.locator(".hexviz-timeline")

    def apply(self, message, buffers):
        data = [message, base64_buffers(buffer or b"\0" for buffer in buffers)]
        return self.page.evaluate("([message, buffers]) => handle.apply(message, buffers.map(hx.bytesOf))", data)

    def show(self, events, **options):
        """A view of ``events``, drawn."""
        return self.show_state(RunState.from_events(events), **options)

    def show_state(self, state, **options):
        """A view of a run as it stands, drawn."""
        view = self.mount(**options)
        self.fill(state)
        return view

    def fill(self, state):
        """Give the view all of ``state``, and wait until it is drawn."""
        extra = {"seq": 1, "base": 0, "done": state.done, "paused": False, "cancelling": False}
        outbox = Outbox()
        outbox.add(state, state.delta(full=True))
        assert self.apply(*message_of(state, outbox, None, full=True, **extra))
        self.page.wait_for_function("() => drawn.filter(([seq]) => seq === 1).length > 0", timeout=15_000)


@pytest.fixture
def stage(chromium, request):
    """A bare page; nothing may stand on its console as an error after the test."""
    scheme = getattr(request, "param", "light")
    context = chromium.new_context(viewport={"width": 1200, "height": 1000}, color_scheme=scheme, offline=True)
    made = Stage(context.new_page())
    yield made
    context.close()
    assert made.complaints == []


@pytest.fixture
def notebook(lab, chromium):
    """A page with JupyterLab; after the test nothing of ours may stand on its console as an error."""
    base, folder = lab
    context = chromium.new_context(viewport={"width": 1300, "height": 950})
    opened = Notebook(context.new_page(), base, folder)
    yield opened
    context.close()
    _stop_kernels(base)
    assert not [line for line in opened.complaints if "hexviz" in line or "Uncaught" in line], opened.complaints
