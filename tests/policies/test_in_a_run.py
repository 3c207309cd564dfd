"""Every policy in real runs: what the run makes of its answers."""

from __future__ import annotations

import asyncio
import itertools

import pytest

import hexviz
from hexviz.policies import Budget, CircuitBreaker, Fallback, Gate, RateLimit, Retry, Timeout, Validate


def statuses(result):
    return dict(
        zip(result.recording.frames.nodes["node"], result.recording.frames.nodes["status"].astype(str), strict=True)
    )


def flaky(failures, value="ok", error=ConnectionError):
    left = itertools.count()

    async def run():
        if next(left) < failures:
            raise error("gone")
        return value

    return run


def run(*nodes, policies, **options):
    graph = hexviz.Graph("policies")
    for name, fn, *after in nodes:
        graph.node(fn, name=name, after=after)
    return hexviz.run_sync(graph, policies=policies, store=False, **options)


async def fine(*args):
    return "fine"


def test_retry_brings_a_flaky_node_through_and_fallback_stands_behind_it():
    result = run(
        ("flaky", flaky(2)),
        ("broken", flaky(99)),
        policies=[Fallback("instead", nodes="broken"), Retry(3, initial_interval_s=0.001)],
    )
    assert dict(result) == {"flaky": "ok", "broken": "instead"}
    nodes = result.recording.frames.nodes.set_index("node")
    assert nodes["attempts"].to_dict() == {"flaky": 3, "broken": 3}
    assert statuses(result) == {"flaky": "succeeded", "broken": "fell_back"}
    decisions = result.recording.frames.decisions
    assert (decisions["vote_reason"] != "").sum() == 5


def test_an_open_circuit_answers_for_the_node_and_is_not_retried():
    breaker = CircuitBreaker(2, key="service", when_open="fallback", value="cached")
    result = run(
        ("a", flaky(99)),
        ("b", fine, "a"),
        policies=[breaker, Retry(10, initial_interval_s=0.0, jitter=0)],
    )
    assert dict(result) == {"a": "cached", "b": "cached"}
    assert result.recording.frames.nodes.set_index("node").loc["a", "attempts"] == 3
    assert breaker.state_of("service") == "open"


def test_a_rate_limit_spaces_the_starts_and_loses_nobody():
    result = run(*((str(i), fine) for i in range(6)), policies=[RateLimit(100, burst=2)])
    assert len(result) == 6
    starts = result.recording.frames.attempts["start_ms"].sort_values().tolist()
    assert starts[-1] - starts[0] >= 0.0
    waits = result.recording.frames.decisions
    assert (waits["signal"].astype(str) == "retry").sum() == 4


def test_after_the_time_of_the_run_nothing_starts():
    async def slow():
        await asyncio.sleep(0.5)

    result = run(("slow", slow), ("late", fine, "slow"), policies=[Timeout(0.4, when_over="skip")])
    assert statuses(result) == {"slow": "succeeded", "late": "skipped"}
    with pytest.raises(hexviz.PipelineError, match=r"limit is 0\.4 s"):
        run(("slow", slow), ("late", fine, "slow"), policies=[Timeout(0.4)])


def test_the_attempt_budget_stops_a_run():
    nodes = [("0", fine), *((str(i), fine, str(i - 1)) for i in range(1, 5))]
    result = run(*nodes, policies=[Budget(attempts=3, when_spent="skip")])
    assert list(statuses(result).values()) == ["succeeded"] * 3 + ["skipped"] * 2


def test_the_token_budget_stops_further_prompts():
    budget = Budget(tokens=10)
    graph = hexviz.Graph("tokens")

    @graph.node
    async def ask():
        for _ in range(5):
            async with hexviz.llm_call(["hello"]) as call:
                call.result = "hi"
                call.input_tokens, call.output_tokens = 3, 3

    async def main():
        observers, control = hexviz.ObserverManager(), hexviz.ControlManager()
        control.register(budget, priority=budget.priority, event_types=budget.event_types)
        observers.register(budget.observe, event_types=budget.observed_types, lossless=True)
        try:
            with pytest.raises(hexviz.PipelineError, match="token budget: 12 of 10"):
                await hexviz.Orchestrator(observers=observers, control=control).run(graph, None, run_id="r")
        finally:
            await observers.close()

    asyncio.run(main())
    assert budget.spent("r").tokens == 12


def test_gates_stand_before_nodes_and_before_the_run():
    result = run(
        ("a", fine), ("b", fine), ("c", fine, "b"), policies=[Gate(False, reason="b is off", nodes="b", value=None)]
    )
    assert statuses(result) == {"a": "succeeded", "b": "skipped", "c": "skipped"}
    assert result.recording.frames.nodes.set_index("node").loc["b", "reason"] == "b is off"
    stopped = run(("a", fine), policies=[Gate(False, at="pipeline", reason="closed today")])
    assert stopped.status == "skipped"


def test_a_gate_that_cannot_be_checked_stops_the_run():
    def permission(context):
        raise PermissionError("no directory service")

    with pytest.raises(hexviz.PipelineError):
        run(("a", fine), policies=[Gate(permission)])


def test_a_result_that_is_not_good_enough_is_made_again():
    drawn = iter([1, 2, 5])

    async def draw():
        return next(drawn)

    result = run(("draw", draw), policies=[Validate(lambda r: r > 3)])
    assert result["draw"] == 5
    assert result.recording.frames.nodes.set_index("node").loc["draw", "attempts"] == 3
    replaced = run(("draw", fine), policies=[Validate(lambda r: False, max_attempts=1, value=0)])
    assert replaced["draw"] == 0


def test_an_async_fallback_function_is_awaited():
    async def later(error):
        await asyncio.sleep(0)
        return str(error)

    assert run(("a", flaky(99)), policies=[Fallback(function=later)])["a"] == "gone"


def test_every_policy_together_on_a_run_where_nothing_is_wrong_changes_nothing():
    policies = [
        Gate(True),
        Budget(attempts=10),
        Timeout(60),
        RateLimit(1e6, burst=100),
        CircuitBreaker(),
        Validate(lambda r: r == "fine"),
        Retry(),
        Fallback(None),
    ]
    result = run(("a", fine), ("b", fine, "a"), policies=policies)
    assert dict(result) == {"a": "fine", "b": "fine"}
    assert result.recording.frames.decisions.empty
