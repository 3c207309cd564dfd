"""Dotted topics and the patterns that select them.

A topic is a row of levels joined by dots, such as ``pipeline.etl.wave.3.node.clean.failed``; names that hold ``.``,
``*`` or ``%`` are percent-encoded by :func:`hexviz.events.events.topic_segment`. In a pattern ``*`` stands for
exactly one level and ``**`` for any number of levels, none included.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hexviz.errors import RegistrationError, RegistrationTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a topic matches ``pattern``.

    Raises :class:`~hexviz.errors.RegistrationError` for an empty level or a wildcard that is only part of a level.
    """
    levels = pattern.split(".")
    for level in levels:
        if not level or ("*" in level and level not in {"*", "**"}):
            problem = "an empty level" if not level else f"the level {level!r}"
            msg = f"topic pattern {pattern!r} has {problem}; use '*' for one level, '**' for any number, between dots"
            raise RegistrationError(msg)
    return _matcher([level for i, level in enumerate(levels) if level != "**" or levels[i - 1 : i] != ["**"]])


def _matcher(levels: list[str]) -> Callable[[str], bool]:
    # every level is written with a leading dot, so that '**' may also stand for nothing
    parts = {"*": r"\.[^.]+", "**": r"(?:\.[^.]+)*"}
    expression = re.compile("".join(parts.get(level) or r"\." + re.escape(level) for level in levels), re.DOTALL)
    return lambda topic: expression.fullmatch("." + topic) is not None


def compile_topics(topics: str | Iterable[str] | None) -> tuple[Callable[[str], bool], ...] | None:
    """The matchers of one pattern or several; None means that topics do not matter."""
    if topics is None:
        return None
    patterns: list[Any] = [topics] if isinstance(topics, str) else list(topics)
    for pattern in patterns:
        if not isinstance(pattern, str):
            msg = f"topics takes patterns such as 'pipeline.**.failed', not {pattern!r}"
            raise RegistrationTypeError(msg)
    return tuple(compile_pattern(pattern) for pattern in patterns)
