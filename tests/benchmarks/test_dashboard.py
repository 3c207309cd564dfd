"""What a live view costs the kernel, the connection and the browser (see docs/dashboard.md).

Run with ``python -m pytest tests/benchmarks/test_dashboard.py --benchmark-enable``. The figures stand in
``extra_info``; nothing is asserted of them, because machines are noisy.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import threading
import time
from pathlib import Path

import pytest

import hexviz
from hexviz.events import ObserverManager
from hexviz.events import events as ev
from hexviz.recording.state import RunState
from hexviz.widgets.assets import asset
from hexviz.widgets.dashboard import LiveView
from hexviz.widgets.feed import Pump, Tap
from hexviz.widgets.timeline import TimelineWidget
from hexviz.widgets.wire import base64_buffers

ROWS, PER_REFRESH, REFRESHES = 100_000, 1_000, 60
RATE, SECONDS = 100_000, 10


class Sent(list):
    """What a widget sends, with the bytes of it."""

    def __init__(self, widget):
        super().__init__()
        self.bytes, self.at_s = 0, []
        widget.send = self.take

    def take(self, message, buffers=()):
        self.append((message, buffers))
        self.at_s.append(time.monotonic())
        self.bytes += len(json.dumps(message)) + sum(map(len, buffers))


def run_of(nodes, attempts):
    """The start of a run of ``nodes`` in 20 waves, then ``attempts`` (start, end) pairs, ten nodes at once."""
    infos = tuple(ev.NodeInfo(f"node_{i:06}", 1 + i * 20 // nodes, ()) for i in range(nodes))
    origin, seq = time.monotonic_ns(), 1
    yield ev.PipelineStarted("load", 20, nodes, infos, run_id="r", seq=1, monotonic_ns=origin)
    for i in range(attempts):
        at = origin + i * 100_000
        name, wave, number = infos[i % nodes].name, infos[i % nodes].wave_index, 1 + i // nodes
        for kind, rest, after in ((ev.NodeStarted, (), 0), (ev.NodeCompleted, (None, 1.0), 1_000_000)):
            seq += 1
            extra = {"attempt": number, "run_id": "r", "seq": seq, "monotonic_ns": at + after}
            yield kind(name, wave, *rest, **extra)


def refreshes():
    """A view that knows 100,000 attempts, and each refresh of it with 1 % of them new: cpu seconds and messages."""
    widget = TimelineWidget(live=True)
    widget._budget = None  # the cost of all that changed, not of what the budget lets pass
    sent, state, costs = Sent(widget), RunState(), []
    events = run_of(ROWS + REFRESHES * PER_REFRESH, ROWS + REFRESHES * PER_REFRESH)
    for _, event in zip(range(1 + 2 * ROWS), events, strict=False):
        state.fold(event)
    widget.push(state, full=True, done=False)
    for _ in range(REFRESHES):
        for _, event in zip(range(2 * PER_REFRESH), events, strict=False):
            state.fold(event)
        before = sent.bytes
        began_s = time.process_time()
        widget.push(state, full=False, done=False)
        costs.append((time.process_time() - began_s, sent.bytes - before))
    widget.close_channel()
    return sent, costs


def test_refresh_of_100000_attempts_in_the_kernel(benchmark):
    _, costs = benchmark.pedantic(refreshes, rounds=1, iterations=1)
    benchmark.extra_info.update(
        kernel_ms=round(statistics.median(cpu for cpu, _ in costs) * 1e3, 2),
        kernel_ms_p95=round(sorted(cpu for cpu, _ in costs)[-3] * 1e3, 2),
        kb=round(statistics.median(size for _, size in costs) / 1e3, 1),
    )


def told_at(observers, events):
    """Tell ``events`` at 100,000 a second; wall and cpu seconds, and the longest wait of another thread."""
    waits, stop = [], threading.Event()

    def answer():
        while not stop.wait(0.02):
            asked_s = time.monotonic()
            time.sleep(0)
            waits.append(time.monotonic() - asked_s)

    asker = threading.Thread(target=answer)
    asker.start()
    began_s, used_s = time.monotonic(), time.process_time()
    for told, event in enumerate(events, 1):
        observers.notify_nowait(event)
        if told % 500 == 0:
            ahead_s = began_s + told / RATE - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
    stop.set()
    asker.join()
    return took_s, cpu_s, max(waits)


def test_flood_of_100000_events_a_second(benchmark, monkeypatch):
    monkeypatch.setattr("hexviz.widgets.front_end.can_display", lambda: True)
    monkeypatch.setattr("hexviz.widgets.dashboard.display", lambda *_, **__: None)
    events = list(run_of(50_000, RATE * SECONDS // 2))

    def measure():
        observers = ObserverManager()
        observers.register(lambda event: None, lossless=True, observer_id="nothing")
        bare = told_at(observers, events)
        view = LiveView(observers, hz=10).display()
        sent = Sent(view.widget)
        watched = told_at(observers, events)
        behind, refreshed, size = len(view._tap), len(sent), sent.bytes
        began_s = time.monotonic()
        view.close()
        return bare, watched, behind, refreshed, size, time.monotonic() - began_s

    bare, watched, behind, refreshed, size, closing_s = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(
        run_ratio=round(watched[0] / bare[0], 3),
        events_per_s=round(len(events) / watched[0]),
        updates_per_s=round(refreshed / watched[0], 1),
        kb_per_s=round(size / watched[0] / 1e3, 1),
        longest_wait_of_another_thread_ms=round(watched[2] * 1e3, 1),
        cpu_s_bare=round(bare[1], 2),
        cpu_s_watched=round(watched[1], 2),
        events_behind_at_the_end=behind,
        closing_s=round(closing_s, 2),
    )


def test_run_with_and_without_a_view(benchmark, monkeypatch):
    """A graph of 10,000 nodes that do nothing, so that nothing hides the cost: wall time with a view over without."""
    monkeypatch.setattr("hexviz.widgets.front_end.can_display", lambda: True)
    monkeypatch.setattr("hexviz.widgets.dashboard.display", lambda *_, **__: None)

    async def nothing(value=None):
        return None

    graph = hexviz.Graph("wide")
    for i in range(10_000):
        graph.node(nothing, name=f"n{i}")

    def run_s(*, live):
        """Seconds until the result is there, and from then until the view is done, for which a cell's end waits."""
        began_s = time.perf_counter()
        hexviz.run_sync(graph, live=live, store=False)
        ended_s = time.perf_counter()
        while any(thread.name == "hexviz-pump" for thread in threading.enumerate()):
            time.sleep(0.001)
        return ended_s - began_s, time.perf_counter() - ended_s

    def measure():
        return [(*run_s(live=False)[:1], *run_s(live=True)) for _ in range(15)]

    rounds = benchmark.pedantic(measure, rounds=1, iterations=1)
    bare_s, watched_s, after_s = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(watched / bare for bare, watched, _ in rounds)
    benchmark.extra_info.update(
        bare_s=round(bare_s, 3), watched_s=round(watched_s, 3), after_s=round(after_s, 3), ratio=round(ratio, 3)
    )


