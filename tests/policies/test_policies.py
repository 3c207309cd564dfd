"""What every policy promises, and each one by itself."""

from __future__ import annotations

import asyncio
import inspect
import math
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.events.events import (
    LLMPromptSent,
    LLMResponseReceived,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    PipelineStarted,
    ToolCalled,
    WaveStarted,
)
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies import Budget, CircuitBreaker, Fallback, Gate, RateLimit, Retry, Timeout, Validate

S = 1_000_000_000


def context(node="a", attempt=1, run_id="r1"):
    return ExecutionContext("dag", node, 1, attempt, {}, run_id)


def started(node="a", at=0.0, attempt=1, seq=0):
    return NodeStarted(node, 1, attempt=attempt, monotonic_ns=int(at * S), run_id="r1", seq=seq)


def failed(node="a", error=None, at=0.0, attempt=1):
    return NodeFailed(node, 1, error or OSError("gone"), attempt, monotonic_ns=int(at * S), run_id="r1")


def completed(result=1, node="a", at=0.0):
    return NodeCompleted(node, 1, result, 1.0, monotonic_ns=int(at * S), run_id="r1")


EVERY = [
    Retry(),
    CircuitBreaker(),
    RateLimit(10),
    Timeout(60),
    Budget(attempts=3),
    Fallback(0),
    Gate(False),
    Validate(bool),
]


@pytest.mark.parametrize("policy", EVERY, ids=lambda p: type(p).__name__)
class TestEvery:
    def test_says_proceed_with_the_shared_object_to_events_it_is_not_for(self, policy):
        assert policy.handle(WaveStarted(1, ("a",)), context()) is PROCEED

    def test_has_a_priority_and_names_its_events(self, policy):
        assert isinstance(policy.priority, int)
        assert policy.event_types
        assert all(isinstance(t, type) for t in policy.event_types)

    def test_leaves_other_nodes_alone(self, policy):
        settings = {n: getattr(policy, n) for n in inspect.signature(type(policy)).parameters}
        narrow = type(policy)(**settings | {"nodes": ["load_*", "exact[1]"]})
        for event in (started(), failed(), completed(0)):
            assert narrow.handle(event, context("other")) is PROCEED
        assert narrow.is_about(started("load_x"), ExecutionContext("dag"))
        assert narrow.is_about(started("exact[1]"), ExecutionContext("dag"))

    def test_reads_as_its_configuration(self, policy):
        assert repr(policy).startswith(f"{type(policy).__name__}(")

    def test_refuses_nodes_that_are_no_names(self, policy):
        settings = {n: getattr(policy, n) for n in inspect.signature(type(policy)).parameters}
        with pytest.raises(ValueError, match="nodes"):
            type(policy)(**settings | {"nodes": [3]})


def test_policies_are_asked_in_a_sensible_order():
    order = [Gate, Budget, Timeout, RateLimit, CircuitBreaker, Validate, Retry, Fallback]
    assert [p.priority for p in order] == sorted(p.priority for p in order)
    assert all(p.priority < 50 for p in order[:4])
    assert all(p.priority >= 50 for p in order[4:])


