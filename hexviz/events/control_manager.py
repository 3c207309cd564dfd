"""Asks the control handlers, in order of priority, whether a step should go on and how."""

from __future__ import annotations

import itertools
import logging
import threading
from bisect import insort
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hexviz.errors import RegistrationError
from hexviz.events.asking import Begun, Decision, Row, row_for
from hexviz.events.by_class import ByClass
from hexviz.events.config import (
    CRITICAL_HANDLER_PRIORITY_THRESHOLD,
    DEFAULT_HANDLER_PRIORITY,
    DEFAULT_HANDLER_TIMEOUT,
    LoggingErrorHandler,
)
from hexviz.events.events import Event, traceback_lines
from hexviz.events.forking import free_in_children
from hexviz.events.handler_entry import HandlerEntry
from hexviz.events.models import (
    BaseEventManager,
    ControlResponse,
    ErrorHandler,
    ExecutionContext,
    HandlerMetadata,
)
from hexviz.events.offload import in_thread
from hexviz.events.registration import callable_of, check_takes, event_types_of, is_async, name_of, weakly
from hexviz.events.topics import compile_topics

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger("hexviz.control")


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
        self._lock = free_in_children(threading.RLock())
        self._orders = itertools.count()
        self.rows = self._rows(())
        """Who is asked about each class of events; another object when the registrations change."""

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
        check_takes(call, "event", "context")
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
        self.rows = self._rows(tuple(entries))

    def _rows(self, entries: tuple[HandlerEntry, ...]) -> ByClass[Row]:
        return ByClass(lambda event_class: row_for(event_class, entries, self._report))

    def asks(self, event_class: type[Event]) -> tuple[HandlerEntry, ...]:
        """The handlers for a class of events, in order: one look-up, made anew when the registrations change."""
        return self.rows[event_class].entries

    async def check(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """Ask every handler that is registered for ``event``; answers PROCEED where nobody objects."""
        decision = self.rows[type(event)].begin(event, context)
        return (decision if type(decision) is Decision else await decision).response  # type: ignore[misc]

    async def decide(self, event: Event, context: ExecutionContext, *, all_votes: bool = False) -> Decision:
        """Like :meth:`check`, with the votes: what a run records."""
        decision = self.begin(event, context, all_votes=all_votes)
        return decision if isinstance(decision, Decision) else await decision

    def begin(self, event: Event, context: ExecutionContext, *, all_votes: bool = False) -> Begun:
        """Ask the handlers up to the first one that waits: the decision, or what to await for it.

        Must be called in the task that will await. A decision that is not noteworthy carries votes only with
        ``all_votes``.
        """
        return self.rows[type(event)].begin(event, context, all_votes=all_votes)

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
