"""The view of a run as a page of its own, for whoever serves it: its files, and a binary message whenever it changes.

A message is the length of its JSON part (4 bytes, little-endian), the JSON part (:mod:`hexviz.widgets.wire`, with the
``lengths`` of the buffers), and the buffers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hexviz.events.events import PipelineStarted
from hexviz.recording.state import RunState
from hexviz.widgets.assets import asset
from hexviz.widgets.outbox import Outbox
from hexviz.widgets.text import clean_text
from hexviz.widgets.wire import message_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.events.events import Event

MOST_RUNS = 20
"""So many runs are kept to be looked at; of those that nobody looks at the oldest goes first."""
MOST_BYTES = 256 * 1024
"""A message takes about so much; what is left over comes with the next one."""
_UNDRAWN = 2

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>hexviz</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
</head>
<body class="hx-page">
<header class="hx-bar"><h1>hexviz</h1></header>
<main><noscript>This page needs JavaScript.</noscript></main>
<script type="module" src="/page.js"></script>
</body>
</html>
"""


class LivePage:
    """The page and its views (:class:`hexviz.streams.web_models.Page`). All of it is for one thread."""

    def __init__(self) -> None:
        style = asset("timeline.css") + asset("report.css") + asset("page.css")
        self.files: dict[str, tuple[str, bytes]] = {
            "/": ("text/html; charset=utf-8", _HTML.encode()),
            "/page.css": ("text/css; charset=utf-8", style.encode()),
            "/page.js": ("text/javascript; charset=utf-8", asset("page.js").encode()),
        }
        self._states: dict[str, RunState] = {}
        self._latest = self._nothing = RunState()
        self._views: list[PageView] = []

    def take(self, events: Sequence[Event]) -> None:
        """Fold what happened into the runs that it belongs to."""
        for event in events:
            state = self._states.get(event.run_id)
            if state is None:
                state = self._begun(event.run_id)
            if type(event) is PipelineStarted:
                self._latest = state
            state.fold(event)

    def view(self, run_id: str | None) -> PageView:
        """A view of one run, or of whichever began last."""
        view = PageView(self, run_id)
        self._views.append(view)
        return view

    def _begun(self, run_id: str) -> RunState:
        state = self._states[run_id] = RunState(run_id)
        if not self._latest.events:
            self._latest = state
        watched = {id(view.state) for view in self._views}
        spare = [other for other, kept in self._states.items() if id(kept) not in watched and kept is not self._latest]
        if len(self._states) > MOST_RUNS and spare:
            del self._states[spare[0]]
        return state

    def state_of(self, run_id: str | None) -> RunState:
        """The run that a view shows; an empty one where nothing is known of it."""
        return self._latest if run_id is None else self._states.get(run_id, self._nothing)

    def runs(self) -> list[tuple[str, str, str]]:
        """Id, pipeline and status of each run that can be looked at, the newest first."""
        states = reversed(self._states.items())
        return [
            (run_id, clean_text(state.pipeline, 120), state.status) for run_id, state in states if _writable(run_id)
        ]

    def settle(self, state: RunState) -> None:
        """Let each view of ``state`` take note of what changed in it."""
        if state.dirty:
            delta = state.delta()
            for view in self._views:
                if view.state is state:
                    view.outbox.add(state, delta)
                    view.changed = True

    def forget(self, view: PageView) -> None:
        """A view is over."""
        if view in self._views:
            self._views.remove(view)


class PageView:
    """What one browser sees: see :class:`hexviz.streams.web_models.PageView`."""

    def __init__(self, page: LivePage, run_id: str | None) -> None:
        self.state: RunState | None = None
        self.outbox = Outbox()
        self.changed = False
        self._page, self._run_id = page, run_id
        self._seq = self._acked = 0
        self._runs: list[tuple[str, str, str]] = []

    def frame(self) -> bytes | None:
        """What changed since the last call as one message; None where nothing did, or two are not drawn yet."""
        if self._seq - self._acked >= _UNDRAWN:
            return None
        state = self._page.state_of(self._run_id)
        self._page.settle(state)
        full = state is not self.state
        if full:
            self.state = state
            self.outbox = Outbox()
            self.outbox.add(state, state.delta(full=True))
        runs = self._page.runs()
        if not (full or self.changed or self.outbox.waiting or runs != self._runs):
            return None
        self.changed, self._runs = False, runs
        base, self._seq = self._seq, self._seq + 1
        message, buffers = message_of(
            state,
            self.outbox,
            MOST_BYTES,
            full=full,
            seq=self._seq,
            base=base,
            done=state.done,
            paused=False,
            runs=runs,
        )
        head = msgspec.json.encode(message | {"lengths": [len(buffer) for buffer in buffers]})
        return b"".join((len(head).to_bytes(4, "little"), head, *buffers))

    def acknowledge(self, seq: int) -> None:
        """The browser has drawn the message with this number."""
        self._acked = max(self._acked, min(seq, self._seq))

    def close(self) -> None:
        """The browser is gone."""
        self._page.forget(self)


def _writable(text: str) -> bool:
    """Whether it can stand in an address: without lone surrogates."""
    return text.isascii() or text.encode("utf-8", "replace").decode() == text
