"""hexviz.testing: what it gives to the tests of others."""

import ast
import asyncio
import subprocess
import sys

import pytest

from hexviz.dag import Graph, tool_call
from hexviz.errors import SourceError
from hexviz.policies import Fallback, Retry
from hexviz.recording.recording import Recording
from hexviz.testing import FakeClock, assert_decides, policy_test_from
from tests.recording.random_runs import record

HOSTILE = [
    "load",
    "'''\"\"\"",
    "x'); import os; os.abort(); ('",
    "a\nimport os\nos.abort()\n",
    "{0.__class__}",
    "%s{node}",
    "\\",
    "\x00\r\u2028",
    "\ud800",
    "😀",
    "# -*- coding: rot13 -*-",
]


def failing_run(name="load", failures=1, message="down"):
    graph, left = Graph("pinned"), [ConnectionError(message)] * failures

    async def work():
        async with tool_call("search") as call:
            call.result = 1
        if left:
            raise left.pop()

    graph.node(work, name=name)
    graph.node(lambda _: 1, name="other", after=[name])
    return record(graph, [Retry(3, initial_interval_s=0.001, jitter=0)], on_error="continue")


def pytest_in(folder):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def test_a_written_test_passes_while_the_policies_decide_the_same_and_fails_when_they_do_not(tmp_path):
    recording = failing_run(failures=2)
    (tmp_path / "rules.py").write_text(
        "from hexviz.policies import Retry\ndef now(): return [Retry(3, initial_interval_s=0.001, jitter=0)]\n"
        "def later(): return [Retry(2, initial_interval_s=0.001, jitter=0)]\n"
    )
    (tmp_path / "conftest.py").write_text("import pytest, rules\npolicies = pytest.fixture(rules.now)\n")
    policy_test_from(recording, "load", tmp_path / "test_now.py", policies="rules:now")
    policy_test_from(recording, "load", tmp_path / "test_fixture.py")
    done = pytest_in(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    policy_test_from(recording, "load", tmp_path / "test_later.py", policies="rules:later", whole_run=True)
    done = pytest_in(tmp_path)
    assert "1 failed, 2 passed" in done.stdout
    assert "expected retry in 0.002 s, got proceed" in done.stdout


def pinned(text):
    """The constants of a written test; it holds nothing that is not one, but a docstring, imports and one test."""
    tree = ast.parse(text)
    kinds = [type(node).__name__ for node in tree.body]
    assert kinds == ["Expr", "ImportFrom", "Assign", "Assign", "Assign", "FunctionDef"]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_names_and_messages_hold_a_written_test_holds_it_quoted(name, tmp_path):
    recording = failing_run(name, message=name)
    text = policy_test_from(recording, name, tmp_path / "test_it.py")
    assert (tmp_path / "test_it.py").read_bytes() == text.encode("ascii")
    facts = pinned(text)
    assert facts["NODE"] == name
    assert_decides([Retry(3, initial_interval_s=0.001, jitter=0)], facts["RECORDS"], facts["EXPECTED"])


def test_a_test_can_be_written_and_tried_inside_a_running_loop():
    recording = failing_run()

    async def main():
        facts = pinned(policy_test_from(recording, "load"))
        assert_decides(Retry(3, initial_interval_s=0.001, jitter=0), facts["RECORDS"], facts["EXPECTED"])

    asyncio.run(main())


def test_the_first_answers_to_starts_calls_and_failures_are_pinned():
    facts = pinned(policy_test_from(failing_run(), "load"))
    assert [pin[1:] for pin in facts["EXPECTED"]] == [
        ("NodeStarted", 1, "proceed", None),
        ("ToolCalled", 1, "proceed", None),
        ("NodeFailed", 1, "retry", 0.001),
        ("NodeStarted", 2, "proceed", None),
        ("ToolCalled", 2, "proceed", None),
    ]
    assert not any("other" in record for record in facts["RECORDS"])
    assert not any(__file__ in record or "Traceback" in record for record in facts["RECORDS"])


def test_another_answer_is_told_with_who_gave_it_and_why():
    facts = pinned(policy_test_from(failing_run(), "load"))
    with pytest.raises(AssertionError, match=r"expected retry in 0.001 s, got fallback by 'Fallback': stands in after"):
        assert_decides(Fallback(1), facts["RECORDS"], facts["EXPECTED"])


@pytest.mark.parametrize(
    "policies", ["rules", "rules:", ":now", "a b:c", "os;x:y", "a:b.c", "a:import", "a\n:b", "ä:b"]
)
def test_policies_that_are_no_name_of_a_function_are_a_named_error(policies):
    with pytest.raises(SourceError, match="names a function"):
        policy_test_from(failing_run(), "load", policies=policies)


def test_a_node_that_is_not_there_and_a_run_that_was_not_chosen_are_named_errors():
    recording = failing_run()
    with pytest.raises(SourceError, match="'nobody'"):
        policy_test_from(recording, "nobody")
    both = Recording([*recording, *failing_run()])
    with pytest.raises(SourceError, match="2 runs"):
        policy_test_from(both, "load")
    assert policy_test_from(both, "load", run_id=recording.run_ids[0])


def test_the_fake_clock_wakes_sleepers_when_their_time_has_come_and_in_order():
    async def main():
        clock, woken = FakeClock(jumps=False), []

        async def sleeper(seconds):
            await clock.sleep(seconds)
            woken.append(seconds)

        tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
        await clock.advance(0)
        await clock.advance(1.5)
        assert woken == [1]
        await clock.advance(10)
        await asyncio.gather(*tasks)
        return woken, clock(), clock.slept

    assert asyncio.run(main()) == ([1, 3, 2], 11.5, [3, 1, 2])


def test_the_fake_clock_jumps_where_nobody_moves_it():
    clock = FakeClock(100.0)
    asyncio.run(clock.sleep(3600))
    assert (clock(), clock.slept) == (3700.0, [3600])


def test_hexviz_testing_needs_pytest_only_for_the_store_contract():
    program = "import sys, hexviz.testing as t; print('pytest' in sys.modules, t.StoreContract)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("False <class")