def test_importing_the_policies_loads_nothing_heavy():
    code = (
        "import sys, hexviz.policies; "
        "print([m for m in ('pandas','numpy','plotly','ipywidgets','tenacity') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: Retry(initial_interval_s=bad),
        lambda bad: Retry(max_interval_s=bad),
        lambda bad: Retry(backoff_factor=bad),
        lambda bad: Retry(jitter=bad),
        lambda bad: Retry(max_attempts=bad),
        lambda bad: CircuitBreaker(bad),
        lambda bad: CircuitBreaker(recovery_s=bad),
        lambda bad: RateLimit(bad),
        lambda bad: RateLimit(1, bad),
        lambda bad: RateLimit(1, max_wait_s=bad),
        lambda bad: RateLimit(1, burst=bad),
        lambda bad: Timeout(bad),
        lambda bad: Budget(attempts=bad),
        lambda bad: Budget(wall_time_s=bad),
        lambda bad: Budget(tokens=bad),
        lambda bad: Budget(cost=bad, cost_of=lambda e: 1),
        lambda bad: Validate(bool, delay_s=bad),
        lambda bad: Validate(bool, max_attempts=bad),
    ],
)
@pytest.mark.parametrize("bad", [math.nan, -1, math.inf, "3", True])
def test_bad_numbers_are_refused_by_name(make, bad):
    with pytest.raises(ValueError, match=r"Retry|CircuitBreaker|RateLimit|Timeout|Budget|Validate"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Retry(backoff_factor=0.5), "backoff_factor must be 1 or more"),
        (lambda: Retry(jitter=1.5), "jitter must be between 0 and 1"),
        (lambda: Retry(retry_on="ValueError"), "takes exception classes"),
        (lambda: RateLimit(1, on_limit="queue"), "one of wait, skip, fail"),
        (lambda: Fallback(), "either a value or a function"),
        (lambda: Fallback(1, function=str), "either a value or a function"),
        (lambda: Budget(), "at least one limit"),
        (lambda: Budget(cost=1.0), "cost_of"),
        (lambda: Gate("yes"), "a bool or a function"),
        (lambda: Gate(True, at="moon"), "one of pipeline"),
        (lambda: Validate(None), "function of the result"),
        (lambda: CircuitBreaker(when_open="wait"), "one of fail, skip, fallback"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# --- retry


def test_retry_waits_grow_exponentially_up_to_the_limit():
    retry = Retry(9, initial_interval_s=0.1, backoff_factor=2, max_interval_s=1.0, jitter=0)
    delays = [retry.handle(failed(attempt=n), context(attempt=n)).data["delay"] for n in range(1, 7)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_retry_lets_others_decide_when_its_attempts_are_used_up():
    retry = Retry(3)
    assert retry.handle(failed(attempt=2), context(attempt=2)).signal is ControlSignal.RETRY
    assert retry.handle(failed(attempt=3), context(attempt=3)) is PROCEED


def test_retry_tells_the_attempt_and_the_cause():
    assert "attempt 2 of 3" in Retry(3).handle(failed(), context()).reason
    assert "OSError" in Retry(3).handle(failed(), context()).reason


@pytest.mark.parametrize(("error", "again"), [(OSError(), True), (FileNotFoundError(), False), (ValueError(), False)])
def test_retry_only_on_the_errors_it_was_made_for(error, again):
    retry = Retry(retry_on=OSError, not_on=(FileNotFoundError,))
    assert (retry.handle(failed(error=error), context()) is not PROCEED) == again


def test_a_cancelled_node_is_not_retried():
    assert Retry().handle(failed(error=asyncio.CancelledError()), context()) is PROCEED


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (5, 5.0),
        ("7", 7.0),
        (timedelta(seconds=2), 2.0),
        (99, 30.0),
        (0, 0.0),
        (math.nan, 0.1),
        (-1, 0.1),
        (object(), 0.1),
    ],
)
def test_retry_after_on_the_error_is_honoured_and_capped(asked, delay):
    error = OSError()
    error.retry_after = asked
    assert Retry(jitter=0).handle(failed(error=error), context()).data == {"delay": delay}


def test_a_hostile_retry_after_does_no_harm():
    class Hostile(OSError):
        @property
        def retry_after(self):
            raise RuntimeError

    assert Retry(jitter=0).handle(failed(error=Hostile()), context()).data == {"delay": 0.1}


@given(
    attempt=st.integers(1, 100_000),
    first=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    most=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    seed=st.integers() | st.text() | st.none(),
)
def test_every_wait_is_finite_and_within_the_limit(attempt, first, factor, most, jitter, seed):
    retry = Retry(2, initial_interval_s=first, backoff_factor=factor, max_interval_s=most, jitter=jitter, seed=seed)
    delay = retry.delay_s(attempt, node="a", run_id="r")
    assert 0 <= delay <= most


def test_the_same_run_jitters_the_same_and_another_run_differently():
    waits = [Retry(jitter=1).delay_s(3, node="a", run_id=run) for run in ("x", "x", "y")]
    assert waits[0] == waits[1] != waits[2]
    seeded = [Retry(jitter=1, seed=1).delay_s(3, node="a", run_id=run) for run in ("x", "y")]
    assert seeded[0] == seeded[1]


