"""The runs of a store as a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

STATUSES = ("running", "succeeded", "failed", "cancelled", "skipped")


def frame_of_runs(infos: Sequence[Any]) -> pd.DataFrame:
    """One row per run, in the order given.

    Columns: ``run_id`` and ``pipeline`` (string), ``status`` (categorical), ``started_at`` (datetime64[us, UTC]),
    ``duration_ms`` (Float64; missing while it runs), ``nodes``, ``events``, ``bytes`` (int64), ``tags`` (objects:
    tuples of texts), ``changed_at`` (datetime64[us, UTC]). The same when empty.
    """

    def column(name: str, dtype: Any) -> Any:
        return pd.Series([getattr(info, name) for info in infos], dtype=dtype)

    moment = pd.DatetimeTZDtype("us", "UTC")
    known = [*STATUSES, *sorted({info.status for info in infos} - {*STATUSES})]
    return pd.DataFrame(
        {
            "run_id": column("run_id", "object").map(_writable).astype("string"),
            "pipeline": column("pipeline", "object").map(_writable).astype("string"),
            "status": column("status", pd.CategoricalDtype(known)),
            "started_at": column("started_at", moment),
            "duration_ms": column("duration_ms", "Float64"),
            "nodes": column("nodes", "int64"),
            "events": column("events", "int64"),
            "bytes": column("bytes", "int64"),
            "tags": column("tags", "object"),
            "changed_at": column("changed_at", moment),
        }
    )


def _writable(text: str) -> str:
    """Lone surrogates, for which string columns have no place, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
