"""One call of ``hexviz.run`` or ``start``: what it was given is checked, wired together, run and closed."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from hexviz.dag.binding import takes_argument
from hexviz.dag.errors import PipelineError
from hexviz.dag.graph import Graph
from hexviz.dag.orchestrator import Orchestrator, new_run_id
from hexviz.dag.watching import WATCHER
from hexviz.display import wanted
from hexviz.errors import HexvizError, WrongCallError, hint_at_another_copy, named
from hexviz.events.control_manager import ControlManager
from hexviz.events.observer_manager import ObserverManager
from hexviz.handlers import register_policy, several
from hexviz.loading import at_once
from hexviz.opening import store_of
from hexviz.recording.recorder import Recorder
from hexviz.run_handle import RunControls
from hexviz.stores.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.dag.result import RunResult
    from hexviz.opening import StoreLike
    from hexviz.streams.models import Sink
    from hexviz.widgets.dashboard import LiveView

    Live: TypeAlias = bool | str | Iterable[str]

_SETTINGS = ("schedule", "on_error", "max_concurrent_nodes", "decisions", "max_attempts", "cancel_grace_s", "runner")


class Launch:
    """One call of :func:`run` or :func:`start`: fresh managers, a recorder, a view, and who closes what."""

    def __init__(
        self,
        graph: Graph,
        initial_input: Any = None,
        *,
        policies: Any = (),
        observers: Any = (),
        live: Live = False,
        store: StoreLike = None,
        sinks: Iterable[Sink] = (),
        tags: Sequence[str] = (),
        run_id: str | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(graph, Graph):
            raise WrongCallError(
                f"a run takes a hexviz.Graph first, not {named(graph)}{hint_at_another_copy(type(graph), Graph)}"
            )
        graph.validate()
        panels, sinks = panels_of(live), _checked_sinks(sinks)
        self.graph = graph
        self.initial_input = initial_input
        self.tags = _checked_tags(tags)
        if not isinstance(run_id, str | None):
            raise WrongCallError(f"run_id= is a text, not {named(run_id)}")
        self.run_id = run_id or new_run_id()
        self.status = "pending"
        cell = WATCHER.get()
        self.title = graph.name if cell is None else cell.title_of(graph)
        self.observers = ObserverManager()
        self.control = ControlManager()
        for observer in several(observers):
            self.observers.register(observer)
        for policy in (*several(policies), *(() if cell is None else cell.policies())):
            register_policy(self.control, self.observers, policy)
        settings = {name: options.pop(name) for name in _SETTINGS if name in options}
        self.ports = _checked_ports(graph, options)
        self.orchestrator = Orchestrator(observers=self.observers, control=self.control, **settings)
        self.controls = RunControls(self.orchestrator, self.run_id)
        self._own_store = not isinstance(store, Store)
        self.store = store_of(cell.store if store is None and cell is not None else store)
        self.recorder = Recorder(store=self.store, sinks=sinks)
        self.recorder.attach(self.observers)
        if cell is not None:
            cell.took(self.run_id, self.recorder.recording)
        shown = (live or cell is not None) and wanted()
        self.view: LiveView | None = None
        if shown:
            kept_as = self.run_id if self.store is not None else ""
            self.view = live_view(self.observers, self.title, self.controls, panels, run_id=kept_as)

    async def execute(self) -> RunResult:
        """Run the graph; whatever happens, everything is flushed and closed."""
        self.status = "running"
        try:
            result = await self.orchestrator.run(
                self.graph,
                self.initial_input,
                self.ports,
                validate=False,
                run_id=self.run_id,
                tags=self.tags,
            )
        except BaseException as error:
            self.status = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
            if isinstance(error, PipelineError):
                error.recording = self.recorder.recording
                raise error.with_traceback(None)  # noqa: B904 - the same error, without the way through hexviz
            raise
        else:
            self.status = result.status
            result.recording = self.recorder.recording
            return result
        finally:
            await self._close()

    async def _close(self) -> None:
        if self.view is not None:
            self.view.finish()
        await self.observers.close()
        await asyncio.to_thread(self._close_store)

    def _close_store(self) -> None:
        """Keep what there is to keep; a store that fails is told aloud and does not change how the run ended."""
        try:
            self.recorder.close()
            if self._own_store and self.store is not None:
                self.store.close()
        except HexvizError as error:
            warnings.warn(f"run {self.run_id} is not wholly kept: {error}", RuntimeWarning, stacklevel=2)


def panels_of(live: Live) -> tuple[str, ...] | None:
    """The panels that ``live`` names; None for the usual ones."""
    if isinstance(live, bool) or not live:
        return None
    from hexviz.widgets.panels import chosen_panels  # noqa: PLC0415 - a view is seldom asked for by its panels

    return chosen_panels(live)


def live_view(
    observers: ObserverManager,
    title: str,
    controls: RunControls | None,
    panels: Iterable[str] | None = None,
    *,
    run_id: str = "",
) -> LiveView | None:
    """Show under the cell how the next run of ``observers`` goes; whoever asked for the view ends it.

    ``run_id`` is that of a run which a store keeps. None where there is no notebook.
    """
    with at_once():
        from hexviz.widgets import front_end  # noqa: PLC0415 - loads ipywidgets, so only on request
        from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415

    if not front_end.can_display():
        return None
    return LiveView(observers, title=title, controls=controls, panels=panels, run_id=run_id).display()


def _checked_sinks(sinks: Any) -> tuple[Sink, ...]:
    if hasattr(sinks, "put"):
        return (sinks,)
    given = tuple(sinks) if isinstance(sinks, Iterable) else (sinks,)
    for sink in given:
        if not hasattr(sink, "put"):
            raise WrongCallError(f"sinks= takes sinks, such as hexviz.streams.KafkaSink(...), not {named(sink)}")
    return given


def _checked_tags(tags: Any) -> tuple[str, ...]:
    given = (tags,) if isinstance(tags, str) or not isinstance(tags, Iterable) else tuple(tags)
    for tag in given:
        if not isinstance(tag, str):
            raise WrongCallError(f"tags= takes texts, such as ['nightly'], not {named(tag)}")
    return given


def _checked_ports(graph: Graph, ports: dict[str, Any]) -> dict[str, Any]:
    """``ports``, each of which some node takes; a misspelt option is not taken for one in silence."""
    for name in ports:
        if not any(takes_argument(node.fn, name) for node in graph):
            known = ", ".join(("policies", "observers", "live", "store", "sinks", "tags", "run_id", *_SETTINGS))
            raise WrongCallError(
                f"{name!r} is neither an option of a run nor an argument of any node of {graph.name!r}. "
                f"Options: {known}"
            )
    return ports
