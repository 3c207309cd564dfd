"""What the server shows beside the events: a page, and for each who looks at it a view of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hexviz.events.events import Event


class PageView(Protocol):
    """What one browser sees. Called by the server's thread only."""

    def frame(self) -> bytes | None:
        """What changed since the last call, as one binary message; None where nothing did or the browser lags."""

    def acknowledge(self, seq: int) -> None:
        """The browser has drawn the message with this number."""

    def close(self) -> None:
        """The browser is gone."""


class Page(Protocol):
    """A page that shows runs as they go on (:class:`hexviz.widgets.page.LivePage`)."""

    @property
    def files(self) -> Mapping[str, tuple[str, bytes]]:
        """Content type and bytes by path; ``/`` is the page itself."""

    def take(self, events: Sequence[Event]) -> None:
        """Take in what happened; called by the server's thread only."""

    def view(self, run_id: str | None) -> PageView:
        """A view of one run, or of whichever began last."""
