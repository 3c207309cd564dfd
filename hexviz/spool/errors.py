"""What can go wrong with a spool."""

from __future__ import annotations

from hexviz.errors import HexvizError


class SpoolError(HexvizError, OSError):
    """A spool cannot be opened or written (no permission, disk full): nothing of what was given is in it."""


class SpoolTakenError(SpoolError):
    """Another process, or another part of this one, has the spool open."""
