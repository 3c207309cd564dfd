"""The view of a run that has ended: a static picture, and a player where widgets can be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hexviz.display import wanted
from hexviz.recording.state import RunState
from hexviz.widgets import cells, front_end
from hexviz.widgets.feed import Pump, Tap
from hexviz.widgets.panels import chosen_panels
from hexviz.widgets.selectable import Selectable
from hexviz.widgets.snapshot import frozen_html, plain_text
from hexviz.widgets.timeline import TimelineWidget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hexviz.events.events import Event


class Events(Protocol):
    """What a static view is made from: a :class:`hexviz.recording.recording.Recording`."""

    def events(self) -> Iterator[Event]:
        """Its events in order."""


class StaticView:
    """The last state of a run as HTML and as text; it needs no kernel, no script and no network."""

    def __init__(self, state: RunState, *, title: str = "") -> None:
        self._html = frozen_html(state, title=title)
        self._text = plain_text(state, title=title)

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        return {"text/html": self._html, "text/plain": self._text}

    def __repr__(self) -> str:
        return self._text


class RecordedView(Selectable):
    """A recorded run: the timeline with a player where widgets can be shown, else the static picture.

    ``group`` and ``axis_ms`` join several views on one time axis (see :class:`hexviz.widgets.timeline.TimelineWidget`).
    """

    def __init__(
        self,
        state: RunState,
        *,
        title: str = "",
        panels: Iterable[str] | None = None,
        group: str = "",
        axis_ms: float = 0.0,
        player: bool = True,
    ) -> None:
        self.state = state
        self.panels = chosen_panels(panels)
        self.widget: TimelineWidget | None = None
        self._title = title
        self._static = StaticView(state, title=title)
        self._options: dict[str, Any] = {"group": group, "axis_ms": axis_ms, "player": player}
        self._pump: Pump | None = None

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if not wanted():
            return {"text/plain": repr(self)}
        bundle: dict[str, Any] = dict(self._static._repr_mimebundle_())
        if not front_end.can_display():
            return bundle
        widget = self.shown()._repr_mimebundle_(**options)
        data, metadata = widget if isinstance(widget, tuple) else (widget or {}, {})
        return {**data, **bundle}, metadata

    def shown(self) -> TimelineWidget:
        """The widget, made when it is first asked for."""
        if self.widget is None:
            self.widget = TimelineWidget(title=self._title, panels=self.panels, **self._options)
            self._pump = Pump(Tap(), self.state, self.widget)
            self.widget.channel.on_hello = self._pump.resync
            self._pump.close()
            cells.adopt(self.widget.close_channel)
        return self.widget

    def close(self) -> None:
        """Let go of the widget; the picture and the text stay. Closing twice is fine."""
        widget, self.widget, self._pump = self.widget, None, None
        if widget is not None:
            widget.close_channel()

    def __repr__(self) -> str:
        return repr(self._static)


def static_view(
    recording: Events, *, title: str = "", run_id: str = "", panels: Iterable[str] | None = None
) -> RecordedView:
    """Make the view of a recorded run (the first one in ``recording`` where no ``run_id`` is given).

    Its mime bundle always has ``text/html`` (a static picture, escaped, without scripts) and ``text/plain``, and where
    the front end can show widgets one with a player, whose slider moves in the browser without the kernel.
    """
    chosen_panels(panels)
    return RecordedView(RunState.from_events(recording.events(), run_id), title=title, panels=panels)
