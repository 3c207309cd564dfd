"""Nodes that leave a mark each time their code begins, in a module that every worker can import."""

import os
import signal
import time
from pathlib import Path


def begins(marks):
    """How often a node began."""
    path = Path(marks)
    return len(path.read_text()) if path.exists() else 0


def mark(marks):
    with Path(marks).open("a") as file:
        file.write("x")


def dies(marks):
    mark(marks)
    os.kill(os.getpid(), signal.SIGKILL)


def waits(marks):
    mark(marks)
    time.sleep(60)


def large(marks):
    mark(marks)
    return b"x" * 200_000


def short(value):
    time.sleep(0.02)
    return value


def runs_another(value):
    """A node that runs a graph on the cluster that it is a part of."""
    import distributed

    import hexviz

    graph = hexviz.Graph("inner")
    for number in range(3):
        graph.node(short, name=f"short{number}")
    runner = hexviz.dag.DaskRunner(distributed.get_client())
    for _ in range(2):
        result = hexviz.run_sync(graph, value, runner=runner, store=False)
    return dict(result)
