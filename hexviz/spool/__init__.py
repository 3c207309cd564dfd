"""Records that wait on this machine's disk until a server takes them: bounded, checksummed, safe against kill -9.

What sends records to a server (a store, a stream) puts into a :class:`Spool` what it cannot send now, and sends from
its front once the server is there::

    with Spool("~/.cache/hexviz/spool", max_bytes=64 * 2**20) as spool:
        spool.append([Entry(run_id, seq, record)])          # the server is away
        while entries := spool.peek(1_000):                 # it is back
            send(entries)
            spool.done(len(entries))                        # only now are they gone

A spool is a directory of files that are only ever appended to, so what a killed process leaves is a valid prefix of
what it wrote; the next spool at the same path gives it first. ``done`` is noted on the disk too, in place: after a
kill between sending and noting, the same entries are given again. So delivery is at least once and in order, and
whoever receives goes by (run_id, seq).
"""

from __future__ import annotations

from hexviz.spool.errors import SpoolError, SpoolTakenError
from hexviz.spool.files import Entry
from hexviz.spool.spool import Dropped, Spool

__all__ = ["Dropped", "Entry", "Spool", "SpoolError", "SpoolTakenError"]
