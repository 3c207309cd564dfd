"""H1a in a real browser: nothing that data hold is run, loaded, or becomes an element."""

import pytest

import hexviz
from hexviz.recording.state import RunState
from hexviz.widgets.graph import graph_svg
from hexviz.widgets.report import report_html
from hexviz.widgets.snapshot import frozen_html
from hexviz.widgets.svg import timeline_svg
from tests.faults.hostile_runs import QUOTES, SHORT, harmless, told

pytestmark = pytest.mark.browser
HEAD = "<!doctype html><meta charset=utf-8><body>"


def figures(recording):
    frames = recording.frames
    made = [getattr(hexviz.figures, name)(frames) for name in hexviz.figures.__all__ if name != "plot_comparison"]
    first, *others = (f.to_html(full_html=False, include_plotlyjs=i == 0) for i, f in enumerate(made))
    return HEAD + first + "".join(others)


PAGES = {
    "report": lambda recording: report_html(RunState.from_events(recording.events()), title=QUOTES),
    "frozen": lambda recording: HEAD + frozen_html(RunState.from_events(recording.events()), title=QUOTES),
    "svg inside html": lambda recording: HEAD + timeline_svg(RunState.from_events(recording.events())),
    "graph inside html": lambda recording: HEAD + graph_svg(RunState.from_events(recording.events())),
    "timeline.svg": lambda recording: timeline_svg(RunState.from_events(recording.events())),
    "figures": figures,
}
SHAPE = """() => [...new Set([...document.querySelectorAll('*')].flatMap(
    e => [e.localName, ...e.getAttributeNames().map(n => `${e.localName} ${n}`)]))].sort()"""


@pytest.mark.parametrize("name", PAGES)
def test_h1a_a_page_full_of_hostile_texts_runs_and_loads_nothing(chromium, tmp_path, name):
    shapes = []
    for kind, texts in (("hostile", SHORT), ("harmless", harmless(SHORT))):
        path = tmp_path / f"{kind}{'' if name.endswith('.svg') else '.html'}-{name}".replace(" ", "_")
        path = path.with_suffix(".svg" if name.endswith(".svg") else ".html")
        path.write_text(PAGES[name](told(texts, pipeline=QUOTES if kind == "hostile" else None)), encoding="utf-8")
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        page, asked, dialogs = context.new_page(), [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("dialog", lambda dialog, dialogs=dialogs: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        page.wait_for_timeout(300)
        page.mouse.move(400, 300)  # what lies under the pointer shows its name
        page.wait_for_timeout(200)
        assert page.evaluate("() => window.canary ?? null") is None
        assert dialogs == []
        assert [url for url in asked if not url.startswith(("data:", "blob:", path.as_uri()))] == []
        shapes.append(set(page.evaluate(SHAPE)))
        context.close()
    assert {part for part in shapes[0] - shapes[1] if " on" in part or part in UNWANTED} == set()
    if name in {"report", "frozen"}:
        assert shapes[0] == shapes[1]


UNWANTED = {"a href", "iframe", "link", "base", "object", "embed", "form", "input", "script src", "img onerror", "b"}
