"""Events made up for tests: strategies for any event, and small runs written by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import strategies as st

from hexviz.events import events as ev

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MS = 1_000_000

text = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["", "clean", "\ud800", "a\x00b", "😀", "<script>", "'; --"]
)
number = st.integers() | st.sampled_from([2**63, -(2**63), 2**64, -(10**400), 0])
real = st.floats() | st.sampled_from([float("nan"), float("inf"), -0.0])
moment = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
value = st.recursive(
    st.none() | st.booleans() | number | real | text | st.binary(max_size=8) | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text | st.integers(), inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=8,
)


class Hostile:
    """Whatever is done with it raises."""

    def __repr__(self):
        raise RuntimeError("__repr__ was called")

    __str__ = __len__ = __eq__ = __bool__ = __iter__ = __reduce__ = __repr__
    __hash__ = object.__hash__

    def __getattribute__(self, name):
        raise RuntimeError(f"{name} was read")


@dataclass
class Rows:
    rows: int


class ProgressMade(ev.Event, frozen=True):
    """An event class of a user."""

    node: str
    done: float
    extra: object = None


def _struct(cls):
    kinds = {
        str: text,
        int: number,
        float: real,
        bool: st.booleans(),
        object: value,
        ev.Any: value,
        BaseException: st.builds(ValueError, text) | st.builds(ev.RecordedError, text, text, text),
    }
    special = {
        "nodes": st.lists(st.builds(ev.NodeInfo, text, number, st.tuples(text)), max_size=3).map(tuple)
        if cls is ev.PipelineStarted
        else st.lists(text, max_size=3).map(tuple),
        "dependencies": st.lists(text, max_size=3).map(tuple),
        "tags": st.lists(text, max_size=2).map(tuple),
        "votes": st.lists(st.builds(ev.Vote, text, number, text, text, real, st.booleans(), text), max_size=2).map(
            tuple
        ),
        "params": st.dictionaries(text, value, max_size=3),
        "node_results": st.dictionaries(text, value, max_size=3),
        "messages": st.lists(value, max_size=3),
        "ready_at": st.none() | moment,
        "timestamp": moment,
        "priority": st.none() | number,
        "input_tokens": st.none() | number,
        "output_tokens": st.none() | number,
        "will_retry": st.none() | st.booleans(),
    }
    if cls is ev.PipelineFailed:
        special["error"] = st.none() | kinds[BaseException]
    chosen = {f.name: special[f.name] if f.name in special else kinds[f.type] for f in msgspec.structs.fields(cls)}
    return st.builds(cls, **chosen)


event = st.one_of([_struct(cls) for cls in (*ev.EVENT_CLASSES, ProgressMade)])
# What a store can number: a run of its own, seq within 64 bits, clocks that exist.
numbered = st.lists(event, max_size=12).map(
    lambda events: [msgspec.structs.replace(e, run_id="r", seq=i, monotonic_ns=i * MS) for i, e in enumerate(events, 1)]
)


class Run:
    """A run written event by event; each call of ``at`` sets the clock to so many ms after the start."""

    def __init__(self, run_id="run-1", pipeline="etl"):
        self.run_id, self.pipeline, self.ms, self.events = run_id, pipeline, 0.0, []

    def at(self, ms):
        self.ms = ms
        return self

    def tell(self, cls, *args, **kwargs):
        self.events.append(
            cls(
                *args,
                **kwargs,
                run_id=self.run_id,
                pipeline=self.pipeline,
                seq=len(self.events) + 1,
                timestamp=T0 + timedelta(milliseconds=self.ms),
                monotonic_ns=7_000 * MS + int(self.ms * MS),
            )
        )
        return self


def small_run(run_id="run-1"):
    """load -> clean (fails once, retried) -> report (skipped) and chart (falls back); tell (never started, skipped)."""
    info = ev.NodeInfo
    nodes = (
        info("load", 1),
        info("clean", 2, ("load",)),
        info("report", 3, ("clean",)),
        info("chart", 3, ("clean", "load")),
        info("tell", 4, ("report",)),
    )
    vote = ev.Vote("Retry", 10, "retry", "flaky", 12.5)
    shy = ev.Vote("Watch", 20, "skip", shadow=True)
    run = Run(run_id)
    run.tell(ev.PipelineStarted, "etl", 4, 5, nodes, ("nightly", "eu"))
    run.tell(ev.WaveStarted, 1, ("load",))
    run.at(1).tell(ev.NodeStarted, "load", 1, (), ready_at=T0, queued_ms=1.0, worker="loop")
    run.at(11).tell(ev.NodeCompleted, "load", 1, [1, 2, 3], 9.5).tell(ev.WaveCompleted, 1, 11.0, succeeded=1)
    run.tell(ev.WaveStarted, 2, ("clean",))
    run.at(12).tell(ev.NodeStarted, "clean", 2, ("load",), ready_at=T0, queued_ms=1.0)
    run.at(15).tell(ev.NodeFailed, "clean", 2, ValueError("bad row"), 1, 2.5)
    run.tell(ev.ControlDecided, "NodeFailed", 8, "retry", "clean", 2, 1, "Retry", 10, "flaky", (vote, shy))
    run.tell(ev.NodeRetrying, "clean", 2, 1, 0.005, "Retry", "flaky")
    run.at(20).tell(ev.NodeStarted, "clean", 2, ("load",), 2, T0, 0.0)
    run.tell(ev.ToolCalled, "clean", "search", {"api_key": "canary"}, "c1", 2, 2)
    run.at(22).tell(ev.ToolCompleted, "clean", "search", ["canary"], 2.0, "c1", 2, 2)
    run.tell(ev.LLMPromptSent, "clean", ["canary"], "c2", "m1", 2, 2)
    run.at(23).tell(ev.LLMFailed, "clean", TimeoutError("slow"), 1.0, "c2", "m1", 2, 2)
    run.at(30).tell(ev.NodeCompleted, "clean", 2, 42, 9.0, 2).tell(ev.WaveCompleted, 2, 19.0, succeeded=1)
    run.tell(ev.WaveStarted, 3, ("report", "chart"))
    run.at(31).tell(ev.NodeStarted, "report", 3, ("clean",)).tell(ev.NodeStarted, "chart", 3, ("clean", "load"))
    run.at(33).tell(ev.NodeCompleted, "report", 3, "text", 1.5)
    run.tell(ev.NodeSkipped, "report", 3, 1, "not wanted", "Gate", 1.5)
    run.tell(ev.NodeFailed, "chart", 3, KeyError("x"), 1, 1.0)
    run.tell(ev.NodeFellBack, "chart", 3, 1, "a default", "Fallback", 1.0, 7)
    run.tell(ev.NodeSkipped, "tell", 4, 1, "parent skipped")
    run.tell(ev.ObserverFailed, "slow", "timeout", 3, 1, 9).tell(ev.EventsDropped, "slow", "queue full", 2, 4, 5)
    run.at(40).tell(ev.WaveCompleted, 3, 9.0, skipped=1, fell_back=1)
    run.tell(ev.PipelineCompleted, "etl", 40.0, {"load": 1})
    return run.events
