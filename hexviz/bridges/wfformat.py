"""WfFormat 1.5, the workflow instances of WfCommons (github.com/wfcommons/WfFormat): read as a run, written from one.

An instance tells how long each task ran, not when it began. Reading therefore starts each task as soon as its parents
have ended, which is the earliest that the data flow allows; the run as a whole keeps the recorded makespan. What
hexviz writes also says when each task began (``executedAt`` of the task, which other readers pass over).
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hexviz import __version__
from hexviz.bridges.source import finite, iso, rows
from hexviz.errors import SourceError
from hexviz.events import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hexviz.bridges.source import FramesLike

SCHEMA_VERSION = "1.5"
MAX_BYTES = 2**28
"""No larger file is read: 256 MiB."""

_OURS = "hexviz"
_MAX_S = 1e10
_FORMS = ("%m-%d-%yT%H:%M:%SZ", "%Y%m%dT%H%M%S%z")  # beside ISO 8601
_ESCAPED = re.compile(r"_x([0-9a-f]*)_")
_TO_ESCAPE = re.compile(r"[^0-9A-Za-z.\-_]|_(?=x[0-9a-f]*_)")


class _Spec(msgspec.Struct, rename="camel"):
    id: str
    parents: list[str] = []
    children: list[str] = []


class _Specification(msgspec.Struct):
    tasks: list[_Spec]


class _Ran(msgspec.Struct, rename="camel"):
    id: str
    runtime_in_seconds: float
    executed_at: str = ""
    machines: list[str] = []


class _Execution(msgspec.Struct, rename="camel"):
    tasks: list[_Ran]
    executed_at: str
    makespan_in_seconds: float = 0.0


class _Workflow(msgspec.Struct, rename="camel"):
    specification: _Specification
    execution: _Execution | None = None
    run_name: str = ""


class _System(msgspec.Struct):
    name: str = ""


class _Instance(msgspec.Struct, rename="camel"):
    name: str
    workflow: _Workflow
    runtime_system: _System | None = None


class Task(NamedTuple):
    """One task as it was recorded; ``start_s`` since the start of the run, given or the earliest possible."""

    name: str
    wave: int
    parents: tuple[str, ...]
    runtime_s: float
    start_s: float
    worker: str


class Workflow(NamedTuple):
    """A workflow instance; its tasks in topological order."""

    name: str
    run_id: str
    executed_at: datetime
    makespan_s: float
    tasks: tuple[Task, ...]
    tags: tuple[str, ...]

    def events(self) -> Iterator[ev.Event]:
        """The run as hexviz would have told it: every task one attempt that succeeded."""
        told = sorted(_moments(self), key=itemgetter(0, 1, 2))
        for seq, (at_s, _, _, make) in enumerate(told, 1):
            yield make(
                timestamp=self.executed_at + timedelta(seconds=at_s),
                monotonic_ns=round(at_s * 1e9),
                run_id=self.run_id,
                seq=seq,
                pipeline=self.name,
            )


# --- reading ------------------------------------------------------------------------------------------------------


def read_wfformat(data: bytes, *, where: str = "the file") -> Workflow:
    """The workflow of an instance document of schema 1.5.

    Raises :class:`~hexviz.errors.SourceError`, with ``where`` in its text, for anything else: no execution, a task
    without a runtime, ids given twice, unknown parents, a cycle, times that are none.
    """
    try:
        instance = msgspec.json.decode(data, type=_Instance)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SourceError(f"{where} is not an instance of WfFormat {SCHEMA_VERSION}: {error}") from error
    try:
        return _workflow(instance, hashlib.sha256(data).hexdigest())
    except (SourceError, OverflowError) as error:
        raise SourceError(f"{where}: {error}") from error


def _workflow(instance: _Instance, digest: str) -> Workflow:
    execution = instance.workflow.execution
    if execution is None:
        raise SourceError("the workflow was never executed (no 'execution'), so there is no run to read")
    ours = instance.runtime_system is not None and instance.runtime_system.name == _OURS
    parents = _parents(instance.workflow.specification.tasks)
    ran = {task.id: task for task in execution.tasks}
    executed_at = _moment(execution.executed_at)
    waves: dict[str, int] = {}
    end_s: dict[str, float] = {}
    tasks: list[Task] = []
    given = True
    for key in _in_order(parents):
        task = ran.get(key)
        if task is None:
            raise SourceError(f"task {key!r} has no entry in the execution, so no runtime")
        runtime_s = _seconds(task.runtime_in_seconds, f"the runtime of task {key!r}")
        earliest_s = max((end_s[parent] for parent in parents[key]), default=0.0)
        start_s = (_moment(task.executed_at) - executed_at).total_seconds() if task.executed_at else earliest_s
        given = given and bool(task.executed_at)
        waves[key] = 1 + max((waves[parent] for parent in parents[key]), default=0)
        end_s[key] = start_s + runtime_s
        worker = task.machines[0] if task.machines else ""
        names = tuple(_node(parent, ours=ours) for parent in parents[key])
        tasks.append(Task(_node(key, ours=ours), waves[key], names, runtime_s, start_s, worker))
    makespan_s = _seconds(execution.makespan_in_seconds, "the makespan")
    tags = ("wfformat",) if given else ("wfformat", "starts computed")
    latest_s = max(makespan_s, *end_s.values())
    executed_at + timedelta(seconds=latest_s)  # OverflowError here, not while the events are made
    run_id = instance.workflow.run_name if ours else f"wfformat-{digest[:16]}"
    return Workflow(instance.name, run_id, executed_at, latest_s, tuple(tasks), tags)


def _parents(tasks: list[_Spec]) -> dict[str, list[str]]:
    """Of each task its parents, as either end of an edge tells them."""
    if not tasks:
        raise SourceError("the workflow has no tasks")
    parents: dict[str, dict[str, None]] = {}
    for task in tasks:
        if task.id in parents:
            raise SourceError(f"the task id {task.id!r} is given twice")
        parents[task.id] = dict.fromkeys(task.parents)
    for task in tasks:
        for child in task.children:
            parents.get(child, {})[task.id] = None
        unknown = [other for other in (*task.parents, *task.children) if other not in parents]
        if unknown:
            raise SourceError(f"task {task.id!r} names {unknown[0]!r}, which is no task of the workflow")
    return {key: list(found) for key, found in parents.items()}


def _in_order(parents: dict[str, list[str]]) -> list[str]:
    """Topological order, in the order of the file where there is a choice."""
    children: dict[str, list[str]] = {key: [] for key in parents}
    waiting = {key: len(found) for key, found in parents.items()}
    for key, found in parents.items():
        for parent in found:
            children[parent].append(key)
    ready = [key for key, count in waiting.items() if not count]
    for key in ready:
        for child in children[key]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if len(ready) < len(parents):
        stuck = next(key for key, count in waiting.items() if count)
        raise SourceError(f"the tasks form a cycle; {stuck!r} is in it or after it")
    return ready


def _seconds(value: float, what: str) -> float:
    if not math.isfinite(value) or not 0.0 <= value <= _MAX_S:
        raise SourceError(f"{what} is {value!r}: it must be a number of seconds from 0 to {_MAX_S:g}")
    return value


def _moment(text: str) -> datetime:
    found = None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        for form in _FORMS:
            try:
                found = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is looked at below
                break
            except ValueError:
                continue
    if found is None:
        raise SourceError(f"executedAt is {text!r}: a time such as 2026-01-31T12:00:00+00:00 is expected")
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _moments(workflow: Workflow) -> Iterator[tuple[float, int, int, Any]]:
    """(time, wave, order at that time, what makes the event): parents end before their children begin."""
    shape = tuple(ev.NodeInfo(task.name, task.wave, task.parents) for task in workflow.tasks)
    by_wave: dict[int, list[Task]] = {}
    for task in workflow.tasks:
        by_wave.setdefault(task.wave, []).append(task)
    first_s = min(0.0, *(task.start_s for task in workflow.tasks))
    started = (workflow.name, len(by_wave), len(shape), shape, workflow.tags)
    yield first_s, 0, 0, lambda **base: ev.PipelineStarted(*started, **base)
    for wave, tasks in by_wave.items():
        start_s, end_s = min(task.start_s for task in tasks), max(task.start_s + task.runtime_s for task in tasks)
        names, took_ms = tuple(task.name for task in tasks), (end_s - start_s) * 1e3
        yield start_s, wave, 0, _maker(ev.WaveStarted, wave, names)
        yield end_s, wave, 3, _maker(ev.WaveCompleted, wave, took_ms, len(tasks))
    for task in workflow.tasks:
        ready_at = workflow.executed_at + timedelta(seconds=task.start_s)
        facts = {"ready_at": ready_at, "worker": task.worker}
        yield task.start_s, task.wave, 1, _maker(ev.NodeStarted, task.name, task.wave, task.parents, **facts)
        ended = (task.name, task.wave, None, task.runtime_s * 1e3)
        yield task.start_s + task.runtime_s, task.wave, 2, _maker(ev.NodeCompleted, *ended)
    last_s = max(workflow.makespan_s, *(task.start_s + task.runtime_s for task in workflow.tasks))
    yield last_s, len(by_wave) + 1, 4, _maker(ev.PipelineCompleted, workflow.name, workflow.makespan_s * 1e3)


def _maker(cls: type[ev.Event], *values: Any, **facts: Any) -> Any:
    return lambda **base: cls(*values, **facts, **base)


# --- writing ------------------------------------------------------------------------------------------------------


def wfformat(frames: FramesLike) -> Iterator[bytes]:
    """The instance document of the one run in ``frames``. Equal frames give equal bytes.

    A task's runtime is that of its last attempt, 0 where it never ran. Raises :class:`~hexviz.errors.SourceError`
    where there are several runs, or no node.
    """
    columns = ("run_id", "pipeline", "started_at", "duration_ms")
    runs = [dict(zip(columns, values, strict=True)) for values in rows(frames.runs, *columns)]
    if len(runs) != 1:
        raise SourceError(f"WfFormat holds one run, there are {len(runs)}: export recording.run(run_id)")
    began = dict(rows(frames.attempts, "node", "started_at"))  # the last attempt, whose duration the node has
    nodes = [(node, began.get(node), took) for node, took in rows(frames.nodes, "node", "duration_ms")]
    if not nodes:
        raise SourceError("WfFormat needs at least one task, and this run has no nodes")
    run = runs[0]
    document = {
        "name": run["pipeline"] or "run",
        "description": "A run recorded by hexviz",
        "createdAt": iso(run["started_at"]),
        "schemaVersion": SCHEMA_VERSION,
        "runtimeSystem": {"name": _OURS, "version": __version__},
        "workflow": {
            "runName": run["run_id"],
            "specification": {"tasks": _specified(frames, [node for node, _, _ in nodes])},
            "execution": {
                "makespanInSeconds": (finite(run["duration_ms"]) or 0.0) / 1e3,
                "executedAt": iso(run["started_at"]),
                "tasks": [_executed(*values) for values in nodes],
            },
        },
    }
    yield msgspec.json.format(msgspec.json.encode(document), indent=1)
    yield b"\n"


def _specified(frames: FramesLike, nodes: list[str]) -> list[dict[str, Any]]:
    parents: dict[str, list[str]] = {node: [] for node in nodes}
    children: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in rows(frames.edges, "source", "target"):
        if source in parents and target in parents:
            parents[target].append(_task_id(source))
            children[source].append(_task_id(target))
    return [
        {"name": node or "task", "id": _task_id(node), "parents": parents[node], "children": children[node]}
        for node in nodes
    ]


def _executed(node: str, started_at: Any, duration_ms: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": _task_id(node),
        "runtimeInSeconds": max(finite(duration_ms) or 0.0, 0.0) / 1e3,
    }
    return told if started_at is None else told | {"executedAt": iso(started_at)}


def _task_id(node: str) -> str:
    """The node's name in the characters that an id may have; others as ``_x`` and their code and ``_``."""
    return _TO_ESCAPE.sub(lambda match: f"_x{ord(match[0]):x}_", node) or "_x_"


def _node(key: str, *, ours: bool) -> str:
    return _ESCAPED.sub(_character, key) if ours else key


def _character(match: re.Match[str]) -> str:
    if not match[1]:
        return ""
    code = int(match[1], 16)
    return chr(code) if code <= 0x10FFFF else match[0]  # noqa: PLR2004 - the last character of Unicode
