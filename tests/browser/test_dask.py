"""A run on a real Dask cluster, live in a real JupyterLab: what waits, which worker does what, and which has died."""

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[dask]'")
pytestmark = pytest.mark.browser

SETUP = """
import os, tempfile, time, hexviz
from distributed import Client, LocalCluster

def work(*, seconds=0.4):
    time.sleep(seconds)

def dies_once(mark=os.path.join(tempfile.mkdtemp(), "mark")):
    time.sleep(0.3)
    try:
        os.open(mark, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os._exit(9)

graph = hexviz.Graph("on dask")
for i in range(20):
    graph.node(dies_once if i == 3 else work, name=f"work_{i:02}")
cluster = LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None)
client = Client(cluster)
"""
STARTED = """
options = {"runner": hexviz.dag.DaskRunner(client), "policies": [hexviz.policies.Retry(max_attempts=2)]}
run = hexviz.start(graph, live=True, store=False, **options)
"""
RESULT = "result = await run; print('DONE', result.status); client.close(); cluster.close()"


def test_a_run_on_dask_shows_what_waits_what_each_worker_does_and_which_has_died(notebook, shots):
    page, expect = notebook.page, sync_api.expect
    page.set_viewport_size({"width": 1300, "height": 1250})
    notebook.write("dask.ipynb", [SETUP, STARTED, RESULT])
    notebook.open("dask.ipynb")
    notebook.run(0)
    notebook.wait(0)
    notebook.run(1)
    view = page.locator(".hexviz-timeline").first
    workers = view.locator(".hx-workers tbody tr")
    expect(workers.nth(2)).to_be_visible(timeout=15_000)
    expect(view.locator(".hx-count", has_text="running")).to_have_text("3 running")
    expect(view.locator(".hx-count", has_text="waiting")).to_have_text("7 waiting")
    view.screenshot(path=shots / "dask_waves.png")
    view.locator(".hx-by-worker").click()
    expect(view.locator("tr.hx-lost")).to_contain_text("lost at", timeout=10_000)
    expect(view.locator(".hx-failures li").last).to_contain_text("WorkerLostError")
    view.screenshot(path=shots / "dask_workers_light.png")
    notebook.theme("JupyterLab Dark")
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    view.screenshot(path=shots / "dask_workers_dark.png")
    notebook.theme("JupyterLab Light")
    frozen = page.locator(".hexviz-frozen")
    expect(frozen).to_have_attribute("data-rows", "21", timeout=15_000)
    expect(frozen).to_contain_text("lost at")
    notebook.run(2)
    notebook.wait(2)
    assert "DONE succeeded" in notebook.text(2)
