"""Asks the control handlers, in order of priority, whether a step should go on and how."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from bisect import insort
from collections.abc import Awaitable, Iterable
from functools import partial
from time import perf_counter
from types import coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import msgspec

from hexviz.errors import RegistrationError
from hexviz.events.config import (
    CRITICAL_HANDLER_PRIORITY_THRESHOLD,
    DEFAULT_HANDLER_PRIORITY,
    DEFAULT_HANDLER_TIMEOUT,
    LoggingErrorHandler,
)
from hexviz.events.events import Event, Vote, traceback_lines
from hexviz.events.models import (
    PROCEED,
    BaseEventManager,
    ControlResponse,
    ControlSignal,
    ErrorHandler,
    ExecutionContext,
    HandlerMetadata,
)
from hexviz.events.offload import in_thread
from hexviz.events.registration import callable_of, event_types_of, gives_coroutine, is_async, name_of, weakly
from hexviz.events.secrets import masked_head
from hexviz.events.stepping import AbandonedError, Continued
from hexviz.events.topics import compile_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator  # noqa: TC004 - only for readers: the struct does not check it

_log = logging.getLogger("hexviz.control")
_CANCEL_GRACE_S = 0.5
Call: TypeAlias = "tuple[Callable[[Event, ExecutionContext], Any], bool]"
"""A handler, and whether calling it gives a coroutine: what the hot loop unpacks in one step."""


class HandlerEntry(msgspec.Struct, frozen=True, eq=False):
    """One registered handler, as it stands in the row of those that are asked."""

    priority: int
    order: int
    handler: Callable[[Event, ExecutionContext], Any]
    asynchronous: bool
    metadata: HandlerMetadata
    event_types: tuple[type[Event], ...] | None = None
    topics: tuple[Callable[[str], bool], ...] | None = None
    critical: bool = False
    timeout_s: float = DEFAULT_HANDLER_TIMEOUT
    shadow: bool = False

    @property
    def name(self) -> str:
        """What it is called in decisions, and unregistered by."""
        return self.metadata.name

    def wants(self, event_class: type[Event]) -> bool:
        """Whether it is to be asked about this class of events."""
        return self.event_types is None or issubclass(event_class, self.event_types)

    def hears(self, event: Event) -> bool:
        """Whether the topic of ``event`` is one of those asked for."""
        return self.topics is None or any(matches(event.topic) for matches in self.topics)

    def __lt__(self, other: HandlerEntry) -> bool:
        return (self.priority, self.order) < (other.priority, other.order)


class Row(NamedTuple):
    """The handlers that are asked about an event, in order, and how each is called."""

    entries: tuple[HandlerEntry, ...]
    calls: tuple[Call, ...]

    @classmethod
    def of(cls, entries: Iterable[HandlerEntry]) -> Row:
        """The row of these handlers."""
        entries = tuple(entries)
        return cls(entries, tuple([(entry.handler, entry.asynchronous) for entry in entries]))


class Decision(NamedTuple):
    """The outcome of one check: the answer that stands, who gave it (None: nobody objected), and every vote.

    ``noteworthy``: somebody interfered, would have interfered (a shadow handler), or failed.
    """

    response: ControlResponse
    decided_by: HandlerEntry | None = None
    votes: tuple[Vote, ...] = ()
    noteworthy: bool = False


NO_OBJECTION = Decision(PROCEED)
"""The outcome of a check in which nothing happened that is worth telling; it carries no votes."""


class ControlManager(BaseEventManager):
    """Priority and veto: the first handler whose answer is not PROCEED decides.

    Handlers are asked in order of (priority, registration), a lower number first; a check works on the registrations
    that stood when it began. A handler that raises, overruns its ``timeout_s`` or answers with anything but a
    :class:`ControlResponse` is reported; where it is critical (by default: priority below 50) the check answers ERROR,
    otherwise the next handler is asked. Handlers may be registered from any thread; a check belongs to the event loop
    that awaits it.
    """

    def __init__(self, error_handler: ErrorHandler | None = None, use_weak_refs: bool = False) -> None:  # noqa: FBT001, FBT002 - the contract's signature
        self._error_handler = error_handler or LoggingErrorHandler(_log)
        self._use_weak_refs = use_weak_refs
        self._entries: list[HandlerEntry] = []
        self.active = False
        """Whether anybody is registered."""
        self._names: dict[str, HandlerEntry] = {}
        self._lock = threading.RLock()
        self._orders = itertools.count()
        self._table: dict[type[Event], tuple[HandlerEntry, ...]] = {}
        self._rows: dict[type[Event], Row] = {}
        self._checks: list[_Check] = []

    def register(
        self,
        handler: Any,
        *,
        priority: int = DEFAULT_HANDLER_PRIORITY,
        name: str | None = None,
        description: str = "",
        event_types: Iterable[type[Event]] | type[Event] | None = None,
        topics: str | Iterable[str] | None = None,
        critical: bool | None = None,
        timeout_s: float | None = None,
        shadow: bool = False,
        keep_alive: bool = False,
        replace: bool = False,
    ) -> str:
        """Add a handler: a function of ``(event, context)``, sync or async, or an object with a ``handle`` method.

        A lower ``priority`` is asked earlier. ``shadow=True`` asks and records the handler, and never obeys it.
        ``timeout_s`` (10 unless given) bounds an async handler that waits. A sync one is called in line, so it must be
        quick; with a ``timeout_s`` of its own it is called in a thread, and the limit holds for it as well. Returns the
        name to unregister it by.

        Raises :class:`~hexviz.errors.RegistrationError` where the name is taken and ``replace`` is not set, and
        :class:`~hexviz.errors.RegistrationTypeError` for a handler or an event type that cannot work.
        """
        call = callable_of(handler)
        order = next(self._orders)
        if timeout_s is not None and not timeout_s > 0:
            msg = f"timeout_s of a control handler must be a positive number of seconds, not {timeout_s!r}"
            raise RegistrationError(msg)
        types, patterns = event_types_of(event_types), compile_topics(topics)
        with self._lock:
            name = name or self._free_name(handler, order)
            if name in self._names and not replace:
                msg = f"a control handler named {name!r} is registered already; pass replace=True, or another name="
                raise RegistrationError(msg)
            if self._use_weak_refs and not keep_alive:
                call = weakly(handler, partial(self._vanished, name))
            if timeout_s is not None and not is_async(call):
                call = in_thread(call)
            entry = HandlerEntry(
                priority=priority,
                order=order,
                handler=call,
                asynchronous=gives_coroutine(call),
                metadata=HandlerMetadata(priority, name, description),
                event_types=types,
                topics=patterns,
                critical=priority < CRITICAL_HANDLER_PRIORITY_THRESHOLD if critical is None else critical,
                timeout_s=DEFAULT_HANDLER_TIMEOUT if timeout_s is None else timeout_s,
                shadow=shadow,
            )
            self.unregister(name)
            entries = self._entries.copy()
            insort(entries, entry)
            self._names[name] = entry
            self._set(entries)
        return name

    def _free_name(self, handler: Any, order: int) -> str:
        name = name_of(handler)
        own = getattr(handler, "__name__", "")
        return f"handler_{order}" if own == "<lambda>" or (name in self._names and name != own) else name

    def _vanished(self, name: str) -> None:
        if self.unregister(name):
            _log.warning("control handler %r was garbage-collected and is asked no more; pass keep_alive=True", name)

    def unregister(self, handler_id: str) -> bool:
        """Remove the handler of that name; False where there is none."""
        with self._lock:
            entry = self._names.pop(handler_id, None)
            if entry is not None:
                self._set([e for e in self._entries if e is not entry])
        return entry is not None

    def clear(self) -> None:
        """Remove every handler."""
        with self._lock:
            self._names = {}
            self._set([])

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def handlers(self) -> tuple[HandlerMetadata, ...]:
        """The registered handlers, in the order in which they are asked."""
        return tuple(entry.metadata for entry in self._entries)

    def _set(self, entries: list[HandlerEntry]) -> None:
        self._entries = entries
        self.active = bool(entries)
        self._table = {}
        self._rows = {}
        self._checks = []

    def asks(self, event_class: type[Event]) -> tuple[HandlerEntry, ...]:
        """The handlers for a class of events, in order: one look-up, made anew when the registrations change."""
        table = self._table
        entries = table.get(event_class)
        if entries is None:
            entries = table[event_class] = tuple(entry for entry in self._entries if entry.wants(event_class))
            if all(entry.topics is None for entry in entries):
                self._rows[event_class] = Row.of(entries)
        return entries

    async def check(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """Ask every handler that is registered for ``event``; answers PROCEED where nobody objects."""
        entries = self._table.get(type(event))
        if entries is None:
            entries = self.asks(type(event))
        if not entries:
            return PROCEED
        decision = self.begin(event, context)
        return (decision if type(decision) is Decision else await decision).response  # type: ignore[misc]

    async def decide(self, event: Event, context: ExecutionContext, *, all_votes: bool = False) -> Decision:
        """Like :meth:`check`, with the votes: what a run records."""
        decision = self.begin(event, context, all_votes=all_votes)
        return decision if isinstance(decision, Decision) else await decision

    def begin(
        self, event: Event, context: ExecutionContext, *, all_votes: bool = False
    ) -> Decision | Coroutine[Any, Any, Decision]:
        """Ask the handlers up to the first one that waits: the decision, or what to await for it.

        Must be called in the task that will await. A decision that is not noteworthy carries votes only with
        ``all_votes``.
        """
        try:
            row = self._rows[type(event)]
        except KeyError:
            row = self._row_for(event)
        if not row.calls:
            return NO_OBJECTION
        checks = self._checks
        check = checks.pop() if checks else _Check(self._ask_in_turn)
        check.times.clear()
        check.started = perf_counter()
        outcome: Decision = check.ask((row, event, context, all_votes))  # or what a handler waits for
        if outcome is NO_OBJECTION:
            checks.append(check)
            return NO_OBJECTION
        if type(outcome) is not Decision:
            check.waited = True
            return self._finish(check, outcome)
        return outcome

    def _row_for(self, event: Event) -> Row:
        """Who is to be asked about ``event`` itself: its topic matters, or nothing was looked up yet."""
        entries = self.asks(type(event))
        row = self._rows.get(type(event))
        return Row.of(entry for entry in entries if entry.hears(event)) if row is None else row

    async def _finish(self, check: _Check, waiting_on: Any) -> Decision:
        while not await self._wait(check, waiting_on):
            check.begin_asking(self._ask_in_turn)
            try:
                waiting_on = check.ask(check.facts)
            except StopIteration:
                break
        return check.decision

    async def _wait(self, check: _Check, waiting_on: Any) -> bool:
        """A handler really waits: now a timer is worth its price. False: it was abandoned, the rest is to be asked."""
        guard = _Overrun(check, Continued(check.asking, waiting_on))
        try:
            await guard.continued
        except AbandonedError:
            guard.forgive()
            return self._overran(check, check.current)
        finally:
            guard.stop()
        return True

    # The hot loop: written once, kept whole. One generator is sent check after check, because a coroutine for each
    # would cost as much as three handlers. Once a handler has really waited it belongs to that check, and ends with it.
    @coroutine
    def _ask_in_turn(self, check: _Check) -> Generator[Any, Any, None]:  # noqa: C901 - see above
        """Ask until somebody decides; yields the decision, or what a handler waits for."""
        took_until, now, proceed = check.times.append, perf_counter, PROCEED
        while True:
            row, event, context, all_votes = check.facts = yield check.decision
            for handler, asynchronous in row.calls[len(check.times) :] if check.waited else row.calls:
                try:
                    response = handler(event, context)
                    if asynchronous:
                        response = yield from response
                    elif type(response) is not ControlResponse and isinstance(response, Awaitable):
                        response = yield from response.__await__()
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - a handler may raise anything
                    if self._raised(check, check.current, error):
                        break
                    continue
                took_until(now())
                if response is not proceed and self._objected(check, row.entries[len(check.times) - 1], response):
                    break
            else:
                if all_votes or check.noteworthy:
                    check.decide(PROCEED, None)
            if check.waited:
                return

    # Each of the four: whether that decides the check.
    def _objected(self, check: _Check, entry: HandlerEntry, response: Any) -> bool:
        problem = _problem_with(response)
        if problem:
            check.times.pop()
            return self._failed(check, entry, TypeError(f"control handler {entry.name!r} {problem}"))
        check.answered(entry, response)
        if response.signal is ControlSignal.PROCEED:
            return False
        check.noteworthy = True
        if not entry.shadow:
            check.decide(response, entry)
        return not entry.shadow

    def _raised(self, check: _Check, entry: HandlerEntry, error: BaseException) -> bool:
        if check.overrun is not None and check.overrun.fired:
            decided = self._overran(check, entry)
            check.overrun.go_on()
            return decided
        if isinstance(error, asyncio.CancelledError) and _being_cancelled():
            raise error
        return self._failed(check, entry, error)

    def _overran(self, check: _Check, entry: HandlerEntry) -> bool:
        late = TimeoutError(f"control handler {entry.name!r} took over {entry.timeout_s:g} s")
        return self._failed(check, entry, late)

    def _failed(self, check: _Check, entry: HandlerEntry, error: BaseException) -> bool:
        """Report a handler's own fault; a critical one ends the check with ERROR."""
        self._report(error, entry, check.event)
        check.times.append(perf_counter())
        critical = entry.critical and not entry.shadow
        reason = f"{type(error).__name__} in control handler {entry.name!r}"
        response = ControlResponse(ControlSignal.ERROR, error, reason) if critical else PROCEED
        check.answered(entry, response, _message(error))
        check.noteworthy = True
        if critical:
            check.decide(response, entry)
        return critical

    def _report(self, error: BaseException, entry: HandlerEntry, event: Event) -> None:
        context = {
            "handler_name": entry.name,
            "event_type": type(event).__name__,
            "is_critical": entry.critical,
            "priority": entry.priority,
        }
        try:
            self._error_handler.handle_error(error, context)
        except BaseException as fault:  # noqa: BLE001 - an error handler may raise anything, SystemExit included
            _log.error("the error handler of the control manager failed:%s", traceback_lines(fault))

    async def close(self) -> None:
        """Let go of every handler; closing twice is fine."""
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.clear()

    def __repr__(self) -> str:
        return f"<ControlManager: {', '.join(f'{e.name} ({e.priority})' for e in self._entries) or 'no handlers'}>"


