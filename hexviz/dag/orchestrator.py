"""Runs a graph: asks control, tells observers, and gives back every result or one error that holds everything."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hexviz.dag.checking import checked_result
from hexviz.dag.detach import CONTAINERS, detached
from hexviz.dag.errors import NodeVetoedError, OrchestratorError, PipelineError
from hexviz.dag.plan import Plan
from hexviz.dag.result import RunResult
from hexviz.dag.run import Run
from hexviz.dag.runners.local import ThreadRunner
from hexviz.dag.runners.runner import Runner
from hexviz.dag.signals import decider, mapping_of, veto
from hexviz.dag.watching import WATCHER
from hexviz.errors import HexvizError, hint_at_another_copy
from hexviz.events.config import NullControlManager, NullObserverManager, get_control_manager, get_observer_manager
from hexviz.events.control_manager import ControlManager
from hexviz.events.events import (
    PipelineCancelled,
    PipelineCompleted,
    PipelineFailed,
    PipelineSkipped,
    PipelineStarted,
)
from hexviz.events.models import ControlSignal
from hexviz.events.observer_manager import ObserverManager
from hexviz.events.replaying import refuse_in_replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hexviz.dag.graph import Graph, NodeSpec
    from hexviz.events.asking import Decision

Schedule = Literal["ready", "wave"]
OnError = Literal["fail_fast", "continue"]
Decisions = Literal["noteworthy", "all"]


class Settings(NamedTuple):
    """How an orchestrator runs its graphs."""

    max_concurrent_nodes: int
    schedule: Schedule
    on_error: OnError
    decisions: Decisions
    max_attempts: int
    cancel_grace_s: float
    strict_validation: bool

    def check_result(self, spec: NodeSpec, result: Any) -> Any:
        """``result`` as the node's ``out_model`` has it; see :func:`~hexviz.dag.checking.checked_result`."""
        return checked_result(spec.name, spec.out_model, result, strict=self.strict_validation)


