"""The examples of the pages run, in the order in which a reader meets them."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

import hexviz

ROOT = Path(__file__).parents[1]


def blocks_of(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def follow(page, blocks, names):
    for block in blocks:
        outcome = eval(compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.iscoroutine(outcome):
            await outcome


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/dashboard.md",
        "docs/policies.md",
        "docs/exports.md",
        "docs/figures.md",
        "docs/frames.md",
        "docs/replay.md",
        "docs/analysis.md",
        "docs/stores.md",
        "docs/extending.md",
        "docs/streams.md",
    ],
)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    (tmp_path / "data.csv").write_text("a,1\n\nb,2\n")
    blocks = blocks_of(page)
    assert blocks
    names = {}
    asyncio.run(follow(page, blocks, names))
    result = names["result"]
    assert result.status == "succeeded"
    expected = {
        "README.md": ("count", {"read": 3, "kept": 2}),
        "docs/dashboard.md": ("train", "a model"),
        "docs/exports.md": ("load", [1, 2, 3]),
        "docs/figures.md": ("total", 6),
        "docs/frames.md": ("load", [1, 2, 3]),
        "docs/index.md": ("report", "9 words, the longest is 'world'"),
        "docs/replay.md": ("count", 3),
        "docs/analysis.md": ("train", 12),
        "docs/stores.md": ("count", 4),
        "docs/extending.md": ("count", 3),
        "docs/streams.md": ("count", 4),
    }
    node, value = expected.get(page, ("flaky", "fine"))
    assert result[node] == value


def test_every_question_about_a_run_is_answered_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    page = "docs/analysis.md"
    names = {}
    asyncio.run(follow(page, blocks_of(page)[:1], names))
    names |= {
        "yesterday": names["frames"],
        "recording": names["result"].recording,
        "policies": [hexviz.policies.Retry()],
    }
    lines = re.findall(r"^\| [^|]+\? \| `(.+?)`", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) > 12
    for line in lines:
        assert eval(line, names) is not None


@pytest.mark.kafka
def test_the_examples_of_the_kafka_page_run(broker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    url = broker.fresh()
    names = {}
    blocks = [block.replace("kafka://localhost:9092/runs", url) for block in blocks_of("docs/kafka.md")]
    asyncio.run(follow("docs/kafka.md", blocks, names))
    assert names["result"]["count"] == 3
    assert list(names["watch"].frames.nodes["status"]) == ["succeeded"] * 2
    for kept in ("from_kafka.db", "archive.db"):
        with hexviz.open_store(kept) as store:
            assert [(info.run_id, info.status) for info in store.list_runs()] == [(names["result"].run_id, "succeeded")]


@pytest.mark.cluster
def test_the_examples_of_the_runners_page_run(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    blocks = [
        block.replace("tcp://scheduler:8786", cluster.scheduler_address) for block in blocks_of("docs/runners.md")
    ]
    asyncio.run(follow("docs/runners.md", blocks, names := {}))
    for ran in ("result", "on_dask"):
        assert names[ran]["primes"][-3:] == [83, 89, 97]
    assert names["far"].recording.frames.runs["status"].tolist() == ["succeeded"]
    assert set(names["recording"].frames.attempts["status"]) == {"succeeded"}
