"""Which front end shows things here, and whether anything may be shown."""

from __future__ import annotations

import sys

from IPython.core.getipython import get_ipython

from hexviz.display import wanted


def can_display() -> bool:
    """Whether there is a notebook to show something in, and it is wanted."""
    if not wanted():
        return False
    return in_marimo() or getattr(get_ipython(), "kernel", None) is not None


def in_marimo() -> bool:
    """Whether a cell of a marimo notebook runs this that a browser looks at; an export has only the static picture."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and marimo.running_in_notebook() and marimo.app_meta().request is not None
