"""The nodes of :class:`~hexviz.testing.RunnerContract`, in a module of their own that every worker can import."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from hexviz.dag import llm_call, tool_call


class UnpackableError(Exception):
    """An exception that holds a lock, and whose constructor takes more than it keeps: no way brings it back."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.lock = threading.Lock()


def load(value: Any) -> list[Any]:
    """A sync node without parents."""
    return [value, 2, 3]


class Rows(list[Any]):
    """A list whose end can be seen."""


def rows(value: Any) -> Rows:
    """A sync node without parents, whose result can be told from others that are alike."""
    return Rows([value, 2, 3])


async def double(rows: list[Any]) -> list[Any]:
    """An async node that really waits."""
    await asyncio.sleep(0.001)
    return [2 * row for row in rows]


def size(rows: list[Any], unit: str = "") -> str:
    """A node with a parameter that comes from a port."""
    return f"{len(rows)}{unit}"


def join(double: list[Any], size: str) -> dict[str, Any]:
    """A join by name."""
    return {"double": double, "size": size}


def nap(_: Any = None, seconds: float = 0.05) -> float:
    """Sleep, and say for how long."""
    time.sleep(seconds)
    return seconds


async def sleepy(_: Any = None) -> None:
    """Wait far too long."""
    await asyncio.sleep(3600)


def raises(_: Any = None) -> None:
    """Raise something that can be sent."""
    raise ValueError("no such row")


class LateError(RuntimeError, TimeoutError):
    """An exception with two builtin bases."""


def raises_late(_: Any = None) -> None:
    """Raise something that is pickled by a way of its own."""
    raise LateError("too late")


def raises_odd(_: Any = None) -> None:
    """Raise something that cannot."""
    raise UnpackableError(7, "strange")


def leaves(_: Any = None) -> None:
    """Ask the interpreter to end."""
    raise SystemExit(3)


def flaky(marks: str) -> int:
    """Fail the first time: a file tells how often it ran, wherever that was."""
    path = Path(marks)
    with path.open("a", encoding="utf-8") as file:
        file.write("x")
    tries = len(path.read_text(encoding="utf-8"))
    if tries == 1:
        raise ConnectionError("try again")
    return tries


def dies_once(marks: str) -> str:
    """Kill the own process the first time."""
    path = Path(marks)
    if not path.exists():
        path.write_text("x", encoding="utf-8")
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def calls(count: int) -> int:
    """Make tool calls, one of which fails."""
    for number in range(count):
        with tool_call("square", {"number": number}) as call:
            call.result = number * number
    try:
        with tool_call("broken"):
            raise KeyError("nothing")  # noqa: TRY301 - the call is to fail
    except KeyError:
        return count
    return 0


async def asks(_: Any = None) -> Any:
    """Ask a model."""
    async with llm_call([{"role": "user", "content": "hello"}], model="small") as call:
        call.result = "hi"
        call.input_tokens, call.output_tokens = 1, 2
    return call.result


def searches(_: Any = None) -> Any:
    """Ask a tool that control may answer for."""
    with tool_call("search", {"q": "dag"}) as call:
        call.result = "found"
    return call.result


def opens(_: Any = None) -> Any:
    """Return something that no process can send to another one."""
    return (row for row in [1])


def takes(value: Any) -> str:
    """Take anything."""
    return type(value).__name__


def many(value: Any) -> list[Any]:
    """Return something large."""
    return [value] * 50_000
