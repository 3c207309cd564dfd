"""The magics of a shell, and which of its cells are watched."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from hexviz import face
from hexviz.dag.watching import WATCHER
from hexviz.display import switch, wanted
from hexviz.notebook.cell import Cell
from hexviz.notebook.options import CELL_OPTIONS, LINE_USAGE, RUNS_OPTIONS, USAGE, NamedPolicy, parsed
from hexviz.opening import kept_store
from hexviz.stores.errors import NoStoreError
from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from hexviz.recording.recording import Recording
    from hexviz.stores.store import Store

_CELL = re.compile(r"%%hexviz(?=\s|$)")
_ANY_CELL = re.compile(r"%%(\w+)(?: (.*))?$")


class _Execution(Protocol):
    """What IPython tells of a cell that it runs."""

    raw_cell: str


class _Begun:
    """A cell that IPython runs, and who watches it."""

    def __init__(self, info: _Execution) -> None:
        self.info = info
        self.cell: Cell | None = None


@magics_class
class HexvizMagics(Magics):
    """The magics of one shell, and which of its cells are watched."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell = shell
        self.last: Recording | None = None
        self._here = threading.local()
        self._hooks: dict[str, Callable[..., None]] = {
            "pre_run_cell": self._cell_begins,
            "post_run_cell": self._cell_ended,
        }

    def plug_in(self) -> None:
        """Tell the shell about the magics."""
        self._shell.register_magics(self)
        self._shell.input_transformers_cleanup.append(begin_first)
        for event, hook in self._hooks.items():
            self._shell.events.register(event, hook)

    def unplug(self) -> None:
        """Take back all that :meth:`plug_in` told."""
        for begun in self._begun:
            self._watch_no_more(begun)
        for event, hook in self._hooks.items():
            self._shell.events.unregister(event, hook)
        if begin_first in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(begin_first)
        for kind in ("line", "cell"):
            self._shell.magics_manager.magics[kind].pop("hexviz", None)

    # --- cells

    @property
    def _begun(self) -> list[_Begun]:
        """The cells that run in this thread, one within the other."""
        stack: list[_Begun] = self._here.__dict__.setdefault("stack", [])
        return stack

    def _cell_begins(self, info: _Execution) -> None:
        self._begun.append(_Begun(info))

    def _cell_ended(self, result: Any) -> None:
        """IPython also tells of the end of empty cells, which never began, and of broken ones without saying which."""
        ended = getattr(result, "info", None)
        stack = self._begun
        for place in reversed(range(len(stack))):
            if ended is None or stack[place].info is ended or stack[place].info.raw_cell == ended.raw_cell:
                for begun in reversed(stack[place:]):
                    self._watch_no_more(begun)
                del stack[place:]
                return

    def _watch_no_more(self, begun: _Begun) -> None:
        cell, begun.cell = begun.cell, None
        watcher: object = WATCHER.get()
        if cell is not None and watcher is cell:  # a cell with await has run in a context of its own
            WATCHER.set(cell.outer)

    def _watch(self, line: str) -> None:
        """Watch the runs of the cell that goes on."""
        given = parsed(CELL_OPTIONS, line)
        tries = [NamedPolicy(text, self._shell.user_ns) for text in given.policy]
        for attempt in tries:
            attempt.made()
        stack = self._begun
        if not stack:
            raise UsageError(f"there is no cell to watch here; put {USAGE} on the first line of a cell")
        self._watch_no_more(stack[-1])  # the line may be run again, as %%timeit does
        stack[-1].cell = cell = Cell(self, name=given.name, store=given.store, policies=tries, outer=WATCHER.get())
        WATCHER.set(cell)

    # --- the magic

    @no_var_expand
    @line_cell_magic
    def hexviz(self, line: str, cell: str | None = None) -> Any:
        """Record and show every run of a cell, or show what was recorded.

        ``%%hexviz [--policy NAME_OR_EXPRESSION ...] [--name NAME] [--store PATH]`` on the first line of a cell: each
        run that begins in it, by ``hexviz.run``, ``start``, ``run_sync`` or an ``Orchestrator``, is recorded, kept in
        the store and shown under the cell; ``--policy`` (a class of ``hexviz.policies``, or an expression) is asked
        too, and ``--name`` marks the runs with a tag. ``%hexviz last`` shows the last run again, ``%hexviz runs`` lists
        those that are kept, ``%hexviz off`` shows nothing from now on, ``%hexviz on`` does again.
        """
        if cell is None:
            return self._line(line)
        self._watch(line)
        if cell.strip():  # called by hand: IPython itself runs the rest of a cell
            self._shell.run_cell(cell)  # type: ignore[no-untyped-call]
        return None

    def _line(self, line: str) -> Any:
        word, _, rest = line.strip().partition(" ")
        if word == "runs":
            return self._runs(parsed(RUNS_OPTIONS, rest))
        if rest.strip() or word not in {"last", "on", "off"}:
            raise UsageError(f"unknown: %hexviz {clean_text(line, 80)}. Usage: {LINE_USAGE}, or on a cell: {USAGE}")
        if word == "last":
            self._last()
        else:
            switch(on=word == "on")
        return None

    def _last(self) -> None:
        recording = self.last
        if recording is None:
            with _kept(None) as store:
                run_id = store.last_run_id()
                recording = None if run_id is None else store.recording(run_id)
        if recording is None:
            raise UsageError(f"no run is kept in {store.where} yet; begin a cell with: {USAGE}")
        if wanted():
            display(face.dashboard(recording))  # type: ignore[no-untyped-call]

    def _runs(self, given: argparse.Namespace) -> pd.DataFrame | None:
        if not wanted():
            return None
        with _kept(given.store) as store:
            return _shown(store.runs().head(given.limit))


def _kept(place: str | None) -> Store:
    """A store to read from."""
    try:
        return kept_store(place)
    except NoStoreError as error:
        raise UsageError(f"{clean_text(error, 300)}; or begin a cell with: {USAGE}") from None


def _shown(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a store, their texts fit for any screen."""
    texts = {name: runs[name].map(clean_text) for name in ("run_id", "pipeline")}
    tags = runs["tags"].map(lambda tags: clean_text(", ".join(tags)))
    return runs.assign(**texts, tags=tags)[
        ["run_id", "pipeline", "status", "started_at", "duration_ms", "nodes", "tags"]
    ]


def begin_first(lines: list[str]) -> list[str]:
    """An input transformer: a cell's first line ``%%hexviz ...`` becomes a statement that begins to watch.

    A magic on the line after it, such as ``%%time``, gets the rest of the cell as usual.
    """
    if not lines or not _CELL.match(lines[0]):
        return lines
    rest = begin_first(lines[1:])
    other = _ANY_CELL.match(rest[0].rstrip()) if rest else None
    if other is not None:
        call = f"get_ipython().run_cell_magic({other[1]!r}, {other[2] or ''!r}, {''.join(rest[1:])!r})\n"
        rest = [call]
    return [f"get_ipython().run_cell_magic('hexviz', {lines[0][8:].strip()!r}, '\\n')\n", *rest]