def test_from_event_to_message(benchmark):
    """How long an event waits for the message that tells of it: the pace of the view, no more."""

    def measure():
        widget = TimelineWidget(live=True)
        sent, tap = Sent(widget), Tap()
        pump = Pump(tap, RunState(), widget, hz=8)
        pump.start()
        waits = []
        for event in run_of(20, 20):
            tap.put(event)
            told_s, before = time.monotonic(), len(sent)
            while len(sent) == before:
                time.sleep(0.001)
            waits.append(sent.at_s[-1] - told_s)
        pump.close()
        widget.close_channel()
        return waits

    waits = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(ms=round(statistics.median(waits) * 1e3), ms_max=round(max(waits) * 1e3))


@pytest.mark.browser
def test_refresh_of_100000_attempts_in_the_browser(benchmark):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("HEXVIZ_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(chromium).exists():
        pytest.skip(f"there is no chromium at {chromium}")
    sent, _ = refreshes()
    messages = [[message, base64_buffers(buffers)] for message, buffers in sent]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 950})
        page.set_content(f"<body><style>{asset('timeline.css')}</style></body>")
        page.add_script_tag(type="module", content=f"{asset('timeline.js')}\nglobalThis.hx = {{ mount, bytesOf }};")
        page.wait_for_function("() => globalThis.hx")
        found = benchmark.pedantic(lambda: page.evaluate(FEED, messages), rounds=1, iterations=1)
        browser.close()
    benchmark.extra_info.update({name: round(value, 1) for name, value in found.items()})


FEED = """async (messages) => {
  const [root, seen] = [document.body.appendChild(document.createElement('div')), new Map()];
  const onDrawn = (seq) => { for (let k = seq; k >= 0 && !seen.has(k); k--) seen.set(k, performance.now()); };
  const handle = hx.mount(root, { live: true, onDrawn });
  const ready = messages.map(([message, buffers]) => [message, buffers.map(hx.bytesOf)]);
  const began = performance.now();
  handle.apply(...ready[0]);
  while (!seen.has(1)) await new Promise(requestAnimationFrame);
  const first = performance.now() - began;
  const [sent, lags, draws, costs] = [new Map(), [], handle.view.draws, []];
  for (const [message, buffers] of ready.slice(1)) {
    const at = performance.now();
    sent.set(message.seq, at);
    handle.apply(message, buffers);
    costs.push(performance.now() - at);
    await new Promise((resume) => setTimeout(resume, Math.max(0, 100 - (performance.now() - at))));
  }
  while (!seen.has(ready.at(-1)[0].seq)) await new Promise(requestAnimationFrame);
  for (const [seq, at] of sent) lags.push(seen.get(seq) - at);
  const middle = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
  const seconds = (performance.now() - began - first) / 1000;
  return {
    first_picture_ms: first, apply_ms: middle(costs), draw_ms: handle.view.drawMs, lag_ms: middle(lags),
    lag_ms_max: Math.max(...lags), frames_per_s: (handle.view.draws - draws) / seconds, rows: handle.view.store.known,
  };
}"""
