"""The pictures of docs/figures.md, from real runs: ``python -m hexviz.demo.gallery docs/images/figures``.

Each figure is drawn by plotly in a headless Chromium, on a light and on a dark page. Needs playwright, which the tests
bring, and a Chromium (``$HEXVIZ_CHROMIUM``, else ``/usr/bin/chromium``); no network.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexviz import face, figures
from hexviz.demo.airrflow import MAX_CONCURRENT_NODES, airrflow
from hexviz.demo.policies import airrflow_policies
from hexviz.demo.questions import questions, questions_policies
from hexviz.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 960
PAGES = {"light": "#ffffff", "dark": "#111418"}
_SPEED = 220.0
_PAGE = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<div id="figure" style="width:{width}px"></div>{plotly}"""
_DRAW = """([text, background]) => {
  document.body.style.background = background;
  const figure = JSON.parse(text), place = document.getElementById("figure");
  Plotly.purge(place);
  return Plotly.newPlot(place, figure.data, figure.layout, { displayModeBar: false }).then(() => null);
}"""


def gallery() -> dict[str, Any]:
    """One figure per ``hexviz.figures.plot_*`` and a few more, by the name of its picture; takes some ten seconds."""
    airr = face.run_sync(
        airrflow(speed=_SPEED), policies=airrflow_policies(), store=False, max_concurrent_nodes=MAX_CONCURRENT_NODES
    ).recording.frames
    tight = face.run_sync(
        airrflow(speed=_SPEED), policies=airrflow_policies(), store=False, max_concurrent_nodes=8
    ).recording.frames
    asked = _asked().recording.frames
    slower = _asked(slow="read lakes", slow_s=0.1).recording.frames
    return {
        "timeline": figures.plot_timeline(asked),
        "timeline-212-nodes": figures.plot_timeline(airr),
        "graph": figures.plot_graph(asked),
        "graph-212-nodes": figures.plot_graph(airr),
        "concurrency": figures.plot_concurrency(tight),
        "durations": figures.plot_durations(airr, log=True),
        "waits": figures.plot_waits(tight),
        "decisions": figures.plot_decisions(airr),
        "calls": figures.plot_calls(asked),
        "critical_path": figures.plot_critical_path(airr),
        "comparison": figures.plot_comparison(asked, slower),
        "what_if": figures.plot_what_if(airr),
    }


def _asked(**settings: Any) -> Any:
    return face.run_sync(questions(**settings), policies=questions_policies(), store=False, max_concurrent_nodes=3)


def chromium() -> str:
    """The browser that takes the pictures."""
    return os.environ.get("HEXVIZ_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"


def photograph(drawn: Mapping[str, Any], folder: Path, *, width: int = WIDTH) -> list[Path]:
    """Write each figure of ``drawn`` as ``NAME-light.png`` and ``NAME-dark.png`` into ``folder``."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only these pictures need a browser
    except ImportError:
        raise MissingExtraError("playwright", "test", purpose="the gallery of figures") from None

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        )
        page = browser.new_page(viewport={"width": width, "height": 700})
        if drawn:  # plotly's own script, as it is bundled with the package
            script = next(iter(drawn.values())).to_html(full_html=False, include_plotlyjs=True)
            page.set_content(_PAGE.format(width=width, plotly=script))
            page.evaluate("() => document.querySelectorAll('.plotly-graph-div').forEach(drawn => drawn.remove())")
        for name, figure in drawn.items():
            for theme, background in PAGES.items():
                page.evaluate(_DRAW, [figure.to_json(), background])
                page.wait_for_timeout(250)  # WebGL and automatic margins draw once more
                path = folder / f"{name}-{theme}.png"
                page.locator("#figure").screenshot(path=path)
                written.append(path)
        browser.close()
    return written


if __name__ == "__main__":
    for picture in photograph(gallery(), Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/figures")):
        sys.stdout.write(f"{picture} {picture.stat().st_size / 1e3:.0f} kB\n")
