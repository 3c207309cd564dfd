"""A small workflow that asks tools and a model, for the pages of the docs: real calls, canned answers, no network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hexviz.dag.calls import llm_call, tool_call
from hexviz.dag.graph import Graph
from hexviz.policies.fallback import Fallback
from hexviz.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TOPICS = ("rivers", "lakes", "glaciers", "springs")


def questions(*, slow_s: float = 0.0, slow: str = "") -> Graph:
    """Four topics, each searched, read and summed up by a model, then one answer; ``slow`` takes ``slow_s`` more.

    The first search for lakes fails once, the page about springs can never be read.
    """
    graph = Graph("questions")

    def extra_s(name: str) -> float:
        return slow_s if name == slow else 0.0

    @graph.node
    async def plan() -> tuple[str, ...]:
        async with llm_call([{"role": "user", "content": "Which waters?"}], model="small-1") as call:
            await asyncio.sleep(0.06 + extra_s("plan"))
            call.input_tokens, call.output_tokens = 212, 48
        return TOPICS

    for place, topic in enumerate(TOPICS):
        for step, work in (("search", _search), ("read", _read), ("sum up", _sum_up)):
            name = f"{step} {topic}"
            before = {"search": "plan", "read": f"search {topic}", "sum up": f"read {topic}"}[step]
            graph.node(work(topic, 0.03 * (place + 1) + extra_s(name)), name=name, after=[before])

    @graph.node(after=[f"sum up {topic}" for topic in TOPICS])
    async def answer(parts: dict[str, str]) -> str:
        async with llm_call([{"role": "user", "content": " ".join(map(str, parts.values()))}], model="large-2") as call:
            await asyncio.sleep(0.12 + extra_s("answer"))
            call.input_tokens, call.output_tokens = 1911, 402
        return "water is everywhere"

    return graph


def questions_policies() -> list[Any]:
    """Two tries for each search, and a stand-in for a page that cannot be read."""
    retry = Retry(2, initial_interval_s=0.04, jitter=0.0, retry_on=ConnectionError)
    return [retry, Fallback("nothing", on=TimeoutError, nodes="read *")]


def _search(topic: str, takes_s: float) -> Callable[[Any], Any]:
    tries = iter([ConnectionError("the index is busy")] if topic == "lakes" else ())

    async def search(_plan: object) -> list[str]:
        titles = [f"about {topic}", f"{topic} of the north"]
        async with tool_call("search", {"topic": topic}) as call:
            await asyncio.sleep(takes_s / 2)
            if error := next(tries, None):
                raise error
            call.result = titles
        return titles

    return search


def _read(topic: str, takes_s: float) -> Callable[[Any], Any]:
    async def read(titles: list[str]) -> str:
        for title in titles:
            async with tool_call("fetch page", {"title": title}) as call:
                await asyncio.sleep(takes_s)
                if topic == "springs":
                    raise TimeoutError(f"no answer from the archive about {topic}")
                call.result = title.upper()
        return " ".join(titles)

    return read


def _sum_up(topic: str, takes_s: float) -> Callable[[Any], Any]:
    async def sum_up(text: str) -> str:
        async with llm_call([{"role": "user", "content": text}], model="small-1") as call:
            await asyncio.sleep(takes_s + 0.05)
            call.input_tokens, call.output_tokens = 30 * len(text), 90
        return f"{topic}: {len(text)} letters"

    return sum_up
