"""Locks that a forked child can take: a thread that is not there any more may have held them."""

from __future__ import annotations

import os
import weakref
from typing import Any, TypeVar

LockT = TypeVar("LockT")
_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def free_in_children(lock: LockT) -> LockT:
    """``lock`` (a ``Lock`` or an ``RLock`` of :mod:`threading`), which nobody holds in a child at first."""
    _locks.add(lock)
    return lock


def _free_all() -> None:
    for lock in tuple(_locks):
        lock._at_fork_reinit()  # noqa: SLF001 - what the standard library calls for locks of its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
