"""The home side of an attempt that runs elsewhere: hears its messages in order, answers it, and settles it.

A message is ``(kind, ...)``:

- ``("start", worker)``: its code begins on that worker;
- ``("event", number, packed)``: a call inside the node told its event, counted from 1;
- ``("ask", number, ticket)``: control is asked about that event; the answer goes back under the ticket;
- ``("fail", packed)``: the whole run fails with that error;
- ``("end", count, duration_ms, value, error)``: it returned or raised, after ``count`` events; the duration is None
  where the worker could not tell it any more.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import NodeTimeoutError
from hexviz.dag.runners.away import Errand
from hexviz.dag.runners.packing import packed, unpacked
from hexviz.events.events import EventsDropped, LLMPromptSent, NodePlaced, ToolCalled, traceback_lines
from hexviz.events.models import ExecutionContext

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hexviz.dag.run import Run
    from hexviz.events.events import Event

_log = logging.getLogger("hexviz.dag")
_ASKED = (ToolCalled, LLMPromptSent)


class Attempt:
    """One try of one node: what to call, and what came of it. Everything but :meth:`post` is for the run's loop."""

    def __init__(self, run: Run, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        spec = run.plan.specs[index]
        self.run = run
        self.node: str = spec.name
        self.wave_index = run.plan.waves[index]
        self.number = run.attempts[index]
        self.fn, self.args, self.kwargs = spec.fn, args, kwargs
        self.out_model = spec.out_model
        self.worker = ""
        self.duration_ms = 0.0
        self.outcome: asyncio.Future[tuple[Any, BaseException | None]] = run.loop.create_future()
        self.finished = self.gone = False
        self.answer: Callable[[str, bytes], None] | None = None
        """Sends a packed answer of control to the worker, under its ticket."""
        self.timeout_s: float | None = spec.timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._began_ns = 0
        self._told = 0
        self._events: dict[int, Event] = {}
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> frozenset[str]:
        """The names of the calls that control is asked about now."""
        return frozenset(cls.__name__ for cls in _ASKED if self.run.control.asks(cls))

    def errand(self, out_model: Any = None) -> Errand:
        """Who asks for the call, as the worker needs to know it."""
        run = self.run
        return Errand(
            run.run_id, run.plan.name, self.node, self.wave_index, self.number, self.asked,
            run.settings.max_attempts, out_model, run.settings.strict_validation,
        )  # fmt: skip

    def post(self, *message: Any) -> None:
        """Hear a message; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits for this node any more
            self.run.loop.call_soon_threadsafe(self.receive, message)

    def receive(self, message: tuple[Any, ...]) -> None:
        """Act on a message. After the end nothing more is heard."""
        if not self.outcome.done():
            kind, *rest = message
            getattr(self, f"_{kind}")(*rest)

    def _elapsed_ms(self) -> float:
        return (monotonic_ns() - self._began_ns) / 1e6 if self._began_ns else 0.0

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The attempt is over."""
        if not self.finished:
            self.duration_ms = self._elapsed_ms()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._answering:
            task.cancel()
        if not self.outcome.done():
            self.outcome.set_result((value, error))

    def place(self, worker: str) -> None:
        """Tell where the code of this attempt runs."""
        if worker != self.worker:
            self.worker = worker
            self.run.emit(NodePlaced, self.node, self.wave_index, worker, self.number)

    async def ended(self) -> Any:
        """What the node returned; raises what it raised."""
        value, error = await self.outcome
        if error is not None:
            try:
                raise error
            finally:
                del error  # a failure must not keep its own frames alive
        return value

    # --- one method for each kind of message

    def _start(self, worker: str) -> None:
        self.place(worker)
        self._began_ns = monotonic_ns()
        if self.timeout_s is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.run.loop.call_later(self.timeout_s, self._overrun)

    def _overrun(self) -> None:
        text = f"node {self.node!r} took longer than its timeout_s of {self.timeout_s:g} s"
        self.settle(None, NodeTimeoutError(text))

    def _event(self, number: int, payload: bytes) -> None:
        try:
            cls, fields = unpacked(payload)
        except Exception as error:  # noqa: BLE001 - an import, or a value's own code, raises anything
            told = traceback_lines(error)
            _log.warning("run %s: an event of node %r cannot be read here%s", self.run.run_id, self.node, told)
            return  # it counts as lost
        event = self.run.emit(cls, **fields)
        self._told += 1
        if isinstance(event, _ASKED):
            self._events[number] = event

    def _ask(self, number: int, ticket: str) -> None:
        event = self._events.pop(number, None)
        if event is not None:
            task = self.run.loop.create_task(self._decide(event, ticket))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _decide(self, event: Event, ticket: str) -> None:
        run = self.run
        context = ExecutionContext(run.plan.name, self.node, self.wave_index, self.number, {}, run.run_id)
        decision = await run.ask(event, context)
        facts = None
        if decision is not None:
            response, by = decision.response, decision.decided_by
            facts = (response.signal, response.data, response.reason, by.name if by else "")
        if self.answer is not None:
            self.answer(ticket, packed(facts, f"the answer of control to a call of node {self.node!r}"))

    def _fail(self, payload: bytes) -> None:
        self.run.fail(unpacked(payload))

    def _end(self, count: int, duration_ms: float | None, value: Any, error: BaseException | None) -> None:
        self.duration_ms = self._elapsed_ms() if duration_ms is None else duration_ms
        self.finished = True
        self.report_lost(count - self._told)
        self.settle(value, error)

    def report_lost(self, count: int) -> None:
        """Tell that ``count`` events of this attempt never arrived."""
        if count > 0:
            worker = self.worker or "worker"
            reason = f"lost on the way from {worker}: calls in node {self.node!r}, attempt {self.number}"
            self.run.emit(EventsDropped, worker, reason, count)
            _log.warning("run %s: %d events %s", self.run.run_id, count, reason)
