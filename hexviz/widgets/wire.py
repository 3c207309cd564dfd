"""What travels to the browser: text made harmless, and the deltas of a :class:`RunState` as binary columns.

A message is JSON for what is small (counts, names, decisions) and one little-endian buffer per column for the rest,
in the order of :data:`COLUMNS`. ``static/timeline.js`` reads exactly this.
"""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from array import array
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.recording.state import Delta, RunState, Wave

COLUMNS = (
    "row:u4",
    "node:u4",
    "attempt:u2",
    "lane:u4",
    "status:u1",
    "ready_ms:f4",
    "start_ms:f4",
    "end_ms:f4",
    "backoff_ms:f4",
    "node_row:u4",
    "node_status:u1",
    "node_settled_ms:f4",
)
"""The buffers of a message: the first nine describe attempts, the last three nodes."""

MAX_LISTED = 2_000
"""At most so many decisions (and so many failures) travel in one message: the last ones."""

_LIMIT = 300
_LATIN_1 = 0xFF
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def clean_text(text: object, limit: int = _LIMIT) -> str:
    """``text`` fit for any screen: control, bidi and lone surrogate characters as escapes, ``limit`` long."""
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[: limit - 1]}…"
    return _CONTROL.sub(_visible, shown)


def xml_text(text: object, limit: int = _LIMIT) -> str:
    """``text`` for the inside of an XML or HTML element or a quoted attribute."""
    return escape(clean_text(text, limit), quote=True)


def script_json(value: Any) -> str:
    """``value`` as JSON that may stand inside a script element: no ``<``, ``>`` or ``&``, no line separators."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def encode(state: RunState, delta: Delta, **extra: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The message and the buffers for ``delta``; ``extra`` (such as ``seq``) is added to the message."""
    first_decision = max(delta.first_decision, len(state.decisions) - MAX_LISTED)
    first_failure = max(delta.first_failure, len(state.failures) - MAX_LISTED)
    message = {
        "k": "d",
        "full": delta.full,
        "now": round(state.now_ms(), 3),
        "end": round(state.end_ms, 3),
        "run": {
            "id": clean_text(state.run_id, 64),
            "pipeline": clean_text(state.pipeline, 120),
            "status": clean_text(state.status, 20),
            "error": clean_text(state.error),
            "nodes": state.total_nodes,
            "waves": state.total_waves,
        },
        "counts": list(state.counts),
        "waves": [_wave(state.waves[index]) for index in delta.waves],
        "names": [clean_text(name, 120) for name in state.nodes.name[delta.first_name :]],
        "nodeWaves": list(state.nodes.wave[delta.first_name :]),
        "firstName": delta.first_name,
        "decisions": decision_rows(state, first_decision),
        "firstDecision": first_decision,
        "failures": failure_rows(state, first_failure),
        "firstFailure": first_failure,
        **extra,
    }
    return message, _columns(state, delta)


def decision_rows(state: RunState, first: int) -> list[list[Any]]:
    """``[offset_ms, signal, node, wave, attempt, event_type, decided_by, reason, shadow]`` of each from ``first``."""
    return [
        [
            _finite(d.offset_ms),
            clean_text(d.signal, 20),
            clean_text(d.node, 120),
            d.wave,
            d.attempt,
            clean_text(d.event_type, 60),
            clean_text(d.decided_by, 80),
            clean_text(d.reason),
            bool(d.shadow),
        ]
        for d in state.decisions[first:]
    ]


def failure_rows(state: RunState, first: int) -> list[list[Any]]:
    """``[offset_ms, node, wave, attempt, error_type, message]`` of each, from ``first`` on."""
    return [
        [
            _finite(f.offset_ms),
            clean_text(f.node, 120),
            f.wave,
            f.attempt,
            clean_text(f.error_type, 80),
            clean_text(f.message),
        ]
        for f in state.failures[first:]
    ]


def base64_buffers(buffers: Iterable[bytes]) -> list[str]:
    """The buffers as base64 text, for a page without a kernel."""
    return [base64.b64encode(buffer).decode("ascii") for buffer in buffers]


def _wave(wave: Wave) -> list[Any]:
    return [wave.index, wave.nodes, wave.lanes, _finite(wave.start_ms), _finite(wave.end_ms)]


def _columns(state: RunState, delta: Delta) -> list[bytes]:
    attempts, nodes, rows = state.attempts, state.nodes, delta.rows
    return [
        _packed("I", rows),
        _packed("I", map(attempts.node.__getitem__, rows)),
        _packed("H", (min(attempts.attempt[row], 0xFFFF) for row in rows)),
        _packed("I", map(attempts.lane.__getitem__, rows)),
        _packed("B", map(attempts.status.__getitem__, rows)),
        _packed("f", map(attempts.ready_ms.__getitem__, rows)),
        _packed("f", map(attempts.start_ms.__getitem__, rows)),
        _packed("f", map(attempts.end_ms.__getitem__, rows)),
        _packed("f", map(attempts.backoff_ms.__getitem__, rows)),
        _packed("I", delta.nodes),
        _packed("B", map(nodes.status.__getitem__, delta.nodes)),
        _packed("f", map(nodes.settled_ms.__getitem__, delta.nodes)),
    ]


def _packed(code: str, values: Iterable[Any]) -> bytes:
    column: array[Any] = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _finite(number: float) -> float:
    return round(number, 3) if math.isfinite(number) else -1.0


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= _LATIN_1 else f"\\u{code:04x}"
