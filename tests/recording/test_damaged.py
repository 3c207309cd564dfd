"""Foreign and damaged recordings: frames build all the same, and each anomaly is told with its count."""

import random
from datetime import timedelta
from itertools import pairwise

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexviz.events import events as ev
from hexviz.recording.frames import COLUMNS
from hexviz.recording.recording import Recording
from tests.recording.made_events import MS, T0, Run, small_run
from tests.recording.random_runs import record_random

EMPTY = Recording().frames
WAITS = ["parents_ms", "backoff_ms", "queued_ms"]
seeds = st.integers(0, 5_000)
quickly = settings(max_examples=15, deadline=None)


def problems(recording):
    return dict(recording.diagnostics().groupby("problem", observed=True)["count"].sum())


def check_frames(recording):
    """All frames, with the dtypes that are documented."""
    for name in COLUMNS:
        frame = getattr(recording.frames, name)
        expected = getattr(EMPTY, name)
        assert list(frame) == list(expected)
        for column, dtype in frame.dtypes.items():
            known = expected[column].dtype
            assert str(dtype) == str(known) == "category" if str(known) == "category" else dtype == known, column
        assert (frame.select_dtypes("float64")[[c for c in WAITS if c in frame]] >= 0).all(axis=None)


def changed(events, seq, **facts):
    return [msgspec.structs.replace(e, **facts) if e.seq == seq else e for e in events]


# --- the time of an attempt ---------------------------------------------------------------------------------------


@quickly
@given(seeds)
def test_the_four_times_of_an_attempt_add_up_to_all_of_it(seed):
    recording = record_random(seed)
    attempts = recording.frames.attempts
    begun = attempts[attempts["start_ms"].notna() & attempts["end_ms"].notna()]
    ends = {
        (node, n): end for node, n, end in zip(attempts["node"], attempts["attempt"], attempts["end_ms"], strict=True)
    }
    before = [ends[node, n - 1] if n > 1 else 0.0 for node, n in zip(begun["node"], begun["attempt"], strict=True)]
    told = begun[[*WAITS, "duration_ms"]].sum(axis=1)
    assert (told - (begun["end_ms"] - before)).abs().max() < 1e-6 or begun.empty
    assert (attempts[WAITS] >= 0).all(axis=None)
    assert (attempts["duration_ms"].dropna() >= 0).all()
    assert (attempts["ready_ms"].dropna() <= attempts["start_ms"].dropna()).all()


@quickly
@given(seeds)
def test_only_first_attempts_wait_for_parents_and_only_later_ones_back_off(seed):
    attempts = record_random(seed).frames.attempts
    assert (attempts.loc[attempts["attempt"] > 1, "parents_ms"] == 0).all()
    assert (attempts.loc[attempts["attempt"] == 1, "backoff_ms"] == 0).all()


def test_a_root_that_waits_for_a_slot_was_in_the_queue_from_the_start():
    run = Run().tell(ev.PipelineStarted, "p", 1, 1, (ev.NodeInfo("a", 1),))
    run.at(7).tell(ev.NodeStarted, "a", 1).at(9).tell(ev.NodeCompleted, "a", 1, None, 1.5)
    (row,) = Recording(run.events).frames.attempts.to_dict("records")
    assert (row["ready_ms"], row["parents_ms"], row["queued_ms"], row["duration_ms"]) == (0.0, 0.0, 7.5, 1.5)


def test_a_policy_that_lets_a_node_wait_is_part_of_the_queue():
    run = Run().at(5).tell(ev.NodeStarted, "a", 2, ("b",), 1, T0, 2.0)
    run.at(30).tell(ev.NodeCompleted, "a", 2, None, 10.0)
    (row,) = Recording(run.events).frames.attempts.to_dict("records")
    assert (row["parents_ms"], row["queued_ms"]) == (0.0, 15.0)  # the clock of this run begins with its first event


def test_a_back_off_is_at_most_the_gap_between_two_attempts():
    run = Run().tell(ev.PipelineStarted, "p", 1, 1, (ev.NodeInfo("a", 1),)).tell(ev.NodeStarted, "a", 1)
    run.at(10).tell(ev.NodeFailed, "a", 1, ValueError("x"), 1, 10.0).tell(ev.NodeRetrying, "a", 1, 1, 60.0)
    run.at(14).tell(ev.NodeStarted, "a", 1, (), 2)
    last = Recording(run.events).frames.attempts.to_dict("records")[-1]
    assert (last["backoff_ms"], last["queued_ms"], last["ready_ms"]) == (4.0, 0.0, 14.0)
    assert np.isnan(last["duration_ms"])


# --- damage -------------------------------------------------------------------------------------------------------


@quickly
@given(seeds)
def test_a_live_recording_is_sound_and_its_frames_come_back_from_records(seed):
    recording = record_random(seed)
    assert len(recording.diagnostics()) == 0
    back = Recording.from_records(list(recording.records()))
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(recording.frames, name), getattr(back.frames, name))
    check_frames(recording)


