"""The demo: a recorded run of nf-core/airrflow (212 tasks, 25 waves) done again, faster, with a few things going wrong.

Each node does a small piece of real work on synthetic reads and then waits until its scaled runtime has passed. Some
nodes are flaky, one always fails, two want to publish what they found, and the policies of
:mod:`hexviz.demo.policies` answer so that every control signal is seen. None of this touches the critical path, so that
its length stays that of the table.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hexviz.dag.calls import tool_call
from hexviz.dag.errors import NodeVetoedError
from hexviz.dag.graph import Graph
from hexviz.demo.steps import gather, merge, sequence, step_for
from hexviz.demo.table import airrflow_csv, read_tasks
from hexviz.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from hexviz.demo.table import Task

DEFAULT_SPEED = 110.0
"""How many times faster than the recorded run: the critical path of 438.061 s takes about 4 s."""
AIRRFLOW_PATH_S = 438.061
"""The critical path of the table, in seconds."""
MAX_CONCURRENT_NODES = 64
"""Enough that no node of the workflow ever waits for a place, so that the run takes as long as its critical path."""

_FAILS_AFTER = 0.3
"""The share of its runtime that a failing attempt takes."""
_PUBLISHES = ("AIRRFLOW_REPORT", "MULTIQC")
"""Processes whose nodes call a tool, which control may forbid."""
_IN_THREADS = ("UNZIP", "PARSEHEADERS", "COLLAPSE")
"""Processes whose nodes are plain functions; hexviz runs those in threads. All others are coroutines."""


class InstrumentError(ConnectionError):
    """What the failing nodes of the demo raise."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A node that fails: ``failures`` attempts before each one that succeeds, or always (None)."""

    message: str
    failures: int | None = 1


AIRRFLOW_FAULTS: dict[str, Fault] = {
    "FASTQC_POSTASSEMBLY_UMI_92": Fault("the report server closed the connection"),
    "FASTQC_POSTASSEMBLY_UMI_99": Fault("the report server closed the connection", failures=2),
    "FIND_CLONAL_THRESHOLD_197": Fault("the fit did not converge"),
    "FASTQC_POSTASSEMBLY_UMI_104": Fault("the plate of sample 7 cannot be read", failures=None),
}
"""What goes wrong in the demo, by task. All of these have slack: none is on the critical path."""


def airrflow(*, speed: float = DEFAULT_SPEED, seed: int = 0) -> Graph:
    """Build the graph of the demo: 212 nodes named by the ids of the table, the same results for the same ``seed``."""
    return workflow_from_csv(airrflow_csv(), name="airrflow", speed=speed, seed=seed, faults=AIRRFLOW_FAULTS)


def workflow_from_csv(
    path: str | Path | Traversable,
    *,
    name: str = "workflow",
    speed: float = DEFAULT_SPEED,
    seed: int = 0,
    faults: Mapping[str, Fault] | None = None,
) -> Graph:
    """Build a graph from a table with the columns ``task_id, name, parents, runtime_s`` (see :func:`read_tasks`).

    ``speed`` divides the runtimes, ``faults`` says which tasks fail. Raises :class:`hexviz.errors.SourceError` for a
    table that cannot be used, a speed that is not a positive number, and a fault of a task that is not there.
    """
    if not 0.0 < speed < float("inf"):
        raise SourceError(f"speed must be a positive number (times faster than the table), not {speed!r}")
    faults = faults or {}
    graph = Graph(name)
    for task in read_tasks(path):
        work = _in_thread if any(word in task.process for word in _IN_THREADS) else _on_loop
        work = _publishing if task.process in _PUBLISHES else work
        graph.node(work(_Work(task, speed, seed, faults.get(task.task_id))), name=task.task_id, after=task.parents)
    unknown = [task_id for task_id in faults if task_id not in graph]
    if unknown:
        raise SourceError(f"the table has no task {unknown[0]!r}, for which a fault was given; name one that it has")
    return graph


class _Work:
    """What one node does: its step at once, then the wait, or the failure."""

    def __init__(self, task: Task, speed: float, seed: int, fault: Fault | None) -> None:
        self._task = task
        self._runtime_s = task.runtime_s / speed
        self._seed = seed
        self._message = fault.message if fault else ""
        self._fails = _failing(fault)
        self._step = step_for(task.process)

    def begin(self, inputs: Any) -> tuple[Any, float]:
        """Do the work; return its result and how long to sleep, in seconds, so that the whole takes the runtime."""
        started = time.perf_counter()
        if next(self._fails):
            return InstrumentError(self._message), self._runtime_s * _FAILS_AFTER
        result = self._result(inputs)
        return result, max(0.0, self._runtime_s - (time.perf_counter() - started))

    def _result(self, inputs: Any) -> Any:
        parents = self._task.parents
        if not parents:
            return self._step(sequence(self._task.task_id, self._seed))
        handed_on = inputs if len(parents) > 1 else {parents[0]: inputs}
        reads = gather(handed_on)
        reports = [value for value in handed_on.values() if isinstance(value, dict)]
        return merge(reports) if reports and not reads else self._step(reads)


def _failing(fault: Fault | None) -> itertools.cycle[bool]:
    if fault is None:
        return itertools.cycle((False,))
    return itertools.cycle((True,) if fault.failures is None else (True,) * fault.failures + (False,))


def _on_loop(work: _Work) -> Callable[..., Any]:
    async def run(inputs: Any = None) -> Any:
        result, left_s = work.begin(inputs)
        await asyncio.sleep(left_s)
        return _unless_failed(result)

    return run


def _publishing(work: _Work) -> Callable[..., Any]:
    async def run(inputs: Any = None) -> Any:
        report, left_s = work.begin(inputs)
        await asyncio.sleep(left_s)
        try:
            async with tool_call("publish", {"fields": sorted(report)}) as call:
                call.result = "published"
        except NodeVetoedError:
            return {**report, "published": False}
        return {**report, "published": True}

    return run


def _in_thread(work: _Work) -> Callable[..., Any]:
    def run(inputs: Any = None) -> Any:
        result, left_s = work.begin(inputs)
        time.sleep(left_s)
        return _unless_failed(result)

    return run


def _unless_failed(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result
