"""What people type: short functions that join the rooms."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from hexviz.display import in_kernel, wanted
from hexviz.errors import WrongCallError
from hexviz.events.observer_manager import ObserverManager
from hexviz.handlers import control_of, several
from hexviz.launch import Launch, live_view, panels_of
from hexviz.loading import when_idle
from hexviz.opening import kept_store, open_store, recording_of, store_of
from hexviz.recording.recorder import Recorder
from hexviz.run_handle import PendingRun, RunHandle
from hexviz.stores.files import named_errors
from hexviz.stores.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd

    from hexviz.dag.graph import Graph
    from hexviz.dag.orchestrator import OnError, Schedule
    from hexviz.dag.result import RunResult
    from hexviz.launch import Live
    from hexviz.opening import StoreLike
    from hexviz.recording.recording import Recording
    from hexviz.serving import StoreServer
    from hexviz.streams.broadcast import WebSocketBroadcaster
    from hexviz.streams.models import Sink
    from hexviz.watching import Watch
    from hexviz.widgets.compare import CompareView
    from hexviz.widgets.dashboard import LiveView
    from hexviz.widgets.recorded import RecordedView

_Options = ParamSpec("_Options")
_Given = TypeVar("_Given")
_ENDING_S = 5.0


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
    return PendingRun(lambda: Launch(graph, initial_input, tags=tags, run_id=run_id, **options).execute())


def _takes_what(known: Callable[_Options, object]) -> Callable[[Callable[..., _Given]], Callable[_Options, _Given]]:
    """Show the parameters of ``known`` in completion and help of a function that takes them as ``**options``."""

    def show(function: Callable[..., _Given]) -> Callable[_Options, _Given]:
        theirs, own = inspect.signature(known), inspect.signature(function)
        *named, options = theirs.parameters.values()
        more = [part for name, part in own.parameters.items() if name not in theirs.parameters]
        function.__signature__ = own.replace(parameters=[*named, *more, options])  # type: ignore[attr-defined]
        return function

    return show


@_takes_what(run)
def start(graph: Graph, initial_input: Any = None, *, live: Live = False, **options: Any) -> RunHandle:
    """Run ``graph`` in the background, in a thread with an event loop of its own; returns at once.

    Takes what :func:`run` takes. ``await handle`` or ``handle.result()`` gives the result; ``handle.cancel()``,
    ``handle.pause()`` and ``handle.resume()`` steer the run. In a notebook this keeps the kernel free for other cells.
    """
    handle = RunHandle(Launch(graph, initial_input, live=live, **options))
    if in_kernel() and wanted():
        when_idle("hexviz.widgets.dashboard", "numpy", "hexviz.widgets.wire")  # a view of it may be opened soon
    return handle


@_takes_what(run)
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
    handle = RunHandle(Launch(graph, initial_input, **options))
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
    (``kafka://HOST:PORT/TOPIC``) or of a store (``postgresql://...`` or a file that is there), a store that is open, or
    a :class:`hexviz.streams.Source`. ``run`` is a run id, or "last" (of a store the default; the first, where it has
    none yet), ``topics`` patterns such as ``pipeline.etl.**.failed``, ``observers`` hear each event. ``token`` is the
    server's, by default ``$HEXVIZ_TOKEN``. Raises :class:`~hexviz.streams.StreamError` where a server cannot be reached
    or refuses, :class:`~hexviz.errors.SourceError` for a file that is not there. See docs/streams.md.
    """
    from hexviz.watching import StoreSource, Watch, source_of  # noqa: PLC0415 - loads what streams need, on request

    if isinstance(source, Store):
        tail = StoreSource(source, source.find(run) if run and run != "last" else None)
        return Watch(tail, topics=topics, observers=several(observers), where=source.where)
    if not isinstance(source, str | os.PathLike):
        return Watch(source, run=run, topics=topics, observers=several(observers))
    place = str(source)
    found = source_of(place, run=run, topics=topics, token=token)
    if found is not None:
        where = getattr(found, "url", "") or place
        return Watch(found, topics=topics, observers=several(observers), where=where)
    store = kept_store(place)
    tail = StoreSource(store, store.find(run) if run and run != "last" else None)
    return Watch(tail, topics=topics, observers=several(observers), where=store.where, let_go=store.close)


