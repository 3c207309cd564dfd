"""Two runs on one time axis."""

import hexviz
from hexviz.recording.recording import Recording


def test_both_runs_share_one_axis_and_the_differences_are_listed(runs):
    view = hexviz.compare_view(Recording(runs.story()), Recording(runs.story(("load", "clean", "score"))))
    one, other = (shown.shown() for shown in view.views)
    assert one.axis_ms == other.axis_ms > 70
    assert one.group == other.group
    assert (one.player, other.player) == (False, True)
    assert {"added", "removed", "same"} <= set(view.differences["verdict"])
    html = view._repr_mimebundle_()["text/html"]
    assert "1 nodes added, 1 nodes removed" in html
    assert html.count("data:image/svg+xml;base64,") == 2
    for widget in (one, other):
        widget.close_channel()


def test_nothing_in_it_is_markup_from_the_data(runs):
    for hostile in runs.HOSTILE:
        names = (f"a{hostile}", f"b{hostile}", f"c{hostile}")
        view = hexviz.compare_view(Recording(runs.story(names)), Recording(runs.story()))
        html = view.differences_html()
        assert "<script" not in html
        assert "<img" not in html
        assert "<svg" not in html
