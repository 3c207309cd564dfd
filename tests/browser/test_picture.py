"""The view on a bare page: at every size, in every state, in both themes, and what the hand can do with it."""

import re
from functools import cache
from itertools import combinations

import pytest

from hexviz.recording.state import RunState
from tests.browser.made_runs import told

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
CASES = {
    "live": {"part": 0.6},
    "finished": {},
    "failed": {"outcome": "failed"},
}
EVERYTHING = [
    "progress",
    "timeline",
    "concurrency",
    "workers",
    "decisions",
    "calls",
    "failures",
    "health",
    "overhead",
    "graph",
]


def made_up(nodes, case):
    return RunState.from_events(told(nodes, **CASES[case]))


ended = cache(made_up)
"""Made up once for both themes; what is live goes on by the clock, so it is made anew."""


@pytest.mark.parametrize("stage", ["light", "dark"], indirect=True)
@pytest.mark.parametrize(("nodes", "level"), [(100, "bars"), (2_000, "bars"), (95_000, "lanes")])
def test_a_run_is_drawn_whatever_its_size_and_state(stage, shots, nodes, level, request):
    scheme = request.node.callspec.params["stage"]
    for case in CASES:
        state = ended(nodes, case) if case != "live" else made_up(nodes, case)
        view = stage.show_state(state, controllable=case == "live", live=case == "live")
        rows = int(view.get_attribute("data-rows"))
        assert rows > 0.5 * nodes
        assert view.get_attribute("data-level") == level
        assert stage.page.evaluate("() => handle.view.level") == level
        view.screenshot(path=shots / f"picture_{nodes}_{case}_{scheme}.png", animations="disabled")


def test_many_attempts_in_lanes_that_can_be_told_apart_are_shown_by_lane(stage, shots):
    view = stage.show(told(21_000, waves=5, queued=False))
    assert view.get_attribute("data-level") == "lanes"
    view.screenshot(path=shots / "picture_lanes.png")


def test_lanes_thinner_than_a_pixel_are_shown_as_density(stage, shots):
    view = stage.show(told(25_000, waves=3, lanes=2_500))
    assert view.get_attribute("data-level") == "density"
    view.screenshot(path=shots / "picture_density.png")


@pytest.mark.parametrize("stage", ["light", "dark"], indirect=True)
def test_every_panel_stands_beside_the_others(stage, shots, request):
    view = stage.show(told(60, outcome="failed"), panels=EVERYTHING)
    for name in ("decisions", "calls", "failures", "health", "overhead", "graph"):
        sync_api.expect(view.locator(f".hx-{name}")).to_be_visible()
    view.screenshot(path=shots / f"picture_panels_{request.node.callspec.params['stage']}.png")


WORKERS = tuple(f"process {number}" for number in (4711, 4712, 4713, 4714))


@pytest.mark.parametrize("stage", ["light", "dark"], indirect=True)
def test_workers_have_their_lanes_and_their_panel_and_the_dead_one_is_marked(stage, shots, request):
    view = stage.show(told(60, outcome="failed", lanes=4, workers=WORKERS), player=True)
    rows = view.locator(".hx-workers tbody tr")
    sync_api.expect(rows).to_have_count(4)
    assert view.locator(".hx-workers tr.hx-lost").inner_text().startswith("process 4714")
    view.locator(".hx-by-worker").click()
    stage.page.wait_for_function("() => handle.view.plan.bands.size === 4")
    view.locator(".hx-canvas").focus()
    stage.page.keyboard.press("ArrowDown")
    sync_api.expect(view.locator(".hx-tip")).to_contain_text("process 4711")
    stage.page.keyboard.press("Escape")
    stage.page.wait_for_timeout(150)
    view.screenshot(path=shots / f"picture_workers_{request.node.callspec.params['stage']}.png")
    view.locator(".hx-table-toggle").click()
    sync_api.expect(view.locator(".hx-attempts")).to_be_visible()
    assert view.locator(".hx-attempts th").last.inner_text() == "worker"
    view.locator(".hx-pack").click()
    sync_api.expect(view.locator(".hx-by-worker")).to_have_attribute("aria-pressed", "false")


