"""Backtest: recorded facts, asked about again."""

import asyncio
import os

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hexviz
from hexviz.analysis import backtest_summary
from hexviz.dag import Graph
from hexviz.demo import airrflow, airrflow_policies
from hexviz.errors import SourceError
from hexviz.events import events as ev
from hexviz.events.control_manager import ControlManager
from hexviz.events.models import ControlResponse, ControlSignal
from hexviz.events.schema import from_records
from hexviz.events.summary import Summary
from hexviz.policies import Budget, CircuitBreaker, Fallback, Gate, RateLimit, Retry, Timeout, Validate
from hexviz.recording.backtest import recheck
from hexviz.recording.rebuilt import Watch, rebuild
from hexviz.recording.recording import Recording
from tests.recording.made_events import small_run
from tests.recording.random_runs import OddError, managers, random_policies, record, record_random

DOWN = ConnectionError("down")


def flaky_graph(error=DOWN, failures=2):
    """``load`` fails so many times; ``report`` comes after it."""
    graph, left = Graph("flaky"), [error] * failures

    @graph.node
    async def load():
        if left:
            raise left.pop()
        return [1, 2, 3]

    graph.node(len, name="report", after=["load"])
    return graph


def asked_again(recording, policies):
    return recheck(recording, managers(policies)[1])


def brief(frame):
    return [tuple(row) for row in frame[["checked", "attempt", "recorded", "new", "fidelity"]].itertuples(index=False)]


# --- the same policies


@pytest.mark.parametrize("decisions", ["noteworthy", "all"])
def test_the_same_policies_give_no_difference_on_a_hundred_random_runs(decisions):
    kinds = set()
    for seed in range(100):
        recording = record_random(seed, decisions=decisions, max_concurrent_nodes=3)
        checks = asked_again(recording, random_policies(seed))
        assert [check for check in checks if check.changed] == []
        kinds |= {check.recorded for check in checks}
    assert kinds == {"proceed", "retry", "skip", "fallback", "fail"}


@pytest.mark.parametrize(
    "policies",
    [
        lambda: [Retry(3, initial_interval_s=0.001, jitter=0.9)],
        lambda: [CircuitBreaker(1, 60.0, when_open="skip"), Retry(3, initial_interval_s=0.001)],
        lambda: [RateLimit(1000.0), Retry(3, initial_interval_s=0.001)],
        lambda: [Timeout(1e-9, when_over="skip")],
        lambda: [Budget(attempts=2, when_spent="skip"), Retry(3, initial_interval_s=0.001)],
        lambda: [Fallback([], on=ConnectionError)],
        lambda: [Gate(lambda context: context.attempt < 2), Retry(3, initial_interval_s=0.001)],
        lambda: [
            Retry(3, initial_interval_s=0.001),
            Validate(lambda result: result == 7, max_attempts=2, nodes="report"),
        ],
    ],
    ids=["retry", "breaker", "rate", "timeout", "budget", "fallback", "gate", "validate"],
)
def test_each_ready_made_policy_decides_the_same_again_and_that_is_exact(policies):
    recording = record(flaky_graph(), policies())
    checks = asked_again(recording, policies())
    assert [check for check in checks if check.changed] == []
    assert {check.recorded for check in checks} > {"proceed"}
    assert {check.fidelity for check in checks if check.ask == 1} == {"exact"}


def test_the_same_policies_give_no_difference_on_the_demo():
    recording = record(airrflow(speed=5_000.0), airrflow_policies(), max_concurrent_nodes=64)
    frame = hexviz.backtest(recording, airrflow_policies())
    assert not frame["changed"].any()
    assert frame.attrs["exact_checks"] > 400


def test_a_policy_that_hears_events_hears_them_in_the_recorded_order():
    graph = Graph("talk")

    @graph.node
    async def ask():
        for number in range(4):
            async with hexviz.llm_call(["hi"], model="m") as call:
                call.result, call.input_tokens, call.output_tokens = "yes", 10 * number, 0

    def budget():
        return [Budget(tokens=25)]

    recording = record(graph, budget())
    checks = asked_again(recording, budget())
    prompts = [(check.recorded, check.new) for check in checks if check.checked == "LLMPromptSent"]
    assert prompts == [("proceed", "proceed")] * 3 + [("fail", "fail")]


