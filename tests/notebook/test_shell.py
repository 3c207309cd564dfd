"""The magics in an IPython shell: what a cell's first line means, and that it leaves nothing behind."""

import gc
import threading
import weakref

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import hexviz
from hexviz.dag.watching import WATCHER
from hexviz.display import wanted
from hexviz.notebook.magics import begin_first
from hexviz.notebook.options import words_of

SETUP = """
import asyncio, hexviz
from hexviz.policies import Retry
graph = hexviz.Graph("etl")
tries = []
@graph.node
async def load():
    await asyncio.sleep(0)
    return 1
@graph.node(after=["load"])
def flaky(n):
    tries.append(n)
    if len(tries) % 2:
        raise TimeoutError("slow today")
    return n + 1
fine = hexviz.Graph("fine")
@fine.node
def one():
    return 1
async def by_hand(graph=fine, **options):
    return await hexviz.Orchestrator(**options).run(graph)
"""


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setenv("HEXVIZ_DISPLAY", "on")
    made = InteractiveShell(
        config=Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    )
    made.run_cell("%load_ext hexviz").raise_error()
    made.run_cell(SETUP).raise_error()
    yield made
    made.run_cell("%unload_ext hexviz")
    assert WATCHER.get() is None


@pytest.fixture
def told(shell, capsys):
    """Run a cell; gives what it printed. An exception in it is raised, unless the cell may fail."""

    def told(cell, *, fails=False):
        capsys.readouterr()
        result = shell.run_cell(cell)
        if not fails:
            result.raise_error()
        else:
            assert not result.success
        assert WATCHER.get() is None
        shown = capsys.readouterr()
        return shown.out + shown.err

    return told


def kept():
    with hexviz.open_store() as store:
        return store.list_runs()


