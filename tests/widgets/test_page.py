"""The page: each browser gets a snapshot and then what changes, however many look on and however slowly."""

import json

import pytest

from hexviz.recording.state import RunState
from hexviz.widgets import page as page_module
from hexviz.widgets.page import MOST_RUNS, LivePage
from hexviz.widgets.tables import COLUMNS
from tests.recording.made_events import small_run


def read(frame):
    """The message and its buffers."""
    end = 4 + int.from_bytes(frame[:4], "little")
    message, buffers = json.loads(frame[4:end]), []
    for length in message["lengths"]:
        buffers.append(frame[end : end + length])
        end += length
    assert end == len(frame)
    return message, buffers


def seen(view):
    """All that a browser gets now, if it draws at once."""
    messages = []
    while (frame := view.frame()) is not None:
        messages.append(read(frame)[0])
        view.acknowledge(messages[-1]["seq"])
    return messages


def shown(messages):
    """What the browser knows after these messages: counts, and how many attempts, decisions and names came."""
    last_full = max(place for place, message in enumerate(messages) if message["full"])
    since = messages[last_full:]
    came = {name: sum(len(message[name]) for message in since) for name in ("decisions", "failures")}
    attempts = sum(message["sizes"][0] for message in since)
    return messages[-1]["counts"], attempts, came, messages[-1]["run"]["status"]


def test_a_view_gets_a_snapshot_and_then_what_changes():
    page, run = LivePage(), small_run()
    page.take(run[:10])
    early = page.view(None)
    messages = seen(early)
    for event in run[10:]:
        page.take([event])
        messages += seen(early)
    late = page.view(None)
    state = RunState.from_events(run)
    assert [message["full"] for message in messages] == [True] + [False] * (len(messages) - 1)
    assert [message["base"] + 1 for message in messages] == [message["seq"] for message in messages]
    assert shown(messages) == shown(seen(late))
    assert shown(messages)[0] == list(state.counts)
    assert shown(messages)[1] == len(state.attempts)
    assert messages[-1]["done"]


def test_every_buffer_has_its_place():
    page = LivePage()
    page.take(small_run())
    message, buffers = read(page.view(None).frame())
    assert len(buffers) == len(COLUMNS) + 1 == len(message["lengths"])


def test_a_browser_that_does_not_draw_gets_two_messages_and_then_the_newest_state():
    page, run = LivePage(), small_run()
    view = page.view(None)
    got = []
    for event in run:
        page.take([event])
        got += [frame] if (frame := view.frame()) is not None else []
    assert len(got) == 2
    view.acknowledge(2)
    [last] = seen(view)
    assert last["counts"] == list(RunState.from_events(run).counts)


def test_an_acknowledgement_of_what_was_never_sent_opens_nothing():
    page, run = LivePage(), small_run()
    view = page.view(None)
    view.acknowledge(10**9)
    got = 0
    for event in run:
        page.take([event])
        got += view.frame() is not None
    assert got == 2


def test_a_view_of_the_latest_run_begins_anew_with_the_next_one():
    page = LivePage()
    page.take(small_run("one"))
    view, first = page.view(None), page.view("one")
    assert seen(view)[-1]["run"]["id"] == "one"
    assert seen(first)[-1]["run"]["id"] == "one"
    page.take(small_run("two"))
    messages = seen(view)
    assert (messages[0]["full"], messages[0]["run"]["id"]) == (True, "two")
    assert [run[0] for run in messages[-1]["runs"]] == ["two", "one"]
    assert all(message["run"]["id"] == "one" for message in seen(first))


def test_a_run_that_is_not_known_is_shown_when_it_comes():
    page = LivePage()
    view = page.view("later")
    assert seen(view)[-1]["run"]["id"] == ""
    page.take(small_run("later"))
    assert seen(view)[-1]["run"]["id"] == "later"


def test_runs_that_nobody_looks_at_are_let_go():
    page = LivePage()
    page.take(small_run("kept"))
    view = page.view("kept")
    seen(view)
    for number in range(3 * MOST_RUNS):
        page.take(small_run(f"r{number}"))
    assert len(page.runs()) <= MOST_RUNS + 1
    assert "kept" in {run[0] for run in page.runs()}
    view.close()
    view.close()


def test_a_large_run_comes_in_parts_that_together_are_all(monkeypatch):
    monkeypatch.setattr(page_module, "MOST_BYTES", 300)
    page = LivePage()
    page.take(small_run())
    messages = seen(page.view(None))
    assert len(messages) >= 2
    assert shown(messages)[1] == len(RunState.from_events(small_run()).attempts)


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_the_page_loads_nothing_from_elsewhere(path):
    _, body = LivePage().files[path]
    text = body.decode()
    for foreign in ("https://", "http://", "@import", "url("):
        assert foreign not in text.replace("http://www.w3.org/2000/svg", ""), foreign
    assert "<script>" not in text
    assert " style=" not in text
