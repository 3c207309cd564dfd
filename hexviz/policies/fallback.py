"""Fallback: a value that stands in for a node that failed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from hexviz.events.events import Event, NodeFailed
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import MISSING, ErrorTypes, Missing, Policy, error_types, wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


class Fallback(Policy):
    """Answers NodeFailed with FALLBACK: ``value``, or what ``function`` makes of the error.

    ``function`` is called with the exception, sync or async. Only errors of a class in ``on`` and of none in ``not_on``
    are answered; several Fallbacks with different ``on`` give a value by exception. It stands behind Retry, so that it
    answers when no attempt is left. The value is handed on as it is, not copied: use ``function`` (``lambda _: []``)
    where a fresh one is wanted each time.
    """

    priority: ClassVar[int] = 200
    event_types = (NodeFailed,)

    def __init__(
        self,
        value: Any = MISSING,
        *,
        function: Callable[[BaseException], Any] | None = None,
        on: ErrorTypes = (Exception,),
        not_on: ErrorTypes = (),
        nodes: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(nodes)
        if (function is None) == isinstance(value, Missing):
            raise wrong(self, "give either a value or a function of the exception")
        if function is not None and not callable(function):
            raise wrong(self, f"function must be callable, not {function!r}")
        self.value = value
        self.function = function
        self.on = error_types(self, "on", on)
        self.not_on = error_types(self, "not_on", not_on)

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse | Awaitable[ControlResponse]:
        """FALLBACK for an error that this policy is for, else PROCEED."""
        if not isinstance(event, NodeFailed) or not self.is_about(event, context):
            return PROCEED
        if not isinstance(event.error, self.on) or isinstance(event.error, self.not_on):
            return PROCEED
        reason = f"stands in after {type(event.error).__name__}"
        if self.function is None:
            return ControlResponse(ControlSignal.FALLBACK, self.value, reason)
        value = self.function(event.error)
        if inspect.isawaitable(value):
            return _awaited(value, reason)
        return ControlResponse(ControlSignal.FALLBACK, value, reason)


async def _awaited(value: Awaitable[Any], reason: str) -> ControlResponse:
    return ControlResponse(ControlSignal.FALLBACK, await value, reason)