class _Check:
    """One check under way: who is asked, when each answer came, and what was answered other than PROCEED.

    One in which nothing happened is used again for the next.
    """

    __slots__ = (
        "answers", "ask", "asking", "decision", "facts", "noteworthy", "overrun", "started", "times", "waited",
    )  # fmt: skip

    def __init__(self, asking: Callable[[_Check], Any]) -> None:
        self.facts: tuple[Row, Event, ExecutionContext, bool]
        self.times: list[float] = []
        self.started = 0.0
        self.noteworthy = False
        self.waited = False
        self.overrun: Any = None
        self.answers: dict[HandlerEntry, tuple[ControlResponse, str]] = {}
        self.decision = NO_OBJECTION
        self.begin_asking(asking)

    def begin_asking(self, asking: Callable[[_Check], Any]) -> None:
        """Make the generator that is sent the facts of a check."""
        self.asking: Generator[Any, Any, None] = asking(self)
        self.ask: Callable[[Any], Any] = self.asking.send
        next(self.asking)

    @property
    def entries(self) -> tuple[HandlerEntry, ...]:
        """Who is asked, in order."""
        return self.facts[0].entries

    @property
    def event(self) -> Event:
        """What they are asked about."""
        return self.facts[1]

    @property
    def current(self) -> HandlerEntry:
        """Who is being asked: every answer before this one has its time."""
        return self.entries[min(len(self.times), len(self.entries) - 1)]

    def answered(self, entry: HandlerEntry, response: ControlResponse, error: str = "") -> None:
        """``entry`` said something other than plain PROCEED, or failed."""
        self.answers[entry] = (response, error)

    def shortest_timeout_s(self) -> float:
        """The least time that somebody who is still to answer may take."""
        return min((entry.timeout_s for entry in self.entries[len(self.times) :]), default=self.current.timeout_s)

    def decide(self, response: ControlResponse, entry: HandlerEntry | None) -> None:
        """The check is over: ``entry`` decided, or nobody."""
        self.decision = Decision(response, entry, self.votes(), self.noteworthy)

    def votes(self) -> tuple[Vote, ...]:
        """What each handler answered, with its own time, in the order in which they were asked."""
        votes = []
        started, answers = self.started, self.answers
        for entry, ended in zip(self.entries, self.times, strict=False):
            response, error = answers.get(entry, (PROCEED, ""))
            facts = (response.signal.value, response.reason, (ended - started) * 1e6)
            votes.append(Vote(entry.name, entry.priority, *facts, entry.shadow, error))
            started = ended
        return tuple(votes)


