"""What seldom happens to an attempt at a node: its code is elsewhere, control waits or objects, it raises."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hexviz.dag.current import current_node
from hexviz.dag.errors import NodeTimeoutError
from hexviz.dag.place import abandonable
from hexviz.dag.runners.attempt import Attempt
from hexviz.dag.wave_gates import WaveGates
from hexviz.dag.waves import CANCELLED, FAILED
from hexviz.events.asking import Decision
from hexviz.events.events import Event, NodeCancelled, NodeCompleted, NodeFailed, NodeStarted
from hexviz.events.stepping import AbandonedError

if TYPE_CHECKING:
    from types import TracebackType

    from hexviz.dag.orchestrator import Settings
    from hexviz.dag.place import Place
    from hexviz.dag.plan import Plan
    from hexviz.dag.run import Run
    from hexviz.dag.runners.local import ThreadRunner
    from hexviz.dag.runners.runner import Runner, Session
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager


_traceback_of = vars(BaseException)["__traceback__"].__get__  # what a class of the user makes of the name is its code
_OURS = ("hexviz.dag.", "hexviz.events.")


class Attempts(WaveGates):
    """Knows where the code of each node runs, and what follows where an attempt does not simply succeed."""

    def __init__(
        self,
        plan: Plan,
        *,
        run_id: str,
        observers: ObserverManager,
        control: ControlManager,
        settings: Settings,
        threads: ThreadRunner,
        runner: Runner | None,
    ) -> None:
        super().__init__(plan, run_id=run_id, observers=observers, control=control, settings=settings)
        self._threads = threads
        self._runner = runner
        self._session: Session | None = None
        self._away: dict[int, Attempt] = {}
        self._facts, self._launchers, self._out_models = plan.facts, plan.launchers.copy(), plan.out_models
        for index in plan.sync:
            self._launchers[index] = self._in_thread
        if runner is not None:
            self._facts = [(*facts[:3], runner.label) for facts in plan.facts]
            self._launchers = [self._elsewhere] * len(plan)
            if runner.keeps_results:  # what is here only stands for them: the worker checks them
                self._out_models = [None] * len(plan)

    # --- where its code runs

    def _start_without(self, index: int) -> None:
        if self._runner is None and self.plan.asynchronous[index]:
            self._launchers[index] = self.plan.launcher(index)

    async def _in_thread(self, initial_input: Any, results: list[Any]) -> Any:
        inside, here = copy_context(), current_node()
        assert here is not None  # noqa: S101 - the first step has set it
        result = await self._threads.run(inside, partial(self.plan.launcher(here.index), initial_input, results))
        return await result if hasattr(result, "__await__") else result

    async def _elsewhere(self, initial_input: Any, results: list[Any]) -> Any:
        here = current_node()
        assert here is not None  # noqa: S101 - the first step has set it
        assert self._session is not None  # noqa: S101 - nothing starts before it is open
        args, kwargs = self.plan.bindings[here.index].arguments(initial_input, results)
        attempt = self._away[here.index] = Attempt(cast("Run", self), here.index, args, kwargs)
        try:
            return await self._session.execute(attempt)
        finally:
            attempt.answer = None  # it knows the attempt, which would wait for the garbage collector

    # --- control waits, or objects

    async def _may_start(self, index: int, place: Place, started: NodeStarted, times: int, decision: Any) -> bool:
        """Control waits, or something is noteworthy about the start of a node: whether its code is to run."""
        try:
            decision = decision if type(decision) is Decision else await abandonable(decision, place)
            decided = self.note(started, self.context_of(index), decision)
        except (asyncio.CancelledError, AbandonedError) as error:
            await self._raised(index, error, 0.0, place)
            return False
        if self.stopped:
            self._cancelled(index, 0.0)
        elif decided is not None:
            self._at_start(index, started, times + 1, decided)
        else:
            return True
        return False

    async def _may_stand(self, index: int, place: Place, completed: NodeCompleted, decision: Any) -> bool:
        """Control waits, or something is noteworthy about a result: whether the node succeeded with it."""
        decided = await self._noted(completed, index, place, decision)
        if decided is not None:
            self._at_end(index, decided, completed.duration_ms)
        return decided is None

    async def _noted(self, event: Event, index: int, place: Place, decision: Any) -> Decision | None:
        try:
            decision = decision if type(decision) is Decision else await abandonable(decision, place)
        except (asyncio.CancelledError, AbandonedError):
            if not self.stopped:
                raise
            return None
        return self.note(event, self.context_of(index), decision)

    # --- it fails

    async def _raised(self, index: int, error: BaseException, duration_ms: float, place: Place) -> None:
        error = _as_raised(error)
        error = BaseException.with_traceback(error, _of_users_code(_traceback_of(error)))
        if self._away:
            attempt = self._away.pop(index, None)
            duration_ms = duration_ms if attempt is None else attempt.duration_ms
        left_to_us = isinstance(error, (asyncio.CancelledError, AbandonedError))
        if place.forgive() and left_to_us:
            spec = self.plan.specs[index]
            error = NodeTimeoutError(f"node {spec.name!r} took longer than its timeout_s of {spec.timeout_s:g} s")
        elif self.stopped and left_to_us:
            self._cancelled(index, duration_ms)
            return
        elif left_to_us:
            place.cancelled_itself()
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.emit(NodeFailed, *self.facts(index), error, self.attempts[index], duration_ms, will_retry=False)
            self._end(index, FAILED)
            self.fatal = error
            self.stop(f"node {self.plan.names[index]!r} raised {type(error).__name__}")
            return
        await self._fail_attempt(index, error, duration_ms, place)

    def _cancelled(self, index: int, duration_ms: float) -> None:
        facts = {"reason": self.stopped, "duration_ms": duration_ms}
        self.emit(NodeCancelled, *self.facts(index), self.attempts[index], **facts)
        self._end(index, CANCELLED)

    async def _fail_attempt(self, index: int, error: BaseException, duration_ms: float, place: Place) -> None:
        """An attempt failed of itself: control may retry it, replace it, or skip it."""
        asked = bool(self.control.asks(NodeFailed))
        will_retry = None if asked else False
        failed = self.emit(
            NodeFailed, *self.facts(index), error, self.attempts[index], duration_ms, will_retry=will_retry
        )
        decided = None
        if asked:
            decision = self.control.begin(failed, self.context_of(index), all_votes=self._all_votes)
            decided = await self._noted(failed, index, place, decision)
        if decided is None:
            self._fail(index, error)
        else:
            self._at_end(index, decided, duration_ms, error)


def _as_raised(error: BaseException) -> BaseException:
    """What the node's own code raised: Python wraps a StopIteration that leaves a coroutine."""
    wrapped = type(error) is RuntimeError and error.args == ("coroutine raised StopIteration",)
    return error.__cause__ if wrapped and error.__cause__ is not None else error


def _of_users_code(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the node's own code on: how hexviz came to call it helps nobody to find the fault."""
    part = trace
    while part is not None and part.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        part = part.tb_next
    return part or trace