def test_a_view_that_hears_nothing_says_how_to_see_the_run(stage):
    view = stage.mount(title="nightly", live=True)
    stage.page.evaluate("() => handle.note('nightly had not ended')")
    sync_api.expect(view.locator(".hx-summary")).to_have_text("nightly had not ended")
    stage.fill(RunState.from_events(told(20)))
    sync_api.expect(view.locator(".hx-summary")).to_contain_text("nodes")


def test_a_run_without_workers_has_neither_their_lanes_nor_their_panel(stage):
    view = stage.show(told(60))
    sync_api.expect(view.locator(".hx-workers")).to_be_hidden()
    sync_api.expect(view.locator(".hx-by-worker")).to_be_hidden()


@pytest.mark.parametrize(("nodes", "shapes"), [(50, "rect"), (190, "circle"), (2_000, "rect")])
def test_the_graph_is_boxes_then_dots_then_waves(stage, shots, nodes, shapes):
    view = stage.show(told(nodes, part=0.7), panels=["progress", "graph"])
    total = stage.page.evaluate("() => handle.view.store.nodes")
    drawn = view.locator(f".hx-graph .hx-pick {shapes}").count()
    assert drawn == (total if total <= 200 else 0)
    view.screenshot(path=shots / f"picture_graph_{nodes}.png")