class _Overrun:
    """Watches the handlers of one check that wait: cancels one that overruns, abandons one that ignores that.

    The timer looks now and then who is being asked, so that the hot loop need not tell it.
    """

    def __init__(self, check: _Check, continued: Continued) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "ControlManager.check must be awaited inside a task"
            raise RuntimeError(msg)
        self.check, self.continued, self.task = check, continued, task
        self.loop = asyncio.get_running_loop()
        self.fired = 0
        check.overrun = self
        self._watch()

    def _watch(self) -> None:
        """Whoever is asked now gets its full time."""
        self.entry = self.check.current
        self.deadline = self.loop.time() + self.entry.timeout_s
        self._look_again()

    def _look_again(self) -> None:
        left_s = self.deadline - self.loop.time()
        self.timer = self.loop.call_later(min(left_s, self.check.shortest_timeout_s()), self._look)

    def _look(self) -> None:
        if self.check.current is not self.entry:
            self._watch()
        elif self.loop.time() < self.deadline:
            self._look_again()
        else:
            self._fire()

    def _fire(self) -> None:
        self.continued.abandoned = self.fired > 0
        self.fired += 1
        self.task.cancel()
        self.timer = self.loop.call_later(_CANCEL_GRACE_S, self._fire)

    def forgive(self) -> None:
        """Take back our own cancellations, so that the task goes on."""
        while self.fired:
            self.task.uncancel()
            self.fired -= 1
        self.timer.cancel()

    def go_on(self) -> None:
        """One overran; the task asks the next."""
        self.forgive()
        self._watch()

    def stop(self) -> None:
        """The check waits no more."""
        self.forgive()
        self.check.overrun = None


def _problem_with(response: Any) -> str:
    if not isinstance(response, ControlResponse):
        return f"answered with {type(response).__name__}, not a ControlResponse"
    if not isinstance(response.signal, ControlSignal):
        return f"answered with the signal {type(response.signal).__name__}, not a ControlSignal"
    return ""


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _message(error: BaseException) -> str:
    try:
        return masked_head(f"{type(error).__name__}: {error}", 500)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return type(error).__name__