@quickly
@given(seeds, seeds)
def test_what_is_lost_twice_or_late_is_counted_and_frames_build(seed, damage):
    events = list(record_random(seed))  # a busy machine may make another number of them out of one seed
    choose = random.Random(damage)
    lost = set(choose.sample(range(len(events)), choose.randrange(len(events))))
    kept = [event for number, event in enumerate(events) if number not in lost]
    twice = choose.choices(range(len(kept)), k=choose.randrange(6))
    arrived = [*kept, *(kept[number] for number in twice)]
    choose.shuffle(arrived)
    damaged = Recording(arrived)
    check_frames(damaged)
    found = problems(damaged)
    last = max(event.seq for event in kept)
    assert found.get("gap", 0) == last - len(kept)
    assert found.get("duplicate", 0) == len(twice)
    seqs = [event.seq for event in damaged]
    assert found.get("out of order", 0) == sum(b < a for a, b in pairwise(seqs))
    assert ("no end" in found) == (not any(type(event).__name__ in ENDS for event in kept) or _unended(kept))
    assert ("no start of the run" in found) == (not any(type(event) is ev.PipelineStarted for event in kept))


ENDS = {"PipelineCompleted", "PipelineFailed", "PipelineCancelled", "PipelineSkipped"}


def _unended(kept):
    """An attempt without an end in a run with one."""
    open_attempts = set()
    for event in kept:
        key = (getattr(event, "name", None), getattr(event, "attempt", None))
        if type(event).__name__ in {"NodeStarted", "NodeCompleted", "NodeFailed"}:
            open_attempts.add(key)
    for event in kept:
        if type(event).__name__ in {"NodeCompleted", "NodeFailed", "NodeSkipped", "NodeFellBack", "NodeCancelled"}:
            open_attempts.discard((event.name, event.attempt))
    return bool(open_attempts)


@quickly
@given(seeds, seeds, st.randoms())
def test_two_runs_interleaved_have_the_frames_that_each_has_alone(one, other, random):
    first, second = record_random(one), record_random(other)
    both, rest = [], [list(first), list(second)]
    while any(rest):
        both.append(random.choice([events for events in rest if events]).pop(0))
    together = Recording(both)
    assert len(together.diagnostics()) == 0
    for alone in (first, second):
        for name in COLUMNS:
            pd.testing.assert_frame_equal(
                getattr(together.run(alone.run_ids[0]).frames, name), getattr(alone.frames, name)
            )


def test_two_runs_under_one_id_are_told():
    twice = [*small_run("r"), *small_run("r")]
    renumbered = [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(twice, 1)]
    recording = Recording(renumbered)
    check_frames(recording)
    found = problems(recording)
    assert (found["second start of the run"], found["second end"]) == (1, 1)


@pytest.mark.parametrize(
    ("cls", "field"),
    [(ev.NodeCompleted, "duration_ms"), (ev.WaveCompleted, "duration_ms"), (ev.PipelineCompleted, "duration_ms"),
     (ev.ToolCompleted, "duration_ms"), (ev.NodeFailed, "duration_ms")],
)  # fmt: skip
def test_no_negative_duration_goes_untold(cls, field):
    events = small_run()
    seq = next(event.seq for event in events if type(event) is cls)
    recording = Recording(changed(events, seq, **{field: -3.0}))
    check_frames(recording)
    (row,) = recording.diagnostics().to_dict("records")
    assert (row["problem"], row["seq"], row["count"]) == ("negative duration", seq, 1)
    assert cls.__name__ in row["detail"]


@pytest.mark.parametrize("hours", [-1, 10 * 365 * 24])
def test_a_step_of_the_wall_clock_is_told_and_changes_no_duration(hours):
    events = small_run()
    stepped = [
        msgspec.structs.replace(e, timestamp=e.timestamp + timedelta(hours=hours)) if e.seq >= 10 else e for e in events
    ]
    recording, sound = Recording(stepped), Recording(events)
    assert problems(recording) == {"clock step": 1}
    for name in ("nodes", "attempts", "waves", "calls", "runs"):
        for column in getattr(sound.frames, name).select_dtypes("float64"):
            pd.testing.assert_series_equal(getattr(recording.frames, name)[column], getattr(sound.frames, name)[column])


def test_a_monotonic_clock_that_goes_back_is_told():
    events = small_run()
    other = [msgspec.structs.replace(e, monotonic_ns=e.monotonic_ns - 6_000 * MS) if e.seq >= 10 else e for e in events]
    recording = Recording(other)
    check_frames(recording)
    assert problems(recording)["clock step"] == 1


def test_an_end_before_its_start_has_no_negative_wait():
    events = small_run()
    (completed,) = [e for e in events if type(e) is ev.NodeCompleted and e.name == "load"]
    recording = Recording(changed(events, completed.seq, monotonic_ns=events[0].monotonic_ns))
    check_frames(recording)
    assert problems(recording)["end before start"] == 1
