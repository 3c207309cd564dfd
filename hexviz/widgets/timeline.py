"""The timeline widget: a canvas in the browser, fed by binary deltas, with a channel of its own for what comes back."""

from __future__ import annotations

import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

import anywidget
import ipywidgets
import traitlets

from hexviz.events.events import RecordedError, traceback_lines
from hexviz.widgets.assets import asset
from hexviz.widgets.wire import clean_text, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hexviz.recording.state import RunState

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
        self.on_hello: Callable[[], None] | None = None
        self.on_operation: Callable[[str], None] | None = None
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
            self.on_operation(str(content.get("op", "")))

    def _greet(self, view: str, number: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.live = True
            self._context = contextvars.copy_context()
        self.greeted = True
        self.tell({"k": "hello", "view": view, "n": number})
        if view not in self._views:
            self._views.add(view)
            if self.on_hello is not None:
                self.on_hello()


class TimelineWidget(anywidget.AnyWidget):
    """The view of one run. A sink for :class:`hexviz.widgets.feed.Pump`."""

    _esm = asset("timeline.js")
    _css = asset("timeline.css")
    channel = traitlets.Instance(Channel).tag(sync=True, **ipywidgets.widget_serialization)
    title = traitlets.Unicode().tag(sync=True)
    controllable = traitlets.Bool().tag(sync=True)
    player = traitlets.Bool().tag(sync=True)

    def __init__(self, *, title: str = "", controls: Controls | None = None, player: bool = False) -> None:
        super().__init__(
            channel=Channel(), title=clean_text(title, 120), controllable=controls is not None, player=player
        )
        self.seq = 0
        self._base = 0
        self._controls = controls
        self._paused = False
        self._cancelling = False
        self._held = False
        self.channel.on_operation = self._operate

    @property
    def greeted(self) -> bool:
        """Whether a view has said hello."""
        return bool(self.channel.greeted)

    def ready(self) -> bool:
        """Whether the browser has drawn all but the last two messages; always, where it cannot say so in mid-run."""
        return not self.channel.live or self.seq - self.channel.acked <= _UNACKNOWLEDGED

    def news(self) -> bool:
        """Whether somebody has held or released the run since the last message."""
        return self._is_paused() != self._paused

    def push(self, state: RunState, *, full: bool, done: bool) -> None:
        """Send what changed since the last push (with ``full``: everything)."""
        self._paused = self._is_paused()
        base, self.seq = self.seq, self.seq + 1
        message, buffers = encode(
            state,
            state.delta(full=full),
            seq=self.seq,
            base=base,
            done=done,
            paused=self._paused,
            cancelling=self._cancelling,
        )
        self.send(message, buffers=_kept(buffers))

    def close_channel(self) -> None:
        """Let go of both comms."""
        self.channel.close()
        self.close()

    def _is_paused(self) -> bool:
        try:
            return bool(self._controls.paused) if self._controls is not None else False
        except Exception:  # noqa: BLE001 - whoever gives the controls may raise anything; the view goes on
            return False

    def _operate(self, operation: str) -> None:
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


def _kept(buffers: Sequence[bytes]) -> list[bytes]:
    """The buffers as ipywidgets takes them; an empty one as one byte, which some front ends drop otherwise."""
    return [buffer or b"\0" for buffer in buffers]
