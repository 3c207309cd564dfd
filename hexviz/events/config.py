"""Defaults, the managers that do nothing, and how a manager is found among the ports of an orchestrator."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from hexviz.events.events import traceback_lines
from hexviz.events.models import PROCEED, BaseEventManager, ControlResponse, ExecutionContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.events.events import Event

DEFAULT_MAX_CONCURRENT_OBSERVERS = 10
DEFAULT_OBSERVER_TIMEOUT = 5.0
DEFAULT_MAX_SYNC_WORKERS = 4
DEFAULT_QUEUE_SIZE = 10_000
DEFAULT_BLOCK_MS = 100.0
DEFAULT_HANDLER_PRIORITY = 100
DEFAULT_HANDLER_TIMEOUT = 10.0
CRITICAL_HANDLER_PRIORITY_THRESHOLD = 50


class LoggingErrorHandler:
    """Logs what handlers got wrong: at most one line a second for each handler, with the number left out."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("hexviz")
        self._last: dict[str, tuple[float, int]] = {}

    def handle_error(self, error: BaseException, context: dict[str, Any]) -> None:
        """Log ``error`` with the handler and the type of event that it failed on."""
        name = str(context.get("handler_name", "handler"))
        now = time.monotonic()
        logged_at, left_out = self._last.get(name, (-1.0, 0))
        if logged_at >= 0 and now - logged_at < 1.0:
            self._last[name] = (logged_at, left_out + 1)
            return
        self._last[name] = (now, 0)
        more = f" (and {left_out} more since the last line)" if left_out else ""
        self._logger.warning(
            "%r failed on %s: %s%s%s",
            name,
            context.get("event_type", "an event"),
            type(error).__name__,
            more,
            traceback_lines(error),
        )


class NullObserverManager(BaseEventManager):
    """Takes observers and events and does nothing with either."""

    def register(self, handler: Any, **kwargs: Any) -> str:  # noqa: ARG002 - does nothing, on purpose
        """Accept anything."""
        return "null-observer-id"

    def unregister(self, handler_id: str) -> bool:  # noqa: ARG002
        """Find nothing."""
        return False

    def clear(self) -> None:
        """Nothing to clear."""

    def __len__(self) -> int:
        return 0

    async def notify(self, event: Event) -> None:
        """Tell nobody."""

    def notify_nowait(self, event: Event) -> None:
        """Tell nobody."""

    async def close(self) -> None:
        """Nothing to let go of."""


class NullControlManager(BaseEventManager):
    """Takes handlers, asks none, and lets everything proceed."""

    def register(self, handler: Any, **kwargs: Any) -> str:  # noqa: ARG002 - does nothing, on purpose
        """Accept anything."""
        return "null-control-handler"

    def unregister(self, handler_id: str) -> bool:  # noqa: ARG002
        """Find nothing."""
        return False

    def clear(self) -> None:
        """Nothing to clear."""

    def __len__(self) -> int:
        return 0

    async def check(self, event: Event, context: ExecutionContext) -> ControlResponse:  # noqa: ARG002
        """Let everything proceed."""
        return PROCEED

    async def close(self) -> None:
        """Nothing to let go of."""


NULL_OBSERVER_MANAGER = NullObserverManager()
NULL_CONTROL_MANAGER = NullControlManager()


def get_observer_manager(ports: Mapping[str, Any] | None) -> Any:
    """The manager under ``ports["observer_manager"]``, or the one that does nothing."""
    manager = (ports or {}).get("observer_manager")
    return NULL_OBSERVER_MANAGER if manager is None else manager


def get_control_manager(ports: Mapping[str, Any] | None) -> Any:
    """The manager under ``ports["control_manager"]``, or the one that does nothing."""
    manager = (ports or {}).get("control_manager")
    return NULL_CONTROL_MANAGER if manager is None else manager
