"""How soon a view opened in mid-run is seen in JupyterLab.

Run with ``python -m pytest tests/benchmarks/first_picture.py -s --benchmark-enable``.

Each round is a fresh kernel: a run of 100,000 quick nodes and one that holds it open, then three views of it, one after
the other. Printed are milliseconds from running the cell until the view is drawn first, until it shows its first
attempts, and until all of them are there. Nothing is asserted of them, because machines are noisy.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections import defaultdict

import pytest

from tests.browser.conftest import CURRENT, chromium, lab, notebook  # noqa: F401 - fixtures

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.timeout(600)

ROUNDS = int(os.environ.get("HEXVIZ_ROUNDS", "3"))
START = """
import asyncio, hexviz
graph = hexviz.Graph("many")
before = []
for wave in range(20):
    for i in range(5_000):
        graph.node(lambda *_: None, name=f"w{wave}_{i}", after=before)
    before = [f"w{wave}_0"]
async def hold(inputs=None):
    await asyncio.sleep(120)
graph.node(hold, name="hold", after=before)
run = hexviz.start(graph, store=False)
"""
READY = """
import time
until = time.monotonic() + 60
while len(run.recording) < 200_000 and time.monotonic() < until:
    time.sleep(0.2)
time.sleep(4)
print(len(run.recording))
"""
WATCH = f"""i => {{
    const began = performance.now(), seen = {{}};
    globalThis.firstPicture = seen;
    const cell = () => {CURRENT}.content.widgets[i].node;
    const look = () => {{
        const root = cell().querySelector('.hexviz-timeline'), now = Math.round(performance.now() - began);
        if (root?.querySelector('.hx-count')) seen.drawn ??= now;
        if (+(root?.dataset.rows ?? 0) > 0) seen.rows ??= now;
        if (+(root?.dataset.rows ?? 0) >= 100_000) seen.all ??= now;
        if (seen.all === undefined && now < 20_000) requestAnimationFrame(look);
        else seen.end = true;
    }};
    const w = {CURRENT}; w.content.deselectAll(); w.content.activeCellIndex = i;
    void window.jupyterapp.commands.execute('notebook:run-cell');
    requestAnimationFrame(look);
    return null;
}}"""


say = sys.stdout.write


@pytest.mark.parametrize("number", range(ROUNDS))
def test_views_opened_in_mid_run(notebook, number, figures):  # noqa: F811 - a fixture
    view = "hexviz.dashboard(run)"
    notebook.write(f"late{number}.ipynb", [START, READY, view, view, view])
    notebook.open(f"late{number}.ipynb")
    for index in (0, 1):
        notebook.run(index)
        notebook.wait(index, 90)
    say(f"\n{notebook.text(1).strip()} events")
    for index in (2, 3, 4):
        notebook.page.evaluate(WATCH, index)
        notebook.page.wait_for_function("() => globalThis.firstPicture.end", timeout=30_000)
        seen = notebook.page.evaluate("globalThis.firstPicture")
        say(f", view {index - 1}: {seen}")
        for name in ("drawn", "rows", "all"):
            figures[f"{'first' if index == 2 else 'later'} view, {name}"].append(seen.get(name, float("inf")))


@pytest.fixture(scope="module")
def figures():
    found = defaultdict(list)
    yield found
    for name, values in found.items():
        say(f"\n{name:20} median {statistics.median(values):6.0f}  of {sorted(values)}")
