"""What people type: short functions that join the rooms."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import os
import sys
import threading
import warnings
from collections.abc import Coroutine, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hexviz.dag.binding import takes_argument
from hexviz.dag.errors import PipelineError
from hexviz.dag.graph import Graph
from hexviz.dag.orchestrator import Orchestrator, new_run_id
from hexviz.dag.watching import WATCHER
from hexviz.display import wanted
from hexviz.errors import HexvizError, SourceError, hint_at_another_copy
from hexviz.events.config import NULL_OBSERVER_MANAGER
from hexviz.events.control_manager import ControlManager
from hexviz.events.observer_manager import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.stores.files import named_errors
from hexviz.stores.sqlite import SQLiteStore, default_path
from hexviz.stores.store import Store, is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pandas as pd

    from hexviz.dag.orchestrator import OnError, Schedule
    from hexviz.dag.result import RunResult
    from hexviz.events.models import BaseEventManager
    from hexviz.serving import StoreServer
    from hexviz.stores.run_info import RunInfo
    from hexviz.streams.broadcast import WebSocketBroadcaster
    from hexviz.streams.models import Sink
    from hexviz.watching import Watch

    StoreLike: TypeAlias = Store | str | Path | bool | None
    Live: TypeAlias = bool | str | Iterable[str]


_SETTINGS = ("schedule", "on_error", "max_concurrent_nodes", "decisions", "max_attempts", "cancel_grace_s", "runner")
_ENDING_S = 5.0


class WrongCallError(HexvizError, RuntimeError):
    """One of hexviz's functions was called where another one belongs; the message names it."""


def run(
    graph: Graph,
    initial_input: Any = None,
    *,
    policies: Iterable[Any] = (),
    observers: Iterable[Any] = (),
    live: Live = False,
    store: StoreLike = None,
    sinks: Iterable[Sink] = (),
    schedule: Schedule = "ready",
    on_error: OnError = "fail_fast",
    max_concurrent_nodes: int = 10,
    tags: Sequence[str] = (),
    run_id: str | None = None,
    **options: Any,
) -> PendingRun:
    """Run ``graph`` on this event loop: ``result = await hexviz.run(graph, "data.csv", live=True)``.

    ``policies`` are control handlers, asked in the order of their ``priority``; ``observers`` hear every event.
    ``live=True`` shows the dashboard under the cell; ``live=["progress", "graph"]`` names its panels, as those of
    :func:`dashboard`, and ``live="all"`` shows each. Each run is kept in the default store (see :func:`open_store`)
    unless ``store`` is another one, a path, or False. Each of ``sinks`` (see :mod:`hexviz.streams`) gets its events
    too, and stays yours to close. Further options are those of :class:`hexviz.Orchestrator`
    (``decisions``, ``max_attempts``, ``cancel_grace_s``, ``runner``); any other keyword argument reaches the nodes that
    take it, and is refused with a :class:`WrongCallError` where none does.

    The result is a dict of node -> result with ``run_id``, ``status`` and ``recording``. Raises
    :class:`hexviz.PipelineError` for a run that failed; it carries ``run_id``, ``results`` and ``recording`` too.
    """
    options |= {"schedule": schedule, "on_error": on_error, "max_concurrent_nodes": max_concurrent_nodes}
    options |= {"policies": policies, "observers": observers, "live": live, "store": store, "sinks": sinks}
    return PendingRun(lambda: _Launch(graph, initial_input, tags=tags, run_id=run_id, **options).execute())


def start(graph: Graph, initial_input: Any = None, *, live: Live = False, **options: Any) -> RunHandle:
    """Run ``graph`` in the background, in a thread with an event loop of its own; returns at once.

    Takes what :func:`run` takes. ``await handle`` or ``handle.result()`` gives the result; ``handle.cancel()``,
    ``handle.pause()`` and ``handle.resume()`` steer the run. In a notebook this keeps the kernel free for other cells.
    """
    return RunHandle(_Launch(graph, initial_input, live=live, **options))


