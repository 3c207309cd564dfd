"""The parts of a dashboard, by name."""

import pytest

import hexviz
from hexviz.recording.recording import Recording
from hexviz.widgets.panels import DEFAULT_PANELS, PANELS, PanelError, chosen_panels


def test_panels_stand_in_their_order_each_once_however_they_are_asked_for():
    assert chosen_panels(["graph", "progress", "graph"]) == ("progress", "graph")
    assert chosen_panels("calls") == ("calls",)
    assert chosen_panels(None) == DEFAULT_PANELS
    assert chosen_panels("all") == tuple(PANELS)


@pytest.mark.parametrize("asked", [["timelin"], "chart", [], ["progress", 3]])
def test_a_panel_that_is_not_known_is_refused_with_a_list_of_those_that_are(runs, asked):
    with pytest.raises(PanelError, match=r"timeline \(one bar per attempt\)"):
        hexviz.dashboard(Recording(runs.story()), panels=asked)
