"""The browser's half of the view, as text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def asset(name: str) -> str:
    """The text of a file in ``hexviz/widgets/static``."""
    return (files("hexviz.widgets") / "static" / name).read_text(encoding="utf-8")
