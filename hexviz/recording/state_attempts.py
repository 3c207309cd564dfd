"""The attempts of a run: which row is whose, and how one begins, is placed on a worker, backs off and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.recording.state_tables import RETRYING, Columns, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hexviz.recording.state_tables import Nodes
    from hexviz.recording.state_waves import Waves

_THREAD = "thread"
"""What stands for a worker where a node ran in a thread of the run's own process."""
_SAME_MS = 1.0


class Attempts:
    """The rows of ``columns`` by node and attempt; ``changed`` collects which of them changed."""

    def __init__(self, nodes: Nodes, waves: Waves) -> None:
        self.columns = Columns()
        self.workers = Workers()
        self.changed: set[int] = set()
        self._nodes, self._waves = nodes, waves
        self._rows: dict[int | tuple[int, int], int] = {}

    def row_of(self, node: int, attempt: int) -> int | None:
        """The row of an attempt; a first attempt is found by its node alone, which is quicker."""
        return self._rows.get(node if attempt == 1 else (node, attempt))

    def begin(self, node: int, attempt: int, ready_ms: float, start_ms: float, worker: str = "") -> int:
        """A new row. Of a node that was tried before it begins no earlier than after its back-off, in the same lane."""
        index, columns = self._nodes.wave[node], self.columns
        before = None if attempt == 1 else self.row_of(node, attempt - 1)
        if before is not None:
            ready_ms = min(max(ready_ms, columns.end_ms[before] + columns.backoff_ms[before]), start_ms)
        if before is not None and self._waves.keep_lane(index, columns.lane[before], node):
            lane = columns.lane[before]
        else:
            lane = self._waves.lane(index, node, ready_ms)
        row = columns.append(node, attempt, lane, ready_ms, start_ms)
        self._rows[node if attempt == 1 else (node, attempt)] = row
        if worker and worker != _THREAD:
            columns.worker[row] = self.workers.code_of(worker)
        self.changed.add(row)
        return row

    def place(self, row: int, worker: str, at_ms: float, number: int) -> Iterable[int]:
        """Its code begins only now, as event ``number`` of the run tells: until then it waited for a worker.

        Returns the rows of which it may be news whether they wait.
        """
        columns, workers = self.columns, self.workers
        labels = set(workers.labels)
        columns.worker[row] = workers.placed(worker, number, columns.worker[row])
        columns.start_ms[row] = max(columns.start_ms[row], at_ms)
        self.changed.add(row)
        return (row,) if workers.labels == labels else range(len(columns))

    def end(self, row: int, end_ms: float, status: int) -> None:
        """It ends, or what became of it is known better."""
        columns = self.columns
        if columns.end_ms[row] < 0.0:
            columns.end_ms[row] = end_ms = max(end_ms, columns.start_ms[row])
            if columns.worker[row] and self.workers.waits(columns.worker[row]):
                columns.start_ms[row] = end_ms  # it ended before it was placed
            self._waves.free_lane(self._nodes.wave[columns.node[row]], columns.lane[row], end_ms)
        columns.status[row] = status
        self.changed.add(row)

    def end_known(self, row: int, at_ms: float, duration_ms: float, status: int) -> None:
        """It ends, and its code is said to have run for ``duration_ms`` (0: not known)."""
        columns = self.columns
        if columns.worker[row] and 0.0 < duration_ms < at_ms - columns.start_ms[row] - _SAME_MS:
            columns.start_ms[row] = at_ms - duration_ms  # it lay on its worker before its code began
        self.end(row, at_ms, status)

    def back_off(self, row: int, at_ms: float, delay_ms: float) -> None:
        """It ends, and its node waits for the next one; the lane stays taken."""
        self.end(row, at_ms, RETRYING)
        columns = self.columns
        columns.backoff_ms[row] = max(0.0, delay_ms)
        node = columns.node[row]
        self._waves.keep_lane(self._nodes.wave[node], columns.lane[row], node)
