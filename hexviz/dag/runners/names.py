"""How the tasks of nodes are called on a Dask cluster: ``(node, token)``, or ``(node, token, KEPT)``."""

from __future__ import annotations

from typing import Any

from hexviz import __version__
from hexviz.dag.errors import VersionMismatchError

PREFIX = "hexviz-run-"
"""What a token, and the topic of a run, begin with."""
KEPT = "kept"
"""Marks tasks whose results stay on the cluster."""
NEW_TASKS = "hexviz-new-tasks"
"""The operation by which a client gives tasks to the plugin of the scheduler."""
FACTS = "hexviz"
"""Where the metadata of a task has what there is to say of its end."""


def refuse_other_version(there: str, version: str) -> None:
    """Raise :class:`~hexviz.dag.errors.VersionMismatchError` in a process ``there`` that was sent another version."""
    if version != __version__:
        raise VersionMismatchError(
            f"{there} has hexviz {__version__}, the process that started the run has {version}: "
            "install the same version in both"
        )


def key_of(node: str, token: str, *, kept: bool) -> tuple[str, ...]:
    """The key of a task."""
    return (node, token, KEPT) if kept else (node, token)


def is_ours(key: Any) -> bool:
    """Whether a task is an attempt of a node."""
    return type(key) is tuple and len(key) > 1 and type(key[1]) is str and key[1].startswith(PREFIX)


def is_kept(key: tuple[Any, ...]) -> bool:
    """Whether the result of an attempt stays on the cluster."""
    return key[-1:] == (KEPT,)


def topic_of(token: str) -> str:
    """The topic of the run that a token belongs to."""
    return token.rsplit(":", 2)[0]
