"""What holds for processes beyond the contract: they heal, are killed when nobody waits for them, and leave nothing."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time

import pytest

from hexviz import Graph, PipelineError, run_sync, tool_call
from hexviz.dag import (
    NodeTransferError,
    Orchestrator,
    OrchestratorError,
    ProcessRunner,
    RunnerSettingError,
    WorkerLostError,
)
from hexviz.events import EventsDropped
from hexviz.policies import Retry
from hexviz.recording.state import RunState
from hexviz.recording.workers import worker_rows
from hexviz.testing import runner_nodes as nodes


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid, within_s=20.0):
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


@pytest.fixture
def runner():
    with ProcessRunner(1) as runner:
        yield runner


def test_a_timeout_kills_the_process_of_its_node_and_the_next_node_gets_another(runner):
    graph = Graph("late")
    graph.node(nodes.nap, params={"seconds": 3600.0}, timeout_s=0.2)
    with pytest.raises(PipelineError):
        run_sync(graph, runner=runner, store=False)
    other = Graph("other")
    other.node(os.getpid, name="pid")
    result = run_sync(other, runner=runner, store=False)
    assert runner.processes == (result["pid"],)


def test_views_know_on_which_process_each_attempt_ran_and_which_died(runner, tmp_path):
    graph = Graph("lost")
    graph.node(nodes.dies_once, params={"marks": str(tmp_path / "marks")})
    graph.node(nodes.nap, params={"seconds": 0.01}, after=["dies_once"])
    recording = run_sync(graph, runner=runner, policies=[Retry(max_attempts=2)], store=False).recording
    state = RunState.from_events(recording.events())
    dead, alive_one = worker_rows(state)
    assert [(w.running, w.done, w.failed) for w in (dead, alive_one)] == [(0, 0, 1), (0, 2, 0)]
    assert dead.lost_ms > 0 > alive_one.lost_ms
    attempts = recording.frames.attempts
    assert [state.workers.names[code] for code in state.attempts.worker] == attempts["worker"].tolist()
    assert all(code >= start for code, start in zip(state.attempts.start_ms, attempts["start_ms"], strict=True))


def test_a_cancelled_run_kills_the_process_of_its_node(runner):
    graph = Graph("endless")
    graph.node(nodes.nap, params={"seconds": 3600.0})

    async def main():
        orchestrator = Orchestrator(runner=runner)
        task = asyncio.create_task(orchestrator.run(graph))
        while not runner.processes:
            await asyncio.sleep(0.01)
        (pid,) = runner.processes
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert gone(asyncio.run(main()))


def test_more_nodes_than_processes_wait_for_their_turn_and_that_is_no_time_of_theirs(runner):
    graph = Graph("turns")
    for number in range(4):
        graph.node(nodes.nap, name=f"nap{number}", timeout_s=5.0)
    result = run_sync(graph, runner=runner, store=False)
    attempts = result.recording.frames.attempts
    assert attempts["worker"].nunique() == 1
    assert attempts["queued_ms"].max() >= 150


def test_a_segmentation_fault_names_its_signal(runner):
    graph = Graph("faults")
    graph.node(os.abort, name="aborts")
    with pytest.raises(PipelineError) as failed:
        run_sync(graph, runner=runner, store=False)
    error = failed.value.exceptions[0].__cause__
    assert type(error) is WorkerLostError
    assert "killed by signal 6" in str(error)
    assert error.worker.startswith("process ")


def test_an_inner_function_needs_cloudpickle_and_the_error_says_so(runner, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    graph = Graph("inner")
    graph.node(lambda: 1, name="inner")
    with pytest.raises(PipelineError) as failed:
        run_sync(graph, runner=runner, store=False)
    error = failed.value.exceptions[0].__cause__
    assert type(error) is NodeTransferError
    assert "the function of node 'inner'" in str(error)
    assert "hexviz[processes]" in str(error)


def test_an_inner_function_runs_where_cloudpickle_is_installed(runner):
    pytest.importorskip("cloudpickle", reason="cloudpickle is not installed: pip install -e '.[processes]'")
    bonus = 41
    graph = Graph("inner")
    graph.node(lambda: bonus + 1, name="inner")
    assert run_sync(graph, runner=runner, store=False)["inner"] == 42


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"])
def test_a_number_of_workers_that_is_none_is_refused(most):
    with pytest.raises(RunnerSettingError, match="max_workers"):
        ProcessRunner(most)


def test_a_closed_runner_says_so_and_closing_twice_is_fine():
    runner = ProcessRunner(1)
    runner.close()
    runner.close()
    graph = Graph("closed")
    graph.node(os.getpid, name="pid")
    with pytest.raises(PipelineError) as failed:
        run_sync(graph, runner=runner, store=False)
    assert isinstance(failed.value.exceptions[0], OrchestratorError)
    assert "closed" in str(failed.value)


def test_a_runner_that_is_closed_in_mid_run_starts_no_process_any_more():
    runner = ProcessRunner(1)
    started = []
    new_process = runner.new_process

    def counted():
        started.append(runner)
        return new_process()

    runner.new_process = counted
    graph = Graph("closed")
    for number in range(4):
        graph.node(nodes.nap, name=f"nap{number}", params={"seconds": 3600.0 if not number else 0.0})

    async def main():
        task = asyncio.create_task(Orchestrator(runner=runner, on_error="continue").run(graph))
        while not runner.processes:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(runner.close)
        with pytest.raises(PipelineError) as failed:
            await task
        return failed.value.exceptions

    causes = [error.__cause__ for error in asyncio.run(main())]
    assert sorted(type(cause).__name__ for cause in causes) == ["OrchestratorError"] * 3 + ["WorkerLostError"]
    assert len(started) == 1
    assert runner.processes == ()


def forks_and_both_go_on(how):
    child = os.fork()
    if not child:
        with tool_call("in the child"):
            pass
        if how == "exits":
            sys.exit(3)
        return "the child"
    return os.getpid(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("exits", 3)])
def test_a_child_that_a_node_forked_does_not_speak_for_it(runner, how, code):
    graph = Graph("forks")
    graph.node(forks_and_both_go_on, name="forks")
    result = run_sync(graph, how, runner=runner, store=False)
    assert result["forks"] == (*runner.processes, code)


def test_what_is_no_runner_is_refused():
    with pytest.raises(ValueError, match="runner must be"):
        Orchestrator(runner="processes")


UNGUARDED = """
    import os
    import hexviz
    from hexviz.dag import ProcessRunner

    graph = hexviz.Graph("script")
    graph.node(os.getpid, name="pid")
    hexviz.run_sync(graph, runner=ProcessRunner(1), store=False)
