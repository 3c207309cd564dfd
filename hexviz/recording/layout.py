"""The columns of every frame: one table, which the code builds from and from which docs/frames.md is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hexviz.recording.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FRAME_SCHEMA = 1
STATUSES = ("pending", "running", "retrying", "succeeded", "failed", "skipped", "fell_back", "cancelled")
RUN_STATUSES = ("running", "succeeded", "failed", "cancelled", "skipped")
SIGNALS = ("proceed", "retry", "skip", "fallback", "fail", "error")
PROBLEMS = (
    "gap",
    "duplicate",
    "out of order",
    "end before start",
    "end without start",
    "no start of the run",
    "no end",
    "negative duration",
    "clock step",
    "unknown event",
)
TEXT_DTYPE = "str" if int(pd.__version__.split(".", maxsplit=1)[0]) >= 3 else "string"  # noqa: PLR2004 - pandas 3


class Col(NamedTuple):
    """One column: its kind (``text``, ``int``, ``float``, ``time``, ``bool``, or a tuple of categories) and meaning."""

    name: str
    kind: str | tuple[str, ...]
    meaning: str


_RUN = Col("run_id", "text", "the run")
_NODE = Col("node", "text", "the node's name")
_WAVE = Col("wave", "int", "topological level of the node, from 1")
_ATTEMPT = Col("attempt", "int", "which try of the node, from 1")
_STARTED = Col("started_at", "time", "wall clock at the start")
_ENDED = Col("ended_at", "time", "wall clock at the end; missing while running")
_START = Col("start_ms", "float", "start, since the run's start, monotonic clock")
_END = Col("end_ms", "float", "end, since the run's start, monotonic clock; missing while running")
_SEQ = Col("seq", "int", "number of the event in its run, from 1 without gaps")
_OFFSET = Col("offset_ms", "float", "since the run's start, monotonic clock")
_ERROR = (
    Col("error_type", "text", "class of the exception, empty without one"),
    Col("error_message", "text", "its message, secrets masked"),
)
_WHY = (Col("reason", "text", "why control decided so"), Col("decided_by", "text", "the handler that decided"))
_COUNTS = tuple(Col(word, "int", f"nodes that ended {word}") for word in STATUSES[3:])

COLUMNS: dict[str, tuple[Col, ...]] = {
    "events": (
        _RUN,
        _SEQ,
        Col("timestamp", "time", "wall clock"),
        Col("monotonic_ns", "int", "monotonic clock of the process that ran it, nanoseconds"),
        _OFFSET,
        Col("event_type", "category", "class of the event; the categories are those that occur"),
        Col("topic", "text", "dotted topic"),
        Col("pipeline", "text", "name of the pipeline"),
        Col("node", "text", "the node it is about, empty for none"),
        Col("wave", "int", "the wave it is about"),
        _ATTEMPT,
        Col("duration_ms", "float", "duration that the event tells, if any"),
        Col("payload", "text", "all other fields, canonical JSON"),
    ),
    "runs": (
        _RUN,
        Col("pipeline", "text", "name of the pipeline"),
        Col("status", RUN_STATUSES, "how the run ended"),
        _STARTED,
        _ENDED,
        Col("duration_ms", "float", "from start to end; missing while running"),
        Col("waves", "int", "number of waves"),
        Col("nodes", "int", "number of nodes"),
        *_COUNTS,
        Col("attempts", "int", "tries of all nodes"),
        Col("decisions", "int", "decisions of control that were told"),
        *_ERROR,
        Col("tags", "text", "the run's tags, comma separated"),
        Col("schedule", "text", "ready or wave"),
    ),
    "waves": (
        _RUN,
        Col("wave", "int", "the wave, from 1"),
        Col("nodes", "int", "nodes of the wave"),
        _STARTED,
        _ENDED,
        _START,
        _END,
        Col("duration_ms", "float", "from first start to last end"),
        *_COUNTS,
    ),
    "nodes": (
        _RUN,
        _NODE,
        _WAVE,
        Col("status", STATUSES, "final status; pending: no event of it was seen"),
        Col("attempts", "int", "tries"),
        Col("parents", "int", "number of direct parents"),
        Col("ready_at", "time", "when the last parent had ended"),
        _STARTED,
        _ENDED,
        _START,
        _END,
        Col("duration_ms", "float", "own time of the last attempt"),
        Col("total_ms", "float", "own time of all attempts"),
        Col("queued_ms", "float", "wait for a slot or a policy, all attempts"),
        Col("backoff_ms", "float", "waits between attempts"),
        Col("result_type", "text", "class of the result"),
        Col("result_summary", "text", "type with length, shape or number"),
        *_ERROR,
        *_WHY,
    ),
    "attempts": (
        _RUN,
        _NODE,
        _WAVE,
        _ATTEMPT,
        Col("status", STATUSES, "how this try ended"),
        Col("ready_at", "time", "when it could have started"),
        _STARTED,
        _ENDED,
        Col("ready_ms", "float", "start_ms less queued_ms"),
        _START,
        _END,
        Col("queued_ms", "float", "wait for a slot or a policy"),
        Col("duration_ms", "float", "the node's own time"),
        Col("backoff_ms", "float", "wait before the next attempt, 0 if there was none"),
        Col("worker", "text", "where it ran"),
        *_ERROR,
        *_WHY,
    ),
    "edges": (_RUN, Col("source", "text", "the parent"), Col("target", "text", "the child")),
    "decisions": (
        _RUN,
        _SEQ,
        _OFFSET,
        Col("checked_seq", "int", "seq of the event that was decided about"),
        Col("event_type", "text", "its class"),
        _NODE,
        _WAVE,
        _ATTEMPT,
        Col("signal", SIGNALS, "the outcome"),
        *reversed(_WHY),
        Col("handler", "text", "who voted"),
        Col("priority", "int", "its priority; lower is asked earlier"),
        Col("vote", SIGNALS, "what it answered"),
        Col("vote_reason", "text", "why"),
        Col("latency_us", "float", "the handler's own time, microseconds"),
        Col("error", "text", "why the handler was reported, if it was"),
        Col("shadow", "bool", "asked and recorded, never obeyed"),
        Col("decisive", "bool", "this vote decided"),
    ),
    "calls": (
        _RUN,
        _NODE,
        _ATTEMPT,
        Col("call_id", "text", "pairs the events of one call"),
        Col("kind", ("tool", "llm"), "what was called"),
        Col("name", "text", "the tool or the model"),
        Col("status", STATUSES, "running, succeeded or failed"),
        _STARTED,
        _START,
        _END,
        Col("duration_ms", "float", "duration of the call"),
        Col("input_tokens", "int", "tokens sent"),
        Col("output_tokens", "int", "tokens received"),
        *_ERROR,
        Col("request", "text", "type and length of what was sent"),
        Col("response", "text", "type and length of the answer"),
    ),
    "observers": (
        _RUN,
        Col("observer", "text", "its id"),
        Col("event", ("failed", "dropped"), "what happened to it"),
        Col("reason", "text", "why"),
        Col("count", "int", "how many times"),
        Col("first_seq", "int", "first event concerned"),
        Col("last_seq", "int", "last event concerned"),
    ),
    "diagnostics": (
        _RUN,
        Col("problem", PROBLEMS, "what is odd"),
        Col("count", "int", "how often"),
        Col("seq", "int", "where first"),
        Col("node", "text", "the node concerned"),
        Col("detail", "text", "in words"),
    ),
}

_DTYPES = {
    "text": "str (string on pandas 2)",
    "int": "Int64",
    "float": "float64",
    "time": "datetime64[us, UTC]",
    "bool": "bool",
    "category": "category",
}


def build(name: str, values: Mapping[str, Any]) -> pd.DataFrame:
    """The frame ``name`` from one array or list per column, each brought to its fixed dtype."""
    frame = pd.DataFrame({col.name: typed(col.kind, values[col.name]) for col in COLUMNS[name]}, copy=False)
    frame.attrs.update({"hexviz_schema": FRAME_SCHEMA, "hexviz_frame": name})
    return frame


def from_rows(name: str, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The frame ``name`` from few rows, each in the order of its columns."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS[name])
    return build(name, {col.name: list(values) for col, values in zip(COLUMNS[name], columns, strict=True)})


def typed(kind: str | tuple[str, ...], values: Any) -> Any:
    """``values`` as the array of a column of that kind (see :class:`Col`)."""
    if isinstance(values, pd.api.extensions.ExtensionArray):
        return values
    if isinstance(kind, tuple):
        categories: Any = pd.Index(kind, dtype=object)
        if isinstance(values, np.ndarray):
            return pd.Categorical.from_codes(values, categories=categories)
        codes = [kind.index(value) if value in kind else -1 for value in values]
        return pd.Categorical.from_codes(np.array(codes, dtype=np.int8), categories=categories)
    return _MAKERS[kind](values)


def texts(values: Any) -> Any:
    """An array of texts; what no encoding can hold (lone surrogates) is shown as an escape."""
    safe = [value if value.isascii() else value.encode("utf-8", "backslashreplace").decode() for value in values]
    words: Any = np.array(safe, dtype=object)
    return pd.array(words, dtype=TEXT_DTYPE)


def ints(values: Any) -> Any:
    """A nullable array of whole numbers; None, NULL and what does not fit are missing."""
    if not isinstance(values, np.ndarray):
        values = np.array([v if type(v) is int and abs(v) < -NULL else NULL for v in values], dtype=np.int64)
    mask = values == NULL
    return pd.arrays.IntegerArray(np.where(mask, 0, values).astype(np.int64), mask)


def times(values: Any) -> Any:
    """UTC times from microseconds since 1970; NULL is missing."""
    stamps = np.asarray(values, dtype=np.int64).view("M8[us]")
    return pd.Series(stamps).dt.tz_localize("UTC").array


_MAKERS: dict[str, Any] = {
    "text": texts,
    "int": ints,
    "time": times,
    "float": lambda values: np.asarray(values, dtype=np.float64),
    "bool": lambda values: np.asarray(values, dtype=np.bool_),
}


def describe() -> str:
    """The page docs/frames.md: every frame, column by column."""
    lines = [
        "# Frames",
        "",
        "`recording.frames.<name>` is a pandas DataFrame with exactly these columns, also when it is empty.",
        "Durations are milliseconds from the monotonic clock, times are UTC. This page is written from the table that",
        "the code builds the frames from: `python -m hexviz.recording.frames > docs/frames.md`.",
        "",
        f"Every frame carries `df.attrs`: `hexviz_schema` ({FRAME_SCHEMA}) and `hexviz_frame` (its name).",
    ]
    for name, columns in COLUMNS.items():
        title = name if name != "diagnostics" else "diagnostics (`recording.diagnostics()`)"
        lines += ["", f"## {title}", "", "| column | dtype | meaning |", "| --- | --- | --- |"]
        for col in columns:
            dtype = _DTYPES[col.kind] if isinstance(col.kind, str) else f"category: {', '.join(col.kind)}"
            lines.append(f"| {col.name} | {dtype} | {col.meaning} |")
    return "\n".join(lines) + "\n"
