"""What recording and frames cost, beside the plain ways in the same process: ratios, and the figures themselves.

Run with ``python -m pytest tests/benchmarks/test_recording.py --benchmark-enable``. Processor time, since machines are
shared; figures stand in ``extra_info``, nothing is asserted of them. HEXVIZ_BENCHMARK_EVENTS sets the number of events.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import tracemalloc
from dataclasses import make_dataclass
from datetime import UTC, datetime
from operator import attrgetter
from time import monotonic_ns, process_time

import msgspec
import pandas as pd
import pytest

from hexviz.events import events as ev
from hexviz.events.schema import to_record
from hexviz.recording.frames import COLUMNS, Frames
from hexviz.recording.recorder import Recorder
from hexviz.recording.recording import Recording
from hexviz.recording.state import RunState
from hexviz.recording.state_timeline import StateTimeline
from tests.benchmarks.made_recording import runs

EVENTS = int(os.environ.get("HEXVIZ_BENCHMARK_EVENTS", "1_000_000"))
NAMES = [name for name in COLUMNS if name != "diagnostics"]


def seconds(work, *, collect=True):
    if collect:
        gc.collect()
    started = process_time()
    kept = work()
    return process_time() - started, kept


def megabytes(*frames):
    """What frames hold, texts included; categories that several columns share count once."""
    held = sum(frame.memory_usage(deep=True).sum() for frame in frames)
    shared = [frame[name].cat.categories for frame in frames for name in frame.select_dtypes("category")]
    once = {id(categories): categories for categories in shared}
    each, all_of_them = (sum(c.memory_usage(deep=True) for c in some) for some in (once.values(), shared))
    return round((held - all_of_them + each) / 1e6, 1)


def measured(benchmark, measure):
    benchmark.pedantic(measure, rounds=1, iterations=1)


@pytest.fixture(scope="module")
def recording():
    recorder = Recorder()
    for event in runs(EVENTS):
        recorder(event)
    recorder.statistics()
    return recorder.recording


# --- recording ----------------------------------------------------------------------------------------------------


def tell(count, keeper_of):
    """Make ``count`` events, half starts and half ends, as a run makes them, each handed to the keeper of its class."""
    started, completed = keeper_of(ev.NodeStarted), keeper_of(ev.NodeCompleted)
    names, parents = [f"node_{i}" for i in range(100)], [(f"node_{i}", f"node_{i + 1}") for i in range(100)]
    result, moment = [1, 2], datetime.now(UTC)
    for i in range(count // 2):
        k, base = i % 100, {"run_id": "019b7c2e4d10-0123456789ab", "pipeline": "etl"}
        started(ev.NodeStarted(names[k], 3, parents[k], 1, moment, 0.5, "loop", seq=2 * i + 1, **base))
        completed(ev.NodeCompleted(names[k], 3, result, 1.5, 1, seq=2 * i + 2, monotonic_ns=monotonic_ns(), **base))


def test_a_recorded_event_beside_making_it_and_beside_a_list(benchmark):
    count = 200_000

    def recorded():
        recorder = Recorder()
        tell(count, recorder.keeper_of)
        recorder.statistics()  # turns into columns what still waits

    def listed():
        kept = []
        tell(count, lambda _: kept.append)

    def measure():
        ways = {"made": lambda: tell(count, lambda _: id), "listed": listed, "recorded": recorded}
        found = {name: [] for name in ways}
        for _ in range(9):
            for name, work in ways.items():
                found[name].append(seconds(work)[0] / count * 1e6)
        made, in_list, kept = (statistics.median(times) for times in found.values())
        benchmark.extra_info.update(
            us=round(kept - made, 2),
            made_us=round(made, 2),
            listed_us=round(in_list - made, 2),
            ratio=round(kept / made, 2),
        )

    measured(benchmark, measure)


def test_bytes_held_by_an_event_with_all_its_texts(benchmark):
    count = EVENTS // 5

    def measure():
        tracemalloc.start()
        recorder = Recorder()
        for event in runs(count):
            recorder(event)
        told = recorder.statistics()["bytes"]
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        benchmark.extra_info.update(bytes=round(held / count), told_bytes=round(told / count))

    measured(benchmark, measure)


# --- frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLUMNS)
def test_one_frame(benchmark, recording, name):
    def measure():
        took = [seconds(lambda: getattr(Frames(recording), name)) for _ in range(3)]
        frame = took[0][1]
        benchmark.extra_info.update(
            seconds=round(statistics.median(s for s, _ in took), 3),
            rows=len(frame),
            mb=megabytes(frame),
        )

    measured(benchmark, measure)


def test_all_frames(benchmark, recording):
    def build():
        frames = Frames(recording)
        return [getattr(frames, name) for name in NAMES]

    def measure():
        took = [seconds(build) for _ in range(3)]
        frames = took[0][1]
        benchmark.extra_info.update(
            seconds=round(statistics.median(s for s, _ in took), 3),
            events=len(frames[0]),
            attempts=len(frames[NAMES.index("attempts")]),
            mb=megabytes(*frames),
        )

    measured(benchmark, measure)


def test_the_events_frame_beside_the_plain_ways(benchmark, recording):
    """The plain ways get the rows of the same frame as dicts, objects and dataclasses; a fifth of them, times five."""

    def measure():
        ours, frame = seconds(lambda: Frames(recording).events)
        columns = {name: frame[name].head(EVENTS // 5).tolist() for name in frame}
        dicts = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        plain = make_dataclass("Plain", list(columns))
        objects = [plain(**row) for row in dicts]
        get = attrgetter(*columns)
        ways = {
            "dicts": lambda: pd.DataFrame(dicts),
            "attrgetter": lambda: pd.DataFrame(list(map(get, objects)), columns=list(columns)),
            "dataclasses": lambda: pd.DataFrame(objects),
        }
        found = {name: 5 * seconds(work)[0] for name, work in ways.items()}
        benchmark.extra_info.update(
            seconds=round(ours, 3),
            ratio=round(ours / min(found.values()), 3),
            **{name: round(took, 1) for name, took in found.items()},
        )

    measured(benchmark, measure)


# --- from records -------------------------------------------------------------------------------------------------


def test_stored_records_to_the_events_frame_beside_decoding_them(benchmark):
    """The limit decodes each record to a dict and keeps none; a DataFrame of those dicts is not even begun."""

    def measure():
        records = [to_record(event) for event in runs(EVENTS)]
        decode = msgspec.json.Decoder().decode

        def decoded():
            for record in records:
                decode(record)

        bound = seconds(decoded)[0]
        read, recording = seconds(lambda: Recording.from_records(records))
        framed = seconds(lambda: recording.frames.events)[0]
        benchmark.extra_info.update(
            seconds=round(read + framed, 2), read_s=round(read, 2), frame_s=round(framed, 2), decode_s=round(bound, 2),
            ratio=round((read + framed) / bound, 2),
        )  # fmt: skip

    measured(benchmark, measure)


# --- the state of a run at a moment -------------------------------------------------------------------------------


def wide_run(count):
    """One run of about ``count`` events: half as many nodes, told beforehand, of which fifty go on at a time."""
    names = [f"node-{i}" for i in range(count // 2)]
    shape = tuple(ev.NodeInfo(name, 1 + i % 7, tuple(names[max(0, i - 1) : i])) for i, name in enumerate(names))
    facts, seqs = {"run_id": "r", "pipeline": "etl"}, iter(range(1, 2 * count))
    yield ev.PipelineStarted("etl", 7, len(names), shape, seq=next(seqs), **facts)
    chance, going = random.Random(1), []
    for i, name in enumerate(names):
        yield ev.NodeStarted(name, 1 + i % 7, queued_ms=0.5, worker="loop", seq=next(seqs), **facts)
        going.append(i)
        while len(going) > (50 if name != names[-1] else 0):
            k = going.pop(chance.randrange(len(going)))
            yield ev.NodeCompleted(names[k], 1 + k % 7, [1, 2], 1.25, seq=next(seqs), **facts)
    yield ev.PipelineCompleted("etl", 1.0, seq=next(seqs), **facts)


def test_the_state_of_a_run_at_any_of_fifty_moments(benchmark):
    """``build_s``: from the recording to a timeline; beside it folding the events alone, which are made before."""

    def measure():
        recording = Recording(wide_run(EVENTS))
        read, events = seconds(lambda: list(recording.events()))
        fold = seconds(lambda: RunState.from_events(events))[0]
        events.clear()
        build, timeline = seconds(lambda: StateTimeline(recording))
        chance, moments = random.Random(2), []
        for _ in range(50):
            seq = chance.randint(1, len(timeline))
            best = min(seconds(lambda seq=seq: timeline.at(seq=seq), collect=False)[0] for _ in range(3))
            moments.append(best * 1e3)
        benchmark.extra_info.update(
            build_s=round(build, 2), events_s=round(read, 2), fold_s=round(fold, 2),
            most_ms=round(max(moments), 1), median_ms=round(statistics.median(moments), 1),
        )  # fmt: skip

    measured(benchmark, measure)
