"""A reader gives each event once, says what is missing, and buries what cannot be read."""

import itertools
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.errors import RegistrationError
from hexviz.events import events as ev
from hexviz.events.cloud_events import to_cloud_event
from hexviz.events.schema import NewerRecordError
from hexviz.streams import Reader, seen
from hexviz.streams.seen import Seen
from hexviz.testing.store_contract import contract_run


class Bodies(list):
    """A source that ends."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []

    def commit(self):
        self.calls.append("commit")

    def close(self):
        self.calls.append("close")


def bodies(*seqs, run_id="r"):
    return Bodies(to_cloud_event(ev.NodeStarted("n", 1, run_id=run_id, seq=seq, pipeline="p")) for seq in seqs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30)), max_size=80))
def test_an_event_is_new_once_and_gaps_are_what_has_not_come(told):
    known, model = Seen(), set()
    for run_id, seq in told:
        assert known.is_new(run_id, seq) == ((run_id, seq) not in model)
        model.add((run_id, seq))
    for run_id in "ab":
        mine = {seq for run, seq in model if run == run_id}
        missing = [seq for seq in range(1, max(mine, default=0) + 1) if seq not in mine]
        gaps = known.gaps(run_id)
        assert [seq for first, last in gaps for seq in range(first, last + 1)] == missing
        assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(gaps))


def test_memory_is_bounded_by_runs_and_gaps(monkeypatch):
    monkeypatch.setattr(seen, "MOST_RUNS", 10)
    monkeypatch.setattr(seen, "MOST_GAPS", 5)
    known = Seen()
    for number in range(100):
        assert known.is_new(f"run-{number}", 1)
    assert len(known._runs) == 10
    for seq in range(2, 200, 2):
        assert known.is_new("r", seq)
    assert len(known.gaps("r")) == 5
    assert not known.is_new("r", 3)  # belongs into a gap that was forgotten
    assert known.is_new("r", 197)


def test_gaps_and_duplicates_are_counted():
    reader = Reader(bodies(1, 2, 2, 5, 4, 9))
    assert [event.seq for event in reader] == [1, 2, 5, 4, 9]
    assert reader.gaps("r") == [(3, 3), (6, 8)]
    counts = {"given": 5, "duplicates": 1, "not_wanted": 0, "poison": 0, "dead_letter_failures": 0, "missing": 4}
    assert reader.statistics() == counts


def test_events_without_a_number_are_given_once_each_and_are_no_gaps(monkeypatch):
    monkeypatch.setattr(seen, "MOST_UNNUMBERED", 3)
    told = [to_cloud_event(ev.NodeStarted(f"n{i}", 1, run_id="r", pipeline="p")) for i in range(5)]
    numbered = bodies(1, 2)
    reader = Reader(Bodies([numbered[0], told[0], told[1], told[0], numbered[1], *told[2:], told[4], told[0]]))
    assert [event.name for event in reader] == [
        "n",
        "n0",
        "n1",
        "n",
        "n2",
        "n3",
        "n4",
        "n0",
    ]  # the last three are known
    assert (reader.statistics()["duplicates"], reader.gaps("r")) == (2, [])


def test_a_run_and_topics_are_chosen():
    source = Bodies([*map(to_cloud_event, contract_run()), *map(to_cloud_event, contract_run("other"))])
    events = list(Reader(source, run_id="run-1", topics=["pipeline.*.**.failed", "pipeline.etl.started"]))
    assert [type(event).__name__ for event in events] == ["PipelineStarted"] + ["NodeFailed"] * 5
    assert {event.run_id for event in events} == {"run-1"}
    with pytest.raises(RegistrationError):
        Reader(source, topics="a..b")


class Measured(ev.Event, frozen=True):
    """An event of a user, whose class only the sender has."""

    value: int = 0

    @property
    def topic(self):
        return f"measured.{self.value}"


def test_topics_choose_events_of_unknown_classes_by_what_their_sender_said():
    body = to_cloud_event(Measured(run_id="r", seq=1, value=7)).replace(b"Measured", b"Vanished")
    (event,) = Reader(Bodies([body]), topics="measured.7")
    assert event.data["value"] == 7


def test_what_cannot_be_read_goes_to_the_dead_letters_with_its_reason(caplog):
    caplog.set_level(logging.WARNING, "hexviz.streams")
    newer = bodies(2)[0].replace(b"NodeStarted.v1", b"NodeStarted.v9")
    large, deep = b'{"a":"' + b"x" * 2_000 + b'"}', b'{"a":' * 100_000
    bad = [newer, large, deep, b"", b"\x80\x04\x95\x05."]
    buried = []
    source = Bodies([bodies(1)[0], *bad, bodies(3)[0]])
    reader = Reader(source, dead_letter=lambda body, error: buried.append((body, error)), max_bytes=1_000)
    assert [event.seq for event in reader] == [1, 3]
    assert [body for body, _ in buried] == bad
    assert isinstance(buried[0][1], NewerRecordError)
    assert "2,008 bytes" in str(buried[1][1])
    assert len(caplog.records) == 1  # one line, however many there are


def test_a_dead_letter_function_that_fails_is_counted_and_reading_goes_on():
    def fail(body, error):
        raise ZeroDivisionError

    reader = Reader(Bodies([b"?", *bodies(1), b"?"]), dead_letter=fail)
    assert [event.seq for event in reader] == [1]
    assert reader.statistics()["dead_letter_failures"] == 2


def test_commit_and_close_reach_the_source():
    source = bodies(1)
    with Reader(source) as reader:
        assert msgspec.structs.asdict(next(iter(reader)))["seq"] == 1
        reader.commit()
    assert source.calls == ["commit", "close"]
