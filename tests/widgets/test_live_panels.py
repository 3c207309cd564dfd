"""``live=`` names the panels of a run's view, whatever way it is run."""

import threading
import time

import pytest

import hexviz
from hexviz.widgets import dashboard, front_end
from hexviz.widgets.panels import DEFAULT_PANELS, PANELS, PanelError


@pytest.fixture
def views(monkeypatch):
    """The widgets that were displayed; as in a notebook, each test ends when their views have."""
    shown = []
    monkeypatch.setattr(front_end, "can_display", lambda: True)
    monkeypatch.setattr(dashboard, "display", lambda widget, **_: shown.append(widget))
    yield shown
    until = time.monotonic() + 5
    while any(thread.name == "hexviz-pump" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.005)


def graph():
    made = hexviz.Graph("small")
    made.node(lambda: 1, name="one")
    return made


@pytest.mark.parametrize(
    ("live", "panels"),
    [
        (True, DEFAULT_PANELS),
        (["graph", "progress"], ("progress", "graph")),
        ("timeline", ("timeline",)),
        ("all", PANELS),
    ],
)
def test_they_stand_in_the_view(views, live, panels):
    hexviz.run_sync(graph(), live=live, store=False)
    assert [tuple(shown.widget.panels) for shown in views] == [tuple(panels)]


@pytest.mark.parametrize("live", [False, [], ""])
def test_without_any_nothing_is_shown(views, live):
    hexviz.start(graph(), live=live, store=False).result(10)
    assert views == []


def test_a_name_that_is_not_known_is_refused_before_the_run_begins(views):
    with pytest.raises(PanelError, match="no panel 'moon'"):
        hexviz.run_sync(graph(), live=["moon"], store=False)
    assert views == []