def test_metadata_lasts_from_attempt_to_attempt_as_in_the_run():
    def third_time(event, context):
        if isinstance(event, ev.NodeFailed):
            context.metadata["failures"] = context.metadata.get("failures", 0) + 1
            if context.metadata["failures"] < 2:
                return ControlResponse(ControlSignal.RETRY)
        return ControlResponse()

    recording = record(flaky_graph(), [third_time])
    assert [c.recorded for c in asked_again(recording, [third_time]) if c.checked == "NodeFailed"] == [
        "retry",
        "proceed",
    ]
    assert not any(c.changed for c in asked_again(recording, [third_time]))


def test_a_stored_and_read_recording_gives_the_same_answers():
    recording = record(flaky_graph(), [Retry(3, initial_interval_s=0.001)])
    read = Recording(from_records(recording.records()))
    assert asked_again(read, [Retry(2)]) == asked_again(recording, [Retry(2)])


# --- changed policies


def test_a_shorter_retry_is_exact_once_and_modelled_from_then_on():
    recording = record(flaky_graph(), [Retry(3, initial_interval_s=0.001, jitter=0)])
    frame = hexviz.backtest(recording, Retry(1))
    assert brief(frame) == [
        ("NodeFailed", 1, "retry", "proceed", "exact"),
        ("NodeFailed", 2, "retry", "proceed", "modelled"),
    ]
    assert frame["attempts_effect"].tolist()[0] == -2
    assert frame["attempts_effect"].isna().tolist() == [False, True]
    assert frame["makespan_effect_ms"][0] < -2.0  # two waits of 1 and 2 ms, and two attempts
    every = hexviz.backtest(recording, Retry(1), every=True)
    start = every[(every["node"] == "report") & (every["checked"] == "NodeStarted")]
    assert start["fidelity"].tolist() == ["modelled"]  # it comes after the node that changed


def test_a_longer_retry_of_a_run_that_failed_is_one_more_attempt_and_nobody_knows_what_then():
    recording = record(flaky_graph(failures=9), [Retry(2, initial_interval_s=0.001)])
    frame = hexviz.backtest(recording, [Retry(3, initial_interval_s=0.001)])
    assert brief(frame) == [("NodeFailed", 2, "proceed", "retry", "exact")]
    assert (frame["attempts_effect"][0], frame["makespan_effect_ms"].isna()[0]) == (1, True)
    assert frame["handler"][0] == "Retry"
    assert "attempt 3 of 3" in frame["reason"][0]


def test_a_run_without_policies_can_be_asked_about():
    frame = hexviz.backtest(record(flaky_graph()), Retry(3))
    assert brief(frame) == [("NodeFailed", 1, "proceed", "retry", "exact")]


def test_another_wait_is_a_difference_too():
    recording = record(flaky_graph(failures=1), [Retry(3, initial_interval_s=0.001, jitter=0)])
    frame = hexviz.backtest(recording, Retry(3, initial_interval_s=0.501, jitter=0))
    assert frame[["recorded", "new"]].to_numpy().tolist() == [["retry", "retry"]]
    assert (frame["recorded_delay_s"][0], frame["new_delay_s"][0]) == (0.001, 0.501)
    assert frame["makespan_effect_ms"][0] == pytest.approx(500.0)


def test_a_veto_is_not_offered_to_a_retry():
    recording = record(flaky_graph(), [Gate(allow=False, otherwise="fail", nodes="load")])
    checks = asked_again(recording, [Gate(allow=False, otherwise="fail", nodes="load"), Retry(3)])
    assert [(c.checked, c.node, c.new) for c in checks if c.new != "proceed"] == [("NodeStarted", "load", "fail")]


def test_a_gate_that_opens_is_an_attempt_that_nobody_saw():
    recording = record(flaky_graph(failures=0), [Gate(allow=False, nodes="load")])
    frame = hexviz.backtest(recording, [])
    assert brief(frame) == [("NodeStarted", 1, "skip", "proceed", "exact")]
    assert (frame["attempts_effect"][0], frame["makespan_effect_ms"].isna()[0]) == (1, True)


def test_a_wave_that_is_closed_takes_all_its_attempts_and_those_behind_it_are_modelled():
    recording = record(flaky_graph(failures=0))
    frame = hexviz.backtest(recording, Gate(lambda context: context.wave_index != 1, at="wave"), every=True)
    changed = frame[frame["changed"]]
    assert (changed["wave"].tolist(), changed["attempts_effect"].tolist()) == ([1], [-1])
    assert set(frame.loc[frame["node"] == "report", "fidelity"]) == {"modelled"}