def test_retry_repr_names_what_was_chosen():
    assert (
        repr(Retry(5, retry_on=OSError, nodes="load")) == "Retry(max_attempts=5, retry_on=(OSError,), nodes=('load',))"
    )


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Retry(), "Retry()"),
        (Timeout(60), "Timeout(seconds=60.0)"),
        (Gate(False, at="tool", nodes="b*"), "Gate(allow=False, at='tool', nodes=('b*',))"),
        (Fallback([1, 2]), "Fallback(value=<list>)"),
        (Fallback(function=str), "Fallback(function=str)"),
        (RateLimit(5, on_limit="skip"), "RateLimit(rate=5.0, on_limit='skip')"),
    ],
)
def test_a_policy_reads_as_what_was_chosen(policy, text):
    assert repr(policy) == text


def test_the_repr_never_compares_or_prints_values_of_users():
    class Hostile:
        def __eq__(self, other):
            raise RuntimeError

        def __repr__(self):
            raise RuntimeError

        __hash__ = None

    assert "Hostile" in repr(Fallback(Hostile()))


# --- circuit breaker


def test_the_circuit_opens_lets_one_probe_through_and_closes():
    breaker = CircuitBreaker(2, recovery_s=10)
    for at in (0, 1):
        assert breaker.handle(started(at=at), context()) is PROCEED
        assert breaker.handle(failed(at=at), context()) is PROCEED
    assert breaker.state_of("a") == "open"
    assert breaker.handle(started(at=5), context()).signal is ControlSignal.FAIL
    assert breaker.handle(started(at=12), context()) is PROCEED
    assert breaker.state_of("a") == "half_open"
    assert "probe" in breaker.handle(started(at=12.5), context()).reason
    breaker.handle(completed(at=13), context())
    assert breaker.state_of("a") == "closed"
    assert breaker.handle(started(at=13), context()) is PROCEED


def test_a_failed_probe_opens_the_circuit_again():
    breaker = CircuitBreaker(1, recovery_s=10)
    breaker.handle(failed(at=0), context())
    assert breaker.handle(started(at=11), context()) is PROCEED
    breaker.handle(failed(at=12), context())
    assert breaker.handle(started(at=20), context()).signal is ControlSignal.FAIL
    assert breaker.handle(started(at=23), context()) is PROCEED


def test_a_probe_that_never_ends_does_not_block_for_ever():
    breaker = CircuitBreaker(1, recovery_s=10)
    breaker.handle(failed(at=0), context())
    assert breaker.handle(started(at=11), context()) is PROCEED
    assert breaker.handle(started(at=15), context()) is not PROCEED
    assert breaker.handle(started(at=22), context()) is PROCEED


def test_success_forgets_earlier_failures():
    breaker = CircuitBreaker(2)
    for event in (failed(), completed(), failed()):
        breaker.handle(event, context())
    assert breaker.state_of("a") == "closed"


def test_circuits_are_per_node_or_per_key():
    per_node, shared = CircuitBreaker(1), CircuitBreaker(1, key="db", when_open="fallback", value=7)
    for breaker in (per_node, shared):
        breaker.handle(failed("a"), context("a"))
    assert per_node.handle(started("b"), context("b")) is PROCEED
    answer = shared.handle(started("b"), context("b"))
    assert (answer.signal, answer.data) == (ControlSignal.FALLBACK, 7)
    shared.reset()
    assert shared.handle(started("b"), context("b")) is PROCEED


def test_circuits_are_bounded():
    breaker = CircuitBreaker(1, max_circuits=10)
    for i in range(100):
        breaker.handle(failed(str(i)), context(str(i)))
    assert len(breaker._circuits) == 10


# --- rate limit


