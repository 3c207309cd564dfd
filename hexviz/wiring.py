"""What a room adds to another one that must not know it. The package fills it as it is imported; no room does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WITH_FRAMES: list[Callable[[], object]] = []
"""Called whenever the frames of a recording are made, which has loaded pandas: ``df.hexviz`` comes along here."""
