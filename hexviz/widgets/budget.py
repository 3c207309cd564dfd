"""How much a live view may send: a bucket that fills at a steady rate."""

from __future__ import annotations

import time

RATE = 65_000
"""Bytes per second, on the average: the limit is 100 kB/s, and frames and headers of the connection come on top."""

BURST = 60_000
"""As much as this may be saved up, so that a run that begins is seen whole at once."""

LAST = 200_000
"""The last message may be larger, so that most runs are complete when they end."""

FIRST = 200_000
"""What a view that has just appeared gets at once: a sample of the whole, where the whole is larger."""

PIECE = 64_000
"""Then it catches up by so much with each refresh; where no refresh will come the pieces follow each other at once."""

ATTEMPT = 40
"""About so many bytes tell an attempt and the name of its node: by them the number of pieces is reckoned."""

_LEAST = 1_500


class Budget:
    """Says how many bytes the next message may have, and is told how many it had."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._saved = float(burst)
        self._at_s = time.monotonic()

    def now(self, *, last: bool = False) -> int:
        """Bytes for the columns and lists of the next message; its fixed part is reckoned with."""
        now_s = time.monotonic()
        self._saved = min(self._burst, self._saved + self._rate * (now_s - self._at_s))
        self._at_s = now_s
        return LAST if last else int(max(self._saved / 2, 0.0)) if self._saved > _LEAST else 0

    def spend(self, size: int) -> None:
        """A message of ``size`` bytes was sent; what is owed delays the next ones."""
        self._saved -= size
