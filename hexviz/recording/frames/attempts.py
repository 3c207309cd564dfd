"""The frame ``attempts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.events.events import RecordedError
from hexviz.recording.arrays import Words, build, shown

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.arrays import Array
    from hexviz.recording.attempts import Attempts
    from hexviz.recording.shape import Shape


def attempts_frame(shape: Shape, attempts: Attempts) -> pd.DataFrame:
    """One row per try of a node, in order of start."""
    a, s = attempts, attempts.events.snapshot
    error_type, error_message = error_words(*a.errors())
    return build("attempts", {
        "run_id": s.run_ids(a.run), "node": shape.names(a.node), "wave": a.wave, "attempt": a.attempt,
        "status": a.status, "started_at": a.started_at,
        "ready_ms": a.ready_ms, "start_ms": a.start_ms, "end_ms": a.end_ms,
        "parents_ms": a.parents_ms, "backoff_ms": a.backoff_ms, "queued_ms": a.queued_ms,
        "duration_ms": a.duration_ms, "worker": s.words(a.worker),
        "error_type": error_type, "error_message": error_message,
        "reason": s.words(a.reason), "decided_by": s.words(a.decided_by),
    })  # fmt: skip


def error_words(codes: Array, errors: list[Any]) -> tuple[Words, Words]:
    """Types and messages of errors given by number; empty for None."""
    facts = [error_facts(error) for error in errors]
    return Words(codes, [kind for kind, _ in facts]), Words(codes, [message for _, message in facts])


def error_facts(error: Any) -> tuple[str, str]:
    """Type and message of a recorded error; empty for None."""
    if type(error) is RecordedError:
        return shown(error.type_name), shown(error.message)
    return shown(error), ""
