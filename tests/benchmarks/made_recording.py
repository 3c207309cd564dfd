"""A million events of a realistic mix, made up without running anything."""

import random
from datetime import UTC, datetime, timedelta
from itertools import count

from hexviz.events import events as ev
from hexviz.events.summary import Summary

T0 = datetime(2026, 1, 2, tzinfo=UTC)
NODES = 100
_ERRORS = [ev.RecordedError("ConnectionError", f"host {n} is away", "Traceback ...\n" * 20) for n in range(50)]


def shape():
    """100 nodes in 10 waves of 10; each has two parents in the wave before."""
    return tuple(
        ev.NodeInfo(
            f"node_{wave}_{i}", wave, (f"node_{wave - 1}_{i}", f"node_{wave - 1}_{(i + 1) % 10}") if wave > 1 else ()
        )
        for wave in range(1, 11)
        for i in range(10)
    )


def runs(size, *, seed=0):
    """About ``size`` events of runs of 100 nodes: 8 % of the attempts fail and are retried, each fourth node calls a
    tool or a model, results are tables, lists, numbers and nothing. Values are summaries already."""
    choose, nodes, made = random.Random(seed), shape(), 0
    for number in count():
        for event in _run(f"019b7c2e4d10-{number:012x}", choose, nodes):
            if made == size:
                return
            made += 1
            yield event


def _result(choose):
    kind = choose.random()
    if kind < 0.4:
        return Summary("DataFrame", (choose.randrange(1000), 12))
    if kind < 0.6:
        return Summary("list", (), choose.randrange(1000))
    return Summary("float", preview=repr(choose.random())) if kind < 0.7 else Summary("NoneType", preview="None")


def _run(run_id, choose, nodes):
    seq, clock = count(1), choose.randrange(10**12)

    def tell(cls, *args, **more):
        nonlocal clock
        clock += choose.randrange(1_000, 200_000)
        moment = T0 + timedelta(microseconds=clock // 1000)
        return cls(*args, **more, run_id=run_id, seq=next(seq), pipeline="etl", timestamp=moment, monotonic_ns=clock)

    yield tell(ev.PipelineStarted, "etl", 10, 100, nodes, ("nightly", "eu"), max_concurrent_nodes=8)
    for wave in range(1, 11):
        infos = [info for info in nodes if info.wave_index == wave]
        yield tell(ev.WaveStarted, wave, tuple(info.name for info in infos))
        for info in infos:
            yield from _node(tell, choose, info, wave)
        yield tell(ev.WaveCompleted, wave, choose.random() * 100, 10)
    yield tell(ev.PipelineCompleted, "etl", 1000.0, Summary("dict", (), 100))


def _node(tell, choose, info, wave):
    attempt = 1
    while True:
        ready = T0 + timedelta(microseconds=choose.randrange(10**9)) if wave > 1 else None
        started = (info.name, wave, info.dependencies, attempt, ready, choose.random(), "loop")
        yield tell(ev.NodeStarted, *started)
        if choose.random() < 0.25:
            yield from _call(tell, choose, info.name, wave, attempt)
        if attempt == 3 or choose.random() > 0.08:
            yield tell(ev.NodeCompleted, info.name, wave, _result(choose), choose.random() * 20, attempt)
            return
        failed = tell(ev.NodeFailed, info.name, wave, choose.choice(_ERRORS), attempt, choose.random() * 20)
        yield failed
        votes = (
            ev.Vote("Budget", 40, "proceed", "", choose.random() * 9),
            ev.Vote("Retry", 100, "retry", f"attempt {attempt + 1} of 3", choose.random() * 9),
        )
        facts = ("retry", info.name, wave, attempt, "Retry", 100, f"attempt {attempt + 1} of 3", votes)
        yield tell(ev.ControlDecided, "NodeFailed", failed.seq, *facts)
        yield tell(
            ev.NodeRetrying, info.name, wave, attempt, choose.random() / 1e3, "Retry", f"attempt {attempt + 1} of 3"
        )
        attempt += 1


def _call(tell, choose, node, wave, attempt):
    call_id = f"{choose.getrandbits(64):016x}"
    if choose.random() < 0.5:
        yield tell(ev.ToolCalled, node, "search", Summary("dict", (), 2), call_id, wave, attempt)
        answer = Summary("list", (), choose.randrange(50))
        yield tell(ev.ToolCompleted, node, "search", answer, choose.random() * 9, call_id, wave, attempt)
        return
    yield tell(ev.LLMPromptSent, node, Summary("list", (), 3), call_id, "model-1", wave, attempt)
    facts = ("model-1", choose.randrange(5000), choose.randrange(900), wave, attempt)
    answer = Summary("str", (), choose.randrange(4000))
    yield tell(ev.LLMResponseReceived, node, answer, choose.random() * 900, call_id, *facts)
