"""Tells the run of another engine as hexviz tells its own: waves, attempts, and how it ended."""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hexviz.events import events as ev

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hexviz.events.observer_manager import ObserverManager


class _Node:
    """One task: its place in the graph, and how far it is."""

    __slots__ = ("attempt", "parents", "ready_ns", "running", "settled", "wave", "worker")

    def __init__(self, wave: int, parents: tuple[str, ...]) -> None:
        self.wave, self.parents = wave, parents
        self.attempt = 0
        self.running = self.settled = False
        self.ready_ns: int | None = None
        self.worker = ""


class ToldRun:
    """A run that happens elsewhere. ``graph`` maps each node to its parents; times are nanoseconds of one clock.

    ``at_ns`` of the first event is taken as now; every later one stands as far from it as its ``at_ns`` does.
    """

    def __init__(
        self,
        observers: ObserverManager,
        name: str,
        graph: Mapping[str, Sequence[str]],
        at_ns: int,
        tags: tuple[str, ...],
    ) -> None:
        self.name = name
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        self.over = False
        self._observers = observers
        self._lock = threading.RLock()
        self._seq = 0
        self._now = datetime.now(UTC)
        self._started_ns = self._at_ns = at_ns
        self._failed: list[str] = []
        self._broken = False
        waves = waves_of(graph)
        self._nodes = {node: _Node(waves[node], tuple(parents)) for node, parents in graph.items()}
        self._names: dict[int, list[str]] = {}
        for node, wave in waves.items():
            self._names.setdefault(wave, []).append(node)
        self._left = {wave: len(names) for wave, names in self._names.items()}
        self._began: dict[int, int] = {}
        self._counts = {wave: dict.fromkeys(("succeeded", "failed", "skipped", "cancelled"), 0) for wave in self._names}
        observers.number_events_of(self.run_id, self.emit)
        order = sorted(waves, key=waves.__getitem__)
        infos = tuple(ev.NodeInfo(node, waves[node], self._nodes[node].parents) for node in order)
        self.emit(ev.PipelineStarted, name, len(self._names), len(infos), infos, tags)

    def emit(self, event_class: type[ev.Event], *args: Any, **fields: Any) -> ev.Event:
        """Tell an event at the moment that was set last."""
        with self._lock:
            self._seq += 1
            moment = self._now + timedelta(microseconds=(self._at_ns - self._started_ns) / 1e3)
            fields.setdefault("timestamp", moment)
            event = event_class(
                *args, **fields, run_id=self.run_id, seq=self._seq, monotonic_ns=self._at_ns, pipeline=self.name
            )
            self._observers.notify_nowait(event)
        return event

    def _at(self, at_ns: int) -> None:
        self._at_ns = max(self._at_ns, at_ns)

    def ready(self, name: str, at_ns: int) -> None:
        """A task could run now, and waits for a place."""
        self._nodes[name].ready_ns = at_ns

    def started(self, name: str, worker: str, at_ns: int) -> None:
        """A task was given to a worker; once more, where it was before."""
        node = self._nodes[name]
        if self.over or node.running:
            return
        self._at(at_ns)
        node.attempt += 1
        node.running, node.worker = True, worker
        self._open(node.wave)
        queued_ns = 0 if node.ready_ns is None else max(0, self._at_ns - node.ready_ns)
        ready_at = self._now + timedelta(microseconds=(self._at_ns - queued_ns - self._started_ns) / 1e3)
        self.emit(
            ev.NodeStarted, name, node.wave, node.parents, node.attempt, ready_at, queued_ns / 1e6, worker
        )  # fmt: skip
        node.ready_ns = None

    def _open(self, wave: int) -> None:
        if wave not in self._began:
            self._began[wave] = self._at_ns
            self.emit(ev.WaveStarted, wave, tuple(self._names[wave]))

    def completed(self, name: str, worker: str, duration_ms: float, result: Any, at_ns: int) -> None:
        """A task has its result; ``duration_ms`` is its own time."""
        node = self._nodes[name]
        if self.over or node.settled:
            node.running = False
            return
        self.started(name, worker, at_ns)
        self._at(at_ns)
        if worker and worker != node.worker:
            self.emit(ev.NodePlaced, name, node.wave, worker, node.attempt)
        self.emit(ev.NodeCompleted, name, node.wave, result, duration_ms, node.attempt)
        self._settle(node, "succeeded")

    def failed(self, name: str, worker: str, error: BaseException, duration_ms: float, at_ns: int) -> None:
        """A task failed for good."""
        node = self._nodes[name]
        if self.over or node.settled:
            return
        self.started(name, worker, at_ns)
        self._at(at_ns)
        self.emit(ev.NodeFailed, name, node.wave, error, node.attempt, duration_ms, will_retry=False)
        self._failed.append(name)
        self._settle(node, "failed")

    def lost(self, name: str, error: BaseException, at_ns: int) -> None:
        """A try came to nothing, and the task may be tried again."""
        node = self._nodes[name]
        if self.over or not node.running or node.settled:
            return
        self._at(at_ns)
        node.running = False
        self.emit(ev.NodeFailed, name, node.wave, error, node.attempt, will_retry=True)

    def skipped(self, name: str, reason: str, at_ns: int) -> None:
        """A task will not run, because of another one."""
        self._settle_without_running(ev.NodeSkipped, "skipped", name, reason, at_ns)

    def cancelled(self, name: str, reason: str, at_ns: int) -> None:
        """Nobody wants a task any more."""
        self._settle_without_running(ev.NodeCancelled, "cancelled", name, reason, at_ns)

    def _settle_without_running(
        self, event_class: type[ev.Event], status: str, name: str, reason: str, at_ns: int
    ) -> None:
        node = self._nodes[name]
        if not (self.over or node.settled):
            self._at(at_ns)
            self._open(node.wave)
            self.emit(event_class, name, node.wave, max(1, node.attempt), reason)
            self._settle(node, status)

    def _settle(self, node: _Node, status: str) -> None:
        node.running, node.settled = False, True
        self._counts[node.wave][status] += 1
        self._left[node.wave] -= 1
        if not self._left[node.wave]:
            duration_ms = (self._at_ns - self._began[node.wave]) / 1e6
            self.emit(ev.WaveCompleted, node.wave, duration_ms, **self._counts[node.wave])
            if not any(self._left.values()):
                self._end()

    def report(self, event_class: type[ev.Event], *args: Any) -> None:
        """Tell something about a run that goes on."""
        if not self.over:
            self.emit(event_class, *args)

    def close(self, reason: str, *, failed: bool = False) -> None:
        """Nothing more will be heard of it: what has not ended counts as cancelled."""
        self._broken = failed
        for name, node in self._nodes.items():
            if not node.settled:
                self.cancelled(name, reason, self._at_ns)

    def _end(self) -> None:
        self.over = True
        self._observers.publish_reports(self.run_id)
        duration_ms = (self._at_ns - self._started_ns) / 1e6
        cancelled = sum(counts["cancelled"] for counts in self._counts.values())
        if self._failed or self._broken:
            text = f"{len(self._failed)} tasks failed, {self._failed[0]!r} first" if self._failed else "a task failed"
            self.emit(ev.PipelineFailed, self.name, duration_ms, ev.RecordedError("TaskFailed", text))
        elif cancelled:
            self.emit(ev.PipelineCancelled, self.name, duration_ms, f"{cancelled} tasks were not run")
        else:
            self.emit(ev.PipelineCompleted, self.name, duration_ms)
        self._observers.number_events_of(self.run_id, None)


def waves_of(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The wave of each node, from 1: one more than the highest of its parents."""
    children: dict[str, list[str]] = {}
    waiting = dict.fromkeys(graph, 0)
    for name, parents in graph.items():
        for parent in parents:
            children.setdefault(parent, []).append(name)
            waiting[name] += 1
    waves = {name: 1 for name, count in waiting.items() if not count}
    order = list(waves)
    for name in order:
        for child in children.get(name, ()):
            waves[child] = max(waves.get(child, 1), waves[name] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    return waves
