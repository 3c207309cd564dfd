"""How the tasks of nodes are called on a Dask cluster: ``(node, token)``, or ``(node, token, KEPT)``."""

from __future__ import annotations

from typing import Any

PREFIX = "hexviz-run-"
"""What a token, and the topic of a run, begin with."""
KEPT = "kept"
"""Marks tasks whose results stay on the cluster."""


def is_ours(key: Any) -> bool:
    """Whether a task is an attempt of a node."""
    return type(key) is tuple and len(key) > 1 and type(key[1]) is str and key[1].startswith(PREFIX)


def topic_of(token: str) -> str:
    """The topic of the run that a token belongs to."""
    return token.rsplit(":", 2)[0]
