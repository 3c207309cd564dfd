"""Two runs on one time axis."""

import re

import msgspec

import hexviz
from hexviz.events import events as ev
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


def told(at_ms):
    """The events of a run that ends ``at_ms`` ms after its start; its node begins later and ends sooner."""
    info = ev.NodeInfo("load", 1)
    events = [(0, ev.PipelineStarted("etl", 1, 1, (info,))), (0.4, ev.NodeStarted("load", 1))]
    events += [(at_ms - 0.4, ev.NodeCompleted("load", 1, None, at_ms)), (at_ms, ev.PipelineCompleted("etl", at_ms))]
    for seq, (ms, event) in enumerate(events, 1):
        yield msgspec.structs.replace(event, run_id=f"r{at_ms}", seq=seq, monotonic_ns=1 + round(ms * 1e6))


def test_heads_headline_and_table_tell_one_time_for_a_run_and_its_change():
    view = hexviz.compare_view(Recording(told(152.5)), Recording(told(303.4)))
    heads, headline = repr(view).rsplit("\n", 1)
    assert re.findall(r"succeeded, (\d+ ms)", heads) == ["153 ms", "303 ms"]
    assert headline == "153 ms before, 303 ms after (+150 ms)"
    row = re.search(r"<tr>(?:(?!</tr>).)*run_ms.*?</tr>", view.differences_html()).group()
    assert re.findall(r">([+-]?\d+ ms)<", row) == ["153 ms", "303 ms", "+150 ms"]


def test_nothing_in_it_is_markup_from_the_data(runs):
    for hostile in runs.HOSTILE:
        names = (f"a{hostile}", f"b{hostile}", f"c{hostile}")
        view = hexviz.compare_view(Recording(runs.story(names)), Recording(runs.story()))
        html = view.differences_html()
        assert "<script" not in html
        assert "<img" not in html
        assert "<svg" not in html
