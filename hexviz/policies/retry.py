"""Retry: run a failed node again, after a wait that grows exponentially."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

from hexviz.events.events import Event, NodeFailed
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import ErrorTypes, Policy, attempt_of, count, error_types, node_of, number, run_of, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable


class Retry(Policy):
    """Answers NodeFailed with RETRY until ``max_attempts`` attempts were made, then lets others decide (PROCEED).

    The wait after attempt n is ``initial_interval_s * backoff_factor ** (n - 1)`` seconds, at most ``max_interval_s``.
    ``jitter`` (0 to 1) takes a random share of up to that much off each wait, so that nodes that failed together do not
    come back together. The share is a function of ``seed``, node and attempt (of the run's id where ``seed`` is None):
    a backtest finds the very same waits. An exception with a ``retry_after`` (seconds or a timedelta), as HTTP clients
    raise it, sets the wait itself, capped at ``max_interval_s``.

    Only errors of a class in ``retry_on`` and of none in ``not_on`` are retried. The formula is one line;
    tenacity and stamina would bring a loop of their own where hexviz needs a single number.
    """

    priority: ClassVar[int] = 100
    event_types = (NodeFailed,)

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        initial_interval_s: float = 0.1,
        backoff_factor: float = 2.0,
        max_interval_s: float = 30.0,
        jitter: float = 0.1,
        retry_on: ErrorTypes = (Exception,),
        not_on: ErrorTypes = (),
        nodes: str | Iterable[str] | None = None,
        seed: int | str | None = None,
    ) -> None:
        super().__init__(nodes)
        self.max_attempts = count(self, "max_attempts", max_attempts)
        self.initial_interval_s = number(self, "initial_interval_s", initial_interval_s)
        self.backoff_factor = number(self, "backoff_factor", backoff_factor)
        self.max_interval_s = number(self, "max_interval_s", max_interval_s)
        self.jitter = number(self, "jitter", jitter)
        self.retry_on = error_types(self, "retry_on", retry_on)
        self.not_on = error_types(self, "not_on", not_on)
        self.seed = seed
        if self.backoff_factor < 1:
            raise wrong(self, f"backoff_factor must be 1 or more, not {backoff_factor!r}")
        if self.jitter > 1:
            raise wrong(self, f"jitter must be between 0 and 1, not {jitter!r}")

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """RETRY with ``{"delay": seconds}`` for an error worth another attempt, else PROCEED."""
        if not isinstance(event, NodeFailed) or not self.is_about(event, context):
            return PROCEED
        attempt = attempt_of(event, context)
        if attempt >= self.max_attempts or not self.is_worth_retrying(event.error):
            return PROCEED
        asked = _retry_after(event.error)
        if asked is None:
            delay = self.delay_s(attempt, node=node_of(event, context), run_id=run_of(event, context))
        else:
            delay = min(asked, self.max_interval_s)
        because = "as the error asked (retry_after)" if asked is not None else f"after {type(event.error).__name__}"
        reason = f"attempt {attempt + 1} of {self.max_attempts} in {delay:.3g} s, {because}"
        return ControlResponse(ControlSignal.RETRY, {"delay": delay}, reason)

    def is_worth_retrying(self, error: BaseException) -> bool:
        """Whether the class of ``error`` is one to retry."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.not_on)

    def delay_s(self, attempt: int, *, node: str = "", run_id: str = "") -> float:
        """The wait in seconds after ``attempt`` (from 1) has failed."""
        try:
            grown = self.initial_interval_s * self.backoff_factor ** (attempt - 1)
        except OverflowError:
            grown = self.max_interval_s if self.initial_interval_s else 0.0
        delay = min(grown, self.max_interval_s)
        return delay * (1.0 - self.jitter * self._share(node, attempt, run_id)) if self.jitter else delay

    def _share(self, node: str, attempt: int, run_id: str) -> float:
        source = run_id if self.seed is None else str(self.seed)
        if not source:
            return random.random()  # noqa: S311 - spreads waits, keeps no secret
        text = f"{source}|{node}|{attempt}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=6).digest(), "big") / 2**48


def _retry_after(error: BaseException) -> float | None:
    """The wait that the error asks for, in seconds; None where it says nothing that can be used."""
    try:
        asked = getattr(error, "retry_after", None)
        value = asked.total_seconds() if isinstance(asked, timedelta) else float(asked)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - an attribute of a user's exception may hold or raise anything
        return None
    return value if math.isfinite(value) and value >= 0 else None
