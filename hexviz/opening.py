"""Stores and recordings as people name them: a path, an address, a run id, a result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

from hexviz.dag.errors import PipelineError
from hexviz.dag.result import RunResult
from hexviz.errors import SourceError, WrongCallError, named
from hexviz.recording.recording import Recording
from hexviz.stores.sqlite import SQLiteStore, default_path
from hexviz.stores.store import Store, is_address

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from hexviz.stores.run_info import RunInfo

    StoreLike: TypeAlias = Store | str | Path | bool | None


def open_store(path: str | Path | None = None, *, spool: str | Path | None = None) -> Store:
    """Open the store at ``path``; by default ``$HEXVIZ_STORE``, or ``runs.db`` in the user's data directory.

    ``postgresql://USER@HOST/DATABASE`` is a store in PostgreSQL (docs/postgres.md), which is reached within seconds or
    not at all: :class:`~hexviz.stores.errors.StoreUnreachableError`. With ``spool``, a directory for this process, it
    may be away: records wait there until it is back. Other stores take no spool: :class:`WrongCallError`. Other
    addresses are a :class:`~hexviz.errors.SourceError`.

    ``store.runs()`` gives the runs as a frame, newest first (filters: ``pipeline``, ``status``, ``since``, ``until``,
    ``tag``), ``store.recording(run_id)`` gives one back. See docs/stores.md.
    """
    return _opened(path, spool, create=True)


def kept_store(place: str | Path | None) -> Store:
    """The store at ``place``, or the default one, for who only reads: :class:`NoStoreError` where there is none yet."""
    return _opened(place, None, create=False)


def _opened(path: str | Path | None, spool: str | Path | None, *, create: bool) -> Store:
    chosen = os.environ.get("HEXVIZ_STORE") if path is None else path
    if chosen is not None and not isinstance(chosen, str | os.PathLike):
        raise WrongCallError(f"a store is named by a path or postgresql://..., not {named(chosen)}")
    if isinstance(chosen, str) and "://" in chosen and not is_address(chosen):
        scheme = chosen.partition("://")[0]
        raise SourceError(f"no store is kept at {scheme}://: name a file, or postgresql://USER@HOST/DATABASE")
    made: dict[str, Any] = {"create": create, "recordings": Recording, "make_frame": _frame_of_runs}
    if isinstance(chosen, str) and is_address(chosen):
        from hexviz.stores.postgres import PostgresStore  # noqa: PLC0415 - loads a spool and more, so only on request

        return PostgresStore(chosen, spool=spool, **made)
    if spool is not None:
        raise WrongCallError("spool= is for a store on a server (postgresql://...); this one is a file")
    return SQLiteStore(chosen or default_path(), **made)


def store_of(store: StoreLike) -> Store | None:
    """The store that ``store=`` means: by default :func:`open_store`, None for False."""
    if store is False:
        return None
    if isinstance(store, Store):
        return store
    return open_store(None if store is None or store is True else store)


def recording_of(source: Any) -> Recording:
    """What was recorded of a recording, a result, a run handle, or a run of the default store (see ``Store.find``)."""
    if isinstance(source, Recording):
        return source
    if isinstance(source, str):
        with kept_store(None) as store:
            return store.recording(store.find(source))
    if isinstance(source, RunResult | PipelineError):
        return source.recording
    recording = getattr(source, "recording", None)
    if isinstance(recording, Recording):
        return recording
    raise WrongCallError(f"expected a recording, a result, a run handle or a run id, not {type(source).__name__}")


def _frame_of_runs(infos: list[RunInfo]) -> pd.DataFrame:
    from hexviz.recording.run_list import frame_of_runs  # noqa: PLC0415 - loads pandas, so only on request

    return frame_of_runs(infos)
