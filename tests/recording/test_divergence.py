"""The first event in which two recordings of a pipeline differ."""

import asyncio

import pytest

from hexviz.dag import Graph
from hexviz.events import events as ev
from hexviz.policies import Retry
from hexviz.recording.divergence import first_divergence
from hexviz.recording.recording import Recording
from tests.recording.made_events import small_run
from tests.recording.random_runs import record


def course(*, factor=2, failures=1, extra=False, after=("load",)):
    graph, left = Graph("course"), [ConnectionError("down")] * failures

    @graph.node
    async def load():
        if left:
            raise left.pop()
        return 21

    for number in range(3):
        graph.node(lambda n: asyncio.sleep(0, n), name=f"beside_{number}", after=["load"])
    graph.node(lambda n: n * factor, name="scale", after=list(after))
    if extra:
        graph.node(lambda n: n, name="extra", after=["scale"])
    return record(graph, [Retry(3, initial_interval_s=0.001)])


def test_the_same_code_takes_the_same_course_whatever_its_times_and_its_order():
    assert first_divergence(course(), course()) is None
    assert first_divergence(course(failures=9), course(failures=9)) is None
    assert first_divergence(Recording(small_run("a")), Recording(small_run("b"))) is None


@pytest.mark.parametrize(
    ("changed", "node", "expected", "seen"),
    [
        ({"factor": 3}, "scale", ev.NodeCompleted, ev.NodeCompleted),
        ({"failures": 2}, "load", ev.NodeCompleted, ev.NodeFailed),
        ({"failures": 0}, "load", ev.NodeFailed, ev.NodeCompleted),
        ({"extra": True}, "", ev.PipelineStarted, ev.PipelineStarted),
    ],
)
def test_changed_code_is_told_with_its_number_and_both_events(changed, node, expected, seen):
    golden = course()
    found = first_divergence(golden, course(**changed))
    assert (found.node, type(found.expected), type(found.seen)) == (node, expected, seen)
    assert found.expected in list(golden)
    assert str(found).startswith(f"at seq {found.expected.seq}, ")


def test_a_course_that_is_shorter_or_longer_ends_with_nothing_more():
    golden = list(course())
    assert first_divergence(Recording(golden), Recording(golden[:-1])).seen is None
    longer = first_divergence(Recording(golden[:-1]), Recording(golden))
    assert (longer.expected, longer.seq) == (None, golden[-1].seq)
    assert "expected nothing more, seen" in str(longer)
