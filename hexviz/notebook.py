"""``%load_ext hexviz``: ``%%hexviz`` records and shows every run of a cell, ``%hexviz last | runs | on | off``.

A cell that begins with ``%%hexviz`` is not run by the magic but by IPython itself: its first line becomes a statement
that begins to watch, and the end of the cell ends it. So ``await`` works in it, and tracebacks show its own lines.
Which runs are the cell's is known by their context: those of its tasks too, and those that go on after it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import threading
import warnings
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from hexviz import face, policies
from hexviz.dag.watching import WATCHER
from hexviz.display import switch, wanted
from hexviz.errors import HexvizError
from hexviz.recording.recorder import Recorder
from hexviz.recording.state import RunState
from hexviz.stores.errors import RunNotFoundError
from hexviz.widgets import front_end
from hexviz.widgets.snapshot import plain_text
from hexviz.widgets.wire import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import CodeType

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from hexviz.dag.graph import Graph
    from hexviz.dag.orchestrator import Orchestrator
    from hexviz.dag.watching import Watcher
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager
    from hexviz.recording.recording import Recording
    from hexviz.stores.store import Store

_CELL = re.compile(r"%%hexviz(?=\s|$)")
_ANY_CELL = re.compile(r"%%(\w+)(?: (.*))?$")
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""
_USAGE = "%%hexviz [--policy NAME_OR_EXPRESSION ...] [--name NAME] [--store PATH]"
_LINE_USAGE = "%hexviz last | runs [--store PATH] [--limit N] | on | off"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%load_ext hexviz`` calls."""
    unload_ipython_extension(shell)
    _loaded[shell] = HexvizMagics(shell)
    _loaded[shell].plug_in()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%unload_ext hexviz`` calls; runs under way go on being watched."""
    if shell in _loaded:
        _loaded.pop(shell).unplug()


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
        given = _parsed(_CELL_OPTIONS, line)
        tries = [_Policy(text, self._shell.user_ns) for text in given.policy]
        for attempt in tries:
            attempt.made()
        stack = self._begun
        if not stack:
            raise UsageError(f"there is no cell to watch here; put {_USAGE} on the first line of a cell")
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
            return self._runs(_parsed(_RUNS_OPTIONS, rest))
        if rest.strip() or word not in {"last", "on", "off"}:
            raise UsageError(f"unknown: %hexviz {clean_text(line, 80)}. Usage: {_LINE_USAGE}, or on a cell: {_USAGE}")
        if word == "last":
            self._last()
        else:
            switch(on=word == "on")
        return None

    def _last(self) -> None:
        recording = self.last
        if recording is None:
            with face.open_store() as store:
                run_id = store.last_run_id()
                recording = None if run_id is None else store.recording(run_id)
        if recording is None:
            raise UsageError(f"no run is kept in {store.where} yet; begin a cell with: {_USAGE}")
        if wanted():
            display(face.dashboard(recording))  # type: ignore[no-untyped-call]

    def _runs(self, given: argparse.Namespace) -> pd.DataFrame | None:
        if not wanted():
            return None
        with face.open_store(given.store) as store:
            return _shown(store.runs().head(given.limit))


def _shown(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a store, their texts fit for any screen."""
    texts = {name: runs[name].map(clean_text) for name in ("run_id", "pipeline")}
    tags = runs["tags"].map(lambda tags: clean_text(", ".join(tags)))
    return runs.assign(**texts, tags=tags)[
        ["run_id", "pipeline", "status", "started_at", "duration_ms", "nodes", "tags"]
    ]


_loaded: weakref.WeakKeyDictionary[Any, HexvizMagics] = weakref.WeakKeyDictionary()


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


