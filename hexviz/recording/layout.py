"""The columns of every frame: one table, which the code builds from and from which docs/frames.md is written."""

from __future__ import annotations

from typing import Any, NamedTuple

FRAME_SCHEMA = 3
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
    "second start of the run",
    "no end",
    "second end",
    "negative duration",
    "clock step",
    "unknown event",
)


class Col(NamedTuple):
    """One column: its kind and meaning.

    A kind is the name of a dtype (``int64``, ``int32``, ``Int64``, ``Int32``, ``float64``, ``bool``), ``time``,
    ``text`` (mostly distinct texts), ``word`` (texts that come again: a category of those that occur, in the order of
    the alphabet), or a tuple of fixed categories.
    """

    name: str
    kind: str | tuple[str, ...]
    meaning: str


_RUN = Col("run_id", "word", "the run")
_NODE = Col("node", "word", "the node's name; the same categories in all frames of a recording")
_WAVE = Col("wave", "int32", "topological level of the node, from 1")
_ATTEMPT = Col("attempt", "int32", "which try of the node, from 1")
_STARTED = Col("started_at", "time", "wall clock at the start")
_START = Col("start_ms", "float64", "start, since the run's start, monotonic clock")
_END = Col("end_ms", "float64", "end, since the run's start, monotonic clock; missing while running")
_SEQ = Col("seq", "int32", "number of the event in its run, from 1 without gaps")
_OFFSET = Col("offset_ms", "float64", "since the run's start, monotonic clock")
_ERROR = (
    Col("error_type", "word", "class of the exception, empty without one"),
    Col("error_message", "word", "its message, secrets masked"),
)
_WHY = (Col("reason", "word", "why control decided so"), Col("decided_by", "word", "the handler that decided"))
_COUNTS = tuple(Col(word, "int32", f"nodes that ended {word}") for word in STATUSES[3:])

COLUMNS: dict[str, tuple[Col, ...]] = {
    "events": (
        _RUN,
        _SEQ,
        Col("timestamp", "time", "wall clock"),
        _OFFSET,
        Col("event_type", "word", "class of the event"),
        Col("topic", "word", "dotted topic"),
        Col("pipeline", "word", "name of the pipeline"),
        Col("node", "word", "the node it is about, empty for none"),
        Col("wave", "int32", "the wave it is about, 0 for none"),
        Col("attempt", "int32", "which try of the node, from 1; 0 for none"),
        Col("duration_ms", "float64", "duration that the event tells, if any"),
        Col(
            "payload",
            "word",
            "its other fields, canonical JSON, without those that other frames hold: the nodes of a graph (nodes, "
            "edges), the waits of an attempt (attempts), type and size of a result (nodes), what was checked and the "
            "votes (decisions), the id, the tokens, and type and size of what a call sends and gets (calls); a content "
            "that was kept on request stands here",
        ),
    ),
    "runs": (
        _RUN,
        Col("pipeline", "word", "name of the pipeline"),
        Col("status", RUN_STATUSES, "how the run ended"),
        _STARTED,
        Col("ended_at", "time", "wall clock at the end; missing while running"),
        Col("clock_ns", "int64", "monotonic clock at the start, of the process that ran it, nanoseconds"),
        Col("duration_ms", "float64", "from start to end; missing while running"),
        Col("waves", "int32", "number of waves"),
        Col("nodes", "int32", "number of nodes"),
        *_COUNTS,
        Col("attempts", "int32", "tries of all nodes"),
        Col("decisions", "int32", "decisions of control that were told"),
        *_ERROR,
        Col("tags", "word", "the run's tags, comma separated"),
        Col("schedule", "word", "ready or wave"),
    ),
    "waves": (
        _RUN,
        Col("wave", "int32", "the wave, from 1"),
        Col("nodes", "int32", "nodes of the wave"),
        _STARTED,
        _START,
        _END,
        Col("duration_ms", "float64", "from first start to last end"),
        *_COUNTS,
    ),
    "nodes": (
        _RUN,
        _NODE,
        _WAVE,
        Col("status", STATUSES, "final status; pending: no event of it was seen"),
        Col("attempts", "int32", "tries"),
        Col("parents", "int32", "number of direct parents"),
        _STARTED,
        _START,
        _END,
        Col("duration_ms", "float64", "own time of the last attempt"),
        Col("total_ms", "float64", "own time of all attempts"),
        Col("parents_ms", "float64", "wait for its parents, since the run's start"),
        Col("queued_ms", "float64", "wait for a slot or a policy, all attempts"),
        Col("backoff_ms", "float64", "waits between attempts"),
        Col("result_type", "word", "class of the result"),
        Col("result_summary", "word", "type with length, shape or number"),
        *_ERROR,
        *_WHY,
    ),
    "attempts": (
        _RUN,
        _NODE,
        _WAVE,
        _ATTEMPT,
        Col("status", STATUSES, "how this try ended"),
        _STARTED,
        Col("ready_ms", "float64", "when it could have started: its parents had ended, its back-off was over"),
        _START,
        _END,
        Col("parents_ms", "float64", "first attempt: from the run's start until its parents had ended; else 0"),
        Col(
            "backoff_ms",
            "float64",
            "later attempts: the wait that control asked for after the attempt before had ended; else 0",
        ),
        Col(
            "queued_ms",
            "float64",
            "wait for a slot or a policy: from ready_ms to start_ms, and from then until the node's code ran",
        ),
        Col("duration_ms", "float64", "running: the node's own time; as told, so negative in a damaged recording"),
        Col("worker", "word", "where it ran"),
        *_ERROR,
        *_WHY,
    ),
    "edges": (_RUN, Col("source", "word", "the parent"), Col("target", "word", "the child")),
    "decisions": (
        _RUN,
        _SEQ,
        _OFFSET,
        Col("checked_seq", "int32", "seq of the event that was decided about"),
        Col("event_type", "word", "its class"),
        _NODE,
        _WAVE,
        _ATTEMPT,
        Col("signal", SIGNALS, "the outcome"),
        *reversed(_WHY),
        Col("handler", "word", "who voted"),
        Col("priority", "Int32", "its priority; lower is asked earlier"),
        Col("vote", SIGNALS, "what it answered"),
        Col("vote_reason", "word", "why"),
        Col("latency_us", "float64", "the handler's own time, microseconds"),
        Col("error", "word", "why the handler was reported, if it was"),
        Col("shadow", "bool", "asked and recorded, never obeyed"),
        Col("decisive", "bool", "this vote decided"),
    ),
    "calls": (
        _RUN,
        _NODE,
        _ATTEMPT,
        Col("call_id", "text", "pairs the events of one call"),
        Col("kind", ("tool", "llm"), "what was called"),
        Col("name", "word", "the tool or the model"),
        Col("status", STATUSES, "running, succeeded or failed"),
        _STARTED,
        _START,
        _END,
        Col("duration_ms", "float64", "duration of the call"),
        Col("input_tokens", "Int32", "tokens sent"),
        Col("output_tokens", "Int32", "tokens received"),
        *_ERROR,
        Col("request", "word", "type and length of what was sent"),
        Col("response", "word", "type and length of the answer"),
    ),
    "observers": (
        _RUN,
        Col("observer", "word", "its id"),
        Col("event", ("failed", "dropped"), "what happened to it"),
        Col("reason", "word", "why"),
        Col("count", "int64", "how many times"),
        Col("first_seq", "int64", "first event concerned"),
        Col("last_seq", "int64", "last event concerned"),
    ),
    "diagnostics": (
        _RUN,
        Col("problem", PROBLEMS, "what is odd"),
        Col("count", "int64", "how often"),
        Col("seq", "int64", "where first"),
        Col("node", "word", "the node concerned"),
        Col("detail", "text", "in words"),
    ),
}

