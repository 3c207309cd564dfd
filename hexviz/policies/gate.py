"""Gate: a step happens only where a flag, a permission or a condition allows it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from hexviz.events.events import Event, LLMPromptSent, NodeStarted, PipelineStarted, ToolCalled, WaveStarted
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import Policy, one_of, wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_PLACES: dict[str, type[Event]] = {
    "pipeline": PipelineStarted,
    "wave": WaveStarted,
    "node": NodeStarted,
    "tool": ToolCalled,
    "llm": LLMPromptSent,
}
_SIGNALS = {"skip": ControlSignal.SKIP, "fail": ControlSignal.FAIL, "fallback": ControlSignal.FALLBACK}


class Gate(Policy):
    """Lets a step begin only where ``allow`` is true: a bool, or a function of the context, sync or async.

    A closed gate answers as ``otherwise`` says: ``"skip"`` or ``"fallback"`` (both with ``value``), or ``"fail"``.
    ``at`` names the step: ``"pipeline"``, ``"wave"``, ``"node"``, ``"tool"`` or ``"llm"``; ``reason`` is recorded.
    A feature flag is ``Gate(lambda context: flags["reports"], reason="reports are off", nodes="report_*")``.
    The function is asked each time, so a flag may change in mid-run. If it raises, the run stops: nobody gets past a
    permission that could not be checked.
    """

    priority: ClassVar[int] = 20

    def __init__(
        self,
        allow: bool | Callable[[ExecutionContext], bool | Awaitable[bool]],  # noqa: FBT001 - a flag is the plainest gate
        *,
        reason: str = "the gate is closed",
        otherwise: str = "skip",
        value: Any = None,
        at: str = "node",
        nodes: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(nodes)
        if not isinstance(allow, bool) and not callable(allow):
            raise wrong(self, f"allow must be a bool or a function of the context, not {allow!r}")
        self.allow = allow
        self.reason = reason
        self.otherwise = one_of(self, "otherwise", otherwise, _SIGNALS)
        self.value = value
        self.at = one_of(self, "at", at, _PLACES)
        self.event_types = (_PLACES[self.at],)

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse | Awaitable[ControlResponse]:
        """PROCEED where it is allowed, else SKIP, FALLBACK or FAIL with the reason."""
        if not isinstance(event, self.event_types) or not self.is_about(event, context):
            return PROCEED
        allowed = self.allow if isinstance(self.allow, bool) else self.allow(context)
        return self._later(allowed) if inspect.isawaitable(allowed) else self._answer(bool(allowed))

    async def _later(self, allowed: Awaitable[bool]) -> ControlResponse:
        return self._answer(bool(await allowed))

    def _answer(self, allowed: bool) -> ControlResponse:  # noqa: FBT001 - the answer itself
        if allowed:
            return PROCEED
        data = self.reason if self.otherwise == "fail" else self.value
        return ControlResponse(_SIGNALS[self.otherwise], data, self.reason)