def new_run_id() -> str:
    """A unique name that sorts by time: UTC to the microsecond, and eight random hexadecimal digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


class Orchestrator:
    """Runs graphs on the event loop that awaits :meth:`run`; may run several at once, also from within a node.

    ``max_concurrent_nodes`` bounds the nodes of one run that are under way; waiting to retry does not count.
    ``schedule="ready"`` starts a node when its parents have ended, ``"wave"`` when their whole wave has.
    ``on_error="fail_fast"`` cancels what runs on the first failure, ``"continue"`` skips only descendants.
    ``max_attempts`` is the hard limit of attempts of one node, whatever policies say. A node that ignores its
    cancellation for ``cancel_grace_s`` seconds is let go of. ``decisions="all"`` tells every check, not only those
    that matter.

    The managers may be given as ``observers`` and ``control``, or among the ``ports`` under ``"observer_manager"`` and
    ``"control_manager"``. Every port is passed to the nodes whose signature takes an argument of its name.

    ``runner`` is where node code runs: here (None: async nodes on the loop, sync ones in threads), or elsewhere
    (:class:`~hexviz.dag.runners.processes.ProcessRunner`, :class:`~hexviz.dag.runners.dask.DaskRunner`). Policies,
    attempts, timeouts, waves and events are the same in each place.
    """

    def __init__(
        self,
        max_concurrent_nodes: int = 10,
        ports: Mapping[str, Any] | None = None,
        strict_validation: bool = False,  # noqa: FBT001, FBT002 - the contract's signature
        *,
        observers: ObserverManager | None = None,
        control: ControlManager | None = None,
        schedule: Schedule = "ready",
        on_error: OnError = "fail_fast",
        decisions: Decisions = "noteworthy",
        max_attempts: int = 1000,
        cancel_grace_s: float = 1.0,
        runner: Runner | None = None,
    ) -> None:
        _check_choice("schedule", schedule, ("ready", "wave"))
        _check_choice("on_error", on_error, ("fail_fast", "continue"))
        _check_choice("decisions", decisions, ("noteworthy", "all"))
        for name, value in (("max_concurrent_nodes", max_concurrent_nodes), ("max_attempts", max_attempts)):
            if not (isinstance(value, int) and value >= 1):
                msg = f"{name} must be a whole number of at least 1, not {value!r}"
                raise OrchestratorSettingError(msg)
        self.ports = dict(ports or {})
        self.settings = Settings(
            max_concurrent_nodes, schedule, on_error, decisions, max_attempts, cancel_grace_s, strict_validation
        )
        self._observers = observers
        self._control = control
        if not (runner is None or isinstance(runner, Runner)):
            msg = f"runner must be a hexviz.dag.ProcessRunner, a DaskRunner or the like, not {type(runner).__name__}"
            raise OrchestratorSettingError(msg)
        self._runner = runner
        self._runs: dict[str, Run] = {}

    async def run(
        self,
        graph: Graph,
        initial_input: Any = None,
        additional_ports: Mapping[str, Any] | None = None,
        validate: bool = True,  # noqa: FBT001, FBT002 - the contract's signature
        *,
        run_id: str | None = None,
        tags: Sequence[str] = (),
        **kwargs: Any,
    ) -> RunResult:
        """Run ``graph`` and return its results by node.

        Nodes without parents get ``initial_input``; ``additional_ports`` and further keyword arguments join the ports.

        Raises :class:`~hexviz.dag.errors.GraphError` before anything runs, :class:`~hexviz.dag.errors.PipelineError`
        for a run that failed (it holds every failure and the partial results), and :class:`asyncio.CancelledError`
        where the run was cancelled. Whatever happens, the last event tells how the run ended.
        """
        ports = {**self.ports, **(additional_ports or {}), **kwargs}
        _refuse_foreign_loops(graph)
        if validate:
            graph.validate()
        run = self._prepare(graph, initial_input, ports, run_id or new_run_id())
        watcher = WATCHER.get()
        with self._registered(run):
            if watcher is None:
                return await self._run(run, tuple(tags))
            async with watcher.watch(self, graph, run.run_id, run.observers, run.control):
                return await self._run(run, (*tags, *watcher.tags))

    def _prepare(self, graph: Graph, initial_input: Any, ports: dict[str, Any], run_id: str) -> Run:
        observers = self._observers if self._observers is not None else get_observer_manager(ports)
        control = self._control if self._control is not None else get_control_manager(ports)
        refuse_in_replay(f"Orchestrator.run({graph.name!r}) was called", observers)
        if run_id in self._runs:
            msg = f"a run with the id {run_id!r} is under way already"
            raise OrchestratorError(msg)
        return Run(
            _plan_of(graph, ports),
            initial_input,
            run_id=run_id,
            observers=_manager(observers, ObserverManager, NullObserverManager),
            control=_manager(control, ControlManager, NullControlManager),
            settings=self.settings,
            threads=ThreadRunner(),
            runner=self._runner,
        )

    @contextmanager
    def _registered(self, run: Run) -> Iterator[None]:
        self._runs[run.run_id] = run
        run.observers.number_events_of(run.run_id, run.emit)
        try:
            yield
        finally:
            run.observers.number_events_of(run.run_id, None)
            del self._runs[run.run_id]
            run.close()

    async def _run(self, run: Run, tags: tuple[str, ...]) -> RunResult:
        plan = run.plan
        started = run.emit(
            PipelineStarted,
            plan.name,
            len(plan.wave_names),
            len(plan),
            plan.node_infos(),
            tags,
            self.settings.schedule,
            self.settings.max_concurrent_nodes,
        )
        try:
            decision = await run.ask_to_start(started)
            if decision is not None:
                return self._answer_for(run, decision)
            await run.execute()
        except asyncio.CancelledError:
            run.observers.publish_reports(run.run_id)
            run.emit_last(PipelineCancelled, plan.name, run.elapsed_ms(), run.stopped or "cancelled from outside")
            raise
        except NodeVetoedError as error:
            run.failures.append(error)
        return self._conclude(run)

    def _answer_for(self, run: Run, decision: Decision) -> RunResult:
        """Control took the whole run out of our hands."""
        name, response = run.plan.name, decision.response
        if response.signal is ControlSignal.SKIP:
            run.emit_last(
                PipelineSkipped, name, run.elapsed_ms(), response.reason or f"skipped by {decider(decision)!r}"
            )
            return RunResult(mapping_of(response.data), run_id=run.run_id, status="skipped")
        if response.signal is ControlSignal.FALLBACK:
            results = mapping_of(response.data)
            if results is not response.data:
                by = decider(decision)
                msg = f"control handler {by!r} answered FALLBACK for the whole run: give a dict of node -> value"
                run.failures.append(NodeVetoedError(msg, by))
                return self._conclude(run)
            run.emit_last(PipelineCompleted, name, run.elapsed_ms(), _detached(results))
            return RunResult(results, run_id=run.run_id, status="succeeded")
        run.failures.append(veto(decision, f"pipeline {name!r}"))
        return self._conclude(run)

    def _conclude(self, run: Run) -> RunResult:
        """Tell how the run ended, then return its results or raise what went wrong."""
        name, results = run.plan.name, run.results_by_name()
        run.observers.publish_reports(run.run_id)
        if run.fatal is not None:
            run.emit_last(PipelineFailed, name, run.elapsed_ms(), run.fatal)
            raise run.fatal
        if run.failures:
            error = PipelineError(_summary(run), run.failures, run_id=run.run_id, results=results)
            run.emit_last(PipelineFailed, name, run.elapsed_ms(), error)
            raise error
        if run.stopped:
            run.emit_last(PipelineCancelled, name, run.elapsed_ms(), run.stopped)
            raise asyncio.CancelledError(run.stopped)
        run.emit_last(PipelineCompleted, name, run.elapsed_ms(), _detached(results) if run.observers.active else {})
        return RunResult(results, run_id=run.run_id, status="succeeded")

    def cancel(self, run_id: str, reason: str = "cancelled by request") -> bool:
        """Cancel a run under way, from any thread; its ``run`` raises CancelledError. False where there is none."""
        return self._tell_run(run_id, "stop", reason)

    def hold(self, run_id: str, *, held: bool = True) -> bool:
        """Start no new node of a run until ``held=False`` is said; from any thread."""
        return self._tell_run(run_id, "hold", held)

    def _tell_run(self, run_id: str, method: str, argument: Any) -> bool:
        run = self._runs.get(run_id)
        if run is None:
            return False
        try:
            run.loop.call_soon_threadsafe(getattr(run, method), argument)
        except RuntimeError:  # its loop is closed, so the run is over
            return False
        return True

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs under way."""
        return tuple(self._runs)


