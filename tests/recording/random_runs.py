"""Runs of random graphs whose nodes fail, wait, call tools and models, under policies of every kind."""

import asyncio
import random
from contextlib import suppress

from hexviz.dag import Graph, Orchestrator, PipelineError, llm_call, tool_call
from hexviz.dag.errors import NodeVetoedError
from hexviz.events.control_manager import ControlManager
from hexviz.events.events import PipelineStarted
from hexviz.events.models import ControlResponse, ControlSignal
from hexviz.events.observer_manager import ObserverManager
from hexviz.policies import Budget, CircuitBreaker, Fallback, Gate, RateLimit, Retry, Timeout, Validate
from hexviz.recording.recorder import Recorder

ERRORS = (ValueError, TimeoutError, ConnectionError, KeyError)


class OddError(ValueError):
    """A class of the user's own."""


def random_graph(seed, size=12):
    """A graph of about ``size`` nodes; what each does is a function of the seed."""
    choose = random.Random(seed)
    graph = Graph(f"random-{seed}")
    names = []
    for number in range(choose.randint(1, size)):
        parents = choose.sample(names, min(len(names), choose.choice((0, 1, 1, 2, 3))))
        graph.node(
            _work(choose.getrandbits(32)),
            name=f"n{number}",
            after=parents,
            run_if=choose.choice(("all", "all", "any", "always")),
        )
        names.append(f"n{number}")
    return graph


def _work(seed):
    choose = random.Random(seed)

    async def work(inputs=None):
        if choose.random() < 0.3:
            await asyncio.sleep(0)
        if choose.random() < 0.3:
            try:
                async with tool_call(choose.choice(("search", "send")), {"q": seed}) as call:
                    call.result = choose.random() < 0.8 or 1 / 0
            except (NodeVetoedError, ZeroDivisionError):
                pass
        if choose.random() < 0.3:
            try:
                async with llm_call(["hello"], model="m") as call:
                    call.input_tokens, call.output_tokens, call.result = 7, choose.randint(1, 20), "hi"
            except NodeVetoedError:
                pass
        if choose.random() < 0.4:
            raise choose.choice((*ERRORS, OddError))("chance")
        return choose.choice((None, True, False, 0, 1.5, "text", "", [], [1, 2], {"a": 1}))

    return work


def random_policies(seed):
    """Fresh policies, several of each kind or none; the same ones for the same seed."""
    choose = random.Random(seed)
    chance = choose.random
    policies = [
        Retry(
            choose.randint(1, 3), initial_interval_s=0.0001, retry_on=choose.choice((Exception, ERRORS[:2])), seed=seed
        ),
        Fallback("stand-in", on=choose.choice(ERRORS)),
        Gate(
            lambda context: len(context.node_id or "") + context.attempt != 4, otherwise=choose.choice(("skip", "fail"))
        ),
        Gate(chance() < 0.9, at=choose.choice(("wave", "pipeline", "tool", "llm")), otherwise="fail"),
        Budget(
            attempts=choose.randint(2, 40), tokens=choose.randint(5, 60), when_spent=choose.choice(("skip", "fail"))
        ),
        Timeout(choose.choice((1e-5, 0.001, 60.0)), when_over="skip"),
        RateLimit(choose.choice((1e3, 1e5)), burst=2, max_wait_s=0.01, at=choose.choice(("node", "tool", "llm"))),
        CircuitBreaker(2, choose.choice((0.0001, 10.0)), key=choose.choice((None, "all")), when_open="skip"),
        Validate(lambda result: result is not False, max_attempts=2, value=choose.choice((0, "valid"))),
        Validate(lambda result: len(result) < 2, max_attempts=2, nodes="n1"),
        stop_at_start if chance() < 0.1 else wait_for_the_start,
    ]
    return choose.sample(policies, choose.randint(0, len(policies)))


def stop_at_start(event, context):
    if isinstance(event, PipelineStarted):
        return ControlResponse(ControlSignal.SKIP, reason="not today")
    return ControlResponse()


def wait_for_the_start(event, context):
    """Waits once, and remembers that in the metadata."""
    if isinstance(event, PipelineStarted) and not context.metadata.get("waited"):
        context.metadata["waited"] = True
        return ControlResponse(ControlSignal.RETRY, {"delay": 0.0})
    return ControlResponse()


def managers(policies):
    """An observer manager and a control manager with ``policies``, as ``hexviz.run`` makes them."""
    observers, control = ObserverManager(), ControlManager()
    for number, policy in enumerate(policies):
        known = {key: getattr(policy, key) for key in ("priority", "event_types", "shadow") if hasattr(policy, key)}
        control.register(policy, name=f"{getattr(policy, '__name__', type(policy).__name__)}_{number}", **known)
        if hasattr(policy, "observe"):
            observers.register(policy.observe, event_types=policy.observed_types, lossless=True)
    return observers, control


def record(graph, policies=(), **settings):
    """The recording of one run of ``graph``, however it ends."""

    async def main():
        observers, control = managers(policies)
        async with observers:
            recorder = Recorder().attach(observers)
            with suppress(PipelineError):
                await Orchestrator(observers=observers, control=control, **settings).run(graph)
        return recorder.recording

    return asyncio.run(main())


def record_random(seed, **settings):
    """The run of a random graph under random policies."""
    return record(random_graph(seed), random_policies(seed), on_error=("continue", "fail_fast")[seed % 2], **settings)
