"""What travels to the browser."""

import json
import random
import re
from array import array
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.recording.state import RunState
from hexviz.widgets.unlisted import SIGNALS
from hexviz.widgets.wire import Outbox, clean_text, encode, message_of, script_json, xml_text


def followed(runs, events, *, budget, every=7):
    """A browser that was sent ``events`` in messages of ``budget`` bytes, then all that was left; and the sizes."""
    state, outbox, browser, sizes = RunState(), Outbox(), runs.Browser(), []

    def send(limit):
        message, buffers = message_of(state, outbox, limit, full=not sizes)
        browser.take(message, buffers)
        sizes.append(sum(map(len, buffers)) + len(json.dumps(message)))

    for i, event in enumerate(events):
        state.fold(event)
        if i % every == 0:
            outbox.add(state, state.delta())
            send(budget)
    outbox.add(state, state.delta())
    send(None)
    return state, browser, sizes


def assert_same(state, browser):
    attempts = state.attempts
    for row in range(len(attempts)):
        node, attempt, lane, status, end = browser.rows[row]
        assert (node, attempt, lane) == (attempts.node[row], attempts.attempt[row], attempts.lane[row])
        assert (status, end) == (attempts.status[row], array("f", [attempts.end_ms[row]])[0])
    assert len(browser.rows) == len(attempts)
    assert [browser.nodes.get(node, 0) for node in range(len(state.nodes))] == list(state.nodes.status)
    assert browser.names == [clean_text(name, 120).encode() for name in state.nodes.name]
    assert browser.wave_of == dict(enumerate(state.nodes.wave))
    assert browser.places == {
        row: (state.workers.names[code], array("f", [attempts.start_ms[row]])[0])
        for row, code in enumerate(attempts.worker)
        if code
    }
    assert browser.lost == state.workers.lost_ms
    assert browser.waves == {index: wave.lanes for index, wave in state.waves.items()}


@pytest.mark.parametrize("budget", [None, 0, 300, 2_000, 20_000])
def test_whatever_fits_in_a_message_in_the_end_the_browser_knows_the_run_exactly(runs, budget):
    assert_same(*followed(runs, runs.many(300), budget=budget)[:2])


@given(st.integers(0, 5_000), st.integers(1, 40), st.integers(0, 1_000))
def test_retries_fallbacks_skips_and_ends_arrive_in_any_cutting(budget, every, seed):
    from tests.widgets import conftest as runs  # the module itself: a fixture lives shorter than a property

    rnd = random.Random(seed)
    entries = [(0, ev.PipelineStarted, ("mix", 1, 8, tuple(ev.NodeInfo(f"n{i}", 1, ()) for i in range(8))), {})]
    for i in range(8):
        for attempt in range(1, rnd.randint(1, 4)):
            entries.append((i, ev.NodeStarted, (f"n{i}", 1), {"attempt": attempt, "worker": rnd.choice(["", "dask"])}))
            entries += [
                (i + 0.1 * moved, ev.NodePlaced, (f"n{i}", 1, f"w{rnd.randint(1, 3)}"), {"attempt": attempt})
                for moved in range(rnd.randint(0, 2))
            ]
            error = ev.RecordedError(rnd.choice(["ValueError", "WorkerLostError"]), "no")
            entries.append((i + 0.5, ev.NodeFailed, (f"n{i}", 1, error), {"attempt": attempt}))
            kind = rnd.choice([ev.NodeRetrying, ev.NodeFellBack, ev.NodeSkipped, ev.NodeCancelled])
            entries.append((i, kind, (f"n{i}", 1), {"attempt": attempt}))
    entries.append((9, ev.PipelineCompleted, ("mix", 9.0), {}))
    assert_same(*followed(runs, runs.tell(entries), budget=budget, every=every)[:2])


def test_a_message_keeps_to_its_budget(runs):
    _, _, sizes = followed(runs, runs.many(3_000), budget=4_000, every=200)
    assert max(sizes[:-1]) < 4_000 + 1_600


def test_what_does_not_fit_is_a_fair_sample_of_the_whole(runs):
    state, outbox = RunState.from_events(runs.many(3_000)), Outbox()
    outbox.add(state, state.delta(full=True))
    message, buffers = message_of(state, outbox, 8_000, full=True)
    rows = sorted(runs.Browser().take(message, buffers).rows)
    assert 100 < len(rows) < 400
    assert rows[-1] == len(state.attempts) - 1
    assert max(b - a for a, b in pairwise(rows)) < 3 * len(state.attempts) / len(rows)
    assert outbox.unsent == len(state.attempts) - len(rows)


def test_a_hundred_thousand_attempts_cost_less_than_25_bytes_each(runs):
    state = RunState.from_events(runs.many(5_000))
    message, buffers = encode(state, state.delta(full=True))
    assert sum(len(buffer) for buffer in buffers[:8]) < 25 * len(state.attempts)
    assert message["firstRow"] == 0


