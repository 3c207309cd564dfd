"""What travels to the browser."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.recording.state import RunState
from hexviz.widgets.wire import COLUMNS, clean_text, encode, script_json, xml_text

SIZES = {"u4": "I", "u2": "H", "u1": "B", "f4": "f"}


def unpacked(buffers):
    """The buffers as the browser reads them: little-endian columns by name."""
    columns = {}
    for name_type, buffer in zip(COLUMNS, buffers, strict=True):
        name, kind = name_type.split(":")
        size = struct.calcsize(SIZES[kind])
        columns[name] = list(struct.unpack(f"<{len(buffer) // size}{SIZES[kind]}", buffer))
    return columns


def test_deltas_add_up_to_the_whole(runs):
    events = runs.many(200)
    state, rows, statuses = RunState(), {}, {}
    for i, event in enumerate(events):
        state.fold(event)
        if i % 7 and i < len(events) - 1:
            continue
        _, buffers = encode(state, state.delta())
        got = unpacked(buffers)
        names = ("node", "attempt", "lane", "status", "start_ms", "end_ms")
        rows.update(zip(got["row"], zip(*(got[name] for name in names), strict=True), strict=True))
        statuses.update(zip(got["node_row"], got["node_status"], strict=True))
    whole = unpacked(encode(state, state.delta(full=True))[1])
    assert [rows[row][3] for row in whole["row"]] == whole["status"]
    assert [rows[row][5] for row in whole["row"]] == whole["end_ms"]
    assert [rows[row][2] for row in whole["row"]] == whole["lane"]
    assert [statuses[node] for node in whole["node_row"]] == whole["node_status"]


def test_a_message_is_plain_json_whatever_the_names(runs):
    for hostile in runs.HOSTILE:
        state = RunState.from_events(runs.story((f"a{hostile}", f"b{hostile}", "c"), error=hostile, reason=hostile))
        message, _ = encode(state, state.delta(full=True), seq=1)
        text = json.dumps(message, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
        assert all(len(name) <= 130 for name in json.loads(text)["names"])


def test_a_row_costs_31_bytes(runs):
    state = RunState.from_events(runs.many(100))
    _, buffers = encode(state, state.delta(full=True))
    assert sum(len(buffer) for buffer in buffers[:9]) == 31 * len(state.attempts)


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
