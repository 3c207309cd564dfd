"""Made-up runs for pictures: waves of nodes with waits, retries, decisions, failures and calls, told with times."""

import random
import time
from itertools import pairwise

from hexviz.events import events as ev


def told(nodes, *, outcome="succeeded", part=1.0, seed=3, waves=None, lanes=12, queued=True, workers=()):
    """The events of a run of about ``nodes`` nodes; only the first ``part`` of them, so that it still goes on.

    With ``workers`` each lane is one of theirs, and the last of them dies with the first failure on it.
    """
    rnd = random.Random(seed)
    waves = waves or max(3, min(12, nodes // 8))
    sizes = [max(1, round(nodes / waves * rnd.uniform(0.6, 1.4))) for _ in range(waves)]
    names = [[f"{word}_{i:02}" for i in range(size)] for word, size in zip(_words(), sizes, strict=False)]
    parents = dict.fromkeys(names[0], ())
    for before, wave in pairwise(names):
        parents |= {name: tuple(rnd.sample(before, min(2, len(before)))) for name in wave}
    infos = tuple(ev.NodeInfo(name, w, parents[name]) for w, wave in enumerate(names, 1) for name in wave)
    entries = [(0.0, ev.PipelineStarted, ("nightly", waves, len(infos), infos), {})]
    at = 5.0
    for w, wave in enumerate(names, 1):
        entries.append((at, ev.WaveStarted, (w, tuple(wave)), {}))
        free = [at] * min(lanes, len(wave))
        for name in wave:
            lane = free.index(min(free))
            ready = at if queued else free[lane]
            free[lane] = _attempts(entries, rnd, name, w, ready, free[lane], last=outcome == "failed" and w == waves)
        at = max(free)
    end = at + 5
    entries.sort(key=lambda entry: entry[0])
    if workers:
        entries = _elsewhere(entries, workers)
    if outcome == "failed":
        entries.append((end, ev.PipelineFailed, ("nightly", end, ValueError("3 nodes failed: the disk is full")), {}))
    else:
        entries.append((end, ev.PipelineCompleted, ("nightly", end), {}))
    entries = entries[: max(1, int(len(entries) * part))]
    origin = time.monotonic_ns() - int(entries[-1][0] * 1e6)
    return [
        kind(*args, **kwargs, run_id="run-1", seq=seq, monotonic_ns=origin + int(at_ms * 1e6))
        for seq, (at_ms, kind, args, kwargs) in enumerate(entries, 1)
    ]


def _elsewhere(entries, workers):
    """The same run on ``workers``: each attempt waits a little for the one that has been free for longest."""
    moved, lost = [], False
    place, free_at = {}, dict.fromkeys(workers, 0.0)
    for at_ms, kind, told_args, kwargs in entries:
        args = told_args
        key = (args[0], kwargs.get("attempt"))
        if kind is ev.NodeStarted:
            place[key] = min(free_at, key=free_at.get)
            free_at[place[key]] = float("inf")
            moved.append((at_ms, kind, args, kwargs | {"worker": "process"}))
            moved.append((at_ms + 2.0, ev.NodePlaced, (*args, place[key]), {"attempt": key[1]}))
            continue
        if kind is ev.NodeFailed and place[key] == workers[-1] and not lost:
            lost = True
            error = ev.RecordedError("WorkerLostError", f"{workers[-1]} died while it ran node {key[0]!r}")
            args = (*args[:2], error)
            del free_at[workers[-1]]
        if kind in (ev.NodeCompleted, ev.NodeFailed) and place[key] in free_at:
            free_at[place[key]] = at_ms
        moved.append((at_ms, kind, args, kwargs))
    return sorted(moved, key=lambda entry: entry[0])


def _words():
    yield from ("fetch", "parse", "clean", "join", "features", "split", "train", "score", "compare", "publish")
    yield from (f"step{i}" for i in range(1000))


def _attempts(entries, rnd, name, wave, ready, start, *, last):
    """Tell the attempts of one node; when its lane is free again."""
    for attempt in range(1, 4):
        took = rnd.lognormvariate(3.4, 0.5) + 4
        queued = {"attempt": attempt, "queued_ms": max(0.0, start - ready)}
        entries.append((start, ev.NodeStarted, (name, wave), queued))
        end = start + took
        bad = rnd.random() < (0.3 if last else 0.06)
        if not bad:
            entries.append((end, ev.NodeCompleted, (name, wave, None, took), {"attempt": attempt}))
            return end
        error = ev.RecordedError("OSError", "disk is full", "Traceback ...\nOSError: disk is full")
        entries.append((end, ev.NodeFailed, (name, wave, error), {"attempt": attempt, "duration_ms": took}))
        signal = "fail" if last and attempt > 1 else "retry" if attempt < 3 else "skip"
        decided = ("NodeFailed", 1, signal, name, wave, attempt, "Retry" if signal == "retry" else "Guard", 100, "disk")
        entries.append((end, ev.ControlDecided, decided, {}))
        if signal == "fail":
            return end
        if signal == "skip":
            entries.append((end, ev.NodeSkipped, (name, wave), {"reason": "disk", "attempt": attempt}))
            return end
        delay = rnd.uniform(5, 30)
        entries.append((end, ev.NodeRetrying, (name, wave), {"attempt": attempt, "delay_s": delay / 1e3}))
        ready = start = end + delay
    return end
