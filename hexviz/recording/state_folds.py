"""How each kind of event changes what is known of a run.

:class:`hexviz.recording.state.RunState` is what others see of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hexviz.events import events as ev
from hexviz.events.secrets import masked_head
from hexviz.recording.state_attempts import Attempts
from hexviz.recording.state_lists import TEXT_LIMIT, Calls, decision_of, failure_of
from hexviz.recording.state_tables import (
    CANCELLED,
    FAILED,
    PENDING,
    RETRYING,
    RUNNING,
    STATUSES,
    SUCCEEDED,
    Decision,
    Failure,
    Nodes,
    Wave,
)
from hexviz.recording.state_waves import Waves

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_WORKER_LOST = "WorkerLostError"


class Folded:
    """What is known of a run, and one method for each kind of event that changes it; ``at_ms`` is when it fell."""

    def __init__(self, run_id: str = "") -> None:
        self.run_id = run_id
        self.pipeline = ""
        self.status = "pending"
        self.error = ""
        self.schedule = ""
        self.tags: tuple[str, ...] = ()
        self.started_at: datetime | None = None
        self.total_nodes = 0
        self.total_waves = 0
        self.seq = 0
        self.events = 0
        self.last_ms = 0.0
        self.duration_ms = -1.0
        self.nodes = Nodes()
        self._waves = Waves()
        self._tries = Attempts(self.nodes, self._waves)
        self._calls = Calls()
        self.attempts = self._tries.columns
        self.workers = self._tries.workers
        self.waves: dict[int, Wave] = self._waves
        self.counts = [0] * len(STATUSES)
        self.decisions: list[Decision] = []
        self.failures: list[Failure] = []
        self.calls = self._calls.listed
        self.changed_rows = self._tries.changed
        self.changed_nodes: set[int] = set()
        self.changed_waves = self._waves.changed
        self.ended_calls = self._calls.ended
        self._origin_ns: int | None = None
        self._told = [0, 0, 0]
        self._changed = False

    def waits(self, row: int) -> bool:
        """Whether this attempt goes on and has no worker yet; its node counts as pending."""
        attempts = self.attempts
        return attempts.end_ms[row] < 0.0 and attempts.worker[row] in self.workers.labels

    # --- the run and its waves ------------------------------------------------------------------------------------

    def _run_started(self, event: ev.PipelineStarted, _at_ms: float) -> None:
        self.pipeline = event.name
        self.status = "running"
        self.schedule = event.schedule
        self.tags = tuple(event.tags)
        self.total_nodes, self.total_waves = event.total_nodes, event.total_waves
        added = self.nodes.extend(event.nodes)
        self.changed_nodes.update(added)
        self.counts[PENDING] += len(added)
        self.total_nodes = max(self.total_nodes, len(self.nodes))
        for wave_index, count in Counter(self.nodes.wave[added.start :]).items():
            self._changed_wave(wave_index).nodes += count

    def _run_ended(self, event: Any, at_ms: float) -> None:
        self.pipeline = self.pipeline or event.name
        self.status = {"completed": "succeeded"}.get(event._verb, event._verb)  # noqa: SLF001 - the class's own word
        self.duration_ms = max(at_ms, 0.0)
        self._end_what_runs(at_ms)
        error = getattr(event, "error", None)
        self.error = masked_head(str(getattr(event, "reason", "")), TEXT_LIMIT)
        if error is not None:
            known = ev.RecordedError.of(error)
            self.error = str(known)[:TEXT_LIMIT]
            self.failures.append(failure_of(known, at_ms))

    def _end_what_runs(self, at_ms: float) -> None:
        """No bar grows for ever: what a run left open when it ended counts as cancelled."""
        for row, status in enumerate(self.attempts.status):
            if status == RUNNING:
                self._tries.end(row, at_ms, CANCELLED)
                self._set_status(self.attempts.node[row], CANCELLED, at_ms)

    def _wave_started(self, event: ev.WaveStarted, at_ms: float) -> None:
        wave = self._changed_wave(event.wave_index)
        wave.start_ms = at_ms
        wave.nodes = max(wave.nodes, len(event.nodes))

    def _wave_ended(self, event: ev.WaveCompleted, at_ms: float) -> None:
        self._changed_wave(event.wave_index).end_ms = at_ms

    def _changed_wave(self, index: int) -> Wave:
        wave = self._waves.touched(index)
        self.total_waves = max(self.total_waves, len(self._waves))
        return wave

    # --- nodes and attempts ---------------------------------------------------------------------------------------

    def _add_node(self, name: str, wave_index: int, parents: tuple[str, ...] = ()) -> int:
        code = self.nodes.append(name, wave_index, parents)
        self.counts[PENDING] += 1
        self.total_nodes = max(self.total_nodes, len(self.nodes))
        self._changed_wave(wave_index).nodes += 1
        self.changed_nodes.add(code)
        return code

    def _node(self, event: Any) -> int:
        code = self.nodes.code.get(event.name)
        if code is None:
            code = self._add_node(event.name, event.wave_index, tuple(getattr(event, "dependencies", ())))
        return code

    def _set_status(self, node: int, status: int, at_ms: float) -> None:
        nodes, counts = self.nodes, self.counts
        counts[nodes.status[node]] -= 1
        counts[status] += 1
        nodes.status[node] = status
        nodes.settled_ms[node] = at_ms if status > RETRYING else -1.0
        self.changed_nodes.add(node)

    def _node_started(self, event: ev.NodeStarted, at_ms: float) -> None:
        node = self.nodes.code.get(event.name)
        if node is None:
            node = self._node(event)
        self._set_status(node, RUNNING, at_ms)
        tries, attempt = self._tries, event.attempt
        if tries.row_of(node, attempt) is None:
            ready_ms = at_ms - event.queued_ms if event.queued_ms > 0.0 else at_ms
            row = tries.begin(node, attempt, max(0.0, ready_ms), at_ms, event.worker)
            if self.attempts.worker[row]:
                self._run_or_wait(row, at_ms)

    def _node_placed(self, event: ev.NodePlaced, at_ms: float) -> None:
        row = self._tries.row_of(self._node(event), event.attempt)
        if row is not None:
            for placed in self._tries.place(row, event.worker, at_ms, self.events):
                self._run_or_wait(placed, at_ms)

    def _run_or_wait(self, row: int, at_ms: float) -> None:
        """A node that was sent to a runner and waits there for a worker does not run yet."""
        if self.attempts.end_ms[row] >= 0.0:
            return
        node = self.attempts.node[row]
        status = PENDING if self.waits(row) else RUNNING
        if status != self.nodes.status[node]:
            self._set_status(node, status, at_ms)

    def _attempt_ended(self, event: Any, at_ms: float, status: int) -> None:
        node = self.nodes.code.get(event.name)
        if node is None:
            node = self._node(event)
        tries = self._tries
        row = tries.row_of(node, event.attempt)
        if row is None:
            start_ms = max(0.0, at_ms - max(0.0, event.duration_ms))
            tries.end(tries.begin(node, event.attempt, start_ms, start_ms), at_ms, status)
        else:
            tries.end_known(row, at_ms, event.duration_ms, status)
        self._set_status(node, status, at_ms)

    def _node_completed(self, event: ev.NodeCompleted, at_ms: float) -> None:
        self._attempt_ended(event, at_ms, SUCCEEDED)

    def _node_failed(self, event: ev.NodeFailed, at_ms: float) -> None:
        self._attempt_ended(event, at_ms, FAILED)
        error = ev.RecordedError.of(event.error)
        self.failures.append(failure_of(error, at_ms, event.name, event.wave_index, event.attempt))
        if error.type_name == _WORKER_LOST:
            row = self._tries.row_of(self.nodes.code[event.name], event.attempt)
            self.workers.lose(self.attempts.worker[row] if row is not None else 0, at_ms, self.events)

    def _node_retrying(self, event: ev.NodeRetrying, at_ms: float) -> None:
        node = self._node(event)
        self._set_status(node, RETRYING, at_ms)
        row = self._tries.row_of(node, event.attempt)
        if row is not None:
            self._tries.back_off(row, at_ms, event.delay_s * 1e3)

    def _node_settled(self, event: Any, at_ms: float) -> None:
        status = STATUSES.index(event._verb)  # noqa: SLF001 - skipped, fell_back or cancelled
        node = self._node(event)
        row = self._tries.row_of(node, event.attempt)
        if row is not None:
            self._tries.end(row, at_ms, status)
        self._set_status(node, status, at_ms)

    # --- control and calls ----------------------------------------------------------------------------------------

    def _decided(self, event: ev.ControlDecided, at_ms: float) -> None:
        self.decisions.append(decision_of(event, at_ms))

    def _call_began(self, event: Any, at_ms: float) -> None:
        self._calls.began(event, at_ms)

    def _call_ended(self, event: Any, at_ms: float) -> None:
        self._calls.finished(event, at_ms)


FOLDS: dict[type[Any], Callable[[Folded, Any, float], None] | None] = {
    ev.PipelineStarted: Folded._run_started,  # noqa: SLF001 - the table of the class above
    ev.PipelineCompleted: Folded._run_ended,  # noqa: SLF001
    ev.PipelineFailed: Folded._run_ended,  # noqa: SLF001
    ev.PipelineCancelled: Folded._run_ended,  # noqa: SLF001
    ev.PipelineSkipped: Folded._run_ended,  # noqa: SLF001
    ev.WaveStarted: Folded._wave_started,  # noqa: SLF001
    ev.WaveCompleted: Folded._wave_ended,  # noqa: SLF001
    ev.NodeStarted: Folded._node_started,  # noqa: SLF001
    ev.NodePlaced: Folded._node_placed,  # noqa: SLF001
    ev.NodeCompleted: Folded._node_completed,  # noqa: SLF001
    ev.NodeFailed: Folded._node_failed,  # noqa: SLF001
    ev.NodeRetrying: Folded._node_retrying,  # noqa: SLF001
    ev.NodeSkipped: Folded._node_settled,  # noqa: SLF001
    ev.NodeFellBack: Folded._node_settled,  # noqa: SLF001
    ev.NodeCancelled: Folded._node_settled,  # noqa: SLF001
    ev.ControlDecided: Folded._decided,  # noqa: SLF001
    ev.ToolCalled: Folded._call_began,  # noqa: SLF001
    ev.LLMPromptSent: Folded._call_began,  # noqa: SLF001
    ev.ToolCompleted: Folded._call_ended,  # noqa: SLF001
    ev.ToolFailed: Folded._call_ended,  # noqa: SLF001
    ev.LLMResponseReceived: Folded._call_ended,  # noqa: SLF001
    ev.LLMFailed: Folded._call_ended,  # noqa: SLF001
}


def folds_of(kind: type[Any]) -> Callable[[Folded, Any, float], None] | None:
    """How an event class is folded; a subclass like its base, one of the user's own not at all."""
    if kind not in FOLDS:
        FOLDS[kind] = next((FOLDS[base] for base in kind.__mro__ if FOLDS.get(base)), None)
    return FOLDS[kind]