def test_the_summary_never_counts_a_likeness_as_measured():
    recording = record(flaky_graph(), [Retry(3, initial_interval_s=0.001)])
    frame = hexviz.backtest(recording, [Retry(1), Validate(lambda result: result[0] == 1, nodes="load")])
    summary = backtest_summary(frame)
    assert summary["changed"].to_dict() == {"exact": 1, "modelled": 1, "unknown": 0}
    assert summary.loc["unknown", "checks"] == 1
    assert summary["attempts_effect"].to_dict() == {"exact": -2, "modelled": 0, "unknown": 0}
    assert summary["checks"].sum() == frame.attrs["checks"]
    with pytest.raises(SourceError, match=r"hexviz\.backtest"):
        backtest_summary(pd.DataFrame())


# --- how far it can be trusted


def test_what_a_recording_does_not_hold_is_unknown_and_never_guessed():
    policies = [Retry(3, initial_interval_s=0.001), Validate(lambda rows: rows[0] == 1, nodes="load")]
    frame = hexviz.backtest(record(flaky_graph(), policies), [policies[0], Validate(lambda rows: rows[0] == 2)])
    unknown = frame[frame["fidelity"] == "unknown"]
    assert [(row.node, row.checked) for row in unknown.itertuples()] == [("load", "NodeCompleted")]
    assert unknown["new"].isna().all()
    assert not unknown["changed"].any()


def test_length_numbers_and_emptiness_are_recorded_and_so_exact():
    recording = record(flaky_graph(failures=0))
    policies = [Validate(lambda rows: len(rows) > 5, nodes="load"), Validate(lambda n: n > 3, nodes="report")]
    assert brief(hexviz.backtest(recording, policies)) == [
        ("NodeCompleted", 1, "proceed", "retry", "exact"),
        ("NodeCompleted", 1, "proceed", "retry", "modelled"),
    ]


def test_a_value_that_was_captured_can_be_looked_into_and_is_a_likeness():
    from hexviz.dag import Orchestrator
    from hexviz.recording.recorder import Recorder

    async def main():
        observers, _ = managers([])
        recorder = Recorder(capture="json").attach(observers)
        await Orchestrator(observers=observers).run(flaky_graph(failures=0))
        return recorder.recording

    frame = hexviz.backtest(asyncio.run(main()), Validate(lambda rows: rows[0] == 2, nodes="load"))
    assert brief(frame) == [("NodeCompleted", 1, "proceed", "retry", "modelled")]


def test_an_error_known_by_its_name_only_is_modelled():
    recording = record(flaky_graph(OddError("mine")), [Retry(3, initial_interval_s=0.001, retry_on=OddError)])
    frame = hexviz.backtest(recording, Retry(1, retry_on=OddError))
    assert set(frame["fidelity"]) == {"modelled"}
    assert not hexviz.backtest(recording, Retry(3, initial_interval_s=0.001, retry_on=OddError))["changed"].any()


def test_after_a_gap_in_the_recording_nothing_is_exact():
    recording = record(flaky_graph(), [Retry(3, initial_interval_s=0.001)])
    events = [event for event in recording if event.seq != 5]
    checks = asked_again(Recording(events), [Retry(3, initial_interval_s=0.001)])
    assert {c.fidelity for c in checks if c.seq > 5} == {"modelled"}
    assert {c.fidelity for c in checks if c.seq < 4} == {"exact"}
    assert {c.fidelity for c in checks if c.seq == 4} <= {"unknown"}


def test_a_run_that_was_cut_off_ends_unknown_and_duplicates_are_asked_about_once():
    events = list(record(flaky_graph(), [Retry(3, initial_interval_s=0.001)]))[:4]
    assert isinstance(events[-1], ev.NodeFailed)
    checks = asked_again(Recording([*events, *events]), [Retry(3)])
    assert [c.seq for c in checks] == [1, 2, 3, 4]
    assert checks[-1].fidelity == "unknown"


@settings(deadline=None)
@given(st.permutations(range(29)), st.sets(st.integers(0, 28)))
def test_any_damage_to_a_recording_is_survived(order, lost):
    events = small_run()
    checks = asked_again(
        Recording([events[i] for i in order if i not in lost]), [Retry(3), Fallback(1), Gate(allow=True)]
    )
    assert len(checks) <= 29


def test_a_policy_that_fails_on_what_was_recorded_is_unknown_and_not_an_error(caplog):
    def reads_a_field(event, context):
        if isinstance(event, ev.NodeFailed) and event.error.status_code == 503:
            return ControlResponse(ControlSignal.RETRY)
        return ControlResponse()

    frame = hexviz.backtest(record(flaky_graph()), reads_a_field)
    assert frame["fidelity"].tolist() == ["unknown"]


