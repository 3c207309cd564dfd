"""The terminal view shows a run as it stands, whatever the data hold."""

import asyncio
import io

import pytest
from rich.console import Console

import hexviz
from hexviz.demo import airrflow, airrflow_policies
from hexviz.events import NodeFailed, NodeInfo, NodeStarted, PipelineStarted
from hexviz.recording.state import RunState
from hexviz.terminal import RunView, plain, render, table


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