def test_each_comer_waits_for_the_next_free_place_once():
    limit = RateLimit(10, burst=2)
    answers = [limit.handle(started(n), context(n)) for n in "abcd"]
    assert answers[:2] == [PROCEED, PROCEED]
    assert [a.data["delay"] for a in answers[2:]] == pytest.approx([0.1, 0.2])
    assert limit.handle(started("d"), context("d")) is PROCEED
    assert limit.handle(started("e", at=10), context("e")) is PROCEED


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.5, 20))
def test_no_window_lets_more_through_than_burst_and_rate(times, burst, rate):
    limit = RateLimit(rate, burst=burst)
    starts = []
    for i, at in enumerate(sorted(times)):
        answer = limit.handle(started(str(i), at=at), context(str(i)))
        starts.append(at + (answer.data["delay"] if answer is not PROCEED else 0.0))
    for i, first in enumerate(starts):
        for j in range(i, len(starts)):
            assert j - i + 1 <= burst + rate * (starts[j] - first) + 1e-3 * rate + 1e-6


@pytest.mark.parametrize(("on_limit", "signal"), [("skip", ControlSignal.SKIP), ("fail", ControlSignal.FAIL)])
def test_who_may_not_wait_takes_no_place(on_limit, signal):
    limit = RateLimit(1, on_limit=on_limit)
    limit.handle(started("a"), context("a"))
    assert [limit.handle(started(n), context(n)).signal for n in "bc"] == [signal, signal]
    assert limit.handle(started("d", at=1), context("d")) is PROCEED


def test_a_wait_that_is_too_long_fails():
    limit = RateLimit(0.01, max_wait_s=60)
    limit.handle(started("a"), context("a"))
    assert limit.handle(started("b"), context("b")).signal is ControlSignal.FAIL


def test_calls_can_be_limited_instead_of_nodes():
    limit = RateLimit(1, at="tool")
    assert limit.event_types == (ToolCalled,)
    events = [ToolCalled("a", "t", {}, call_id=c, monotonic_ns=0) for c in "12"]
    assert [limit.handle(e, context()).signal.value for e in events] == ["proceed", "retry"]
    assert limit.handle(started(), context()) is PROCEED


def test_checks_by_hand_without_a_run_id_are_limited_too():
    limit = RateLimit(1)
    here = ExecutionContext("dag", "a")
    answers = [limit.handle(NodeStarted("a", 1), here).signal.value for _ in range(2)]
    assert answers == ["proceed", "retry"]


# --- timeout, budget


def test_nothing_starts_after_the_time_of_the_run_is_over():
    limit = Timeout(10)
    limit.handle(PipelineStarted("p", 1, 1, monotonic_ns=100 * S, run_id="r1"), ExecutionContext("dag", run_id="r1"))
    assert limit.handle(started(at=109), context()) is PROCEED
    late = limit.handle(started(at=110), context())
    assert late.signal is ControlSignal.FAIL
    assert "10 s" in late.reason
    assert limit.handle(started(at=110), context(run_id="another")) is PROCEED
    assert Timeout(10, when_over="skip").handle(started(), context()) is PROCEED


def test_the_attempt_budget_counts_each_start_once_even_if_asked_twice():
    budget = Budget(attempts=2)
    first, second, third = (started(n, seq=i) for i, n in enumerate("abc", 1))
    for event in (first, first, second, second):
        assert budget.handle(event, context(event.name)) is PROCEED
    answer = budget.handle(third, context("c"))
    assert answer.signal is ControlSignal.FAIL
    assert answer.reason == "attempt budget: 2 of 2 are made"
    assert budget.handle(first, context("a")) is PROCEED
    assert budget.handle(third, context("c", run_id="other")) is PROCEED


def test_token_and_cost_budgets_count_answers():
    budget = Budget(tokens=100, cost=1.0, cost_of=lambda e: 0.001 * e.output_tokens, when_spent="skip")
    prompt = LLMPromptSent("a", [], run_id="r1")
    answer = LLMResponseReceived("a", "x", 1.0, input_tokens=60, output_tokens=39, run_id="r1", seq=5)
    budget.observe(answer)
    budget.observe(answer)
    assert budget.spent("r1").tokens == 99
    assert budget.handle(prompt, context()) is PROCEED
    budget.observe(LLMResponseReceived("a", "x", 1.0, output_tokens=1, run_id="r1", seq=9))
    assert budget.handle(prompt, context()).signal is ControlSignal.SKIP
    assert "token budget" in budget.handle(ToolCalled("a", "t", {}, run_id="r1"), context()).reason


