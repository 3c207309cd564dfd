"""Who holds up the event loop, or the whole interpreter, is found and named."""

import json

BLOCKS = """
    import asyncio, json, logging, time
    import hexviz
    from hexviz.events import ObserverFailed, ObserverManager
    from hexviz.recording.recorder import Recorder

    logging.disable()

    async def quick(event):
        pass

{observer}

    async def step(value=None):
        await asyncio.sleep(0.01)
        return 1

    graph = hexviz.Graph("g")
    for i in range(5):
        graph.node(step, name=f"n{{i}}", after=[f"n{{i - 1}}"] if i else [])

    async def main():
        observers = ObserverManager(observer_timeout=30)
        recorder = Recorder().attach(observers)
        observers.register(quick, observer_id="quick")
        observers.register(blocks, observer_id="blocks", event_types=hexviz.events.NodeCompleted)
        result = await hexviz.Orchestrator(observers=observers).run(graph)
        await observers.flush(20)
        statistics = observers.statistics()
        told = [(e.observer, e.reason) for e in recorder.recording if isinstance(e, ObserverFailed)]
        await observers.close()
        print(json.dumps([dict(result), statistics, told]))

    asyncio.run(main())
"""


def outcome(in_process, observer):
    return json.loads(in_process(BLOCKS.format(observer=observer.strip("\n"))))


def test_a4_an_async_observer_that_blocks_the_loop_is_named_and_changes_no_result(in_process):
    results, statistics, told = outcome(
        in_process,
        """
    async def blocks(event):
        if event.name == "n2":
            time.sleep(1)
""",
    )
    assert results == {f"n{i}": 1 for i in range(5)}
    assert 0.8 < statistics["blocks"]["loop_lag_max_s"] < 5
    assert statistics["blocks"]["delivered"] == 5
    assert statistics["quick"]["loop_lag_max_s"] == 0
    assert told == [["blocks", "LoopBlockedError"]]


def test_a4_an_observer_that_blocks_after_it_has_waited_is_named_as_well(in_process):
    _, statistics, told = outcome(
        in_process,
        """
    async def blocks(event):
        await asyncio.sleep(0.001)
        if event.name == "n2":
            time.sleep(1)
""",
    )
    assert statistics["blocks"]["loop_lag_max_s"] > 0.8
    assert told == [["blocks", "LoopBlockedError"]]


def test_a3_a_sync_observer_that_holds_the_interpreter_lock_is_measured_and_named(in_process):
    results, statistics, told = outcome(
        in_process,
        """
    import ctypes

    def blocks(event):
        if event.name == "n2":
            ctypes.PyDLL(None).sleep(2)  # PyDLL keeps the lock
""",
    )
    assert results == {f"n{i}": 1 for i in range(5)}
    assert statistics["blocks"]["loop_lag_max_s"] > 1.5
    assert statistics["quick"]["loop_lag_max_s"] == 0
    assert told == [["blocks", "LoopBlockedError"]]


def test_a4_observers_that_wait_or_sleep_in_their_thread_are_not_suspected(in_process):
    _, statistics, told = outcome(
        in_process,
        """
    def blocks(event):
        time.sleep(0.3)
""",
    )
    assert statistics["blocks"]["loop_lag_max_s"] == 0
    assert told == []