@overload
def serve(source: Literal[False] | ObserverManager | Recorder, **options: Any) -> WebSocketBroadcaster: ...
@overload
def serve(
    source: Store | str | Path | None = None, *, run: str | None = None, follow: bool = False, **options: Any
) -> StoreServer: ...
def serve(
    source: Any = None, *, run: str | None = None, follow: bool = False, **options: Any
) -> WebSocketBroadcaster | StoreServer:
    """Let others watch, in a browser or with :func:`watch`; returns at once, ``close()`` ends it.

    ``source`` is a store, the path of one that is there, or None for the default store, of which ``run`` (an id, by
    default the last) is shown, or with ``follow`` the last run and each that begins, also where the store is yet to be
    made. An :class:`ObserverManager` or a :class:`Recorder` shows what it hears from now on. False shows what the
    server is given as a sink: ``hexviz.run(graph, sinks=[server])``.
    ``options`` are those of :class:`hexviz.streams.WebSocketBroadcaster`.
    """
    from hexviz.serving import StoreServer, broadcaster  # noqa: PLC0415 - loads what streams need, on request

    if isinstance(source, Recorder):
        source = _heard_by(source)
    if source is False or isinstance(source, ObserverManager):
        return broadcaster(source or None, **options)
    store = source if isinstance(source, Store) else open_store(source) if follow else kept_store(source)
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
    kept = store_of(store)
    recorder = Recorder(store=kept)
    recorder.attach(observers)
    view = live_view(observers, name, None, panels_of(live)) if live and wanted() else None
    try:
        with record(client, observers, name=name):
            yield recorder.recording
    finally:
        if view is not None:
            view.close()
        recorder.close()
        if own and kept is not None:
            kept.close()


def dashboard(source: Any, *, panels: Iterable[str] | None = None) -> LiveView | RecordedView:
    """Show a run: a :class:`Recording`, a :class:`RunHandle`, a result, or a run id: its beginning, or "last", will do.

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
    return static_view(recording_of(source), panels=panels)


def _heard_by(recorder: Recorder) -> Any:
    if recorder.observers is None:
        raise WrongCallError("this recorder hears no run yet: call recorder.attach(observers) first")
    return recorder.observers


def compare_view(before: Any, after: Any, *, most: int = 30) -> CompareView:
    """Two runs above each other on one time axis, and below them the ``most`` largest differences.

    Each is a recording, a result, a :class:`RunHandle`, or a run id of the default store. The frame behind it is
    ``.differences`` (see :func:`hexviz.analysis.compare`).
    """
    from hexviz.widgets.compare import CompareView  # noqa: PLC0415 - loads ipywidgets, so only on request

    return CompareView(recording_of(before), recording_of(after), most=most)


def report(source: Any, path: str | Path) -> Path:
    """Write one self-contained HTML file about a run: timeline, graph, decisions, tables; it needs no network to open.

    ``source`` is a recording, a result, a :class:`RunHandle`, or a run id of the default store. Raises
    :class:`~hexviz.stores.errors.StoreWriteError` where ``path`` cannot be written.
    """
    from hexviz.widgets.report import write_report  # noqa: PLC0415 - loads the view, so only on request

    recording = recording_of(source)
    with named_errors(Path(path)):
        return write_report(recording, path)


def backtest(source: Any, control: Any, *, every: bool = False) -> pd.DataFrame:
    """Ask changed policies about a recorded run; one row per decision that differs or cannot be known.

    ``source`` is a recording, a result, a :class:`RunHandle`, or a run id of the default store. ``control`` is a
    :class:`ControlManager` or policies as :func:`run` takes them, fresh ones. Columns, what ``every`` adds, and how far
    a row can be trusted: see :func:`hexviz.analysis.backtest`.
    """
    from hexviz.analysis.backtest import backtest as asked_again  # noqa: PLC0415 - loads pandas, so only on request

    return asked_again(recording_of(source), control_of(control), every=every)


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

    return write_recording(recording_of(source), path, format=format, safe=safe, frame=frame)


def load(path: str | Path, *, format: str | None = None, damaged: str = "raise") -> Recording:  # noqa: A002 - as above
    """The recording in a file that :func:`export` wrote (``.jsonl``, ``.parquet``), or in a WfFormat instance.

    A damaged or cut file raises :class:`~hexviz.stores.errors.StoreCorruptError`; ``damaged="skip"`` gives what is
    whole, with a ``RuntimeWarning`` that counts the rest. A plain ``.json`` needs its ``format="wfformat"``.
    """
    from hexviz.exports import read_recording  # noqa: PLC0415 - as above

    return read_recording(path, format=format, damaged=damaged)
