"""Timeout: a limit for the wall time of a whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hexviz.events.events import Event, LLMPromptSent, NodeStarted, PipelineStarted, ToolCalled
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import PerRun, Policy, number, one_of, run_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Timeout(Policy):
    """Once a run has lasted ``seconds``, nothing more of it starts: no node, no further attempt, no tool or model call.

    What is already running is *not* interrupted: a policy is asked before and after steps, so it cannot reach into one.
    For a limit that interrupts a node, give that node ``timeout_s``; to stop a run at once, cancel it.
    Late starts are answered as ``when_over`` says: ``"fail"``, or ``"skip"``, which lets the run end with what it has.
    The clock starts at PipelineStarted, or at the first event of the run that the policy sees.
    """

    priority: ClassVar[int] = 35
    event_types = (PipelineStarted, NodeStarted, ToolCalled, LLMPromptSent)

    def __init__(self, seconds: float, *, when_over: str = "fail", nodes: str | Iterable[str] | None = None) -> None:
        super().__init__(nodes)
        self.seconds = number(self, "seconds", seconds, positive=True)
        self.when_over = one_of(self, "when_over", when_over, ("fail", "skip"))
        self._started: PerRun[list[int]] = PerRun(list)

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """FAIL or SKIP for what would start after the run's time is over, else PROCEED."""
        if not isinstance(event, self.event_types):
            return PROCEED
        started = self._started.of(run_of(event, context))
        if isinstance(event, PipelineStarted):
            started[:] = [event.monotonic_ns]
            return PROCEED
        if not started:
            started.append(event.monotonic_ns)
        lasted = (event.monotonic_ns - started[0]) / 1e9
        if lasted < self.seconds or not self.is_about(event, context):
            return PROCEED
        reason = f"the run has lasted {lasted:.3g} s, its limit is {self.seconds:g} s"
        if self.when_over == "skip":
            return ControlResponse(ControlSignal.SKIP, None, reason)
        return ControlResponse(ControlSignal.FAIL, reason, reason)
