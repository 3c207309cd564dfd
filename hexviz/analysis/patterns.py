"""Nodes by name or by shell pattern, as policies take them."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def fitting(names: Iterable[str], wanted: str) -> set[str]:
    """Those of ``names`` that are ``wanted``, or where none is, those that fit it as a shell pattern."""
    distinct = {name for name in names if isinstance(name, str)}
    if wanted in distinct:
        return {wanted}
    fits = re.compile(translate(wanted)).match
    return {name for name in distinct if fits(name)}
