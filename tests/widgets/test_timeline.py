"""The widget without a browser: its messages, its acknowledgements, its buttons."""

import json
import re
import threading

import pytest

from hexviz.recording.state import RunState
from hexviz.widgets.assets import asset
from hexviz.widgets.budget import FIRST
from hexviz.widgets.timeline import TimelineWidget


class Controls:
    def __init__(self):
        self.paused, self.called = False, []

    def cancel(self):
        self.called.append("cancel")

    def pause(self):
        self.paused = True

    def resume(self):
        self.paused = False


class Sent(list):
    """What a widget sent, without a kernel."""

    def __init__(self, widget):
        super().__init__()
        widget.send = lambda content, buffers=None: self.append((content, buffers))


@pytest.fixture
def widget():
    made = TimelineWidget(title="etl", controls=Controls())
    yield made
    made.close_channel()


def hear(widget, content):
    widget.channel._handle_custom_msg(content, [])


def test_messages_are_numbered_and_each_names_the_one_before(widget, runs):
    sent, state = Sent(widget), RunState.from_events(runs.story())
    widget.push(state, full=True, done=False)
    widget.push(state, full=False, done=True)
    assert [(m["base"], m["seq"], m["full"], m["done"]) for m, _ in sent] == [(0, 1, True, False), (1, 2, False, True)]
    assert all(buffer for _, buffers in sent for buffer in buffers)


def test_a_hello_is_answered_and_brings_everything_once_per_view(widget):
    asked, answers = [], Sent(widget.channel)
    widget.channel.on_hello = lambda: asked.append(1)
    for number in (1, 2, 3):
        hear(widget, {"k": "hello", "view": "v1", "n": number})
    hear(widget, {"k": "hello", "view": "v2", "n": 1})
    assert [answer["n"] for answer, _ in answers] == [1, 2, 3, 1]
    assert len(asked) == 2
    assert widget.greeted


def test_more_than_two_unacknowledged_messages_hold_the_pump_back(widget, runs):
    Sent(widget)
    Sent(widget.channel)
    state = RunState.from_events(runs.story())
    greeter = threading.Thread(target=hear, args=(widget, {"k": "hello", "view": "v", "n": 1}))
    greeter.start()
    greeter.join()
    for _ in range(3):
        assert widget.ready()
        widget.push(state, full=False, done=False)
    assert not widget.ready()
    hear(widget, {"k": "ack", "seq": 2})
    assert widget.ready()


def test_the_buttons_reach_the_controls_from_any_thread(widget):
    answers = Sent(widget.channel)
    for operation in ("hold", "release", "cancel"):
        clicker = threading.Thread(target=hear, args=(widget, {"k": "op", "op": operation}))
        clicker.start()
        clicker.join()
    assert [(a["op"], a["paused"], a["cancelling"]) for a, _ in answers] == [
        ("hold", True, False),
        ("release", False, False),
        ("cancel", False, True),
    ]
    assert widget._controls.called == ["cancel"]


def test_holding_from_python_is_news_for_the_view(widget, runs):
    Sent(widget)
    assert not widget.news()
    widget._controls.pause()
    assert widget.news()
    widget.push(RunState.from_events(runs.story()), full=False, done=False)
    assert not widget.news()


def test_a_control_that_raises_is_told_and_not_raised(widget):
    answers = Sent(widget.channel)
    widget._controls.cancel = lambda: 1 / 0
    hear(widget, {"k": "op", "op": "cancel"})
    assert "ZeroDivisionError" in answers[0][0]["error"]
    assert answers[0][0]["cancelling"] is False


@pytest.mark.parametrize("content", [None, [], {"k": "op", "op": "rm -rf"}, {"k": "op"}, {"k": "?"}, "text"])
def test_messages_that_nobody_sends_are_ignored(widget, content):
    answers = Sent(widget.channel)
    hear(widget, content)
    assert answers == []


def test_what_is_sent_to_the_browser_loads_nothing_from_elsewhere():
    for name in ("timeline.js", "timeline.css", "report.css"):
        text = asset(name)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"^import |import\(", text, re.MULTILINE)
        assert "@import" not in text
    assert "innerHTML" not in asset("timeline.js")
    assert "eval(" not in asset("timeline.js")


def size(message):
    content, buffers = message
    return sum(map(len, buffers)) + len(json.dumps(content))


def test_a_live_widget_keeps_to_its_rate_and_a_view_that_asks_gets_a_picture_of_all_and_the_rest_in_pieces(runs):
    made = TimelineWidget(live=True)
    sent, state = Sent(made), RunState.from_events(runs.many(20_000))
    for full in (True, False, False):
        made.push(state, full=full, done=False)
    assert made.bytes_sent < 70_000
    assert made.unsent > 10_000
    assert made.news()
    sent.clear()
    made.push(state, full=True, done=False, asked=True)
    assert 5_000 < len(runs.Browser().take(*sent[0]).rows) < 10_000
    pieces = 0
    while made.news():
        made.push(state, full=False, done=False)
        pieces += 1
    assert made.unsent == 0
    assert max(map(size, sent)) < FIRST + 2_000
    assert pieces < 12
    known = runs.Browser()
    for message in sent:
        known.take(*message)
    assert len(known.rows) == len(state.attempts)
    made.close_channel()


def test_a_view_that_asks_in_a_flood_is_back_at_its_rate_when_it_has_caught_up(runs):
    made = TimelineWidget(live=True)
    sent, events, state = Sent(made), runs.many(60_000), RunState()
    for place, event in enumerate(events):
        state.fold(event)
        if place % 2_000 == 1_999:
            made.push(state, full=place == 19_999, done=False, asked=place == 19_999)
    assert made.unsent > 10_000
    assert sum(size(message) > 30_000 for message in sent[10:]) < 10
    made.close_channel()


def test_a_view_that_asks_when_all_is_over_gets_all_of_it_in_pieces(runs):
    made = TimelineWidget()
    sent, state = Sent(made), RunState.from_events(runs.many(20_000))
    made.push(state, full=True, done=True, asked=True)
    assert made.unsent == 0
    assert len(sent) > 2
    assert max(map(size, sent)) < FIRST + 2_000
    made.close_channel()


def test_the_last_message_of_a_widget_that_stays_holds_all_that_was_left(runs):
    made = TimelineWidget(live=True)
    Sent(made)
    made.complete = True
    made.push(RunState.from_events(runs.many(20_000)), full=True, done=True)
    assert made.unsent == 0
    made.close_channel()


def test_the_refresh_rate_reaches_the_pump_and_nonsense_does_not(widget):
    asked = []
    widget.set_pace = asked.append
    for hz in (2, 0.5, 0, -1, "10", None, 1e9, float("nan")):
        hear(widget, {"k": "op", "op": "rate", "hz": hz})
    assert asked == [2.0, 0.5]


def test_what_is_selected_in_the_browser_is_kept_and_nonsense_is_not(widget):
    hear(widget, {"k": "sel", "rows": [3, "x", None, 5, 1.5, True]})
    assert widget.selected == [3, 5]
    hear(widget, {"k": "sel", "rows": "all"})
    assert widget.selected == []


def test_what_is_lit_is_told_again_to_a_view_that_comes_later(widget):
    answers = Sent(widget.channel)
    widget.light([1, 2])
    hear(widget, {"k": "hello", "view": "late", "n": 1})
    assert [a for a, _ in answers if a["k"] == "light"] == [{"k": "light", "rows": [1, 2]}] * 2