"""


def test_a_script_without_its_guard_fails_and_says_why(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "no process can be started for node 'pid'" in done.stderr
    assert "__main__" in done.stderr


SCRIPT = """
    import os
    import hexviz
    from hexviz.dag import ProcessRunner

    def pid():
        return os.getpid()

    if __name__ == "__main__":
        runner = ProcessRunner(1)
        graph = hexviz.Graph("script")
        graph.node(pid)
        print(hexviz.run_sync(graph, runner=runner, store=False)["pid"], flush=True)
        {ending}
"""


FORKING = """
    import os, sys
    import hexviz
    from hexviz.dag import ProcessRunner

    def pid():
        return os.getpid()

    if __name__ == "__main__":
        runner = ProcessRunner(1)
        graph = hexviz.Graph("script")
        graph.node(pid)
        first = hexviz.run_sync(graph, runner=runner, store=False)["pid"]
        child = os.fork()
        if not child:
            own = hexviz.run_sync(graph, runner=runner, store=False)["pid"]
            sys.exit(own == first)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(hexviz.run_sync(graph, runner=runner, store=False)["pid"] == first)
"""


def test_a_forked_child_has_processes_of_its_own_and_ends_only_those(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(FORKING))
    quiet = ["-W", "ignore::DeprecationWarning"]  # Python 3.12 warns of every fork beside threads
    done = subprocess.run([sys.executable, *quiet, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["0", "True"], "")


@pytest.mark.parametrize("ending", ["pass", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_however_a_script_ends_its_processes_end_too(tmp_path, ending):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(ending=ending))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert gone(int(done.stdout))


class OnlyThere:
    """Can be sent away, and not be read at home."""

    def __reduce__(self):
        return _made_in_a_worker, (os.getpid(),)


def _made_in_a_worker(pid):
    if os.getpid() != pid:
        raise RuntimeError("not here")
    return OnlyThere()


def returns_what_cannot_be_read():
    return OnlyThere()


def calls_with_what_cannot_be_read():
    with tool_call("odd", {"value": OnlyThere()}) as call:
        call.result = 1
    return call.result


def test_a_result_that_cannot_be_read_here_fails_its_node_by_name(runner):
    graph = Graph("unreadable")
    graph.node(returns_what_cannot_be_read, name="odd")
    with pytest.raises(PipelineError) as failed:
        run_sync(graph, runner=runner, store=False)
    error = failed.value.exceptions[0].__cause__
    assert type(error) is NodeTransferError
    assert "the result of node 'odd' cannot be read here" in str(error)


def test_an_event_that_cannot_be_read_here_is_a_gap_that_is_told(runner):
    graph = Graph("unreadable")
    graph.node(calls_with_what_cannot_be_read, name="odd")
    result = run_sync(graph, runner=runner, store=False)
    assert result["odd"] == 1
    gaps = [event for event in result.recording.events() if isinstance(event, EventsDropped)]
    assert [gap.count for gap in gaps] == [1]
