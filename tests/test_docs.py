"""The examples of the pages run, in the order in which a reader meets them."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

import hexviz

ROOT = Path(__file__).parents[1]


def example_graph():
    graph = hexviz.Graph("example")
    tries = iter([TimeoutError("slow today"), None])

    @graph.node
    def flaky():
        if error := next(tries):
            raise error
        return "fine"

    return graph


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/policies.md", "docs/replay.md", "docs/stores.md"])
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXVIZ_DISPLAY", "off")
    (tmp_path / "data.csv").write_text("a,1\n\nb,2\n")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    names = {"hexviz": hexviz, "graph": example_graph()}

    async def read():
        for block in blocks:
            code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)
            if inspect.iscoroutine(outcome):
                await outcome

    asyncio.run(read())
    result = names["result"]
    assert result.status == "succeeded"
    expected = {
        "README.md": ("count", {"read": 3, "kept": 2}),
        "docs/index.md": ("report", "9 words, the longest is 'world'"),
        "docs/replay.md": ("count", 3),
        "docs/stores.md": ("count", 4),
    }
    node, value = expected.get(page, ("flaky", "fine"))
    assert result[node] == value