_DTYPES = {"text": "str (string on pandas 2)", "time": "datetime64[us, UTC]", "word": "category"}
_OPENING = f"""# Frames

`recording.frames.<name>` is a pandas DataFrame with exactly these columns and dtypes, also when it is empty, the same
on pandas 2 and 3. Durations are milliseconds from the monotonic clock, times are UTC. This page is written from the
table that the code builds the frames from: `python -m hexviz.recording.frames > docs/frames.md`.

```python
import hexviz

graph = hexviz.Graph("etl")


@graph.node
def load():
    return [1, 2, 3]


result = await hexviz.run(graph)
attempts = result.recording.frames.attempts
attempts.groupby("node", observed=True)["duration_ms"].sum()
attempts.resample("1min", on="started_at")["duration_ms"].sum()
attempts["kind"] = attempts["node"].str.replace(r"_\\d+$", "", regex=True)  # a column of your own
```

- A `category` without a list holds the texts that occur and the empty one, which means none, in the order of the
  alphabet, so that sorting by it is sorting by the text. Give `groupby` `observed=True` (pandas 3 does so by itself).
  What is missing is `""`, never NaN: `attempts[attempts["error_type"] != ""]`.
  Texts that no encoding can hold (lone surrogates) are shown as an escape.
- A `category` with a list holds all of it, in that order, so `value_counts()` also counts what did not happen.
- To put frames of several recordings together: `pd.concat`. Where their categories differ the column becomes text;
  `.astype("category")` makes it one again.
- `Int32` may be missing (`<NA>`), `int64` and `int32` never are. A number beyond its dtype, which only a
  foreign recording has, is shown as the nearest that fits.
- Rows are ordered by run (in the order of the first event), then by what happened first.
- The wall clock at the end of a wave, node, attempt or call is
  `started_at + pd.to_timedelta(end_ms - start_ms, unit="ms")`.
- Every frame carries `df.attrs`: `hexviz_schema` ({FRAME_SCHEMA}) and `hexviz_frame` (its name).

The four times of an attempt add up to the whole of it, from the run's start (for later attempts: from the end of the
attempt before) until its end: `parents_ms + backoff_ms + queued_ms + duration_ms = end_ms - (0 or the end before)`.
Where a recording is damaged so that one of the waits would be negative, it is 0 and the sum is not kept;
`recording.diagnostics()` says where. An attempt that has not ended has no `duration_ms`; its `queued_ms` is
that until its start.
"""


def describe() -> str:
    """The page docs/frames.md: every frame, column by column."""
    lines = [_OPENING.rstrip()]
    for name, columns in COLUMNS.items():
        title = name if name != "diagnostics" else "diagnostics (`recording.diagnostics()`)"
        lines += ["", f"## {title}", "", "| column | dtype | meaning |", "| --- | --- | --- |"]
        lines += [f"| {col.name} | {_dtype(col.kind)} | {col.meaning} |" for col in columns]
    return "\n".join(lines) + "\n"


def _dtype(kind: Any) -> str:
    return _DTYPES.get(kind, kind) if isinstance(kind, str) else f"category: {', '.join(kind)}"
