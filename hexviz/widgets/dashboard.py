"""The view of a run under the cell while it goes on, and the static picture in its place afterwards."""

from __future__ import annotations

import contextvars
import logging
import threading
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, Self

from IPython.display import display

from hexviz.closing import held_weakly
from hexviz.recording.state import RunState
from hexviz.widgets import cells, front_end
from hexviz.widgets.feed import Pump, Tap
from hexviz.widgets.health import health_rows
from hexviz.widgets.panels import chosen_panels
from hexviz.widgets.selectable import Selectable
from hexviz.widgets.timeline import TimelineWidget
from hexviz.widgets.unended import WithNote, unended_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hexviz.events.events import Event
    from hexviz.widgets.recorded import StaticView
    from hexviz.widgets.timeline import Controls

_log = logging.getLogger("hexviz.widgets")
_PATIENCE_S = 5.0
_KEPT = 3
_recent: deque[TimelineWidget] = deque()
"""The last frozen widgets stay alive, because a page that is reloaded just then asks for them again."""


class Observers(Protocol):
    """Where a live view listens: an :class:`hexviz.events.ObserverManager`."""

    def register(self, handler: Callable[[Event], Any], *, observer_id: str, lossless: bool) -> str:
        """Call ``handler`` in line with each event."""

    def unregister(self, handler_id: str) -> bool:
        """Stop calling it."""


class LiveView(Selectable):
    """Shows one run of ``observers`` while it goes on: the first one that starts after the view was made.

    The run is only tapped (one append per event); a thread of the view's own folds and refreshes, ``hz`` times a second
    at most (and never more than 10). ``panels`` are names of :data:`hexviz.widgets.panels.PANELS`. ``controls`` (with
    ``cancel()``, ``pause()``, ``resume()`` and ``paused``) give the view its buttons. ``history`` are events told
    before the view was made; that thread reads them. ``run_id`` is that of a run which a store keeps. When the run has
    ended, or on ``close()``, the output becomes a static picture, unless ``freeze`` is False. Thread-safe; closing
    twice is fine; outside Jupyter nothing is shown. With ``HEXVIZ_DISPLAY=off`` in the environment ``display()`` shows
    nothing.
    """

    def __init__(
        self,
        observers: Observers,
        *,
        title: str = "",
        hz: float = 8.0,
        controls: Controls | None = None,
        freeze: bool = True,
        history: Iterable[Event] = (),
        panels: Iterable[str] | None = None,
        run_id: str = "",
    ) -> None:
        self.panels = chosen_panels(panels)
        self.state = RunState()
        self.widget: TimelineWidget | None = None
        self.source: object = None
        """What tells the observers, where that is to live for as long as the view."""
        self._title = title
        self._run_id = run_id
        self._controls = controls
        self._freeze = freeze and not front_end.in_marimo()  # which takes no picture from another thread than its own
        self._observers = observers
        self._handles: list[Any] = []
        self._lock = threading.RLock()
        self._closed = False
        self._finished = threading.Event()
        self._tap = Tap(history=history)
        self._pump = Pump(self._tap, self.state, None, hz=hz, ended=self.close)
        self._id = observers.register(self._tap.put, lossless=True, observer_id=f"live-view-{uuid.uuid4().hex[:12]}")
        self._pump.start()

    def handle(self, event: Event) -> None:
        """Take in an event that nobody told the observers, such as one of a :class:`hexviz.Replay` into this view."""
        self._tap.put(event)

    def display(self) -> Self:
        """Show the view under the cell that calls this. Returns the view itself."""
        if not front_end.can_display():
            return self
        with self._lock:
            if self._closed:
                display(self._frozen())  # type: ignore[no-untyped-call]
                return self
            fresh = self.widget is None
            if self.widget is None:
                cells.follow()
                self.widget = TimelineWidget(title=self._title, controls=self._controls, live=True, panels=self.panels)
                self.widget.note = unended_note(self._title, self._run_id)
                self.widget.extras = self._extras
                self.widget.set_pace = self._pump.pace
                self.widget.complete = not self._freeze
                self.widget.channel.on_hello = self._pump.resync
                cells.adopt(held_weakly(self._leave))
            shown = self.widget if front_end.in_marimo() else WithNote(self.widget)
            handle = display(shown, display_id=f"hexviz-{uuid.uuid4().hex}")  # type: ignore[no-untyped-call]
            if handle is not None:
                self._handles.append(handle)
            if fresh:
                self._pump.attach(self.widget)
        return self

    def finish(self) -> None:
        """Stop listening; the view's own thread does the rest of :meth:`close`, so whoever ran the graph goes on.

        A cell ends when its views that finish have done so.
        """
        self._observers.unregister(self._id)
        cells.ending(self._finished)
        if not self._pump.finish():
            self.close()

    def wait(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Wait until the view is closed, by whomever; False where it is not within ``timeout_s`` seconds."""
        return self._finished.wait(timeout_s)

    def close(self) -> None:
        """Stop listening, show the last state, and put the static picture in the place of the live one."""
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            if not self._pump.is_current():
                self.wait()
            return
        try:
            self._observers.unregister(self._id)
            self._pump.close()
            if self._freeze:
                self._put_frozen()
        finally:
            self.source = None
            self._finished.set()

    def _leave(self) -> None:
        """The cell that showed this view runs again: nobody sees it there, and nobody needs its last picture."""
        if len(self._handles) <= 1:
            self._freeze = False
        self.close()
        if not self._freeze and self.widget is not None:
            self.widget.close_channel()

    def statistics(self) -> dict[str, int]:
        """Events folded, messages sent, ticks skipped because the browser lagged, events that could not be folded."""
        pump = self._pump
        return {"events": self.state.events, "sent": pump.sent, "skipped": pump.skipped, "faults": pump.faults}

    def _extras(self) -> dict[str, Any]:
        """What the panels on health and cost show."""
        pump, widget = self._pump, self.widget
        overhead = {
            "events": self.state.events,
            "cpuMs": round(pump.cpu_s * 1e3, 3),
            "behind": len(self._tap),
            "skipped": pump.skipped,
            "bytes": widget.bytes_sent if widget is not None else 0,
            "unsent": widget.unsent if widget is not None else 0,
        }
        return {"health": health_rows(self._observers, besides=self._id), "overhead": overhead}

    def _reading(self) -> Any:
        return self._pump.lock

    def _put_frozen(self) -> None:
        with self._lock:
            handles, self._handles = self._handles, []
            for handle in handles:
                try:
                    # In no cell's context: whoever runs the notebook listens to the cell that runs now.
                    contextvars.Context().run(cells.put, handle, self._frozen())
                except Exception:  # noqa: BLE001 - the front end may be gone, its errors are of any kind
                    _log.exception("the last picture of the live view cannot be shown")
        if self.widget is not None and handles:
            _keep_for_a_while(self.widget)

    def _frozen(self) -> StaticView:
        from hexviz.widgets.recorded import StaticView  # noqa: PLC0415 - the first picture need not wait for the last

        with self._pump.lock:
            return StaticView(self.state, title=self._title)

    def _ipython_display_(self) -> None:
        self.display()

    def __enter__(self) -> Self:
        return self.display()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        from hexviz.widgets.snapshot import plain_text  # noqa: PLC0415 - as above

        with self._pump.lock:
            return f"<LiveView of {plain_text(self.state, title=self._title)}>"


def _keep_for_a_while(widget: TimelineWidget) -> None:
    _recent.append(widget)
    while len(_recent) > _KEPT:
        _recent.popleft().close_channel()
