"""Calls that happen inside a node: a tool, a language model. They tell their events and ask control.

``async with tool_call("search", {"q": q}) as call: call.result = ...`` or, in sync code, ``with`` in its place. Where
control has answered for the call, ``call.answered`` is True and ``call.result`` is its answer, which stands whatever
the block does; ``await call.run(fn, ...)`` does not call ``fn`` then.
"""

from __future__ import annotations

import asyncio
import secrets
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Self

from hexviz.dag.current import CurrentNode, current_node
from hexviz.dag.detach import detached
from hexviz.dag.errors import OrchestratorError
from hexviz.dag.signals import delay_of, veto
from hexviz.events.events import (
    LLMFailed,
    LLMPromptSent,
    LLMResponseReceived,
    ToolCalled,
    ToolCompleted,
    ToolFailed,
)
from hexviz.events.models import ControlSignal, ExecutionContext
from hexviz.events.replaying import refuse_in_replay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from hexviz.events.asking import Decision


class _Call:
    """One call, from its first event to its last; ``result`` is what the call returns."""

    _what = "call"

    def __init__(self) -> None:
        self.call_id = secrets.token_hex(8)
        self.result: Any = None
        self.answered = False
        self._answer: Any = None
        self._here: CurrentNode | None = None
        self._started_ns = 0

    # --- what the two kinds differ in

    def _tell_started(self, here: CurrentNode) -> Any:
        raise NotImplementedError

    def _tell_ended(self, here: CurrentNode, duration_ms: float) -> None:
        raise NotImplementedError

    def _tell_failed(self, here: CurrentNode, error: BaseException, duration_ms: float) -> None:
        raise NotImplementedError

    # --- async and sync forms

    async def __aenter__(self) -> Self:
        here, event = self._begin()
        try:
            await self._get_leave(here, event)
        except BaseException as error:
            self._finish(error)
            raise
        self._started_ns = monotonic_ns()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(error)

    def __enter__(self) -> Self:
        here, event = self._begin()
        try:
            if here.run.control.asks(type(event)):
                here.run.wait_for(self._get_leave(here, event))
        except BaseException as error:
            self._finish(error)
            raise
        self._started_ns = monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(error)

    async def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn``, sync or async, as this call, unless control answers in its place; returns the call's result."""
        async with self:
            if not self.answered:
                outcome = fn(*args, **kwargs)
                self.result = await outcome if hasattr(outcome, "__await__") else outcome
        return self.result

    # --- the life of a call

    def _begin(self) -> tuple[CurrentNode, Any]:
        refuse_in_replay(f"{self._what} was called")
        here = current_node()
        if here is None:
            msg = (
                f"{self._what} belongs inside a node: it tells its events in the name of a run. Call it from node code"
            )
            raise OrchestratorError(msg)
        self._here = here
        self._started_ns = monotonic_ns()
        return here, self._tell_started(here)

    async def _get_leave(self, here: CurrentNode, event: Any) -> None:
        """Ask control, as often as it says "not yet", at most ``max_attempts`` times."""
        for left in reversed(range(here.run.settings.max_attempts)):
            if not here.run.control.asks(type(event)):
                return
            delay_s = self._obey(await here.run.ask(event, _context(here)), last=not left)
            if delay_s is None:
                return
            await asyncio.sleep(delay_s)

    def _obey(self, decision: Decision | None, *, last: bool = False) -> float | None:
        """Act on what control says; the seconds to wait before asking again, or None to go on.

        A RETRY at the ``last`` time of asking counts as a veto.
        """
        if decision is None:
            return None
        response = decision.response
        if response.signal is ControlSignal.RETRY and not last:
            return delay_of(decision)
        if response.signal in (ControlSignal.SKIP, ControlSignal.FALLBACK):
            self.answered, self._answer, self.result = True, response.data, response.data
            return None
        error = veto(decision, self._what)
        here, self._here = self._here, None
        assert here is not None  # noqa: S101 - _begin() has set it
        self._tell_failed(here, error, 0.0)
        if response.signal is ControlSignal.ERROR:
            here.run.fail_soon(error)
        raise error

    def _finish(self, error: BaseException | None) -> None:
        here = self._here
        if here is None:
            return
        self._here = None
        duration_ms = (monotonic_ns() - self._started_ns) / 1e6
        if error is not None:
            self._tell_failed(here, error, duration_ms)
            return
        if self.answered:
            self.result = self._answer
        self._tell_ended(here, duration_ms)


class tool_call(_Call):  # noqa: N801 - used like a function
    """A call of a tool, from inside a node: tells ToolCalled, then ToolCompleted or ToolFailed, and asks control first.

    Raises :class:`~hexviz.dag.errors.NodeVetoedError` where control forbids the call.
    """

    def __init__(self, tool_name: str, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.tool_name = tool_name
        self.params = dict(params or {})
        self._what = f"tool_call({tool_name!r})"

    def _tell_started(self, here: CurrentNode) -> Any:
        params = detached(self.params)
        return here.run.emit(ToolCalled, here.name, self.tool_name, params, self.call_id, here.wave_index, here.attempt)

    def _tell_ended(self, here: CurrentNode, duration_ms: float) -> None:
        facts = (duration_ms, self.call_id, here.wave_index, here.attempt)
        here.run.emit(ToolCompleted, here.name, self.tool_name, detached(self.result), *facts)

    def _tell_failed(self, here: CurrentNode, error: BaseException, duration_ms: float) -> None:
        facts = (duration_ms, self.call_id, here.wave_index, here.attempt)
        here.run.emit(ToolFailed, here.name, self.tool_name, error, *facts)


class llm_call(_Call):  # noqa: N801 - used like a function
    """A call of a language model, from inside a node. Set ``input_tokens`` and ``output_tokens`` where they are known.

    Tells LLMPromptSent, then LLMResponseReceived or LLMFailed, and asks control first. Raises
    :class:`~hexviz.dag.errors.NodeVetoedError` where control forbids the call.
    """

    _what = "llm_call"

    def __init__(self, messages: Sequence[Any], *, model: str = "") -> None:
        super().__init__()
        self.messages = messages
        self.model = model
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def _tell_started(self, here: CurrentNode) -> Any:
        messages = detached(list(self.messages)) if not isinstance(self.messages, str) else self.messages
        return here.run.emit(
            LLMPromptSent, here.name, messages, self.call_id, self.model, here.wave_index, here.attempt
        )

    def _tell_ended(self, here: CurrentNode, duration_ms: float) -> None:
        here.run.emit(
            LLMResponseReceived,
            here.name,
            detached(self.result),
            duration_ms,
            self.call_id,
            self.model,
            self.input_tokens,
            self.output_tokens,
            here.wave_index,
            here.attempt,
        )

    def _tell_failed(self, here: CurrentNode, error: BaseException, duration_ms: float) -> None:
        facts = (duration_ms, self.call_id, self.model, here.wave_index, here.attempt)
        here.run.emit(LLMFailed, here.name, error, *facts)


def _context(here: CurrentNode) -> ExecutionContext:
    run = here.run
    return ExecutionContext(run.plan.name, here.name, here.wave_index, here.attempt, {}, run.run_id)
