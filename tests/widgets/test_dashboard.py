"""The live view and the recorded view, outside a browser."""

import threading
import time

import pytest

import hexviz
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recording import Recording
from hexviz.widgets import dashboard, front_end
from hexviz.widgets.dashboard import LiveView
from hexviz.widgets.recorded import StaticView, static_view


def pumps():
    return [thread for thread in threading.enumerate() if thread.name == "hexviz-pump"]


def wait_until(holds, seconds=5.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_live_view_follows_a_run_and_lets_go_when_it_has_ended(runs):
    observers = ObserverManager()
    view = LiveView(observers, hz=20).display()
    for event in runs.story():
        observers.notify_nowait(event)
    wait_until(lambda: len(observers) == 0 and not pumps())
    assert view.state.done
    assert view.statistics()["events"] == 17
    assert "succeeded" in repr(view)


def test_closing_twice_and_from_several_threads_is_fine(runs):
    observers = ObserverManager()
    view = LiveView(observers)
    for event in runs.story()[:9]:
        observers.notify_nowait(event)
    closers = [threading.Thread(target=view.close) for _ in range(5)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    view.close()
    wait_until(lambda: not pumps())
    assert len(observers) == 0
    assert len(view.state.attempts) == 2
    assert "unfinished" in repr(view)


def test_a_context_manager_closes_also_when_the_cell_fails(runs):
    observers = ObserverManager()
    try:
        with LiveView(observers, title="mine"):
            raise RuntimeError("the cell")
    except RuntimeError:
        pass
    wait_until(lambda: not pumps())
    assert len(observers) == 0


def test_fifty_views_leave_nothing_behind(runs):
    observers = ObserverManager()
    for i in range(50):
        with LiveView(observers, hz=20):
            for event in runs.story(run_id=f"run-{i}"):
                observers.notify_nowait(event)
    wait_until(lambda: not pumps())
    assert len(observers) == 0


def test_history_told_before_the_view_was_made_is_shown(runs):
    events = runs.story()
    observers = ObserverManager()
    view = LiveView(observers, history=events[:10])
    for event in events[8:]:
        observers.notify_nowait(event)
    view.close()
    assert view.state.events == 17


def test_what_happens_while_the_history_is_read_comes_after_it(runs):
    observers, story = ObserverManager(), runs.story()

    def history():
        for event in story[:9]:
            observers.notify_nowait(story[9])
            yield event

    with LiveView(observers, history=history()) as view:
        wait_until(lambda: view.statistics()["events"] == 10)
        assert view.state.seq == 10


def test_outside_jupyter_nothing_is_displayed(runs, capsys):
    observers = ObserverManager()
    with LiveView(observers) as view:
        assert view.widget is None
    static_view(Recording(runs.story()))._repr_mimebundle_()
    assert capsys.readouterr().out == ""


def test_a_recorded_view_is_html_and_text(runs):
    bundle = static_view(Recording(runs.story()))._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "data:image/svg+xml;base64," in bundle["text/html"]
    assert bundle["text/plain"].startswith("etl: succeeded")


def test_a_static_view_keeps_the_state_of_its_moment(runs):
    view = static_view(Recording(runs.story()))
    shown = StaticView(view.state, title="then")
    view.state.error = "later"
    assert "later" not in shown._repr_mimebundle_()["text/html"]


def test_display_off_silences_it(runs, monkeypatch):
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    assert set(static_view(Recording(runs.story()))._repr_mimebundle_()) == {"text/plain"}


@pytest.mark.parametrize("steps", [1, 5])
def test_a_front_end_that_is_gone_changes_nothing_for_the_run(monkeypatch, caplog, steps):
    """Neither a message nor the last picture can be sent: told in the log, and the view lets go all the same."""

    class Gone:
        def update(self, _shown):
            raise ConnectionError("nobody is there")

    def send(self, *_message, **_buffers):
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(front_end, "can_display", lambda: True)
    monkeypatch.setattr(dashboard, "display", lambda _widget, **_: Gone())
    monkeypatch.setattr(dashboard.TimelineWidget, "send", send)
    graph = hexviz.Graph("steps")
    for i in range(steps):
        graph.node(lambda *_: time.sleep(0.06) or "well", name=f"n{i}", after=[f"n{i - 1}"] if i else [])
    result = hexviz.run_sync(graph, live=True, store=False)
    assert set(result.values()) == {"well"}
    wait_until(lambda: not pumps())
    assert "cannot be s" in caplog.text


def test_whoever_closes_second_finds_the_view_closed(runs):
    observers = ObserverManager()
    view = LiveView(observers, hz=20)
    for event in runs.story():
        observers.notify_nowait(event)
    view.close()
    assert view._finished.is_set()
