"""Real runs in which every kind of thing happens, recorded: a retry, a fallback, a skip, calls, a failure, no end."""

from __future__ import annotations

import asyncio
from functools import cache

import hexviz
from hexviz.policies import Fallback, Gate, Retry


async def _work():
    await asyncio.sleep(0.003)


def shop_graph(*, extra_parent=False, slow_s=0.0):
    """load, flaky (raises once) -> clean -> ask (tokens) -> report; broken (falls back) -> report; off (skipped)."""
    graph = hexviz.Graph("shop")
    tries = iter([ConnectionError("gone"), None])

    async def clean(*_):
        await asyncio.sleep(0.002 + slow_s)

    async def flaky():
        if error := next(tries):
            raise error

    async def broken():
        async with hexviz.tool_call("search", {"q": "x"}):
            raise TimeoutError("late")

    async def ask(*_):
        async with hexviz.llm_call([{"role": "user", "content": "hi"}], model="m-1") as call:
            call.input_tokens, call.output_tokens = 7, 5

    graph.node(_work, name="load")
    graph.node(flaky)
    graph.node(broken)
    graph.node(_work, name="off")
    graph.node(clean, after=["load", "flaky", "broken"] if extra_parent else ["load", "flaky"])
    graph.node(ask, after=["clean"])
    graph.node(lambda *_: None, name="report", after=["ask", "broken"], run_if="any")
    return graph


def shop_policies():
    return [
        Gate(allow=False, reason="switched off", value=0, nodes="off"),
        Retry(2, initial_interval_s=0.005, jitter=0.0, retry_on=ConnectionError, nodes="flaky"),
        Fallback(0, on=TimeoutError),
    ]


def shop(**settings):
    """The recording of one run of the shop."""
    return hexviz.run_sync(shop_graph(**settings), policies=shop_policies(), store=False).recording


@cache
def shop_frames():
    """The frames of one run of the shop; not to be changed."""
    return shop().frames


@cache
def two_shops():
    """The frames of one recording that holds two runs of the shop; not to be changed."""
    return hexviz.Recording([*shop(), *shop()]).frames


@cache
def failed_frames():
    """The frames of a run that went on behind a failed node, whose children were skipped."""
    graph = hexviz.Graph("sad")

    def bad():
        raise ValueError("no")

    graph.node(_work, name="load")
    graph.node(bad, after=["load"])
    graph.node(lambda _: None, name="after", after=["bad"])
    try:
        hexviz.run_sync(graph, store=False, on_error="continue")
    except hexviz.PipelineError as error:
        return error.recording.frames
    raise AssertionError("the run must fail")


@cache
def unfinished_frames():
    """The frames of a run whose recording ends in the middle: after ``clean`` has started."""
    events = []
    for event in shop(slow_s=0.002):
        events.append(event)
        if type(event).__name__ == "NodeStarted" and event.name == "clean":
            break
    return hexviz.Recording(events).frames


def empty_frames():
    """The frames of no event at all."""
    return hexviz.Recording([]).frames
