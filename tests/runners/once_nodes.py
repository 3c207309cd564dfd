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
