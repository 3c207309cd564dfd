"""What observers, control handlers and both managers agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.events.events import Event


class ControlSignal(Enum):
    """What a control handler wants to happen next."""

    PROCEED = "proceed"
    RETRY = "retry"
    SKIP = "skip"
    FALLBACK = "fallback"
    FAIL = "fail"
    ERROR = "error"


class ControlResponse(msgspec.Struct, frozen=True):
    """A handler's answer.

    ``data`` is the value to go on with for FALLBACK and SKIP, ``{"delay": seconds}`` for RETRY, a message or an
    exception for FAIL and ERROR. ``reason`` says why, for people; it is recorded with the decision.
    """

    signal: ControlSignal = ControlSignal.PROCEED
    data: Any = None
    reason: str = ""

    def __hash__(self) -> int:
        return hash((self.signal, self.reason))

    def should_interrupt(self) -> bool:
        """Whether this answer stops the normal course of things (anything but PROCEED)."""
        return self.signal is not ControlSignal.PROCEED


PROCEED = ControlResponse()
"""The one shared answer of a handler that has nothing against it."""


class ExecutionContext(msgspec.Struct, frozen=True):
    """Where in a run a check happens.

    ``attempt`` counts from 1, ``wave_index`` is 0 outside a wave. ``metadata`` belongs to the node: it is kept from
    one attempt to the next, so a handler may leave notes there for its next call.
    """

    dag_id: str
    node_id: str | None = None
    wave_index: int = 0
    attempt: int = 1
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    run_id: str = ""

    def __hash__(self) -> int:
        return hash((self.dag_id, self.node_id, self.wave_index, self.attempt, self.run_id))

    def with_node(self, node_id: str, wave_index: int) -> ExecutionContext:
        """A copy for the first attempt of a node; ``metadata`` is copied too."""
        return ExecutionContext(self.dag_id, node_id, wave_index, 1, dict(self.metadata), self.run_id)

    def with_attempt(self, attempt: int) -> ExecutionContext:
        """A copy for another attempt of the same node; ``metadata`` is copied too."""
        return ExecutionContext(self.dag_id, self.node_id, self.wave_index, attempt, dict(self.metadata), self.run_id)


class HandlerMetadata(msgspec.Struct, frozen=True):
    """What is known of a registered control handler. A lower ``priority`` is asked earlier."""

    priority: int = 100
    name: str = ""
    description: str = ""


@runtime_checkable
class Observer(Protocol):
    """Hears events. A plain function of ``(event)``, sync or async, is as welcome."""

    async def handle(self, event: Event) -> None:
        """Take note of ``event``; what it returns is ignored, what it raises is counted and reported."""


@runtime_checkable
class ControlHandler(Protocol):
    """Is asked before and after steps. A plain function of ``(event, context)``, sync or async, is as welcome."""

    async def handle(self, event: Event, context: ExecutionContext) -> ControlResponse:
        """Answer with a :class:`ControlResponse`."""
        raise NotImplementedError


@runtime_checkable
class ErrorHandler(Protocol):
    """Hears of handlers that failed; ``context`` holds handler_name, event_type, is_critical and priority."""

    def handle_error(self, error: BaseException, context: dict[str, Any]) -> None:
        """Report ``error``; what this raises is logged and forgotten."""


class BaseEventManager(ABC):
    """What both managers can do."""

    register: Callable[..., str]
    """``register(handler, **kwargs) -> id``: add a handler; each manager names its keywords."""

    @abstractmethod
    def unregister(self, handler_id: str) -> bool:
        """Remove a handler; False where there is none of that id."""

    @abstractmethod
    def clear(self) -> None:
        """Remove every handler."""

    @abstractmethod
    def __len__(self) -> int:
        """How many handlers are registered."""

    @abstractmethod
    async def close(self) -> Any:
        """Let go of everything; closing twice is fine."""
