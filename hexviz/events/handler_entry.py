"""One registered control handler: what to call, and when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.events.config import DEFAULT_HANDLER_TIMEOUT
from hexviz.events.models import HandlerMetadata

if TYPE_CHECKING:
    from collections.abc import Callable  # noqa: TC004 - only for readers: the struct does not check it

    from hexviz.events.events import Event  # noqa: TC004 - as above
    from hexviz.events.models import ExecutionContext  # noqa: TC004 - as above


class HandlerEntry(msgspec.Struct, frozen=True, eq=False):
    """One registered handler, as it stands in the row of those that are asked."""

    priority: int
    order: int
    handler: Callable[[Event, ExecutionContext], Any]
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
