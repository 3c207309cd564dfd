"""What travels to the browser: a message in JSON for what is small, and one little-endian buffer per column.

``static/columns.mjs`` reads exactly this. A column in which all values are equal travels as that one value; a column of
a table without rows is empty. Times are milliseconds since the run began, -1 for "not yet".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hexviz.widgets.lists import call_rows, decision_rows, failure_rows
from hexviz.widgets.outbox import Outbox
from hexviz.widgets.tables import COLUMNS
from hexviz.widgets.text import base64_buffers, clean_text, script_json, xml_text
from hexviz.widgets.unlisted import MAX_LISTED

if TYPE_CHECKING:
    from hexviz.recording.state import Delta, RunState

__all__ = [
    "COLUMNS",
    "MAX_LISTED",
    "Outbox",
    "base64_buffers",
    "call_rows",
    "clean_text",
    "decision_rows",
    "encode",
    "failure_rows",
    "message_of",
    "script_json",
    "xml_text",
]


def encode(state: RunState, delta: Delta, **extra: Any) -> tuple[dict[str, Any], list[bytes]]:
    """All of ``state`` as one message and its buffers, whatever its size; ``extra`` (such as ``seq``) is added.

    ``delta`` is a full one (``state.delta(full=True)``). Tracebacks are left out: the page that this is for, a report,
    tells them itself. For a run that goes on, see :class:`Outbox`.
    """
    outbox = Outbox()
    outbox.add(state, delta)
    message, buffers = message_of(state, outbox, None, full=True, **extra)
    message["failures"] = [[*row[:6], ""] for row in message["failures"]]
    return message, buffers


def message_of(
    state: RunState, outbox: Outbox, budget: int | None, *, full: bool, **extra: Any
) -> tuple[dict[str, Any], list[bytes]]:
    """The next message: of what waits in ``outbox`` as much as ``budget`` bytes hold (None: all of it)."""
    parts, buffers = outbox.take(state, budget)
    message = {
        "k": "d",
        "full": full,
        "now": _finite(state.now_ms()),
        "end": _finite(state.end_ms),
        "run": {
            "id": clean_text(state.run_id, 64),
            "pipeline": clean_text(state.pipeline, 120),
            "status": clean_text(state.status, 20),
            "error": clean_text(state.error),
            "nodes": state.total_nodes,
            "waves": state.total_waves,
        },
        "counts": list(state.counts),
        **parts,
        **extra,
    }
    return message, buffers


def _finite(number: float) -> float:
    return round(number, 3) if math.isfinite(number) else -1.0
