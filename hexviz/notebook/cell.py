"""A cell that began with ``%%hexviz``: its runs are recorded, kept and shown."""

from __future__ import annotations

import asyncio
import threading
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from hexviz.display import wanted
from hexviz.errors import HexvizError
from hexviz.handlers import register_policy
from hexviz.launch import live_view
from hexviz.opening import open_store
from hexviz.recording.recorder import Recorder
from hexviz.recording.state import RunState
from hexviz.run_handle import RunControls
from hexviz.stores.errors import RunNotFoundError
from hexviz.widgets import front_end
from hexviz.widgets.snapshot import plain_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hexviz.dag.graph import Graph
    from hexviz.dag.orchestrator import Orchestrator
    from hexviz.dag.watching import Watcher
    from hexviz.events.control_manager import ControlManager
    from hexviz.events.observer_manager import ObserverManager
    from hexviz.notebook.options import NamedPolicy
    from hexviz.recording.recording import Recording
    from hexviz.stores.store import Store


class Latest(Protocol):
    """Who remembers the last run."""

    last: Recording | None


class Cell:
    """One cell that began with ``%%hexviz``: a :class:`hexviz.dag.watching.Watcher` of the runs of its context."""

    def __init__(
        self, latest: Latest, *, name: str, store: str | None, policies: list[NamedPolicy], outer: Watcher | None
    ) -> None:
        self.tags: tuple[str, ...] = (name,) if name else ()
        self.store = store
        self.outer = outer
        self._latest = latest
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
        self._taken[run_id] = self._latest.last = recording

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
        recording = self._latest.last = recorder.recording
        ears = observers.register(
            lambda event: recorder(event) if event.run_id == run_id else None,
            observer_id=f"cell-of-{run_id}",
            lossless=True,
            keep_alive=True,
        )
        self._arm(observers, control)
        view = live_view(observers, self.title_of(graph), RunControls(orchestrator, run_id), run_id=run_id)
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
                    armed.append((register_policy(control, observers, policy), policy))

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
            with open_store(self.store) as store:
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
