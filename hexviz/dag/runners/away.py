"""What runs on a worker, in another process: the node's code, and the calls that it makes, in the name of its run."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextvars import copy_context
from time import monotonic_ns
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hexviz.dag.checking import checked_result
from hexviz.dag.current import CURRENT
from hexviz.dag.errors import NodeTransferError
from hexviz.dag.runners.packing import packed_error, packed_event, unpacked
from hexviz.events.asking import NO_OBJECTION, Decision
from hexviz.events.models import ControlResponse

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from hexviz.events.events import Event


class Errand(NamedTuple):
    """Who asks for a call on a worker: the names of the run, the node and the attempt, and what control asks about."""

    run_id: str
    pipeline: str
    node: str
    wave_index: int
    attempt: int
    asked: frozenset[str] = frozenset()
    max_attempts: int = 1
    out_model: Any = None
    strict: bool = False


class Channel(Protocol):
    """The way home from a worker; messages arrive in the order in which they were sent."""

    def send(self, *message: Any) -> None:
        """Send a message (see :mod:`hexviz.dag.runners.attempt`)."""

    def ask(self, number: int) -> Future[bytes]:
        """Ask control about an event that was sent; the answer, packed."""
        raise NotImplementedError


class Ended(NamedTuple):
    """How the call ended: ``error`` is None where it returned ``value``."""

    value: Any
    error: BaseException | None
    duration_ms: float
    events: int


class AwayRun:
    """Stands for the run on a worker: what :mod:`hexviz.dag.calls` needs of it."""

    def __init__(self, errand: Errand, channel: Channel) -> None:
        self.run_id = errand.run_id
        self.plan = SimpleNamespace(name=errand.pipeline, names=[errand.node], waves=[errand.wave_index])
        self.settings = SimpleNamespace(max_attempts=errand.max_attempts)
        self.control = self
        self.told = 0
        self._asked = errand.asked
        self._channel = channel
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def asks(self, event_class: type[Event]) -> bool:
        """Whether control at home has handlers for a class of calls."""
        return event_class.__name__ in self._asked

    def emit(self, event_class: type[Event], *args: Any) -> Event:
        """Send an event home, where it gets its place in the run."""
        with self._lock:
            number = next(self._numbers)
            event = event_class(*args, run_id=self.run_id, seq=number, pipeline=self.plan.name)
            own = [name for name in event.__struct_fields__ if name not in _BASE]
            self._channel.send("event", number, packed_event(event_class, {name: getattr(event, name) for name in own}))
            self.told = number
        return event

    async def ask(self, event: Event, _context: Any) -> Decision | None:
        """What control at home decides about ``event``; None where it does not object."""
        facts = unpacked(await asyncio.wrap_future(self._channel.ask(event.seq)))
        if facts is None:
            return None
        signal, data, reason, by = facts
        return NO_OBJECTION._replace(
            response=ControlResponse(signal, data, reason),
            decided_by=SimpleNamespace(name=by),  # type: ignore[arg-type]
        )

    def wait_for(self, asking: Coroutine[Any, Any, None]) -> None:
        """Ask control from sync code."""
        asyncio.run(asking)

    def fail_soon(self, error: Exception) -> None:
        """Fail the whole run."""
        self._channel.send("fail", packed_error(error))


_BASE = frozenset(("timestamp", "run_id", "seq", "monotonic_ns", "pipeline"))


def perform(errand: Errand, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], channel: Channel) -> Ended:
    """Call a node's function on this worker, within a context of its own; whatever it raises is part of the answer."""
    run = AwayRun(errand, channel)
    context = copy_context()
    context.run(CURRENT.set, (run, 0, errand.attempt))  # type: ignore[arg-type]
    started_ns = monotonic_ns()
    try:
        value = context.run(_call, fn, args, kwargs, channel)
        duration_ms = (monotonic_ns() - started_ns) / 1e6
        if errand.out_model is not None:
            value = checked_result(errand.node, errand.out_model, value, strict=errand.strict)
    except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the node
        return Ended(None, error, (monotonic_ns() - started_ns) / 1e6, run.told)
    return Ended(value, None, duration_ms, run.told)


def perform_packed(node: str, call: bytes, channel: Channel) -> Ended:
    """:func:`perform` what :func:`~hexviz.dag.runners.packing.packed_call` has packed."""
    try:
        facts, fn, args, kwargs = unpacked(call)
    except Exception as error:  # noqa: BLE001 - an import may raise anything
        text = f"node {node!r} cannot be loaded in a worker process: {type(error).__name__}: {error}"
        return Ended(None, NodeTransferError(text), 0.0, 0)
    return perform(Errand(*facts), fn, args, kwargs, channel)


def _call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], channel: Channel) -> Any:
    value = fn(*args, **kwargs)
    if not hasattr(value, "__await__"):
        return value

    async def awaited() -> Any:
        entered = getattr(channel, "entered", None)
        if entered is not None:
            entered(asyncio.get_running_loop(), asyncio.current_task())
        return await value

    return asyncio.run(awaited())