def run_sync(graph: Graph, initial_input: Any = None, *, loop: str = "thread", **options: Any) -> RunResult:
    """Run ``graph`` and wait for it: for scripts, and for cells without ``await``. Takes what :func:`run` takes.

    The run gets an event loop and a thread of its own; ``loop="nested"`` runs it on the notebook's own loop instead,
    for nodes that are bound to that loop. Raises :class:`WrongCallError` inside a coroutine, where it would block the
    loop.
    """
    _refuse_in_coroutine()
    if loop == "nested":
        from hexviz.nested import run_nested  # noqa: PLC0415 - touches the kernel's loop, so only on request

        return run_nested(run(graph, initial_input, **options))  # type: ignore[no-any-return]
    if loop != "thread":
        raise WrongCallError(f"run_sync(loop=...) is 'thread' or 'nested', not {loop!r}")
    handle = start(graph, initial_input, **options)
    try:
        return handle.result()
    except BaseException:
        if handle.cancel():
            with suppress(BaseException):  # what interrupted us is raised; the run gets its time to end
                handle.result(_ENDING_S)
        raise


def _refuse_in_coroutine() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to look at one's callers
    while frame is not None:
        code = frame.f_code
        if code.co_flags & inspect.CO_COROUTINE and code.co_name != "<module>":
            module = frame.f_globals.get("__name__", "")
            if module.partition(".")[0] in {"IPython", "ipykernel"}:
                return  # a plain cell: the kernel waits for it as it waits for any other code
            raise WrongCallError(
                f"hexviz.run_sync was called inside the coroutine {code.co_name!r}, where it would block its event "
                "loop. Write: await hexviz.run(...)"
            )
        frame = frame.f_back  # type: ignore[assignment]