def test_hover_and_keyboard_tell_an_attempt_and_a_mark_tells_its_handler(stage, shots):
    view = stage.show(told(60))
    page, tip = stage.page, view.locator(".hx-tip")
    view.locator(".hx-canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    sync_api.expect(tip).to_contain_text("fetch_01")
    assert view.locator(".hx-canvas").get_attribute("aria-valuetext").startswith("fetch_01: status")
    at = page.evaluate("""() => {
        const { plan, store } = handle.view;
        return { x: plan.x(store.decisions.find((d) => d[1] === 'retry')[0]), y: plan.bottom + 5 };
    }""")
    view.locator(".hx-canvas").hover(position=at)
    sync_api.expect(tip).to_contain_text("Retry")
    sync_api.expect(tip).to_contain_text("signal")
    view.screenshot(path=shots / "picture_decision.png")
    page.keyboard.press("Escape")


def test_a_screen_reader_finds_headings_lists_and_controls_by_their_names(stage):
    view = stage.show(told(60, part=0.7), live=True, controllable=True)
    sync_api.expect(view).to_match_aria_snapshot("""
      - button "Hold"
      - button "Cancel"
      - status: /nightly. running, .* of 53 nodes ended, \\d+ running, \\d+ failed/
      - progressbar "Nodes ended"
      - text: /\\d+ pending \\d+ running/
      - searchbox "Find nodes by name"
      - slider /Timeline of nightly. running/
      - region "Decisions":
        - heading /^Decisions \\d+$/ [level=4]
        - combobox "Only decisions with this signal"
        - list "Decisions"
      - region "Failures":
        - heading /^Failures \\d+$/ [level=4]
        - list "Failures"
    """)


BOXES = """() => [...document.querySelectorAll(':is(.hx-head, .hx-tools, .hx-player) > *')].filter((e) => e.offsetWidth)
  .map((e) => e.getBoundingClientRect()).map((box) => [box.left, box.top, box.right, box.bottom])"""


@pytest.mark.parametrize("width", [560, 1200])
def test_nothing_overlaps_and_nothing_moves_while_a_run_goes_on(stage, shots, width):
    stage.page.set_viewport_size({"width": width, "height": 1000})
    tops = set()
    view = stage.mount(live=True, controllable=True, player=True)
    for part in (0.1, 0.5, 1.0):  # the longer it goes on the more kinds of status there are
        stage.fill(RunState.from_events(told(400, outcome="failed", part=part)))
        tops.add(view.locator(".hx-tools").bounding_box()["y"] - view.bounding_box()["y"])
        boxes = stage.page.evaluate(BOXES)
        assert len(boxes) >= 18
        over = [
            (a, b)
            for a, b in combinations(boxes, 2)
            if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
        ]
        assert over == []
    if width > 1000:  # where it is narrow the counts themselves may take one more line
        assert len(tops) == 1
    view.screenshot(path=shots / f"picture_{width}_pixels.png")


def test_a_search_in_a_player_tells_what_has_not_begun_and_enter_goes_there(stage, shots):
    view = stage.show(told(60), player=True)
    view.locator(".hx-slider").fill("1")
    view.locator(".hx-search").fill("train")
    found = view.locator(".hx-found")
    sync_api.expect(found).to_have_text(re.compile(r"^0 found, \d+ nodes not begun$"))
    view.screenshot(path=shots / "picture_search_later.png")
    view.locator(".hx-search").press("Enter")
    sync_api.expect(found).to_have_text(re.compile(r"^[1-9]\d* found"))
    first, cut = stage.page.evaluate(
        "() => [Math.min(...[...handle.view.lit].map((row) => handle.view.store.start[row])), handle.view.cut]"
    )
    assert cut == first


@pytest.mark.parametrize(("width", "tops"), [(1280, 1), (1100, 2), (600, 3)])
def test_three_lists_leave_no_part_of_a_row_empty(stage, width, tops):
    stage.page.set_viewport_size({"width": width, "height": 900})
    view = stage.show(told(60), panels=["progress", "decisions", "calls", "failures"])
    boxes = view.locator(".hx-list").evaluate_all(
        "lists => lists.map((list) => list.getBoundingClientRect()).map(({ top, left, right }) => [top, left, right])"
    )
    inside = view.locator(".hx-lists").evaluate(
        "e => [e.getBoundingClientRect().left, e.getBoundingClientRect().right]"
    )
    rows = {round(top) for top, _, _ in boxes}
    assert len(rows) == tops
    for row in rows:
        mine = [(left, right) for top, left, right in boxes if round(top) == row]
        assert [min(left for left, _ in mine), max(right for _, right in mine)] == pytest.approx(inside, abs=1)


def test_search_lights_what_it_finds_and_enter_selects_it(stage, shots):
    view = stage.show(told(60))
    view.locator(".hx-canvas").focus()
    stage.page.keyboard.press("/")
    stage.page.keyboard.type("train")
    sync_api.expect(view.locator(".hx-found")).to_contain_text("found")
    found = stage.page.evaluate("() => handle.view.lit.size")
    assert 0 < found < 60
    view.locator(".hx-table-toggle").click()
    sync_api.expect(view.locator(".hx-attempts tbody tr")).to_have_count(found)
    stage.page.mouse.move(0, 0)
    view.screenshot(path=shots / "picture_search.png")
    view.locator(".hx-search").press("Enter")
    sync_api.expect(view).to_have_attribute("data-selected", str(found))


def test_a_click_on_a_waves_name_folds_it_and_another_unfolds_it(stage, shots):
    view = stage.show(told(60))
    before = stage.page.evaluate("() => handle.view.plan.bands.get(1).h")
    view.locator(".hx-canvas").click(position={"x": 20, "y": before / 2})
    stage.page.wait_for_function("before => handle.view.plan.bands.get(1).h < before", arg=before)
    view.screenshot(path=shots / "picture_folded.png")
    view.locator(".hx-canvas").click(position={"x": 20, "y": 4})
    stage.page.wait_for_function("before => Math.abs(handle.view.plan.bands.get(1).h - before) < 1", arg=before)


def test_high_contrast_does_not_rest_on_colour_alone(stage, shots):
    view = stage.show(told(60, outcome="failed"))
    view.locator(".hx-contrast").click()
    sync_api.expect(view.locator(".hx-contrast")).to_have_attribute("aria-pressed", "true")
    assert "hx-strong" in view.get_attribute("class")
    stage.page.wait_for_timeout(150)
    view.screenshot(path=shots / "picture_contrast.png")


def test_decisions_are_filtered_by_signal_and_by_handler(stage):
    view = stage.show(told(300, outcome="failed"))
    items, number = view.locator(".hx-decisions li"), view.locator(".hx-decisions .hx-number")
    whole = int(number.inner_text())
    view.locator(".hx-signal").select_option("retry")
    stage.page.wait_for_function("n => +document.querySelector('.hx-decisions .hx-number').textContent < n", arg=whole)
    assert set(items.locator(".hx-chip").all_inner_texts()) == {"retry"}
    view.locator(".hx-signal").select_option("")
    view.locator(".hx-handler").select_option("Guard")
    stage.page.wait_for_function("() => document.querySelectorAll('.hx-decisions li .hx-by').length > 0")
    stage.page.wait_for_function(
        "() => [...document.querySelectorAll('.hx-decisions li .hx-by')].every((e) => e.textContent === 'Guard')"
    )


def test_a_failure_opens_to_its_traceback_as_text(stage):
    view = stage.show(told(100, outcome="failed"))
    view.locator(".hx-failures summary").nth(1).click()
    sync_api.expect(view.locator(".hx-failures pre").nth(1)).to_contain_text("Traceback ...")


def test_a_frozen_view_stands_still_while_the_run_goes_on(stage):
    view = stage.show(told(60, part=0.5), live=True)
    view.locator(".hx-freeze").click()
    at = view.locator(".hx-elapsed").inner_text()
    stage.page.wait_for_timeout(400)
    assert view.locator(".hx-elapsed").inner_text() == at
    view.locator(".hx-freeze").click()
    stage.page.wait_for_function("at => document.querySelector('.hx-elapsed').textContent !== at", arg=at)


def test_the_player_steps_from_event_to_event_and_from_decision_to_decision(stage):
    view = stage.show(told(60), player=True)
    view.locator(".hx-slider").fill("0")
    seen = []
    for _ in range(3):
        view.locator(".hx-next").click()
        seen.append(stage.page.evaluate("() => handle.view.cut"))
    moments = stage.page.evaluate("() => [...handle.view.store.moments.slice(0, 3)]")
    assert seen == moments
    view.locator(".hx-decide").click()
    first = stage.page.evaluate("() => Math.min(...handle.view.store.marks.map(([at]) => at))")
    assert stage.page.evaluate("() => handle.view.cut") == first
    view.locator(".hx-speed").select_option("10")
    view.locator(".hx-play").click()
    stage.page.wait_for_function("() => handle.view.cut === null", timeout=5_000)


def test_the_slider_follows_the_hand_over_a_run_of_a_million_events(stage, shots):
    view = stage.mount(player=True)
    rows = stage.page.evaluate(MANY_ROWS)
    sync_api.expect(view).to_have_attribute("data-rows", str(rows), timeout=10_000)
    times = stage.page.evaluate(DRAG)
    assert sorted(times)[len(times) // 2] < 1_000  # a hard limit; measured here: about 100 ms
    view.screenshot(path=shots / "picture_million.png")


MANY_ROWS = """() => {
  const rows = 490000, lanes = 40, none = new Uint8Array(1);
  const fill = (Type, at) => Type.from({ length: rows }, (_, i) => at(i));
  const start = fill(Float32Array, (i) => Math.floor(i / lanes) * 2 + (i % lanes) * 0.01);
  const end = start[rows - 1] + 2;
  const fresh = [none, fill(Uint32Array, (i) => i), Uint16Array.of(1), fill(Uint16Array, (i) => i % lanes),
                 fill(Uint8Array, (i) => (i % 97 ? 3 : 4)), Float32Array.of(0), start, start.map((at) => at + 1.6)];
  const [u, f] = [(n) => Uint32Array.of(n), (n) => Float32Array.of(n)];
  const wave = [u(1), u(rows), u(lanes), f(0), f(-1)];
  const buffers = [...fresh, ...Array(11).fill(none), ...wave, u(0), u(rows), u(1), ...Array(5).fill(none)];
  const message = {
    full: true, seq: 1, base: 0, done: true, now: end, end, firstRow: 0,
    run: { pipeline: 'a million events', nodes: rows, status: 'succeeded' },
    totals: { attempts: rows, decisions: 0, failures: 0, calls: 0 },
    counts: [0, 0, 0, rows, 0, 0, 0, 0], sizes: [rows, 0, 0, 0, 0, 1, 1, 0, 0, 0],
    firstName: 0, decisions: [], failures: [], calls: [],
  };
  const views = buffers.map((b) => new DataView(b.buffer, b.byteOffset, b.byteLength));
  if (!handle.apply(message, views)) throw new Error('refused');
  return rows;
}"""
DRAG = """async () => {
  const slider = document.querySelector('.hx-slider');
  const times = [];
  for (let k = 1; k <= 15; k++) {
    const [from, draws] = [performance.now(), handle.view.draws];
    slider.value = String(k * 60);
    slider.dispatchEvent(new Event('input'));
    while (handle.view.draws === draws) await new Promise(requestAnimationFrame);
    times.push(performance.now() - from);
  }
  return times;
}"""