def test_the_time_budget_starts_with_the_run():
    budget = Budget(wall_time_s=5)
    budget.handle(PipelineStarted("p", 1, 1, monotonic_ns=S), ExecutionContext("dag", run_id="r1"))
    assert budget.handle(started(at=5), context()) is PROCEED
    assert "time budget" in budget.handle(started(at=6), context()).reason


def test_the_state_per_run_is_bounded():
    budget = Budget(attempts=1)
    for i in range(3000):
        budget.handle(started(seq=1), context(run_id=str(i)))
    assert len(budget._spent) == 1024


# --- fallback, gate, validate


def test_fallback_gives_the_value_by_exception():
    policies = [Fallback(None, on=TimeoutError), Fallback(0, on=Exception, not_on=KeyError)]
    answers = [
        [p.handle(failed(error=e), context()) for p in policies] for e in (TimeoutError(), ValueError(), KeyError())
    ]
    assert answers[0][0] == ControlResponse(ControlSignal.FALLBACK, None, "stands in after TimeoutError")
    assert answers[1] == [PROCEED, ControlResponse(ControlSignal.FALLBACK, 0, "stands in after ValueError")]
    assert answers[2] == [PROCEED, PROCEED]


def test_a_fallback_function_gets_the_error_sync_or_async():
    async def later(error):
        return f"later {error}"

    assert Fallback(function=str).handle(failed(error=ValueError("x")), context()).data == "x"
    answer = asyncio.run(_awaited(Fallback(function=later).handle(failed(error=ValueError("x")), context())))
    assert answer.data == "later x"


async def _awaited(value):
    return await value


@pytest.mark.parametrize("otherwise", ["skip", "fail", "fallback"])
def test_a_closed_gate_answers_with_its_reason(otherwise):
    answer = Gate(False, reason="reports are off", otherwise=otherwise, value=3).handle(started(), context())
    assert (answer.signal.value, answer.reason) == (otherwise, "reports are off")
    assert answer.data == ("reports are off" if otherwise == "fail" else 3)


def test_a_gate_asks_each_time_sync_or_async():
    flags = {"a": True}

    async def permitted(here):
        return here.node_id == "a"

    gate = Gate(lambda here: flags.get(here.node_id, False))
    assert gate.handle(started("a"), context("a")) is PROCEED
    flags["a"] = False
    assert gate.handle(started("a"), context("a")).signal is ControlSignal.SKIP
    assert asyncio.run(_awaited(Gate(permitted).handle(started("b"), context("b")))).signal is ControlSignal.SKIP


def test_a_gate_can_stand_before_the_whole_run():
    gate = Gate(False, at="pipeline")
    assert gate.event_types == (PipelineStarted,)
    assert gate.handle(PipelineStarted("p", 1, 1), ExecutionContext("p")).signal is ControlSignal.SKIP


def test_a_result_that_is_not_good_enough_is_made_again_then_fails_or_is_replaced():
    strict, lenient = Validate(lambda r: r > 3, max_attempts=2), Validate(lambda r: r > 3, max_attempts=1, value=9)
    assert strict.handle(completed(5), context()) is PROCEED
    assert strict.handle(completed(1), context()).signal is ControlSignal.RETRY
    assert strict.handle(completed(1), context(attempt=2)).signal is ControlSignal.FAIL
    assert lenient.handle(completed(1), context()).data == 9


def test_a_check_may_raise_or_return_what_it_checked():
    import numpy as np
    import pandas as pd

    def schema(result):
        if not len(result):
            raise ValueError("no rows")
        return result

    policy = Validate(schema, max_attempts=1)
    assert policy.handle(completed(pd.DataFrame({"a": [0]})), context()) is PROCEED
    assert policy.handle(completed(pd.DataFrame()), context()).reason.endswith("ValueError: no rows")
    assert Validate(lambda r: np.bool_(0)).handle(completed(), context()) is not PROCEED
    assert Validate(lambda r: None).handle(completed(), context()) is PROCEED
