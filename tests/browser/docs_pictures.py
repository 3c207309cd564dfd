"""The pictures in ``docs/images``, all of them or those named: ``python -m tests.browser.docs_pictures [NAME ...]``.

Most are what a browser test sees on its way, so they show what is tested; the page of ``hexviz serve`` and the
figures are made from runs of the demo. Takes two minutes, needs what the browser tests need and no network. Where
Pillow is installed the pictures are made smaller by two thirds. Look at each one before it is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import hexviz
from hexviz.demo.airrflow import MAX_CONCURRENT_NODES, airrflow
from hexviz.demo.gallery import gallery, photograph
from hexviz.demo.policies import airrflow_policies
from hexviz.streams import WebSocketBroadcaster
from hexviz.widgets.page import LivePage
from tests.browser.conftest import CHROMIUM, FLAGS, ROOT

IMAGES = ROOT / "docs" / "images"
SEEN_BY_TESTS = {
    "dashboard": ("test_picture.py::test_a_run_is_drawn_whatever_its_size_and_state", "picture_100_failed_light"),
    "dashboard_contrast": ("test_picture.py::test_high_contrast_does_not_rest_on_colour_alone", "picture_contrast"),
    "dashboard_waves": ("test_picture.py::test_the_graph_is_boxes_then_dots_then_waves", "picture_graph_2000"),
    "dashboard_workers": (
        "test_picture.py::test_workers_have_their_lanes_and_their_panel_and_the_dead_one_is_marked",
        "picture_workers_light",
    ),
    "dashboard_live_dark": ("test_live.py::test_the_view_follows_the_theme", "live_dark"),
    "dashboard_compare": ("test_dashboard.py::test_two_runs_stand_on_one_axis_and_zoom_together", "lab_compare"),
    "first_run": (
        "test_first_run.py::test_the_first_notebook_shows_its_run_while_the_cell_still_runs",
        "first_run_midway",
    ),
}
"""By the name in docs/images: the test that sees the picture, and the name that the test gives it."""
OTHERS = ("page", "figures")


def take_from_tests(names: list[str], folder: Path) -> None:
    """Run the tests that see these pictures, and keep the pictures in ``folder``."""
    chosen = [SEEN_BY_TESTS[name] for name in names]
    tests = [f"tests/browser/{test}" for test, _ in chosen]
    with tempfile.TemporaryDirectory() as shots:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "HEXVIZ_SHOTS": shots}, check=True)
        for name, (_, shot) in zip(names, chosen, strict=True):
            shutil.copyfile(Path(shots) / f"{shot}.png", folder / f"{name}.png")


def photograph_page(folder: Path) -> None:
    """The page of ``hexviz serve`` in the middle of a run."""
    with sync_playwright() as playwright, WebSocketBroadcaster(page=LivePage()) as server:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
        page.goto(server.page_url)
        graph = airrflow(speed=110.0)
        run = hexviz.start(
            graph, policies=airrflow_policies(), sinks=[server], store=False, max_concurrent_nodes=MAX_CONCURRENT_NODES
        )
        page.wait_for_function("() => +document.querySelector('.hexviz-timeline')?.dataset.rows > 190", timeout=30_000)
        page.screenshot(path=folder / "page.png", full_page=True)
        run.result(60)
        browser.close()


def shrink(pictures: list[Path]) -> None:
    """Write them with 256 colours, which are enough for what is drawn here."""
    try:
        from PIL import Image
    except ImportError:
        sys.stdout.write("Pillow is not installed: the pictures stay as large as they are\n")
        return
    for path in pictures:
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(path, optimize=True)


def main() -> None:
    """Take the pictures, then put them where the docs look for them."""
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join((*SEEN_BY_TESTS, *OTHERS))}")
    names = reader.parse_args().names or [*SEEN_BY_TESTS, *OTHERS]
    if unknown := set(names) - {*SEEN_BY_TESTS, *OTHERS}:
        reader.error(f"there is no picture {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if seen := [name for name in names if name in SEEN_BY_TESTS]:
            take_from_tests(seen, folder)
        if "page" in names:
            photograph_page(folder)
        if "figures" in names:
            photograph(gallery(), folder / "figures")
        pictures = sorted(folder.rglob("*.png"))
        shrink(pictures)
        for path in pictures:
            place = IMAGES / path.relative_to(folder)
            shutil.copyfile(path, place)
            sys.stdout.write(f"{place.relative_to(ROOT)} {place.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
