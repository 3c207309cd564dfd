"""Validate: a result that is not good enough is made again, or replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hexviz.events.events import Event, NodeCompleted, RecordedError
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.policies.policy import MISSING, Missing, Policy, attempt_of, count, number, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SHOWN = 200


class Validate(Policy):
    """Checks each result with ``check(result)``; False, or an Exception raised by it, means not good enough.

    Any other answer, None included, passes, so that schemas which raise or return the checked data can be used as
    they are. A result that is not good enough is made again (RETRY after ``delay_s``) until ``max_attempts`` attempts
    were made; then ``value`` stands in (FALLBACK), or, where none was given, the node fails. ``reason`` is recorded,
    with the text of the exception. ``check`` is given what the node returned: it must not change it.
    """

    priority: ClassVar[int] = 90
    event_types = (NodeCompleted,)

    def __init__(
        self,
        check: Callable[[Any], Any],
        *,
        max_attempts: int = 3,
        delay_s: float = 0.0,
        value: Any = MISSING,
        reason: str = "the result is not good enough",
        nodes: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(nodes)
        if not callable(check):
            raise wrong(self, f"check must be a function of the result, not {check!r}")
        self.check = check
        self.max_attempts = count(self, "max_attempts", max_attempts)
        self.delay_s = number(self, "delay_s", delay_s)
        self.value = value
        self.reason = reason

    def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """PROCEED for a good result, else RETRY, FALLBACK or FAIL."""
        if not isinstance(event, NodeCompleted) or not self.is_about(event, context):
            return PROCEED
        problem = self._problem(event.result)
        if not problem:
            return PROCEED
        attempt = attempt_of(event, context)
        if attempt < self.max_attempts:
            reason = f"{problem}; attempt {attempt + 1} of {self.max_attempts}"
            return ControlResponse(ControlSignal.RETRY, {"delay": self.delay_s}, reason)
        if not isinstance(self.value, Missing):
            return ControlResponse(ControlSignal.FALLBACK, self.value, f"{problem}; another value stands in")
        return ControlResponse(ControlSignal.FAIL, problem, problem)

    def _problem(self, result: Any) -> str:
        try:
            answer = self.check(result)
        except Exception as error:  # noqa: BLE001 - raising is how many checks say no
            return f"{self.reason}: {RecordedError.of(error)}"[: len(self.reason) + _SHOWN]
        return self.reason if _is_no(answer) else ""


def _is_no(answer: Any) -> bool:
    """Whether ``answer`` is False, or numpy's; frames and arrays have no single truth, so they pass."""
    if answer is None or isinstance(answer, bool):
        return answer is False
    is_numpy_bool = type(answer).__name__ in {"bool", "bool_"} and getattr(answer, "shape", None) == ()
    return is_numpy_bool and not answer
