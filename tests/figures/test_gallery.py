"""The gallery: each figure has its section and its pictures, and is drawn from real runs."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hexviz import figures
from hexviz.demo import gallery

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "figures.md").read_text(encoding="utf-8")
NAMES = [name.removeprefix("plot_") for name in figures.__all__]


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_has_a_section_with_its_call_and_a_picture_for_either_theme(name):
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert f"hexviz.figures.plot_{name}(" in section
    assert f"images/figures/{name}-light.png" in section
    assert f"images/figures/{name}-dark.png" in section


def test_the_pictures_on_the_page_are_there_small_and_no_others():
    shown = {DOCS / path for path in re.findall(r'(?:src|srcset)="([^"]+)"', PAGE)}
    assert shown == set((DOCS / "images" / "figures").iterdir())
    assert max(path.stat().st_size for path in shown) < 200_000


def test_the_gallery_draws_every_figure_from_real_runs():
    drawn = gallery.gallery()
    assert set(NAMES) <= set(drawn)
    assert {f"{name}-light.png" for name in drawn} <= {path.name for path in (DOCS / "images" / "figures").iterdir()}
    for name, figure in drawn.items():
        assert len(figure.data) >= 1, name
    assert {trace.name for trace in drawn["timeline"].data} == {
        *("in the queue", "backing off", "succeeded", "failed", "fell back")
    }


@pytest.mark.browser
def test_a_figure_is_photographed_on_a_light_and_on_a_dark_page(tmp_path):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(gallery.chromium()).exists():
        pytest.skip(f"there is no chromium at {gallery.chromium()}")
    from tests.analysis.made_frames import diamond

    drawn = {"calls": figures.plot_calls(diamond())}
    with ThreadPoolExecutor(1) as elsewhere:  # the browser of other tests keeps a loop running in this thread
        light, dark = elsewhere.submit(gallery.photograph, drawn, tmp_path).result(timeout=100)
    assert [path.name for path in (light, dark)] == ["calls-light.png", "calls-dark.png"]
    assert light.read_bytes()[:4] == dark.read_bytes()[:4] == b"\x89PNG"
    assert 5_000 < light.stat().st_size < 100_000
    assert light.read_bytes() != dark.read_bytes()
