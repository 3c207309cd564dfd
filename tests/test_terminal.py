"""The terminal view shows a run as it stands, whatever the data hold."""

import asyncio
import io
import re

import pytest
from rich.console import Console

import hexviz
from hexviz.demo import airrflow, airrflow_policies
from hexviz.events import ControlDecided, NodeFailed, NodeInfo, NodePlaced, NodeStarted, PipelineStarted
from hexviz.recording.state import RunState
from hexviz.terminal import RunView, plain, render, table
from tests.browser.made_runs import told


def text_of(renderable, *, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_a_run_is_drawn_with_its_progress_waves_running_nodes_and_decisions():
    events = []
    control, observers = hexviz.ControlManager(), hexviz.ObserverManager()
    for policy in airrflow_policies():
        control.register(
            policy,
            **{k: getattr(policy, k) for k in ("priority", "event_types", "shadow") if hasattr(policy, k)},
            name=None,
        )
    observers.register(events.append, lossless=True)
    asyncio.run(hexviz.Orchestrator(64, observers=observers, control=control).run(airrflow(speed=5000)))

    started = next(i for i, event in enumerate(events) if isinstance(event, NodeStarted))
    early = text_of(render(RunState.from_events(events[: started + 1])))
    assert "0/212 nodes" in early
    assert "running 1" in early
    assert f"  {events[started].name}" in early

    late = text_of(render(RunState.from_events(events)))
    assert "212/212 nodes" in late
    assert "succeeded 210" in late
    assert "fell back 1" in late
    assert "█" * 25 in late
    assert "by Fallback" in late


def test_workers_are_told_with_the_dead_one_first_and_what_runs_says_where():
    state = RunState.from_events(told(30, outcome="failed", part=0.97, workers=("process 1", "process 2")))
    lines = text_of(render(state)).splitlines()
    workers = lines[lines.index("workers") + 1 :][:2]
    assert re.search(r"1 failed  process 2  lost at 0\.\d s", workers[0])
    assert re.search(r"\d+% busy  \d running, \d+ done, \d+ failed  process 1$", workers[1])
    assert any(re.search(r"^ +\d\.\d s  \S+.*  on process 1", line) for line in lines)
    assert "workers" not in text_of(render(RunState.from_events(told(30, part=0.9))))


def test_what_waits_for_a_worker_is_not_told_as_running():
    names = ("a", "b", "c", "d")
    events = [PipelineStarted("p", 1, 4, tuple(NodeInfo(name, 1) for name in names), run_id="r", seq=1)]
    events += [NodeStarted(name, 1, worker="dask", run_id="r", seq=2 + i) for i, name in enumerate(names[:3])]
    lines = text_of(
        render(RunState.from_events([*events, NodePlaced("b", 1, "tcp://h:1", run_id="r", seq=5)]))
    ).splitlines()
    assert "waiting 2  pending 1  running 1" in [line.strip() for line in lines]
    running = lines[lines.index("running") + 1 :]
    assert running[0].endswith("b  on tcp://h:1")
    assert running[1] == "workers"


def busy(*, nodes=30, name="a node with a long name of its own {}"):
    """A run in which many things go on at once."""
    names = [name.format(i) for i in range(nodes)]
    infos = tuple(NodeInfo(node, i + 1, tuple(names[:i][-1:])) for i, node in enumerate(names))
    state = RunState()
    state.fold(PipelineStarted("a pipeline", nodes, nodes, infos, run_id="r", seq=1))
    for i, node in enumerate(names):
        state.fold(NodeStarted(node, i + 1, run_id="r", seq=10 * i + 2))
        if i % 2:
            state.fold(NodeFailed(node, i + 1, ValueError(f"message {i}"), run_id="r", seq=10 * i + 3))
            told = ("NodeFailed", 1, "skip", node, i + 1, 1, "Gate", 20, "because")
            state.fold(ControlDecided(*told, run_id="r", seq=10 * i + 4))
    return state


@pytest.mark.parametrize(("width", "height"), [(30, 12), (56, 18), (80, 24), (200, 60)])
def test_it_fits_into_the_terminal_and_tells_the_newest_of_each_list(width, height):
    lines = text_of(render(busy(), width=width, height=height), width=width).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    for word in ("a pipeline", "15/30 nodes", "running", "decisions, the last of", "failures, the last of"):
        assert word in shown
    if width == 200:
        assert "ValueError: message 29" in shown
        assert "skip     a node with a long name of its own 29 by Gate: because" in shown
        assert "running, 7 more than these" in shown


def test_a_terminal_of_few_lines_shows_the_progress_only():
    shown = text_of(render(busy(), width=60, height=5), width=60)
    assert "15/30 nodes" in shown
    assert "decisions" not in shown


def test_more_waves_than_columns_share_blocks():
    (waves,) = [line for line in text_of(render(busy(nodes=300), width=40), width=40).splitlines() if "waves" in line]
    assert len(waves) <= 40


@pytest.mark.parametrize("variable", [{}, {"NO_COLOR": "1"}])
def test_no_colour_is_used_where_none_is_wanted(monkeypatch, variable):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="truecolor")
    console.print(render(busy()))
    assert bool(re.search(r"\x1b\[[0-9;]*38;2;", console.file.getvalue())) is not bool(variable)


def test_display_off_silences_it(monkeypatch):
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with RunView(console) as view:
        view(PipelineStarted("etl", 1, 1, run_id="r", seq=1))
    assert console.file.getvalue() == ""


def test_nothing_happened_yet_is_drawn_too():
    assert "0/0 nodes" in text_of(render(RunState()))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_view_owns_the_screen_only_on_a_terminal_and_only_if_enabled(enabled):
    console = Console(file=io.StringIO(), force_terminal=enabled, width=100)
    with RunView(console) as view:
        view(PipelineStarted("etl", 1, 1, (NodeInfo("clean", 1),), run_id="r", seq=1))
    assert ("etl" in console.file.getvalue()) is enabled
    silent = Console(file=io.StringIO(), force_terminal=True, width=100)
    with RunView(silent, enabled=False) as view:
        view(PipelineStarted("etl", 1, 1, run_id="r", seq=1))
    assert silent.file.getvalue() == ""


def test_markup_and_control_characters_from_data_are_shown_and_not_obeyed():
    hostile = "[bold red]x[/] \x1b[2J\x07 \x9b1m"
    state = RunState()
    state.fold(PipelineStarted(hostile, 1, 1, (NodeInfo(hostile, 1),), run_id="r", seq=1))
    state.fold(NodeStarted(hostile, 1, run_id="r", seq=2))
    for shown in (
        text_of(render(state)),
        text_of(plain(hostile)),
        text_of(table(hostile, {hostile: "left"}, [(hostile,)])),
    ):
        assert "[bold red]x[/]" in shown
        assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    state.fold(NodeFailed(hostile, 1, ValueError(hostile), run_id="r", seq=3))
    assert "failed 1" in text_of(render(state))
