"""``%load_ext hexviz``: ``%%hexviz`` records and shows every run of a cell, ``%hexviz last | runs | on | off``.

A cell that begins with ``%%hexviz`` is not run by the magic but by IPython itself: its first line becomes a statement
that begins to watch, and the end of the cell ends it. So ``await`` works in it, and tracebacks show its own lines.
Which runs are the cell's is known by their context: those of its tasks too, and those that go on after it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from hexviz.notebook.magics import HexvizMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_loaded: weakref.WeakKeyDictionary[Any, HexvizMagics] = weakref.WeakKeyDictionary()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%load_ext hexviz`` calls."""
    unload_ipython_extension(shell)
    _loaded[shell] = HexvizMagics(shell)
    _loaded[shell].plug_in()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%unload_ext hexviz`` calls; runs under way go on being watched."""
    if shell in _loaded:
        _loaded.pop(shell).unplug()
