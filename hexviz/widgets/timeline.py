"""The timeline widget: a canvas in the browser, fed by binary deltas, with a channel of its own for what comes back."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import anywidget
import ipywidgets
import traitlets

from hexviz.events.events import RecordedError, traceback_lines
from hexviz.loading import at_once
from hexviz.widgets.assets import asset
from hexviz.widgets.budget import ATTEMPT, FIRST, PIECE, Budget
from hexviz.widgets.panels import DEFAULT_PANELS
from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.recording.state import RunState
    from hexviz.widgets.outbox import Outbox

_log = logging.getLogger("hexviz.widgets")
_UNACKNOWLEDGED = 2


class Controls(Protocol):
    """What steers a run; each method may be called from any thread and returns at once."""

    def cancel(self) -> Any:
        """Stop the run."""

    def pause(self) -> Any:
        """Start no more nodes."""

    def resume(self) -> Any:
        """Start nodes again."""

    @property
    def paused(self) -> bool:
        """Whether new nodes are held."""


class Channel(ipywidgets.Widget):  # type: ignore[misc] # ipywidgets ships no types
    """The way back from the browser: hello, acknowledgements and buttons, apart from the data.

    ipykernel >= 7.4 answers a comm on the loop that last sent on it, which is the main thread for whatever a cell has
    made, and that may be busy. So that loop is forgotten at the start, and once a message has come in on another
    thread every answer is sent from that thread's context. Callbacks therefore run in any thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.greeted = False
        self.acked = 0
        self.live = False
        self.lit: list[int] = []
        self.on_hello: Callable[[], None] | None = None
        self.on_operation: Callable[[str, dict[str, Any]], None] | None = None
        self.on_selection: Callable[[list[int]], None] | None = None
        self._views: set[str] = set()
        self._context: contextvars.Context | None = None
        getattr(self.comm, "__dict__", {}).pop("_reply_subshell_id", None)
        self.on_msg(self._heard)

    def tell(self, content: dict[str, Any]) -> None:
        """Send ``content`` to the views."""
        if self._context is None:
            self.send(content)
        else:
            self._context.copy().run(self.send, content)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("k") if isinstance(content, dict) else None
        if kind == "ack":
            self.acked = max(self.acked, int(content.get("seq", 0)))
        elif kind == "hello":
            self._greet(str(content.get("view", "")), int(content.get("n", 0)))
        elif kind == "op" and self.on_operation is not None:
            self.on_operation(str(content.get("op", "")), content)
        elif kind == "sel" and self.on_selection is not None:
            rows = content.get("rows")
            self.on_selection([row for row in rows if type(row) is int] if isinstance(rows, list) else [])

    def _greet(self, view: str, number: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.live = True
            self._context = contextvars.copy_context()
        self.greeted = True
        self.tell({"k": "hello", "view": view, "n": number})
        if view not in self._views:
            self._views.add(view)
            if self.lit:
                self.tell({"k": "light", "rows": self.lit})
            if self.on_hello is not None:
                self.on_hello()


class TimelineWidget(anywidget.AnyWidget):
    """The view of one run. A sink for :class:`hexviz.widgets.feed.Pump`.

    ``live`` gives it the buttons of a run that goes on, ``player`` those of a recorded one. Widgets of one ``group``
    zoom and move in time together; ``axis_ms`` fixes where the time axis ends (0: with the run). ``note`` is shown
    where no kernel sends anything. A live one sends at
    most :data:`hexviz.widgets.budget.RATE` bytes a second, beside what a view asks for when it appears.
    """

    _esm = asset("timeline.js")
    _css = asset("timeline.css")
    channel = traitlets.Instance(Channel).tag(sync=True, **ipywidgets.widget_serialization)
    title = traitlets.Unicode().tag(sync=True)
    controllable = traitlets.Bool().tag(sync=True)
    player = traitlets.Bool().tag(sync=True)
    live = traitlets.Bool().tag(sync=True)
    panels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    group = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    axis_ms = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        *,
        title: str = "",
        controls: Controls | None = None,
        player: bool = False,
        live: bool = False,
        panels: Sequence[str] = DEFAULT_PANELS,
        group: str = "",
        axis_ms: float = 0.0,
    ) -> None:
        super().__init__(
            channel=Channel(),
            title=clean_text(title, 120),
            controllable=controls is not None,
            player=player,
            live=live,
            panels=list(panels),
            group=group,
            axis_ms=axis_ms,
        )
        self.seq = 0
        self.bytes_sent = 0
        self.selected: list[int] = []
        self.extras: Callable[[], dict[str, Any]] = dict
        self.set_pace: Callable[[float], object] = float
        self.complete = not live
        """Whether the last message holds all that is left, because this widget stays when the run has ended."""
        self._outbox: Outbox | None = None
        self._pieces = 0
        self._budget = Budget() if live else None
        self._controls = controls
        self._paused = False
        self._cancelling = False
        self._told_s = 0.0
        self.channel.on_operation = self._operate
        self.channel.on_selection = self._select

    @property
    def greeted(self) -> bool:
        """Whether a view has said hello."""
        return bool(self.channel.greeted)

    @property
    def unsent(self) -> int:
        """How many attempts the view does not know yet."""
        return self._outbox.unsent if self._outbox is not None else 0

    def ready(self) -> bool:
        """Whether the browser has drawn all but the last two messages; always, where it cannot say so in mid-run."""
        return not self.channel.live or self.seq - self.channel.acked <= _UNACKNOWLEDGED

    def news(self) -> bool:
        """Whether there is more to send: somebody has held or released the run, or not all has fitted so far."""
        return self._is_paused() != self._paused or (self._outbox is not None and self._outbox.waiting)

    def push(self, state: RunState, *, full: bool, done: bool, asked: bool = False) -> None:
        """Send what changed since the last push; with ``full`` the view begins anew, with all that fits.

        A view that ``asked`` gets a sample of the whole at once and the rest in pieces, one with each push. No push
        comes after the last one (``done``): where the view stays, all that is left follows it, in pieces as well.
        """
        with at_once():  # numpy loads with the first message, while the browser makes the view
            from hexviz.widgets.outbox import Outbox  # noqa: PLC0415

        self._paused = self._is_paused()
        if self._outbox is None or full:
            self._outbox, self._pieces = Outbox(), 0
        outbox = self._outbox
        outbox.add(state, state.delta(full=full))
        if asked:
            self._pieces = 2 + outbox.unsent * ATTEMPT // PIECE
        stays = self._budget is None or (done and (self.complete or asked))
        if self._budget is None or stays or self._pieces:
            self._pieces = max(0, self._pieces - 1)
            self._send_next(outbox, state, FIRST if full else PIECE, full=full, done=done, free=True)
        else:
            self._send_next(outbox, state, self._budget.now(last=done), full=full, done=done, free=False)
        while stays and outbox.waiting:
            self._send_next(outbox, state, FIRST, full=False, done=done, free=True)

    def _send_next(self, outbox: Outbox, state: RunState, budget: int, *, full: bool, done: bool, free: bool) -> None:
        """Send the next message, of about ``budget`` bytes; one that is ``free`` delays no other."""
        from hexviz.widgets.wire import message_of  # noqa: PLC0415

        base, self.seq = self.seq, self.seq + 1
        extra = self._slow_extras() if self.live and not done else self.extras()
        message, buffers = message_of(
            state,
            outbox,
            budget,
            full=full,
            seq=self.seq,
            base=base,
            done=done,
            paused=self._paused,
            cancelling=self._cancelling,
            **extra,
        )
        self.send(message, buffers=_kept(buffers))
        self._count(message, buffers, free=free)

    def light(self, rows: Sequence[int]) -> None:
        """Show the attempts ``rows`` plainly and the others pale; all of them plainly where there are none."""
        self.channel.lit = list(rows)
        self.channel.tell({"k": "light", "rows": self.channel.lit})

    def _slow_extras(self) -> dict[str, Any]:
        """Health and costs change slowly: once a second is enough."""
        now_s = time.monotonic()
        if now_s - self._told_s < 1.0:
            return {}
        self._told_s = now_s
        return self.extras()

    def _count(self, message: dict[str, Any], buffers: Sequence[bytes], *, free: bool) -> None:
        size = sum(map(len, buffers)) + len(json.dumps(message))
        self.bytes_sent += size
        if self._budget is not None and not free:
            self._budget.spend(size)

    def _select(self, rows: list[int]) -> None:
        self.selected = rows

    def close_channel(self) -> None:
        """Let go of all comms: the channel's, the layout's (which every widget has) and its own."""
        self.channel.close()
        self.layout.close()
        self.close()

    def _is_paused(self) -> bool:
        try:
            return bool(self._controls.paused) if self._controls is not None else False
        except Exception:  # noqa: BLE001 - whoever gives the controls may raise anything; the view goes on
            return False

    def _operate(self, operation: str, content: dict[str, Any]) -> None:
        if operation == "rate":
            self._set_rate(content.get("hz"))
            return
        controls = self._controls
        if controls is None:
            return
        known = {"cancel": controls.cancel, "hold": controls.pause, "release": controls.resume}
        act = known.get(operation)
        if act is None:
            return
        error = ""
        try:
            act()
        except Exception as raised:  # noqa: BLE001 - whoever gives the controls may raise anything
            _log.error("the control %r of the live view failed:%s", operation, traceback_lines(raised))
            error = clean_text(RecordedError.of(raised))
        self._cancelling = self._cancelling or (operation == "cancel" and not error)
        self.channel.tell(
            {"k": "op", "op": operation, "paused": self._is_paused(), "cancelling": self._cancelling, "error": error}
        )

    def _set_rate(self, hz: object) -> None:
        if isinstance(hz, int | float) and 0 < hz < 1e3:  # noqa: PLR2004 - what is no rate is left alone
            self.set_pace(float(hz))


def _kept(buffers: Sequence[bytes]) -> list[bytes]:
    """The buffers as ipywidgets takes them; an empty one as one byte, which some front ends drop otherwise."""
    return [buffer or b"\0" for buffer in buffers]