# --- nothing from data is run


def test_an_exception_is_made_without_the_code_of_its_class():
    class LoudError(Exception):
        def __new__(cls, *args):
            raise AssertionError("__new__ was called")

        def __init__(self, *args):
            raise AssertionError("__init__ was called")

    recorded = ev.NodeFailed("n", 1, ev.RecordedError(LoudError.__qualname__, "text"))
    rebuilt = rebuild(recorded, Watch())
    assert type(rebuilt.event.error) is LoudError
    assert not rebuilt.sure


def test_of_two_classes_of_one_name_the_one_that_its_module_holds_now_is_meant(monkeypatch):
    first, second = (type("AgainError", (Exception,), {"__module__": __name__}) for _ in range(2))
    recorded = ev.NodeFailed("n", 1, ev.RecordedError("AgainError", "x"))
    assert rebuild(recorded, Watch()).event.error == recorded.error
    monkeypatch.setitem(globals(), "AgainError", second)
    assert type(rebuild(recorded, Watch()).event.error) is second is not first


@pytest.mark.parametrize(
    "name", ["os.system", "__import__", "eval", "print", "", "ValueError()", "a.b", "type", "\ud800"]
)
def test_a_name_in_the_data_that_is_no_exception_stays_a_name(name):
    rebuilt = rebuild(ev.NodeFailed("n", 1, ev.RecordedError(name, "x")), Watch())
    assert rebuilt.event.error == ev.RecordedError(name, "x")
    assert not rebuilt.sure


BUILTIN_ERRORS = [
    kind for kind in vars(__import__("builtins")).values() if isinstance(kind, type) and issubclass(kind, BaseException)
]


@pytest.mark.parametrize("kind", BUILTIN_ERRORS, ids=lambda kind: kind.__name__)
def test_every_builtin_exception_can_be_made_again(kind):
    rebuilt = rebuild(ev.NodeFailed("n", 1, ev.RecordedError(kind.__qualname__, "x")), Watch())
    group = issubclass(kind, BaseExceptionGroup)
    assert isinstance(rebuilt.event.error, ev.RecordedError if group else kind)
    assert rebuilt.sure is not group


LOOKS = {
    "equal": lambda v: v == 1,
    "item": lambda v: v["a"],
    "attribute": lambda v: v.columns,
    "text": str,
    "hash": hash,
    "loop": list,
    "in": lambda v: 1 in v,
    "number": float,
    "sum": lambda v: 1 + v,
    "call": lambda v: v(),
    "class": lambda v: isinstance(v, dict),
    "truth": bool,
    "length": len,
    "path": os.fspath,
    "change": lambda v: setattr(v, "x", 1),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_looking_into_what_was_not_recorded_is_noticed(look):
    watch = Watch()
    value = rebuild(ev.NodeCompleted("n", 1, Summary("Model"), 1.0), watch).event.result
    with pytest.raises(LookupError):
        look(value)
    assert watch.tripped


# --- the face


def test_a_backtest_works_inside_a_running_loop_and_with_policies_that_wait():
    async def slow(event, context):
        await asyncio.sleep(0)
        return ControlResponse(ControlSignal.SKIP) if isinstance(event, ev.NodeStarted) else ControlResponse()

    recording = record(flaky_graph())

    async def main():
        return hexviz.backtest(recording, slow)

    assert brief(asyncio.run(main()))[0] == ("NodeStarted", 1, "proceed", "skip", "exact")


def test_a_control_manager_is_asked_as_it_stands():
    control = ControlManager()
    control.register(Retry(3), name="later", priority=300, event_types=ev.NodeFailed)
    control.register(Fallback(0), name="first", priority=1)
    frame = hexviz.backtest(record(flaky_graph()), control)
    assert (frame["handler"].tolist(), frame["new"].tolist()) == (["first"], ["fallback"])


def test_several_runs_are_asked_about_in_true_order_so_a_policy_may_remember():
    recording = Recording([*record(flaky_graph(failures=1)), *record(flaky_graph(failures=1))])
    frame = hexviz.backtest(recording, CircuitBreaker(1, 60.0))
    assert len(set(recording.run_ids)) == 2
    assert [(row.run_id, row.checked, row.new) for row in frame.itertuples()] == [
        (recording.run_ids[1], "NodeStarted", "fail")
    ]


def test_the_columns_are_the_same_when_nothing_was_recorded():
    empty = hexviz.backtest(Recording(), [])
    full = hexviz.backtest(record(flaky_graph()), Retry(3))
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert len(empty) == 0