class OrchestratorSettingError(HexvizError, ValueError):
    """An orchestrator was given a setting that it does not know."""


def _refuse_foreign_loops(graph: Graph) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        msg = (
            f"graph {graph.name!r} needs a running asyncio loop, and there is none: trio, and anyio on trio, cannot "
            f"run it. Use asyncio.run(...), or hexviz.run_sync(graph) in a thread"
        )
        raise OrchestratorError(msg) from None


_plans: weakref.WeakKeyDictionary[Graph, tuple[int, Plan]] = weakref.WeakKeyDictionary()


def _plan_of(graph: Graph, ports: Mapping[str, Any]) -> Plan:
    """The plan of ``graph``; one without ports is kept for the next run of the same graph."""
    if ports:
        return Plan(graph, ports)
    revision, plan = _plans.get(graph, (-1, None))
    if plan is None or revision != graph.revision:
        plan = Plan(graph, ports)
        _plans[graph] = graph.revision, plan
    return plan


def _manager(given: Any, kind: type[Any], null: type[Any]) -> Any:
    """``given``, or an empty manager where it is the one that does nothing."""
    if isinstance(given, null):
        return kind()
    if not isinstance(given, kind):
        hint = hint_at_another_copy(type(given), kind) or f": subclass {kind.__name__}"
        raise OrchestratorSettingError(f"expected a {kind.__name__}, not {type(given).__name__}{hint}")
    return given


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{name} is {' or '.join(map(repr, choices))}, not {value!r}"
        raise OrchestratorSettingError(msg)


def _detached(results: Mapping[str, Any]) -> dict[str, Any]:
    if CONTAINERS.isdisjoint(map(type, results.values())):
        return dict(results)
    return {name: detached(value) for name, value in results.items()}


def _summary(run: Run) -> str:
    first = run.failures[0]
    more = f" (and {len(run.failures) - 1} more failures)" if len(run.failures) > 1 else ""
    return f"pipeline {run.plan.name!r} failed: {first}{more} [run {run.run_id}]"
