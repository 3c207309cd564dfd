"""What each worker of a run did, where nodes run elsewhere than in the process of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexviz.recording.state_tables import CANCELLED, RUNNING, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from hexviz.recording.state import RunState

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What one worker did: its attempts by their outcome, and how busy it was.

    ``failed`` counts attempts that raised, whatever control made of it; a cancelled one counts as neither. ``busy`` is
    0 to 1: the part of the time from its first start until now (or its loss) with at least one attempt under way.
    ``lost_ms`` is when it was found dead, -1 while it lives.
    """

    name: str
    running: int
    done: int
    failed: int
    busy: float
    lost_ms: float


def worker_rows(state: RunState) -> list[WorkerRow]:
    """The workers of a run on which anything was tried, in the order of their first attempts."""
    return list(_rows(state)) if len(state.workers) else []


def _rows(state: RunState) -> Iterator[WorkerRow]:
    import numpy as np  # noqa: PLC0415 - the first picture of a kernel need not wait for it

    attempts, now_ms = state.attempts, state.now_ms()
    worker, status = np.array(attempts.worker), np.array(attempts.status)
    start, end = np.array(attempts.start_ms), np.array(attempts.end_ms)
    end = np.where(end < 0.0, now_ms, end)
    codes, first = np.unique(worker, return_index=True)
    for code in codes[np.argsort(first)].tolist():
        if code == 0 or code in state.workers.labels:
            continue
        mine = worker == code
        counts = np.bincount(status[mine], minlength=CANCELLED + 1)
        lost_ms = state.workers.lost_ms.get(code, -1.0)
        running, done = int(counts[RUNNING]), int(counts[SUCCEEDED])
        failed = int(counts.sum()) - running - done - int(counts[CANCELLED])
        until_ms = lost_ms if lost_ms >= 0.0 else now_ms
        share = _busy(start[mine], end[mine], until_ms)
        yield WorkerRow(state.workers.names[code], running, done, failed, share, lost_ms)


def _busy(start: Floats, end: Floats, until_ms: float) -> float:
    """The share of the time from the first start to ``until_ms`` that the spans cover together."""
    import numpy as np  # noqa: PLC0415

    order = np.argsort(start, kind="stable")
    start, end = start[order], np.minimum(end[order], until_ms)
    covered = np.maximum.accumulate(np.concatenate((start[:1], end)))[:-1]
    whole = until_ms - float(start[0])
    return min(1.0, float(np.maximum(0.0, end - np.maximum(start, covered)).sum()) / whole) if whole > 0.0 else 0.0
