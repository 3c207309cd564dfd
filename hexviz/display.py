"""Whether anything may be shown: the one place that reads ``HEXVIZ_DISPLAY``; and what a kernel needs to show it."""

from __future__ import annotations

import os
import sys
from typing import Any

_VARIABLE = "HEXVIZ_DISPLAY"
_OFF = frozenset({"off", "0", "no", "none", "false"})


def wanted() -> bool:
    """Whether live views, magics and the terminal may show something: nobody has said ``HEXVIZ_DISPLAY=off``."""
    return os.environ.get(_VARIABLE, "").strip().lower() not in _OFF


def in_kernel() -> bool:
    """Whether this is the process of a notebook; loads nothing to find out."""
    return hasattr(_shell(), "kernel")


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def let_kernel_show_groups() -> None:
    """Let a cell that ends with an exception group end.

    IPython prints the traceback of a group by itself, and ipykernel (7.4) then asks its shell for the one that was
    shown last. Where no cell without ``await`` has run before there is none, not even None, so the kernel would fail
    and the cell never end.
    """
    shell = _shell()
    if hasattr(shell, "kernel") and not hasattr(shell, "_last_traceback"):
        shell._last_traceback = None  # noqa: SLF001 - what its run_cell does


def switch(*, on: bool) -> None:
    """Show things again, or nothing from now on, in this process and in those that it starts."""
    os.environ[_VARIABLE] = "on" if on else "off"
