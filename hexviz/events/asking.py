"""Asks control handlers in turn, without a task, a timer or a coroutine for each check.

A *check* is a generator that is sent one event after the other: a coroutine for each would cost as much as three
handlers. Timers come only where a handler really waits; then the check belongs to that event, and ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from time import perf_counter
from types import coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hexviz.errors import hint_at_another_copy
from hexviz.events.events import Event, Vote
from hexviz.events.models import PROCEED, ControlResponse, ControlSignal, ExecutionContext
from hexviz.events.overrun import Overrun
from hexviz.events.registration import gives_coroutine
from hexviz.events.secrets import masked_head
from hexviz.events.stepping import AbandonedError, Continued

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from hexviz.events.handler_entry import HandlerEntry


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
Begun: TypeAlias = "Decision | Coroutine[Any, Any, Decision]"
"""A check that was begun: the decision, or what to await for it."""
_NO_FACTS: Any = ()
Report: TypeAlias = "Callable[[BaseException, HandlerEntry, Event], None]"


class Row:
    """The handlers that are asked about a class of events, in order, and the checks of them that wait to be used again.

    ``report(error, entry, event)`` is told of handlers that fail.
    """

    __slots__ = ("_idle", "calls", "entries", "report")

    def __init__(self, entries: Iterable[HandlerEntry], report: Report) -> None:
        self.entries = tuple(entries)
        self.calls = tuple([_as_coroutine(entry.handler) for entry in self.entries])
        self.report = report
        self._idle: list[Check] = []

    def begin(self, event: Event, context: ExecutionContext, *, all_votes: bool = False) -> Begun:
        """Ask up to the first handler that waits: the decision, or what to await for it."""
        if not self.calls:
            return NO_OBJECTION
        idle = self._idle
        check = idle.pop() if idle else Check(self)
        check.all_votes = check.eventful = all_votes
        outcome: object = check.ask((event, context))
        if outcome is NO_OBJECTION:
            check.facts = _NO_FACTS
            idle.append(check)
            return NO_OBJECTION
        return check.begun(outcome)

    def check(self, *, all_votes: bool) -> Check | CheckByTopic:
        """A check for somebody who asks often: ``ask((event, context))`` gives NO_OBJECTION, or what ``begun`` takes.

        Then it is used up.
        """
        check = Check(self)
        check.all_votes = check.eventful = all_votes
        if not self.calls:
            check.ask = _ask_nobody
        return check


class RowByTopic(Row):
    """The same, where it depends on the topic of each event who is asked."""

    __slots__ = ()

    def begin(self, event: Event, context: ExecutionContext, *, all_votes: bool = False) -> Begun:
        """As with any row."""
        hearing = [entry for entry in self.entries if entry.hears(event)]
        return Row(hearing, self.report).begin(event, context, all_votes=all_votes)

    def check(self, *, all_votes: bool) -> CheckByTopic:
        """As with any row."""
        return CheckByTopic(self, all_votes=all_votes)


def row_for(event_class: type[Event], entries: Iterable[HandlerEntry], report: Report) -> Row:
    """The row of those among ``entries`` who are asked about a class of events."""
    entries = [entry for entry in entries if entry.wants(event_class)]
    kind = Row if all(entry.topics is None for entry in entries) else RowByTopic
    return kind(entries, report)


def _as_coroutine(handler: Callable[[Event, ExecutionContext], Any]) -> Callable[[Event, ExecutionContext], Any]:
    """``handler``, or what makes a coroutine of a function that is not ``async def``: all are awaited in one way."""
    if gives_coroutine(handler):
        return handler

    @coroutine
    def call(event: Event, context: ExecutionContext) -> Generator[Any, Any, Any]:
        response = handler(event, context)
        if type(response) is not ControlResponse and isinstance(response, Awaitable):
            response = yield from response.__await__()
        return response

    return call


def _ask_nobody(_: Any) -> Decision:
    return NO_OBJECTION


# The hot loop: written once, kept whole.
@coroutine
def _asking(check: Check) -> Generator[Any, tuple[Event, ExecutionContext], None]:
    """Ask in turn until somebody decides; yields the decision, or what a handler waits for."""
    now, proceed, decision = perf_counter, PROCEED, NO_OBJECTION
    times, again = check.times, bool(check.times)
    calls, took, forget = check.row.calls[check.answered :], times.append, times.clear
    while True:
        check.facts = event, context = yield decision
        if not again:
            forget()
            took(now())
        for call in calls:
            try:
                response = yield from call(event, context)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - a handler may raise anything
                if check.raised(error):
                    break
                continue
            took(now())
            if response is not proceed and check.objects(response):
                break
        if check.eventful:
            if check.ended():
                return
            decision = check.decision
        del event, context  # they may hold a result of any size, and the next check may be far away


class Check:
    """One check under way: who is asked, when each answer came, and what was answered other than PROCEED.

    One in which nothing happened is used again for the next.
    """

    __slots__ = (
        "all_votes", "answers", "ask", "asking", "decision", "eventful", "facts", "noteworthy", "overrun", "row",
        "times", "waited",
    )  # fmt: skip

    def __init__(self, row: Row) -> None:
        self.row = row
        self.all_votes = False
        self.facts: tuple[Event, ExecutionContext]
        self.times: list[float] = []
        """When the check began, and when each answer came."""
        self.noteworthy = False
        self.eventful = False
        """There is more to look at than plain PROCEEDs: an answer, a wait, or votes that somebody wants."""
        self.waited = False
        self.overrun: Any = None
        self.answers: dict[HandlerEntry, tuple[ControlResponse, str]] = {}
        self.decision = NO_OBJECTION
        self._begin_asking()

    def _begin_asking(self) -> None:
        """Make the generator that is sent the facts of a check."""
        self.asking = _asking(self)
        self.ask: Callable[[Any], Any] = self.asking.send
        next(self.asking)

    def begun(self, outcome: Any) -> Begun:
        """What :attr:`ask` gave, where that is not NO_OBJECTION: the decision, or what to await for it.

        The check is used up.
        """
        if type(outcome) is Decision:
            return outcome
        self.waited = self.eventful = True
        return self._finish(outcome)

    async def _finish(self, waiting_on: Any) -> Decision:
        while not await self._wait(waiting_on):
            self._begin_asking()
            try:
                waiting_on = self.ask(self.facts)
            except StopIteration:
                break
        return self.decision

    async def _wait(self, waiting_on: Any) -> bool:
        """A handler really waits: now a timer is worth its price. False: it was abandoned, the rest is to be asked."""
        guard = Overrun(self, Continued(self.asking, waiting_on))
        try:
            await guard.continued
        except AbandonedError:
            guard.forgive()
            return self._overran(self.current)
        finally:
            guard.stop()
        return True

    @property
    def answered(self) -> int:
        """How many have answered: each of them has its time."""
        return max(0, len(self.times) - 1)

    @property
    def current(self) -> HandlerEntry:
        """Who is being asked."""
        entries = self.row.entries
        return entries[min(self.answered, len(entries) - 1)]

    def shortest_timeout_s(self) -> float:
        """The least time that somebody who is still to answer may take."""
        left = self.row.entries[self.answered :]
        return min((entry.timeout_s for entry in left), default=self.current.timeout_s)

    # Each of the four: whether that decides the check.
    def objects(self, response: Any) -> bool:
        """Somebody answered with anything but the shared PROCEED."""
        entry = self.row.entries[self.answered - 1]
        problem = _problem_with(response)
        if problem:
            self.times.pop()
            return self._failed(entry, TypeError(f"control handler {entry.name!r} {problem}"))
        self.answers[entry] = (response, "")
        self.eventful = True
        if response.signal is ControlSignal.PROCEED:
            return False
        self.noteworthy = True
        if not entry.shadow:
            self.decide(response, entry)
        return not entry.shadow

    def raised(self, error: BaseException) -> bool:
        """Whoever is being asked raised ``error``."""
        entry = self.current
        if self.overrun is not None and self.overrun.fired:
            decided = self._overran(entry)
            self.overrun.go_on()
            return decided
        if isinstance(error, asyncio.CancelledError) and _being_cancelled():
            raise error
        return self._failed(entry, error)

    def _overran(self, entry: HandlerEntry) -> bool:
        late = TimeoutError(f"control handler {entry.name!r} took over {entry.timeout_s:g} s")
        return self._failed(entry, late)

    def _failed(self, entry: HandlerEntry, error: BaseException) -> bool:
        """Report a handler's own fault; a critical one ends the check with ERROR."""
        self.row.report(error, entry, self.facts[0])
        self.times.append(perf_counter())
        critical = entry.critical and not entry.shadow
        reason = f"{type(error).__name__} in control handler {entry.name!r}"
        response = ControlResponse(ControlSignal.ERROR, error, reason) if critical else PROCEED
        self.answers[entry] = (response, _message(error))
        self.noteworthy = self.eventful = True
        if critical:
            self.decide(response, entry)
        return critical

    def decide(self, response: ControlResponse, entry: HandlerEntry | None) -> None:
        """The check is over: ``entry`` decided, or nobody."""
        self.decision = Decision(response, entry, self._votes(), self.noteworthy)

    def ended(self) -> bool:
        """Somebody decided, or nobody was left to ask; whether the check waited meanwhile, and so is used up."""
        if self.decision is NO_OBJECTION:
            self._nobody_decided()
        return self.waited

    def _nobody_decided(self) -> None:
        if self.noteworthy or self.all_votes:
            self.decide(PROCEED, None)
            return
        self.answers.clear()
        self.eventful = False

    def _votes(self) -> tuple[Vote, ...]:
        """What each handler answered, with its own time, in the order in which they were asked."""
        votes = []
        (started, *times), answers = self.times, self.answers
        for entry, ended in zip(self.row.entries, times, strict=False):
            response, error = answers.get(entry, (PROCEED, ""))
            facts = (response.signal.value, response.reason, (ended - started) * 1e6)
            votes.append(Vote(entry.name, entry.priority, *facts, entry.shadow, error))
            started = ended
        return tuple(votes)


class CheckByTopic:
    """What stands in for a check where each event has a row of its own."""

    __slots__ = ("_all_votes", "_row")

    def __init__(self, row: RowByTopic, *, all_votes: bool) -> None:
        self._row = row
        self._all_votes = all_votes

    def ask(self, facts: tuple[Event, ExecutionContext]) -> Begun:
        """NO_OBJECTION, or the decision, or what to await for it."""
        return self._row.begin(*facts, all_votes=self._all_votes)

    def begun(self, outcome: Begun) -> Begun:
        """It is that already."""
        return outcome


def _problem_with(response: Any) -> str:
    if not isinstance(response, ControlResponse):
        hint = hint_at_another_copy(type(response), ControlResponse)
        return f"answered with {type(response).__name__}, not a ControlResponse{hint}"
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
