"""The lists beside the timeline as rows of JSON: decisions, failures, calls. All texts are made harmless and short."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.recording.state import Call, Decision, Failure

TRACEBACKS = 50
"""So many failures of a message, the last ones, carry their traceback."""

_TRACEBACK_CHARS = 2_000


def decision_rows(decisions: Iterable[Decision]) -> list[list[Any]]:
    """``[offset_ms, signal, node, wave, attempt, event_type, decided_by, reason, shadow]`` of each."""
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
        for d in decisions
    ]


def failure_rows(failures: list[Failure]) -> list[list[Any]]:
    """``[offset_ms, node, wave, attempt, error_type, message, traceback]`` of each."""
    bare = len(failures) - TRACEBACKS
    return [
        [
            _finite(f.offset_ms),
            clean_text(f.node, 120),
            f.wave,
            f.attempt,
            clean_text(f.error_type, 80),
            clean_text(f.message),
            _ending(f.traceback) if place >= bare else "",
        ]
        for place, f in enumerate(failures)
    ]


def call_rows(calls: Iterable[tuple[int, Call]]) -> list[list[Any]]:
    """``[index, start_ms, end_ms, status, kind, name, node, attempt, tokens]`` of each."""
    return [
        [
            index,
            _finite(c.start_ms),
            _finite(c.end_ms),
            clean_text(c.status, 20),
            clean_text(c.kind, 20),
            clean_text(c.name, 120),
            clean_text(c.node, 120),
            c.attempt,
            c.tokens,
        ]
        for index, c in calls
    ]


def _ending(traceback: str) -> str:
    """The end of a traceback tells what happened; a long one loses its beginning."""
    if len(traceback) > _TRACEBACK_CHARS:
        traceback = f"…{traceback[-_TRACEBACK_CHARS:]}"
    return clean_text(traceback, _TRACEBACK_CHARS + 1)


def _finite(number: float) -> float:
    return round(number, 3) if math.isfinite(number) else -1.0
