"""What every runner promises, as tests: subclass :class:`RunnerContract` and define one fixture."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from hexviz.dag import (
    Graph,
    NodeTimeoutError,
    NodeTransferError,
    NodeVetoedError,
    Orchestrator,
    PipelineError,
    RemoteNodeError,
    WorkerLostError,
)
from hexviz.events import events as ev
from hexviz.events.control_manager import ControlManager
from hexviz.events.models import ControlResponse, ControlSignal
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.testing import runner_nodes as nodes
from hexviz.testing.capture import CapturedEvents, capture_events

if TYPE_CHECKING:
    from pathlib import Path

    from hexviz.dag import RunResult

_PATIENCE_S = 60.0
_LONG_S = 20.0
"""Far longer than anything here takes, and far shorter than what it waits for otherwise."""


def retry(event: Any, _: Any) -> ControlResponse:
    """A policy: once more."""
    return (
        ControlResponse(ControlSignal.RETRY, {"delay": 0.0}, "once more") if event.attempt == 1 else ControlResponse()
    )


def controlled(handler: Any, *event_types: type[ev.Event]) -> ControlManager:
    """A manager that asks one handler about some events."""
    control = ControlManager()
    control.register(handler, name="decider", event_types=event_types)
    return control


class RunnerContract:
    """Subclass it and define a fixture ``runner``; it may serve all tests of the class.

    ``elsewhere`` is False where nodes share this process: nothing is sent then, and no worker can die alone.
    ``home`` is False where results stay with their workers. The nodes are those of :mod:`hexviz.testing.runner_nodes`.
    """

    elsewhere = True
    home = True
    heard: CapturedEvents
    recorder: Recorder

    def value_of(self, result: Any) -> Any:
        """The result of a node, wherever it is."""
        return result

    def run(self, runner: Any, graph: Graph, value: Any = None, control: Any = None, **options: Any) -> RunResult:
        """One run of ``graph``: :attr:`heard` and :attr:`recorder` have its events."""

        async def main() -> RunResult:
            observers = ObserverManager()
            self.recorder = Recorder()
            self.recorder.attach(observers)
            with capture_events(observers) as self.heard:
                made = Orchestrator(observers=observers, control=control or ControlManager(), runner=runner, **options)
                async with asyncio.timeout(_PATIENCE_S):
                    return await made.run(graph, value, {"unit": " rows"})

        return asyncio.run(main())

    async def began(self, heard: CapturedEvents) -> None:
        """Wait until the code of a node has begun."""
        while not heard.of(ev.NodePlaced if self.elsewhere else ev.NodeStarted):  # noqa: ASYNC110 - heard in line
            await asyncio.sleep(0.01)

    def failure(self, runner: Any, graph: Graph, value: Any = None, **options: Any) -> BaseException:
        """What one node of the run failed with."""
        with pytest.raises(PipelineError) as failed:
            self.run(runner, graph, value, **options)
        (error,) = failed.value.exceptions
        assert error.__cause__ is not None
        return error.__cause__

    def test_sync_and_async_nodes_joins_and_ports_give_what_they_give_anywhere(self, runner: Any) -> None:
        graph = Graph("sums")
        graph.node(nodes.load)
        graph.node(nodes.double, after=["load"])
        graph.node(nodes.size, after=["load"])
        graph.node(nodes.join, after=["double", "size"])
        result = self.run(runner, graph, 1)
        assert self.value_of(result["join"]) == {"double": [2, 4, 6], "size": "3 rows"}
        attempts = self.recorder.recording.frames.attempts
        assert list(attempts["status"]) == ["succeeded"] * 4
        assert [bool(worker) for worker in attempts["worker"]] == (
            [True] * 4 if self.elsewhere else [True, False, True, True]
        )
        assert self.recorder.recording.diagnostics().empty

    def test_a_result_goes_when_nobody_holds_it_any_more(self, runner: Any) -> None:
        """Without the garbage collector: a large one would wait for that in memory."""
        graph = Graph("held")
        graph.node(nodes.rows)
        graph.node(nodes.size, after=["rows"])
        gc.collect()
        gc.disable()
        try:
            result = self.run(runner, graph, 1)
            held = weakref.ref(self.value_of(result["rows"]))
            del result, self.heard
            ends_s = time.monotonic() + _LONG_S
            while held() is not None and time.monotonic() < ends_s:
                time.sleep(0.01)
            assert held() is None
        finally:
            gc.enable()

    def test_a_nodes_time_is_its_own(self, runner: Any) -> None:
        graph = Graph("naps")
        for number in range(4):
            graph.node(nodes.nap, name=f"nap{number}")
        self.run(runner, graph)
        attempts = self.recorder.recording.frames.attempts
        assert (attempts["duration_ms"] >= 50.0).all()
        assert (attempts["end_ms"] - attempts["start_ms"] + 1e-3 >= attempts["duration_ms"]).all()

    def test_what_a_node_raises_comes_home_with_its_type_and_its_traceback(self, runner: Any) -> None:
        graph = Graph("wrong")
        graph.node(nodes.raises)
        error = self.failure(runner, graph)
        assert type(error) is ValueError
        assert str(error) == "no such row"
        (failed,) = self.heard.of(ev.NodeFailed)
        assert "runner_nodes.py" in ev.RecordedError.of(failed.error).traceback_text  # type: ignore[attr-defined]

    def test_an_exception_comes_home_in_the_same_way_each_time(self, runner: Any) -> None:
        graph = Graph("late")
        for number in range(4):
            graph.node(nodes.raises_late, name=f"late{number}")
        with pytest.raises(PipelineError) as failed:
            self.run(runner, graph, on_error="continue", max_concurrent_nodes=1)
        assert [type(error.__cause__) for error in failed.value.exceptions] == [nodes.LateError] * 4

    def test_an_exception_that_cannot_be_sent_is_told_by_name(self, runner: Any) -> None:
        graph = Graph("odd")
        graph.node(nodes.raises_odd)
        error = self.failure(runner, graph)
        assert type(error) is (RemoteNodeError if self.elsewhere else nodes.UnpackableError)
        assert "strange (7)" in str(error)

    def test_a_failed_attempt_is_tried_again_where_control_says_so(self, runner: Any, tmp_path: Path) -> None:
        graph = Graph("flaky")
        graph.node(nodes.flaky)
        result = self.run(runner, graph, str(tmp_path / "marks"), controlled(retry, ev.NodeFailed))
        assert self.value_of(result["flaky"]) == 2
        attempts = self.recorder.recording.frames.attempts
        assert list(attempts["status"]) == ["failed", "succeeded"]

    def test_a_node_ends_with_its_timeout(self, runner: Any) -> None:
        for fn, params in ((nodes.nap, {"seconds": 5.0}), (nodes.sleepy, {})):
            graph = Graph("late")
            graph.node(fn, name="late", timeout_s=0.2, params=params)
            began = time.monotonic()
            assert type(self.failure(runner, graph)) is NodeTimeoutError
            assert time.monotonic() - began < _LONG_S

    def test_a_cancelled_run_does_not_wait_for_its_nodes(self, runner: Any) -> None:
        graph = Graph("endless")
        graph.node(nodes.sleepy)

        async def main() -> CapturedEvents:
            observers = ObserverManager()
            orchestrator = Orchestrator(observers=observers, control=ControlManager(), runner=runner)
            with capture_events(observers) as heard:
                run = asyncio.create_task(orchestrator.run(graph, run_id="cancelled"))
                await self.began(heard)
                orchestrator.cancel("cancelled")
                with pytest.raises(asyncio.CancelledError):
                    async with asyncio.timeout(_LONG_S):
                        await run
            return heard

        assert asyncio.run(main()).names()[-3:] == ["NodeCancelled", "WaveCompleted", "PipelineCancelled"]

    def test_calls_inside_a_node_come_home_in_order_before_its_end(self, runner: Any) -> None:
        graph = Graph("calls")
        graph.node(nodes.calls)
        graph.node(nodes.asks)
        self.run(runner, graph, 20)
        told = self.heard.of(ev.ToolCalled, ev.ToolCompleted, ev.ToolFailed, ev.NodeCompleted)
        mine = [event for event in told if getattr(event, "node_name", getattr(event, "name", "")) == "calls"]
        assert [type(event).__name__ for event in mine] == (
            ["ToolCalled", "ToolCompleted"] * 20 + ["ToolCalled", "ToolFailed", "NodeCompleted"]
        )
        assert [event.params["number"] for event in mine[:40:2]] == list(range(20))  # type: ignore[attr-defined]
        assert [event.seq for event in self.heard] == list(range(1, len(self.heard) + 1))
        assert {(event.run_id, event.attempt) for event in mine} == {(self.heard[0].run_id, 1)}  # type: ignore[attr-defined]
        calls = self.recorder.recording.frames.calls
        assert list(calls[calls["kind"] == "llm"]["output_tokens"]) == [2]
        assert (calls["duration_ms"] >= 0).all()

    def test_control_answers_for_a_call_inside_a_node(self, runner: Any) -> None:
        def answer(_: Any, context: Any) -> ControlResponse:
            assert (context.node_id, context.attempt) == ("searches", 1)
            return ControlResponse(ControlSignal.FALLBACK, "from the cache", "it is known")

        graph = Graph("answered")
        graph.node(nodes.searches)
        result = self.run(runner, graph, control=controlled(answer, ev.ToolCalled))
        assert self.value_of(result["searches"]) == "from the cache"
        (decided,) = self.heard.of(ev.ControlDecided)
        assert (decided.node_name, decided.decided_by) == ("searches", "decider")  # type: ignore[attr-defined]

    def test_control_forbids_a_call_inside_a_node(self, runner: Any) -> None:
        graph = Graph("forbidden")
        graph.node(nodes.searches)
        control = controlled(lambda _event, _context: ControlResponse(ControlSignal.FAIL, "not today"), ev.ToolCalled)
        error = self.failure(runner, graph, control=control)
        assert type(error) is NodeVetoedError
        assert "not today" in str(error)

    def test_a_node_that_asks_the_interpreter_to_end_ends_the_run(self, runner: Any) -> None:
        graph = Graph("leaves")
        graph.node(nodes.leaves)
        with pytest.raises(SystemExit):
            self.run(runner, graph)
        assert self.heard.names()[-1] == "PipelineFailed"

    def test_a_result_that_is_not_what_was_promised_fails_its_node(self, runner: Any) -> None:
        graph = Graph("model")
        graph.node(nodes.load, out_model=dict)
        assert type(self.failure(runner, graph, strict_validation=True)) is TypeError

    def test_two_runs_at_once_share_a_runner(self, runner: Any) -> None:
        graph = Graph("shared")
        graph.node(nodes.load)
        graph.node(nodes.double, after=["load"])

        async def main() -> list[RunResult]:
            made = [Orchestrator(observers=ObserverManager(), control=ControlManager(), runner=runner) for _ in "ab"]
            async with asyncio.timeout(_PATIENCE_S):
                return await asyncio.gather(*(one.run(graph, value) for value, one in enumerate(made)))

        results = asyncio.run(main())
        assert [self.value_of(result["double"]) for result in results] == [[0, 4, 6], [2, 4, 6]]

    def test_a_worker_that_dies_is_a_failed_attempt(self, runner: Any, tmp_path: Path) -> None:
        if not self.elsewhere:
            pytest.skip("nodes share this process: it cannot die alone")
        graph = Graph("dies")
        graph.node(nodes.dies_once)
        result = self.run(runner, graph, str(tmp_path / "marks"), controlled(retry, ev.NodeFailed))
        assert self.value_of(result["dies_once"]) == "alive"
        (failed,) = self.heard.of(ev.NodeFailed)
        assert type(failed.error) is WorkerLostError  # type: ignore[attr-defined]
        attempts = self.recorder.recording.frames.attempts
        assert list(attempts["status"]) == ["failed", "succeeded"]
        assert attempts["worker"].nunique() == 2

    def test_what_cannot_be_sent_is_named(self, runner: Any) -> None:
        if not self.elsewhere:
            pytest.skip("nodes share this process: nothing is sent")
        graph = Graph("argument")
        graph.node(nodes.takes)
        error = self.failure(runner, graph, (row for row in [1]))
        assert type(error) is NodeTransferError
        assert "argument 1 (generator) of node 'takes'" in str(error)
        if self.home:
            graph = Graph("result")
            graph.node(nodes.opens)
            error = self.failure(runner, graph)
            assert type(error) is NodeTransferError
            assert "the result of node 'opens' (generator)" in str(error)