class Cell:
    """One cell that began with ``%%hexviz``: a :class:`hexviz.dag.watching.Watcher` of the runs of its context."""

    def __init__(
        self, magics: HexvizMagics, *, name: str, store: str | None, policies: list[_Policy], outer: Watcher | None
    ) -> None:
        self.tags: tuple[str, ...] = (name,) if name else ()
        self.store = store
        self.outer = outer
        self._magics = magics
        self._policies = policies
        self._taken: dict[str, Recording] = {}
        self._armed: dict[int, list[Any]] = {}
        self._lock = threading.Lock()

    def policies(self) -> Iterator[Any]:
        """Policies for one more run: fresh ones, where the cell names a class or calls one."""
        for policy in self._policies:
            yield from policy.made()

    def title_of(self, graph: Graph) -> str:
        """The heading of a view: the name of the cell and of the pipeline."""
        return " · ".join((*self.tags, graph.name))

    def took(self, run_id: str, recording: Recording) -> None:
        """``hexviz.run`` records and shows this run itself."""
        self._taken[run_id] = self._magics.last = recording

    @asynccontextmanager
    async def watch(
        self, orchestrator: Orchestrator, graph: Graph, run_id: str, observers: ObserverManager, control: ControlManager
    ) -> AsyncIterator[None]:
        """Record and show a run, unless ``hexviz.run`` does so."""
        recording = self._taken.pop(run_id, None)
        if recording is not None:
            try:
                yield
            finally:
                self._tell(recording, graph)
            return
        recorder = Recorder()
        recording = self._magics.last = recorder.recording
        ears = observers.register(
            lambda event: recorder(event) if event.run_id == run_id else None,
            observer_id=f"cell-of-{run_id}",
            lossless=True,
            keep_alive=True,
        )
        self._arm(observers, control)
        view = face.live_view(observers, self.title_of(graph), face.RunControls(orchestrator, run_id))
        if view is not None:
            view.state.run_id = run_id  # the same observers may hear of several runs
        try:
            yield
        finally:
            observers.unregister(ears)
            self._disarm(control)
            if view is not None:
                view.finish()
            await asyncio.to_thread(self._keep, recording, run_id)
            self._tell(recording, graph)

    def _arm(self, observers: ObserverManager, control: ControlManager) -> None:
        """Ask the cell's policies, once however many runs of one manager are under way."""
        with self._lock:
            armed = self._armed.setdefault(id(control), [0])
            armed[0] += 1
            if armed[0] == 1:
                for policy in self.policies():
                    armed.append((face.register_policy(control, observers, policy), policy))

    def _disarm(self, control: ControlManager) -> None:
        with self._lock:
            armed = self._armed[id(control)]
            armed[0] -= 1
            if not armed[0]:
                for undo, _policy in self._armed.pop(id(control))[1:]:
                    undo()

    def _keep(self, recording: Recording, run_id: str) -> None:
        """Put the run into the store, unless a recorder of the user's has done so."""
        try:
            with face.open_store(self.store) as store:
                if not _is_kept(store, run_id):
                    store.append(recording.events())
                    store.flush()
        except HexvizError as error:
            warnings.warn(f"run {run_id} is not kept: {error}", RuntimeWarning, stacklevel=2)

    def _tell(self, recording: Recording, graph: Graph) -> None:
        """Where there is no notebook to show a view in, say in one line how the run ended."""
        if wanted() and not front_end.can_display():
            print(plain_text(RunState.from_events(recording.events()), title=self.title_of(graph)))  # noqa: T201


def _is_kept(store: Store, run_id: str) -> bool:
    try:
        return store.find(run_id) == run_id
    except RunNotFoundError:
        return False


# --- what is written on the line


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{clean_text(message, 200)}. Usage: {self.usage}")


def _options(usage: str) -> _Options:
    return _Options(prog="hexviz", usage=usage, add_help=False, allow_abbrev=False)


_CELL_OPTIONS = _options(_USAGE)
_CELL_OPTIONS.add_argument("--policy", nargs="+", action="extend", default=[])
_CELL_OPTIONS.add_argument("--name", default="")
_CELL_OPTIONS.add_argument("--store")
_RUNS_OPTIONS = _options(_LINE_USAGE)
_RUNS_OPTIONS.add_argument("--store")
_RUNS_OPTIONS.add_argument("--limit", type=int, default=20)


def _parsed(options: _Options, line: str) -> argparse.Namespace:
    given, left = options.parse_known_args(words_of(line))
    if left:
        options.error(f"unknown: {' '.join(left)}")
    return given


def words_of(line: str) -> list[str]:
    """The words of ``line``; what stands in brackets or quotes holds together, quotes around a whole word are dropped.

    ``--policy Retry(max_attempts=3, on="x") --name 'two words'`` are four words.
    """
    words, word, depth, quote = [], "", 0, ""
    for letter in line:
        if letter.isspace() and not depth and not quote:
            words.append(word)
            word = ""
            continue
        word += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        elif letter in _OPENING or letter in _CLOSING:
            depth = max(0, depth + (1 if letter in _OPENING else -1))
    if depth or quote:
        raise UsageError(f"a bracket or a quote is not closed in: {clean_text(line, 120)}")
    words.append(word)
    return [_unquoted(word) for word in words if word]


def _unquoted(word: str) -> str:
    whole = len(word) > 1 and word[0] in _QUOTES and word.find(word[0], 1) == len(word) - 1
    return word[1:-1] if whole else word


class _Policy:
    """What ``--policy`` names: a class of ``hexviz.policies``, or an expression in the names of the notebook."""

    def __init__(self, text: str, names: dict[str, Any]) -> None:
        self._text = text
        self._names = names
        try:
            self._code: CodeType = compile(text, "<--policy>", "eval")
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"--policy {clean_text(text, 80)} is not an expression: {clean_text(error)}") from None

    def made(self) -> list[Any]:
        """The policies, made anew: the user's own code, as in the rest of the cell."""
        known = {name: getattr(policies, name) for name in policies.__all__}
        try:
            value = eval(self._code, {**known, **self._names})  # noqa: S307 - what the user wrote in the cell
            several = list(value) if isinstance(value, (list, tuple)) else [value]
            made = [policy() if isinstance(policy, type) else policy for policy in several]
        except Exception as error:
            hint = f" There are: {', '.join(policies.__all__)}." if isinstance(error, NameError) else ""
            raise UsageError(
                f"--policy {clean_text(self._text, 80)}: {type(error).__name__}: {clean_text(error)}.{hint}"
            ) from error
        for policy in made:
            if not (callable(policy) or hasattr(policy, "handle")):
                raise UsageError(f"--policy {clean_text(self._text, 80)} gives {type(policy).__name__}, not a policy")
        return made
