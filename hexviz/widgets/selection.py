"""From bars to rows of a frame and back: which attempts are selected, which are to be lit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.errors import HexvizError
from hexviz.recording.state import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from hexviz.recording.state import RunState


class SelectionError(HexvizError, ValueError):
    """What was given names no attempt of this run; the message says what is expected."""


def selection_frame(state: RunState, rows: Sequence[int]) -> pd.DataFrame:
    """The attempts ``rows`` of ``state``, one row each, in the order of their starts.

    Columns: ``node``, ``wave``, ``attempt``, ``status``, ``ready_ms``, ``start_ms``, ``end_ms`` and ``duration_ms``
    (NaN while it runs), ``backoff_ms``, ``worker`` (empty where none is known); times in milliseconds since the run
    began. ``attrs["run_id"]`` names the run.
    Numbers that are no rows of this run are left out.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that the first picture of a kernel need not wait for

    attempts, nodes = state.attempts, state.nodes
    known = sorted({row for row in rows if 0 <= row < len(attempts)})
    node = [attempts.node[row] for row in known]
    frame = pd.DataFrame(
        {
            "node": pd.Series([nodes.name[code] for code in node], dtype="object"),
            "wave": pd.Series([nodes.wave[code] for code in node], dtype="int64"),
            "attempt": pd.Series([attempts.attempt[row] for row in known], dtype="int64"),
            "status": pd.Series([STATUSES[attempts.status[row]] for row in known], dtype="object"),
            **{
                name: pd.Series([getattr(attempts, name)[row] for row in known], dtype="float64")
                for name in ("ready_ms", "start_ms", "end_ms", "backoff_ms")
            },
            "worker": pd.Series([state.workers.names[attempts.worker[row]] for row in known], dtype="object"),
        }
    )
    frame["end_ms"] = frame["end_ms"].where(frame["end_ms"] >= 0.0)
    frame.insert(7, "duration_ms", frame["end_ms"] - frame["start_ms"])
    frame.attrs = {"hexviz_frame": "selection", "run_id": state.run_id}
    return frame


def rows_of(state: RunState, chosen: Any) -> list[int]:
    """The attempts that ``chosen`` names: a frame with ``node`` (and ``attempt``, if given), or names of nodes.

    Raises :class:`SelectionError` where it has no ``node`` column, or names nothing in this run although it is not
    empty.
    """
    pairs = _pairs(chosen)
    if not pairs:
        return []
    attempts, code = state.attempts, state.nodes.code
    wanted: dict[int, set[int]] = {}
    for name, attempt in pairs:
        if name in code:
            wanted.setdefault(code[name], set()).add(attempt)
    rows = [
        row for row, node in enumerate(attempts.node) if node in wanted and ({-1, attempts.attempt[row]} & wanted[node])
    ]
    if not rows:
        some = ", ".join(repr(name) for name, _ in pairs[:3])
        raise SelectionError(f"no attempt of run {state.run_id!r} belongs to {some}; it has {len(code)} nodes")
    return rows


def _pairs(chosen: Any) -> list[tuple[str, int]]:
    """(node, attempt) of each; attempt -1 stands for all of them."""
    if chosen is None:
        return []
    columns = getattr(chosen, "columns", None)
    if columns is not None:
        if "node" not in columns:
            have = ", ".join(map(str, columns[:8])) or "none"
            raise SelectionError(f"select(frame) needs a column 'node' (and takes 'attempt'); this one has: {have}")
        exact = "attempt" in columns
        attempt: Iterable[Any] = chosen["attempt"] if exact else [-1] * len(chosen)
        return [(str(name), int(number)) for name, number in zip(chosen["node"], attempt, strict=True)]
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    return [(str(name), -1) for name in names]