def test_a_change_of_an_attempt_costs_9_bytes(runs):
    state, outbox = RunState(), Outbox()
    events = runs.many(200, waves=1)
    for event in events[:150]:
        state.fold(event)
    outbox.add(state, state.delta())
    message_of(state, outbox, None, full=True)
    for event in events[150:]:
        state.fold(event)
    outbox.add(state, state.delta())
    message, buffers = message_of(state, outbox, None, full=False)
    assert sum(map(len, buffers[8:11])) <= 9 * message["sizes"][1]
    assert message["sizes"][3] == 0  # nodes that stand as their last attempt does


def test_calls_are_sent_when_they_begin_and_again_when_they_end(runs):
    call = {"call_id": "c1", "node_name": "a", "attempt": 1}
    state, outbox = RunState(), Outbox()
    begun = runs.tell(
        [(0, ev.PipelineStarted, ("p", 1, 1, ()), {}), (1, ev.ToolCalled, (), {**call, "tool_name": "t", "params": {}})]
    )
    for event in begun:
        state.fold(event)
    outbox.add(state, state.delta())
    assert message_of(state, outbox, None, full=True)[0]["calls"] == [[0, 1.0, -1.0, "running", "tool", "t", "a", 1, 0]]
    state.calls[0].end_ms, state.calls[0].status = 5.0, "failed"
    message = message_of(state, outbox, None, full=False)[0]
    assert message["calls"] == [[0, 1.0, 5.0, "failed", "tool", "t", "a", 1, 0]]
    assert (message["totals"]["tools"], message["totals"]["callsFailed"]) == (1, 1)
    assert message_of(state, outbox, None, full=False)[0]["calls"] == []


def test_only_the_last_failures_carry_their_traceback_and_only_its_end():
    from hexviz.recording.state import Failure
    from hexviz.widgets.wire import failure_rows

    rows = failure_rows([Failure(1.0, "n", 1, 1, "E", "m", "x" * 9_000 + f"end {i}") for i in range(120)])
    assert [bool(row[6]) for row in rows] == [False] * 70 + [True] * 50
    assert rows[-1][6].endswith("end 119")
    assert len(rows[-1][6]) <= 2_001


def test_a_message_is_plain_json_whatever_the_names(runs):
    for hostile in runs.HOSTILE:
        state = RunState.from_events(runs.story((f"a{hostile}", f"b{hostile}", "c"), error=hostile, reason=hostile))
        message, buffers = encode(state, state.delta(full=True), seq=1)
        json.dumps(message, allow_nan=False, ensure_ascii=False).encode("utf-8")
        names = runs.Browser().take(message, buffers).names
        assert names == [clean_text(name, 120).encode("utf-8") for name in state.nodes.name]


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "\u2028", "&lt;"])
def test_json_in_a_script_element_cannot_end_it(text):
    shown = script_json({"name": text})
    assert not set("<>&\u2028\u2029") & set(shown)
    assert json.loads(shown) == {"name": text}


@given(st.text(alphabet=st.characters(codec=None)))
def test_clean_text_is_always_utf8_and_one_line_of_known_characters(text):
    shown = clean_text(text)
    shown.encode("utf-8")
    assert not any(character in shown for character in "\x00\x07\x1b\r\u202e\u2028")
    assert len(shown) <= 300 * 6


def test_control_characters_are_shown_not_swallowed():
    assert clean_text("a\x1b[31m\u202eb") == "a\\x1b[31m\\u202eb"
    assert xml_text("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert clean_text("x" * 1000, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("budget", [None, 400])
def test_every_decision_gets_its_mark_while_only_the_last_are_told_in_words(runs, budget):
    signals = ["retry", "skip", "of your own"]
    told = [
        (i, ev.ControlDecided, ("NodeFailed", 1, signals[i % 3], "a", 1, 1, "Retry", 100, "again"), {})
        for i in range(3_000)
    ]
    state, outbox, marks = RunState(), Outbox(), []
    listed = 0
    for event in runs.tell([(0, ev.PipelineStarted, ("p", 1, 1, ()), {}), *told]):
        state.fold(event)
    outbox.add(state, state.delta())
    while not listed or outbox.waiting:
        message, buffers = message_of(state, outbox, budget, full=not listed)
        table = runs.unpacked(message, buffers)["marks"]
        marks += zip(table["at"], table["signal"], strict=True)
        listed += len(message["decisions"])
    assert marks == [(float(i), [1, 2, 255][i % 3]) for i in range(3_000)]
    assert listed <= 2_000


def test_signals_have_the_same_codes_in_the_browser():
    script = (files("hexviz.widgets") / "static" / "palette.mjs").read_text()
    block = script.partition("SIGNAL_COLORS = {")[2].partition("}")[0]
    assert re.findall(r"(\w+):", block) == list(SIGNALS)