class PendingRun(Coroutine[Any, Any, "RunResult"]):
    """A run that has not begun: await it, or give it to ``asyncio.run`` or ``asyncio.create_task``."""

    def __init__(self, begin: Any) -> None:
        self._begin = begin
        self._coroutine: Coroutine[Any, Any, RunResult] | None = None

    def _begun(self) -> Coroutine[Any, Any, RunResult]:
        if self._coroutine is None:
            begin, self._begin = self._begin, None
            if begin is None:
                raise WrongCallError("this run was closed before it began: call hexviz.run(...) again")
            self._coroutine = begin()
        return self._coroutine

    def __await__(self) -> Generator[Any, Any, RunResult]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        """Step the run, as an event loop does."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception where the run waits, as an event loop does."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """Give up a run that has not ended."""
        if self._coroutine is None:
            self._begin = None
        else:
            self._coroutine.close()

    def __del__(self) -> None:
        if self._begin is not None:
            warnings.warn(
                "hexviz.run(...) was never awaited, so nothing ran. Write: await hexviz.run(...), "
                "or in a script without async code: hexviz.run_sync(...)",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        return "<hexviz run that was not awaited yet: write await hexviz.run(...)>"


class _Launch:
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
                f"a run takes a hexviz.Graph first, not {_named(graph)}{hint_at_another_copy(type(graph), Graph)}"
            )
        graph.validate()
        panels, sinks = _panels_of(live), _checked_sinks(sinks)
        self.graph = graph
        self.initial_input = initial_input
        self.tags = (tags,) if isinstance(tags, str) else tuple(tags)
        self.run_id = run_id or new_run_id()
        self.status = "pending"
        cell = WATCHER.get()
        self.title = graph.name if cell is None else cell.title_of(graph)
        self.observers = ObserverManager()
        self.control = ControlManager()
        for observer in _several(observers):
            self.observers.register(observer)
        for policy in (*_several(policies), *(() if cell is None else cell.policies())):
            register_policy(self.control, self.observers, policy)
        settings = {name: options.pop(name) for name in _SETTINGS if name in options}
        self.ports = _checked_ports(graph, options)
        self.orchestrator = Orchestrator(observers=self.observers, control=self.control, **settings)
        self.controls = RunControls(self.orchestrator, self.run_id)
        self._own_store = not isinstance(store, Store)
        self.store = _store_of(cell.store if store is None and cell is not None else store)
        self.recorder = Recorder(store=self.store, sinks=sinks)
        self.recorder.attach(self.observers)
        if cell is not None:
            cell.took(self.run_id, self.recorder.recording)
        shown = (live or cell is not None) and wanted()
        self.view: Any = None
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


def _panels_of(live: Live) -> tuple[str, ...] | None:
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
) -> Any:
    """Show under the cell how the next run of ``observers`` goes; whoever asked for the view ends it.

    ``run_id`` is that of a run which a store keeps. None where there is no notebook.
    """
    from hexviz.widgets import front_end  # noqa: PLC0415 - loads ipywidgets, so only on request
    from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415

    if not front_end.can_display():
        return None
    return LiveView(observers, title=title, controls=controls, panels=panels, run_id=run_id).display()


def _several(given: Any) -> Iterable[Any]:
    """One handler, or several, as a list."""
    return (given,) if callable(given) or hasattr(given, "handle") else given


def _checked_sinks(sinks: Any) -> tuple[Sink, ...]:
    if hasattr(sinks, "put"):
        return (sinks,)
    given = tuple(sinks) if isinstance(sinks, Iterable) else (sinks,)
    for sink in given:
        if not hasattr(sink, "put"):
            raise WrongCallError(f"sinks= takes sinks, such as hexviz.streams.KafkaSink(...), not {_named(sink)}")
    return given


def _named(thing: Any) -> str:
    """What a wrong argument is, in an error."""
    return repr(thing) if isinstance(thing, str | int | float | None) else type(thing).__name__


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


def register_policy(control: ControlManager, observers: BaseEventManager, policy: Any) -> Callable[[], object]:
    """Ask ``policy`` by its own priority; one that must hear events as well (``observe``) hears them in line.

    Returns what undoes it.
    """
    taken = {handler.name for handler in control.handlers}
    base = getattr(policy, "name", None) or getattr(policy, "__name__", None) or type(policy).__name__
    name = next(n for n in (base, *(f"{base}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    known = {key: getattr(policy, key) for key in ("priority", "event_types", "shadow") if hasattr(policy, key)}
    asked = control.register(policy, name=str(name), **known)
    if not (hasattr(policy, "observe") and hasattr(policy, "observed_types")):
        return lambda: control.unregister(asked)
    told = observers.register(policy.observe, event_types=policy.observed_types, lossless=True)
    return lambda: (control.unregister(asked), observers.unregister(told))


def _store_of(store: StoreLike) -> Store | None:
    if store is False:
        return None
    if isinstance(store, Store):
        return store
    return open_store(None if store is None or store is True else store)


class RunControls:
    """Steers a run under way, from any thread: what the buttons of the dashboard do."""

    def __init__(self, orchestrator: Orchestrator, run_id: str) -> None:
        self._orchestrator = orchestrator
        self._run_id = run_id
        self.paused = False

    def cancel(self) -> bool:
        """Cancel the run; False where it is over."""
        return self._orchestrator.cancel(self._run_id)

    def pause(self) -> bool:
        """Start no new node; what runs goes on. False where the run is over."""
        self.paused = self._orchestrator.hold(self._run_id, held=True)
        return self.paused

    def resume(self) -> bool:
        """Start nodes again; False where the run is over."""
        self.paused = False
        return self._orchestrator.hold(self._run_id, held=False)


class RunHandle:
    """A run in the background: ``await`` it, or ask for its :meth:`result`."""

    def __init__(self, launch: _Launch) -> None:
        self._launch = launch
        self._future: concurrent.futures.Future[RunResult] = concurrent.futures.Future()
        self._begun = threading.Event()
        here = contextvars.copy_context()  # what the cell knows, its nodes know, as with hexviz.run
        threading.Thread(target=here.run, args=(self._work,), name=f"hexviz-run-{launch.run_id}", daemon=True).start()
        self._begun.wait()

    def _work(self) -> None:
        async def main() -> RunResult:
            asyncio.get_running_loop().call_soon(self._begun.set)
            return await self._launch.execute()

        try:
            result = asyncio.run(main())
        except asyncio.CancelledError:
            self._future.set_exception(concurrent.futures.CancelledError(f"run {self.run_id} was cancelled"))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            self._begun.set()

    def __await__(self) -> Generator[Any, Any, RunResult]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout: float | None = None) -> RunResult:
        """Wait for the result, at most ``timeout`` seconds; raises what the run raised, or TimeoutError."""
        return self._future.result(timeout)

    def done(self) -> bool:
        """Whether the run is over."""
        return self._future.done()

    def cancel(self) -> bool:
        """Cancel the run; False where it is over."""
        return self._launch.controls.cancel()

    def pause(self) -> bool:
        """Start no new node; what runs goes on. False where the run is over."""
        return self._launch.controls.pause()

    def resume(self) -> bool:
        """Start nodes again; False where the run is over."""
        return self._launch.controls.resume()

    @property
    def paused(self) -> bool:
        """Whether new nodes are held back."""
        return self._launch.controls.paused

    def live_view(self, panels: Iterable[str] | None = None) -> Any:
        """One more live view of this run, as :func:`dashboard` gives it."""
        from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415 - loads ipywidgets, so only on request

        launch, so_far = self._launch, self.recording.events()
        return LiveView(
            launch.observers, title=launch.graph.name, controls=launch.controls, history=so_far, panels=panels
        )

    @property
    def run_id(self) -> str:
        """The id of the run, also in the store."""
        return self._launch.run_id

    @property
    def status(self) -> str:
        """pending, running, succeeded, skipped, failed or cancelled."""
        return self._launch.status

    @property
    def recording(self) -> Recording:
        """What was recorded so far."""
        return self._launch.recorder.recording

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} {self.status}>"


def open_store(path: str | Path | None = None, *, spool: str | Path | None = None) -> Store:
    """Open the store at ``path``; by default ``$HEXVIZ_STORE``, or ``runs.db`` in the user's data directory.

    ``postgresql://USER@HOST/DATABASE`` is a store in PostgreSQL (docs/postgres.md), which is reached within seconds or
    not at all: :class:`~hexviz.stores.errors.StoreUnreachableError`. With ``spool``, a directory for this process, it
    may be away: records wait there until it is back. Other stores take no spool: :class:`WrongCallError`. Other
    addresses are a :class:`~hexviz.errors.SourceError`.

    ``store.runs()`` gives the runs as a frame, newest first (filters: ``pipeline``, ``status``, ``since``, ``until``,
    ``tag``), ``store.recording(run_id)`` gives one back. See docs/stores.md.
    """
    chosen = os.environ.get("HEXVIZ_STORE") if path is None else path
    if chosen is not None and not isinstance(chosen, str | os.PathLike):
        raise WrongCallError(f"a store is named by a path or postgresql://..., not {_named(chosen)}")
    if isinstance(chosen, str) and "://" in chosen and not is_address(chosen):
        scheme = chosen.partition("://")[0]
        raise SourceError(f"no store is kept at {scheme}://: name a file, or postgresql://USER@HOST/DATABASE")
    made: dict[str, Any] = {"recordings": Recording, "make_frame": _frame_of_runs}
    if isinstance(chosen, str) and is_address(chosen):
        from hexviz.stores.postgres import PostgresStore  # noqa: PLC0415 - loads a spool and more, so only on request

        return PostgresStore(chosen, spool=spool, **made)
    if spool is not None:
        raise WrongCallError("spool= is for a store on a server (postgresql://...); this one is a file")
    return SQLiteStore(chosen or default_path(), **made)


def _frame_of_runs(infos: list[RunInfo]) -> pd.DataFrame:
    from hexviz.recording.run_list import frame_of_runs  # noqa: PLC0415 - loads pandas, so only on request

    return frame_of_runs(infos)


def watch(
    source: Any,
    *,
    run: str | None = None,
    topics: str | Iterable[str] | None = None,
    token: str | None = None,
    observers: Iterable[Any] = (),
) -> Watch:
    """Watch a run that goes on elsewhere: ``watch("ws://host:port")`` gives its recording, frames and dashboard, live.

    ``source`` is the address of a server (``hexviz serve``, :func:`serve`), of a Kafka topic
    (``kafka://HOST:PORT/TOPIC``) or of a store (``postgresql://...`` or a file), or a :class:`hexviz.streams.Source`.
    ``run`` is a run id (of a server also "last"; of a store by default the last one), ``topics`` patterns such as
    ``pipeline.etl.**.failed``, ``observers`` hear each event. ``token`` is the server's, by default
    ``$HEXVIZ_TOKEN``. Raises :class:`~hexviz.streams.StreamError` where a server cannot be reached
    or refuses. See docs/streams.md.
    """
    from hexviz.watching import StoreSource, Watch, source_of  # noqa: PLC0415 - loads what streams need, on request

    if not isinstance(source, str | os.PathLike):
        return Watch(source, run=run, topics=topics, observers=_several(observers))
    place = str(source)
    found = source_of(place, run=run, topics=topics, token=token)
    if found is not None:
        where = getattr(found, "url", "") or place
        return Watch(found, topics=topics, observers=_several(observers), where=where)
    store = open_store(place)
    tail = StoreSource(store, store.find(run) if run else None)
    return Watch(tail, topics=topics, observers=_several(observers), where=store.where, let_go=store.close)


def serve(
    source: Any = None, *, run: str | None = None, follow: bool = False, **options: Any
) -> WebSocketBroadcaster | StoreServer:
    """Let others watch, in a browser or with :func:`watch`; returns at once, ``close()`` ends it.

    ``source`` is a store, a path, or None for the default store, of which ``run`` (an id, by default the last) is
    shown, or with ``follow`` the last run and each that begins. An :class:`ObserverManager` or a :class:`Recorder`
    shows what it hears from now on. False shows what the server is given as a sink:
    ``hexviz.run(graph, sinks=[server])``. ``options`` are those of :class:`hexviz.streams.WebSocketBroadcaster`.
    """
    from hexviz.serving import StoreServer, broadcaster  # noqa: PLC0415 - loads what streams need, on request

    if isinstance(source, Recorder):
        source = _heard_by(source)
    if source is False or isinstance(source, ObserverManager):
        return broadcaster(source or None, **options)
    store = source if isinstance(source, Store) else open_store(source)
    try:
        run_id = store.find(run) if run else None if follow else store.last_run_id()
        return StoreServer(store, run_id=run_id, follow=follow, owned=store is not source, **options)
    except BaseException:
        if store is not source:
            store.close()
        raise


@contextmanager
def record_dask(
    client: Any = None, *, name: str = "dask", live: Live = False, store: StoreLike = None
) -> Iterator[Recording]:
    """Record what Dask computes: ``with hexviz.record_dask(client) as recording: x.compute()``.

    ``client`` is a ``distributed.Client``, or None for Dask's local schedulers. Each computation is a run called
    ``name``, its tasks are the nodes (see :func:`hexviz.bridges.dask.record`). ``live`` shows the first of them while
    it goes on; ``store`` is as in :func:`run`.
    """
    from hexviz.bridges.dask import record  # noqa: PLC0415 - seldom asked for

    observers, own = ObserverManager(), not isinstance(store, Store)
    kept = _store_of(store)
    recorder = Recorder(store=kept)
    recorder.attach(observers)
    view = live_view(observers, name, None, _panels_of(live)) if live and wanted() else None
    try:
        with record(client, observers, name=name):
            yield recorder.recording
    finally:
        if view is not None:
            view.close()
        recorder.close()
        if own and kept is not None:
            kept.close()


def dashboard(source: Any, *, panels: Iterable[str] | None = None) -> Any:
    """Show a run: a :class:`Recording`, a :class:`RunHandle`, a result, or a run id.

    A :class:`RunHandle` that is under way, a :class:`Recorder` or an :class:`ObserverManager` gives a live view: of a
    run, or of a :class:`Replay` into it. ``panels`` chooses from progress, timeline, concurrency, workers, decisions,
    calls, failures, health, overhead, graph, or is ``"all"``; raises :class:`~hexviz.widgets.panels.PanelError` for
    others.
    """
    from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415 - loads ipywidgets, so only on request
    from hexviz.widgets.recorded import static_view  # noqa: PLC0415

    if isinstance(source, ObserverManager):
        return LiveView(source, panels=panels)
    if isinstance(source, Recorder):
        return LiveView(_heard_by(source), history=source.recording.events(), panels=panels)
    if isinstance(source, RunHandle) and not source.done():
        return source.live_view(panels)
    return static_view(_recording_of(source), panels=panels)


def _heard_by(recorder: Recorder) -> Any:
    if recorder.observers is None:
        raise WrongCallError("this recorder hears no run yet: call recorder.attach(observers) first")
    return recorder.observers


def compare_view(before: Any, after: Any, *, most: int = 30) -> Any:
    """Two runs above each other on one time axis, and below them the ``most`` largest differences.

    Each is a recording, a result, a :class:`RunHandle`, or a run id of the default store. The frame behind it is
    ``.differences`` (see :func:`hexviz.analysis.compare`).
    """
    from hexviz.widgets.compare import CompareView  # noqa: PLC0415 - loads ipywidgets, so only on request

    return CompareView(_recording_of(before), _recording_of(after), most=most)


def report(source: Any, path: str | Path) -> Path:
    """Write one self-contained HTML file about a run: timeline, graph, decisions, tables; it needs no network to open.

    ``source`` is a recording, a result, a :class:`RunHandle`, or a run id of the default store. Raises
    :class:`~hexviz.stores.errors.StoreWriteError` where ``path`` cannot be written.
    """
    from hexviz.widgets.report import write_report  # noqa: PLC0415 - loads the view, so only on request

    recording = _recording_of(source)
    with named_errors(Path(path)):
        return write_report(recording, path)


def backtest(source: Any, control: Any, *, every: bool = False) -> pd.DataFrame:
    """Ask changed policies about a recorded run; one row per decision that differs or cannot be known.

    ``source`` is a recording, a result, a :class:`RunHandle`, or a run id of the default store. ``control`` is a
    :class:`ControlManager` or policies as :func:`run` takes them, fresh ones. Columns, what ``every`` adds, and how far
    a row can be trusted: see :func:`hexviz.analysis.backtest`.
    """
    from hexviz.analysis.backtest import backtest as asked_again  # noqa: PLC0415 - loads pandas, so only on request

    return asked_again(_recording_of(source), control_of(control), every=every)


def control_of(policies: Any) -> ControlManager:
    """A manager that asks ``policies`` as :func:`run` does; a :class:`ControlManager` is given back as it is."""
    if isinstance(policies, ControlManager):
        return policies
    control = ControlManager()
    for policy in _several(policies):
        register_policy(control, NULL_OBSERVER_MANAGER, policy)
    return control


def export(
    source: Any,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the plain word for it
    safe: bool = True,
    frame: str | None = None,
) -> Path:
    """Write a run to a file in the format of its suffix, or of ``format`` (docs/exports.md); whole or not at all.

    ``.jsonl`` (jsonl), ``.parquet`` (parquet, a directory), ``.csv`` (csv, a directory, or one ``frame``),
    ``.trace.json`` (trace, for Perfetto), ``.otlp.json`` (otlp), ``.ocel.json`` (ocel), ``.wfformat.json`` (wfformat).
    ``safe=False`` writes CSV texts exactly, even where a spreadsheet would run them as formulas. ``source`` is a
    recording, a result, a :class:`RunHandle`, or a run id of the default store. Raises
    :class:`~hexviz.exports.FormatError` for an unknown format, :class:`~hexviz.stores.errors.StoreWriteError` where
    ``path`` cannot be written.
    """
    from hexviz.exports import write_recording  # noqa: PLC0415 - loads every format, so only on request

    return write_recording(_recording_of(source), path, format=format, safe=safe, frame=frame)


def load(path: str | Path, *, format: str | None = None, damaged: str = "raise") -> Recording:  # noqa: A002 - as above
    """The recording in a file that :func:`export` wrote (``.jsonl``, ``.parquet``), or in a WfFormat instance.

    A damaged or cut file raises :class:`~hexviz.stores.errors.StoreCorruptError`; ``damaged="skip"`` gives what is
    whole, with a ``RuntimeWarning`` that counts the rest. A plain ``.json`` needs its ``format="wfformat"``.
    """
    from hexviz.exports import read_recording  # noqa: PLC0415 - as above

    return read_recording(path, format=format, damaged=damaged)


def _recording_of(source: Any) -> Recording:
    if isinstance(source, Recording):
        return source
    if isinstance(source, str):
        with open_store() as store:
            return store.recording(source)  # type: ignore[no-any-return]
    recording = getattr(source, "recording", None)
    if isinstance(recording, Recording):
        return recording
    raise WrongCallError(f"expected a recording, a result, a run handle or a run id, not {type(source).__name__}")
