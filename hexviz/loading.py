"""Loading modules on request, in a process that holds much already."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_S = 2.0
_WINDOW_S = 0.2
_BUSY_SHARE = 0.05
_MOST_WINDOWS = 300
_loading = threading.RLock()


@contextmanager
def at_once() -> Iterator[None]:
    """Load modules within this without the garbage collector.

    Loading makes so many objects that it would look through all of a kernel once and find nothing, which takes a sixth
    of the time until the first bars are drawn. A process that runs without it stays so.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def when_idle(*modules: str) -> threading.Thread | None:
    """Load ``modules`` in a thread of its own, each when this process has computed next to nothing for a moment.

    So whoever needs them later need not wait, and what runs now loses next to nothing; what ends within two seconds
    loses nothing at all. The thread gives up after a minute without such a moment; a module that cannot be loaded is
    left to whoever needs it. None where all of them are there.
    """
    missing = [module for module in modules if module not in sys.modules]
    if not missing:
        return None
    thread = threading.Thread(target=_load_when_idle, args=(missing,), name="hexviz-loading", daemon=True)
    thread.start()
    return thread


def _load_when_idle(modules: list[str]) -> None:
    time.sleep(_FIRST_S)
    for _ in range(_MOST_WINDOWS):
        before_s = time.process_time()
        time.sleep(_WINDOW_S)
        if time.process_time() - before_s > _BUSY_SHARE * _WINDOW_S:
            continue
        with suppress(Exception), _loading, at_once():
            import_module(modules.pop(0))
        if not modules:
            return


if hasattr(os, "register_at_fork"):  # a child would wait for ever for a module that was half loaded when it was made
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)