WAYS = {
    "awaited": "await hexviz.run(fine)",
    "in a thread of ours": "hexviz.start(fine).result()",
    "waited for": "hexviz.run_sync(fine)",
    "by hand": "await by_hand()",
    "a task": "await asyncio.create_task(by_hand())",
    "in another thread": "import threading; await asyncio.to_thread(lambda: asyncio.run(by_hand()))",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_recorded_kept_and_told_however_it_is_run(told, way):
    shown = told(f"%%hexviz --name nightly\n{WAYS[way]}")
    assert shown.count("nightly · fine: succeeded") == 1
    (run,) = kept()
    assert (run.pipeline, run.status, run.tags) == ("fine", "succeeded", ("nightly",))


def test_every_run_of_a_cell_is_told_and_none_of_the_next(told):
    assert (
        told("%%hexviz\nawait hexviz.run(fine)\nawait by_hand()\nhexviz.run_sync(fine)").count("fine: succeeded") == 3
    )
    assert "succeeded" not in told("_ = await by_hand()")
    assert len(kept()) == 3


def test_a_task_that_ends_after_its_cell_is_still_watched(told):
    waiting = "loop = asyncio.new_event_loop()\ntask = loop.create_task(by_hand())"
    assert "succeeded" not in told(f"%%hexviz\n{waiting}")
    assert "fine: succeeded" in told("_ = loop.run_until_complete(task); loop.close()")


def test_policies_are_asked_and_each_run_gets_fresh_ones(told, shell):
    told("%%hexviz --policy Retry(max_attempts=2)\nr = await hexviz.run(graph)\ns = await by_hand(graph)")
    assert shell.user_ns["r"] == shell.user_ns["s"] == {"load": 1, "flaky": 2}
    assert len(shell.user_ns["tries"]) == 4


def test_a_policy_may_be_a_class_a_name_of_the_notebook_or_several(told, shell):
    told("mine = [Retry(max_attempts=2)]")
    told("%%hexviz --policy mine --policy Timeout(after_s=9) Budget(calls=5)\nr = await hexviz.run(graph)", fails=True)
    told("%%hexviz --policy mine\nr = await hexviz.run(graph)")
    told("%%hexviz --policy Retry\nr = await hexviz.run(graph)")


def test_a_policy_leaves_the_managers_of_the_user_as_they_were(told, shell):
    told("control, observers = hexviz.ControlManager(), hexviz.ObserverManager()")
    told(
        "%%hexviz --policy Retry(max_attempts=2)\n"
        "both = [by_hand(control=control, observers=observers) for _ in range(2)]\n"
        "while_running = []\n"
        "observers.register(lambda e: while_running.append(len(control)), lossless=True, observer_id='mine')\n"
        "await asyncio.gather(*both)"
    )
    names = shell.user_ns
    assert set(names["while_running"]) == {1}
    assert (len(names["control"]), len(names["observers"])) == (0, 1)
    assert len(kept()) == 2
    with hexviz.open_store() as store:
        assert {len(store.recording(run.run_id).run_ids) for run in store.list_runs()} == {1}


def test_a_store_can_be_named(told, tmp_path):
    told(f'%%hexviz --store "{tmp_path}/my runs.db"\nawait hexviz.run(fine)\nawait by_hand()')
    assert kept() == []
    with hexviz.open_store(tmp_path / "my runs.db") as store:
        assert len(store.list_runs()) == 2
    assert "my runs" not in told("%hexviz runs")
    assert told(f'%hexviz runs --store "{tmp_path}/my runs.db" --limit 1').count("fine") == 1


def test_a_run_that_fails_is_told_and_its_exception_is_the_users(told, shell):
    shown = told("%%hexviz\nprint('before')\nawait hexviz.run(graph)", fails=True)
    assert "before" in shown
    assert "etl: failed" in shown
    assert "slow today" in shown
    assert kept()[0].status == "failed"
    shown = told("%%hexviz\n\n\n1 / 0\n", fails=True)
    assert "----> 4 1 / 0" in shown


def test_a_cell_that_cannot_be_compiled_does_nothing(told):
    assert "SyntaxError" in told("%%hexviz\nthis is no python\n", fails=True)


def test_nested_cells_are_told_once_and_the_outer_one_goes_on(told):
    shown = told(
        "%%hexviz --name outer\n"
        "get_ipython().run_cell('%%hexviz --name inner\\nr = hexviz.run_sync(fine)')\n"
        "get_ipython().run_cell('')\n"
        "await by_hand()"
    )
    assert [shown.count(f"{name} · fine: succeeded") for name in ("inner", "outer")] == [1, 1]


def test_a_run_within_a_node_is_watched_too(told):
    shown = told(
        "outside = hexviz.Graph('outside')\n@outside.node\nasync def inside():\n    return dict(await hexviz.run(fine))"
    )
    shown = told("%%hexviz\nawait hexviz.run(outside)")
    assert "outside: succeeded" in shown
    assert "fine: succeeded" in shown


@pytest.mark.parametrize(
    ("cell", "times"),
    [
        ("%%hexviz\n%%time\nr = hexviz.run_sync(fine)", 1),
        ("%%time\n%%hexviz\nr = hexviz.run_sync(fine)", 1),
        ("%%hexviz\n\nr = hexviz.run_sync(fine)", 1),
        ("%%timeit -n 2 -r 2\n%%hexviz\nhexviz.run_sync(fine)", 4),
        ("get_ipython().run_cell_magic('hexviz', '', 'hexviz.run_sync(fine)')", 1),
    ],
)
def test_it_goes_together_with_other_magics(told, cell, times):
    assert told(cell).count("fine: succeeded") == times


def test_twenty_runs_of_a_cell_leave_nothing_behind(told, shell):
    told("control, observers = hexviz.ControlManager(), hexviz.ObserverManager()")
    cell = (
        "%%hexviz --policy Retry\nawait by_hand(control=control, observers=observers)\n"
        "await hexviz.run(fine)\nr = hexviz.run_sync(fine)"
    )
    told(cell)
    before = threading.active_count()
    watchers = []
    told("from hexviz.dag.watching import WATCHER")
    shell.user_ns["watchers"] = watchers
    for _ in range(20):
        told(f"{cell}\nimport weakref; watchers.append(weakref.ref(WATCHER.get()))")
    assert threading.active_count() <= before
    assert len(shell.user_ns["control"]) == len(shell.user_ns["observers"]) == 0
    assert len(kept()) == 63
    gc.collect()
    assert isinstance(watchers[0], weakref.ref)
    assert sum(watcher() is not None for watcher in watchers) <= 2


# --- the line magic


def test_last_shows_the_last_run_of_this_session_or_of_the_store(told):
    told("%%hexviz\nawait by_hand()")
    assert "fine: succeeded" in told("%hexviz last")
    told("%unload_ext hexviz")
    told("%load_ext hexviz")
    assert "fine: succeeded" in told("%hexviz last")


def test_runs_is_a_table_of_the_newest(told, shell):
    told("%%hexviz --name nightly\nawait by_hand()\nawait by_hand()")
    assert "fine" in told("%hexviz runs")
    told("table = %hexviz runs --limit 1")
    (row,) = shell.user_ns["table"].to_dict("records")
    assert (row["pipeline"], row["status"], row["nodes"], row["tags"]) == ("fine", "succeeded", 1, "nightly")
    assert row["run_id"] == kept()[0].run_id
    assert row["duration_ms"] > 0


def test_off_shows_nothing_and_on_shows_again(told):
    assert told("%hexviz off") == ""
    assert not wanted()
    assert told("%%hexviz\n_ = await by_hand()\n_ = await hexviz.run(fine)") == ""
    assert told("%hexviz last") == told("%hexviz runs") == ""
    assert len(kept()) == 2
    assert told("%hexviz on") == ""
    assert "fine: succeeded" in told("%hexviz last")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%hexviz", "Usage: %hexviz last | runs"),
        ("%hexviz moon", "unknown: %hexviz moon"),
        ("%hexviz off now", "unknown: %hexviz off now"),
        ("%hexviz last", "no run is kept in"),
        ("%hexviz runs --limit few", "invalid int value"),
        ("%%hexviz --polcy Retry\ntries.append(1)", "--polcy"),
        ("%%hexviz etl\ntries.append(1)", "unknown: etl. Usage: %%hexviz [--policy"),
        ("%%hexviz --name\ntries.append(1)", "expected one argument"),
        ("%%hexviz --policy Retri\ntries.append(1)", "name 'Retri' is not defined. There are: Budget, CircuitBreaker"),
        ("%%hexviz --policy Retry(max=1)\ntries.append(1)", "--policy Retry(max=1): TypeError"),
        ("%%hexviz --policy 1+\ntries.append(1)", "--policy 1+ is not an expression"),
        ("%%hexviz --policy 17\ntries.append(1)", "--policy 17 gives int, not a policy"),
        ("%%hexviz --policy Retry(\ntries.append(1)", "a bracket or a quote is not closed"),
    ],
)
def test_a_wrong_use_says_what_is_right_before_anything_runs(told, shell, cell, says):
    shell.user_ns["tries"].clear()
    shown = told(cell, fails=True)
    assert says in shown
    assert "Traceback" not in shown
    assert shell.user_ns["tries"] == []


def test_what_the_line_says_is_split_at_spaces_outside_of_brackets_and_quotes():
    line = """--policy Retry(on=("a b", 'c')) 'two words' x="y z" --name "it's" """
    assert words_of(line) == ["--policy", """Retry(on=("a b", 'c'))""", "two words", 'x="y z"', "--name", "it's"]


def test_other_cells_are_left_alone():
    for lines in (["%%hexviz2\n"], ["%hexviz last\n"], ["x = 1\n", "%%hexviz\n"], ["%%hexviz?\n"], []):
        assert begin_first(lines) is lines


def test_unloading_takes_everything_back(told, shell):
    before = len(shell.input_transformers_cleanup)
    told("%unload_ext hexviz")
    assert len(shell.input_transformers_cleanup) == before - 1
    shown = told("%hexviz last", fails=True)
    told("%load_ext hexviz")
    told("%reload_ext hexviz")
    assert len(shell.input_transformers_cleanup) == before
    assert "fine: succeeded" in told("%%hexviz\nawait by_hand()")
    assert "succeeded" not in shown
