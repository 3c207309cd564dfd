"""The page of `hexviz serve`, in a browser: live, after a reload, after a restart of the server, in both themes."""

import time

import msgspec
import pytest

from hexviz.events import events as ev
from hexviz.streams import WebSocketBroadcaster
from hexviz.widgets.page import LivePage

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror=window.canary=1>"


def told(count, run_id="r", *, ended=True):
    """A run of ``count`` nodes in waves of a hundred, each of which takes 5 ms."""
    origin = time.monotonic_ns()
    nodes = tuple(ev.NodeInfo(f"node {i} {HOSTILE}", i // 100 + 1) for i in range(count))
    events = [(0, ev.PipelineStarted(f"etl {HOSTILE}", nodes[-1].wave_index, count, nodes))]
    for i, node in enumerate(nodes):
        events.append((i % 100 + i // 100 * 50, ev.NodeStarted(node.name, node.wave_index)))
        events.append((i % 100 + i // 100 * 50 + 5, ev.NodeCompleted(node.name, node.wave_index, 0, 5.0)))
    events.append((5, ev.ControlDecided("NodeFailed", 1, "skip", nodes[0].name, 1, 1, HOSTILE, 1, HOSTILE)))
    if ended:
        events.append((count, ev.PipelineCompleted("etl", float(count))))
    for seq, (at_ms, event) in enumerate(events, 1):
        yield msgspec.structs.replace(event, run_id=run_id, seq=seq, monotonic_ns=origin + at_ms * 1_000_000)


class Opened:
    def __init__(self, page):
        self.page, self.complaints, self.asked = page, [], []
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"Uncaught {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda opened: self.asked.append(opened.url))

    def shows(self, **facts):
        """Wait until the view says so."""
        for name, fact in facts.items():
            script = "([name, fact]) => document.querySelector('.hexviz-timeline')?.dataset[name] === fact"
            self.page.wait_for_function(script, arg=[name, fact], timeout=20_000)

    def link(self):
        return self.page.locator(".hx-page-link").inner_text()


@pytest.fixture
def opened(chromium, request):
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=getattr(request, "param", "light")
    )
    made = Opened(context.new_page())
    yield made
    context.close()
    assert [text for text in made.complaints if "ERR_CONNECTION_REFUSED" not in text] == []


@pytest.mark.parametrize("opened", ["light", "dark"], indirect=True)
@pytest.mark.parametrize("nodes", [100, 10_000])
def test_a_run_is_shown_live_and_a_reload_shows_it_again(opened, nodes, shots, request):
    scheme = request.node.callspec.params["opened"]
    with WebSocketBroadcaster(page=LivePage()) as server:
        events = list(told(nodes))
        opened.page.goto(server.page_url)
        opened.page.wait_for_function("() => document.querySelector('.hx-page-link')?.dataset.state === 'live'")
        half = nodes + 1  # its beginning, and both events of half of the nodes
        for event in events[:half]:
            server.put(event)
        opened.shows(done="false", rows=str(nodes // 2))
        for event in events[half:]:
            server.put(event)
        opened.shows(done="true", rows=str(nodes))
        opened.page.screenshot(path=shots / f"page-{nodes}-{scheme}.png", full_page=True)
        assert opened.page.locator(".hx-state").inner_text() == "succeeded"
        opened.page.reload()
        opened.shows(done="true", rows=str(nodes))
        assert opened.page.evaluate("() => window.canary") is None
        own = (f"http://127.0.0.1:{server.port}/", f"ws://127.0.0.1:{server.port}/", "data:")
        assert [url for url in opened.asked if not url.startswith(own)] == []
        assert not any(server.token in url for url in opened.asked[1:])
        assert opened.page.url == f"http://127.0.0.1:{server.port}/"


def test_after_a_restart_of_the_server_the_page_goes_on(opened):
    with WebSocketBroadcaster(page=LivePage(), token=False) as first:
        for event in told(100, ended=False):
            first.put(event)
        opened.page.goto(first.page_url)
        opened.shows(rows="100", done="false")
    opened.page.wait_for_function("() => document.querySelector('.hx-page-link').dataset.state === 'away'")
    assert "not connected" in opened.link()
    with WebSocketBroadcaster(page=LivePage(), token=False, port=first.port) as second:
        for event in told(200):
            second.put(event)
        opened.shows(rows="200", done="true")
        assert opened.link() == "live"


def test_another_run_can_be_chosen_and_stays_chosen(opened):
    with WebSocketBroadcaster(page=LivePage(), token=False) as server:
        for event in (*told(100, "first"), *told(200, "second/é")):
            server.put(event)
        opened.page.goto(server.page_url)
        opened.shows(rows="200")
        opened.page.select_option("select.hx-run", "first")
        opened.shows(rows="100")
        assert opened.page.url.endswith("?run=first")
        opened.page.reload()
        opened.shows(rows="100")
        opened.page.select_option("select.hx-run", "second/é")
        opened.shows(rows="200")


def test_a_page_of_elsewhere_cannot_listen(chromium):
    with (
        WebSocketBroadcaster(page=LivePage(), token=False) as server,
        WebSocketBroadcaster(page=LivePage(), token=False) as other,
    ):
        page = chromium.new_context().new_page()
        page.goto(other.page_url)
        script = """url => new Promise((done) => {
            const socket = new WebSocket(url);
            socket.onopen = () => done("open");
            socket.onerror = () => done("refused");
        })"""
        assert page.evaluate(script, f"{other.url}/events") == "open"
        page.goto("about:blank")
        assert page.evaluate(script, f"{server.url}/events") == "refused"
        page.context.close()
