"""What every store promises, as tests: subclass :class:`StoreContract` and define one fixture."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hexviz.events import events as ev
from hexviz.events.schema import RecordError, from_record, to_record
from hexviz.stores.errors import RunNotFoundError, RunTakenError, StoreCorruptError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.stores.store import Store

_T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_PATIENCE_S = 30.0

HOSTILE_NAMES = (
    "", ".", "..", "../../etc/passwd", "/abs", "C:\\", "%2e%2e", "con", "a\x00b", "\ud800", "a\udfffb", "😀",
    "\u202e\u2028", "'; drop table runs;--", "%", "_", "*", "\\", '"', "<script>", "=HYPERLINK(1)", "\x1b]8;;",
    "\r\n", "x" * 300, "__class__",
)  # fmt: skip
"""Run ids and names that a store must give back as they are."""

HOSTILE_VALUES: tuple[Any, ...] = (
    2**63, -(2**63), 2**64, 10**400, float("nan"), float("inf"), float("-inf"), -0.0, 1e308, b"\x00\xff", "\ud800",
    "a\x00b", "\u2028", {"\ud800": [b"", {1: None}]}, {"$float": "nan"}, [[[[]]]], True, None, "1e400", "x" * 5_000,
)  # fmt: skip
"""Values that JSON, SQL or 64 bits have no word for."""


class ValueMade(ev.Event, frozen=True):
    """An event class that no store knows of, with a field for anything."""

    value: Any = None


def contract_run(run_id: str = "run-1", *, pipeline: str = "etl", nodes: int = 5, at: datetime = _T0) -> list[ev.Event]:
    """The events of a small run, 3 * ``nodes`` + 2 of them, with fixed times."""
    events: list[ev.Event] = [ev.PipelineStarted(pipeline, 1, nodes, (), ("nightly", "eu"))]
    for number in range(nodes):
        name = f"n{number}"
        events.append(ev.NodeStarted(name, 1, (), queued_ms=0.5))
        events.append(ev.NodeFailed(name, 1, ev.RecordedError("ValueError", "bad row"), duration_ms=1.5))
        events.append(ev.NodeCompleted(name, 1, [number], 1.25, attempt=2))
    events.append(ev.PipelineCompleted(pipeline, 40.0, {}))
    return [
        msgspec.structs.replace(
            event,
            run_id=run_id,
            pipeline=pipeline,
            seq=seq,
            timestamp=at + timedelta(milliseconds=seq),
            monotonic_ns=seq * 1_000_000,
        )
        for seq, event in enumerate(events, 1)
    ]


def kept(store: Store, events: list[Any]) -> None:
    """Append and flush."""
    store.append(events)
    store.flush()


class StoreContract:
    """Subclass it and define a fixture ``open_store``: a function that opens the test's one store once more.

    Each call gives another handle on the same store, which begins empty for each test; the handles are closed by the
    fixture. ``damage``, where it is defined, changes the stored bytes of some record of the only run behind the store's
    back; without it the tests of damage are skipped.

    ::

        class TestMyStore(hexviz.testing.StoreContract):
            @pytest.fixture
            def open_store(self, tmp_path):
                with contextlib.ExitStack() as stack:
                    yield lambda: stack.enter_context(MyStore(tmp_path / "store"))
    """

    damage: Callable[[Store], None] | None = None

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Store:
        """One handle on the store."""
        return open_store()

    # --- append and read ---

    def test_records_come_back_in_order_and_unchanged(self, store: Store) -> None:
        run = contract_run()
        kept(store, run)
        assert list(store.read("run-1")) == [to_record(event) for event in run]

    def test_records_and_events_can_be_appended_alike(self, store: Store) -> None:
        run = contract_run()
        kept(store, [to_record(event) if event.seq % 2 else event for event in run])
        assert list(store.read("run-1")) == [to_record(event) for event in run]

    def test_pages_hold_the_same_records_as_json_arrays(self, store: Store) -> None:
        run = contract_run(nodes=3)
        for event in run:
            kept(store, [event])
        arrays = [msgspec.json.decode(page, type=list[msgspec.Raw]) for page in store.pages("run-1")]
        assert [bytes(raw) for array in arrays for raw in array] == [to_record(event) for event in run]

    def test_appending_again_changes_nothing(self, store: Store) -> None:
        run = contract_run()
        for some in (run, run, run[3:9], run[::-1]):
            kept(store, some)
        assert list(store.read("run-1")) == [to_record(event) for event in run]
        assert store.list_runs()[0].events == len(run)

    def test_records_out_of_order_and_in_pieces_are_read_in_order(self, store: Store) -> None:
        run = contract_run()
        for some in (run[8:10], run[2:4], run[12:3:-2], run[:1], run[5:7], run[::-1], run[1:3]):
            kept(store, some)
        assert list(store.read("run-1")) == [to_record(event) for event in run]
        assert store.list_runs()[0].events == len(run)
        assert store.verify() == []

    def test_several_runs_told_in_turns_do_not_mix(self, store: Store) -> None:
        runs = [contract_run(run_id) for run_id in ("a", "b", "c")]
        kept(store, [event for events in zip(*runs, strict=True) for event in events])
        for run in runs:
            assert list(store.read(run[0].run_id)) == [to_record(event) for event in run]

    def test_reading_goes_on_after_a_seq(self, store: Store) -> None:
        run = contract_run()
        kept(store, run[:5])
        kept(store, run[5:])
        for after in (0, 1, 4, 5, 6, len(run), 10**6):
            assert list(store.read("run-1", after_seq=after)) == [to_record(event) for event in run[after:]]

    def test_the_last_records_are_read_alone(self, store: Store) -> None:
        run = contract_run()
        for first in range(0, len(run), 4):
            kept(store, run[first : first + 4])
        for last in (0, 1, 4, 5, len(run), 10**6):
            assert list(store.read("run-1", last=last)) == [to_record(event) for event in run[-last:] if last]

    def test_reading_a_run_that_is_not_there_names_it(self, store: Store) -> None:
        for read in (store.read, store.pages, store.tail):
            with pytest.raises(RunNotFoundError, match="no run 'nobody'"):
                list(read("nobody", **({"timeout": 0} if read == store.tail else {})))

    def test_what_is_no_record_is_refused_at_once(self, store: Store) -> None:
        with pytest.raises(RecordError):
            store.append([b"nonsense"])

    @pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: repr(value)[:20])
    def test_hostile_values_come_back_equal(self, store: Store, value: Any) -> None:
        event = ValueMade(value, run_id="r", seq=1, timestamp=_T0, monotonic_ns=1)
        kept(store, [event])
        (record,) = store.read("r")
        back: Any = from_record(record)
        assert record == to_record(event)
        assert repr(back.value) == repr(value) or len(repr(value)) > 4096

    def test_hostile_names_are_kept_listed_found_and_deleted(self, store: Store) -> None:
        for name in HOSTILE_NAMES:
            kept(store, contract_run(name, pipeline=name))
        assert [info.run_id for info in store.list_runs()] == [*HOSTILE_NAMES[::-1]]
        for name in HOSTILE_NAMES:
            assert list(store.read(name)) == [to_record(event) for event in contract_run(name, pipeline=name)]
            assert store.find(name) == name
            assert [info.run_id for info in store.list_runs(pipeline=name)] == [name]
        for number, name in enumerate(HOSTILE_NAMES, 1):
            store.delete(name)
            assert len(store.list_runs()) == len(HOSTILE_NAMES) - number
        assert store.verify() == []

    def test_a_seq_beyond_64_bits_is_refused_and_costs_only_itself(self, store: Store) -> None:
        store.append([ev.NodeStarted("n", 1, run_id="r", seq=seq) for seq in (2**70, 2**63 - 1, -(2**70), 0, 1)])
        with pytest.raises(StoreWriteError, match="64 bits"):
            store.flush()
        assert [from_record(record).seq for record in store.read("r")] == [0, 1, 2**63 - 1]
        assert store.statistics()["refused"] == 2

    # --- the runs ---

    def test_runs_are_listed_newest_first_with_what_their_events_told(self, store: Store) -> None:
        kept(store, contract_run("run-1"))
        kept(store, contract_run("run-2")[:-1])
        second, first = store.list_runs()
        assert (first.run_id, first.pipeline, first.status, first.duration_ms) == ("run-1", "etl", "succeeded", 40.0)
        assert (first.nodes, first.events, first.tags) == (5, 17, ("nightly", "eu"))
        assert first.started_at == _T0 + timedelta(milliseconds=1)
        assert first.bytes > 0
        assert (second.run_id, second.status, second.duration_ms) == ("run-2", "running", None)
        assert store.last_run_id() == "run-2"

    def test_an_empty_store_has_no_runs(self, store: Store) -> None:
        assert store.list_runs() == []
        assert store.last_run_id() is None
        assert store.verify() == []
        store.flush()

    def test_runs_are_filtered_by_pipeline_status_time_and_tag(self, store: Store) -> None:
        for day in range(4):
            at = _T0 + timedelta(days=day)
            kept(store, contract_run(f"run-{day}", pipeline=f"p{day % 2}", at=at)[: None if day else -1])
        ids = [
            [info.run_id for info in store.list_runs(**filters)]
            for filters in (
                {"pipeline": "p1"},
                {"status": "running"},
                {"since": _T0 + timedelta(days=2)},
                {"until": _T0 + timedelta(days=2)},
                {"since": (_T0 + timedelta(days=1)).replace(tzinfo=None), "until": _T0 + timedelta(days=2)},
                {"tag": "eu", "pipeline": "p0"},
                {"tag": "e"},
                {"pipeline": ""},
            )
        ]
        assert ids == [
            ["run-3", "run-1"], ["run-0"], ["run-3", "run-2"], ["run-1", "run-0"], ["run-1"], ["run-2", "run-0"], [], []
        ]  # fmt: skip

    def test_a_run_is_found_by_the_beginning_of_its_id(self, store: Store) -> None:
        with pytest.raises(RunNotFoundError, match="there is no run in"):
            store.find("last")
        for run_id in ("abc-1", "abd-2", "ab", "a_c"):
            kept(store, contract_run(run_id))
        assert (store.find("abc"), store.find("ab"), store.find("a_")) == ("abc-1", "ab", "a_c")
        assert store.find("last") == store.last_run_id()
        with pytest.raises(RunNotFoundError, match="several"):
            store.find("a")
        with pytest.raises(RunNotFoundError, match="no run 'A'"):
            store.find("A")

    def test_a_deleted_run_is_gone_and_may_come_again(self, store: Store) -> None:
        kept(store, contract_run())
        kept(store, contract_run("other"))
        store.delete("run-1")
        assert [info.run_id for info in store.list_runs()] == ["other"]
        with pytest.raises(RunNotFoundError):
            store.delete("run-1")
        kept(store, contract_run())
        assert len(list(store.read("run-1"))) == len(list(store.read("other"))) == 17

    def test_pruning_by_age_removes_old_runs_whole(self, store: Store) -> None:
        now = datetime.now(UTC)
        for run_id, days in (("old", 40), ("older", 50), ("new", 1)):
            kept(store, contract_run(run_id, at=now - timedelta(days=days)))
        asked = store.prune(max_age=timedelta(days=30), dry_run=True)
        assert len(store.list_runs()) == 3
        assert asked == store.prune(max_age=timedelta(days=30))
        assert [info.run_id for info in asked] == ["older", "old"]
        assert [info.run_id for info in store.list_runs()] == ["new"]
        assert len(list(store.read("new"))) == 17

    def test_pruning_by_size_removes_the_oldest_but_no_run_that_is_being_written(self, store: Store) -> None:
        kept(store, contract_run("under way")[:-1])
        for number in range(4):
            kept(store, contract_run(f"run-{number}"))
        size = store.list_runs()[0].bytes
        store.prune(max_bytes=int(3.5 * size))
        assert [info.run_id for info in store.list_runs()] == ["run-3", "run-2", "under way"]
        assert store.prune() == []
        store.prune(max_bytes=0)
        assert [info.run_id for info in store.list_runs()] == ["under way"]

    def test_pruning_counts_what_age_removes_before_it_goes_by_size(self, store: Store) -> None:
        """Runs come in any order (imported ones late), and the oldest is the one that began first."""
        now = datetime.now(UTC)
        for run_id, days in (("middle", 5), ("new", 1), ("old", 40)):
            kept(store, contract_run(run_id, at=now - timedelta(days=days)))
        size = store.list_runs()[0].bytes
        gone = store.prune(max_age=timedelta(days=30), max_bytes=int(2.5 * size), dry_run=True)
        assert [info.run_id for info in gone] == ["old"]
        gone = store.prune(max_bytes=int(1.5 * size))
        assert [info.run_id for info in gone] == ["old", "middle"]

    @pytest.mark.parametrize("reading", ["read", "pages"])
    def test_a_run_that_is_deleted_while_it_is_read_is_not_called_damaged(
        self, open_store: Callable[[], Store], reading: str
    ) -> None:
        first, second = open_store(), open_store()
        for start in range(0, 302, 60):
            kept(first, contract_run(nodes=100)[start : start + 60])
        going = getattr(first, reading)("run-1")
        next(going)
        second.delete("run-1")
        kept(second, contract_run("other", nodes=100))
        with pytest.raises(RunNotFoundError, match="deleted"):
            list(going)

    def test_runs_that_are_deleted_while_all_is_checked_are_not_called_damaged(
        self, open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = open_store(), open_store()
        for run_id in ("gone", "stays"):
            kept(first, contract_run(run_id)[:-1])
        listed, before = first.list_runs, first.list_runs()
        answers = iter([before])
        monkeypatch.setattr(first, "list_runs", lambda: next(answers, None) or listed())
        second.delete("gone")
        assert [(found.run_id, found.problem) for found in first.verify()] == [("stays", "unclean end")]

    # --- several writers and readers ---

    def test_several_handles_write_one_store_at_once(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(4)]

        def write(number: int) -> None:
            for event in contract_run(f"run-{number}", nodes=20):
                stores[number].put(event)
                if event.seq % 7 == 0:
                    stores[number].flush()
            stores[number].flush()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [info.events for info in stores[0].list_runs()] == [62] * 4
        assert stores[0].verify() == []

    def test_a_second_writer_of_a_run_is_refused_and_the_first_is_not_disturbed(
        self, open_store: Callable[[], Store]
    ) -> None:
        first, second = open_store(), open_store()
        mine = contract_run()
        kept(first, mine[:6])
        second.append(contract_run(at=_T0 + timedelta(hours=1)))
        with pytest.raises(RunTakenError, match="run 'run-1' with other events"):
            second.flush()
        kept(first, mine[6:])
        assert second.statistics()["refused"] == len(mine)
        assert list(first.read("run-1")) == [to_record(event) for event in mine]
        kept(second, contract_run("run-2"))

    def test_equal_records_from_a_second_handle_are_harmless(self, open_store: Callable[[], Store]) -> None:
        first, second = open_store(), open_store()
        run = contract_run()
        kept(first, run[:6])
        kept(second, run[:8])
        kept(first, run)
        assert list(second.read("run-1")) == [to_record(event) for event in run]

    def test_another_event_under_a_known_seq_is_refused_alone(self, store: Store) -> None:
        run = contract_run()
        kept(store, run[:6])
        store.append([msgspec.structs.replace(run[2], monotonic_ns=5), *run[6:]])
        with pytest.raises(RunTakenError, match="event 3"):
            store.flush()
        assert list(store.read("run-1")) == [to_record(event) for event in run]

    def test_a_reader_sees_what_another_handle_has_flushed(self, open_store: Callable[[], Store]) -> None:
        writer, reader = open_store(), open_store()
        run = contract_run()
        for end in range(1, len(run) + 1):
            kept(writer, [run[end - 1]])
            assert len(list(reader.read("run-1"))) == end

    def test_tail_follows_a_run_that_another_handle_writes_until_its_end(self, open_store: Callable[[], Store]) -> None:
        writer, reader = open_store(), open_store()
        run = contract_run(nodes=10)
        seen: list[bytes] = []
        done = threading.Thread(target=lambda: seen.extend(reader.tail("run-1", timeout=_PATIENCE_S, poll_s=0.005)))
        done.start()
        for event in run:
            kept(writer, [event])
        done.join(_PATIENCE_S)
        assert seen == [to_record(event) for event in run]

    def test_tail_ends_by_its_limit_or_on_request_and_begins_after_a_seq(self, store: Store) -> None:
        run = contract_run()
        kept(store, run[:-1])
        expected = [to_record(event) for event in run[4:-1]]
        assert list(store.tail("run-1", 4, timeout=0.05)) == expected
        assert list(store.tail("run-1", 4, timeout=None, stop=lambda: True)) == expected

    # --- life ---

    def test_flush_takes_both_durabilities_and_no_other_word(self, store: Store) -> None:
        for durability in ("os", "disk"):
            store.append(contract_run(durability))
            store.flush(durability)
            assert store.statistics()["queued"] == 0
        with pytest.raises(ValueError, match="durability"):
            store.flush("moon")

    def test_closing_twice_is_fine_and_writes_what_was_queued(self, open_store: Callable[[], Store]) -> None:
        store = open_store()
        store.append(contract_run())
        store.close()
        store.close()
        store.append(contract_run("late"))
        assert store.statistics() == {"written": 17, "queued": 0, "refused": 0, "lost": 17}
        assert [info.run_id for info in open_store().list_runs()] == ["run-1"]

    def test_a_run_without_an_end_is_unclean_not_corrupt(self, store: Store) -> None:
        kept(store, contract_run()[:-1])
        assert [(problem.run_id, problem.problem) for problem in store.verify()] == [("run-1", "unclean end")]

    def test_a_damaged_record_is_found_named_and_left_out_on_request(self, store: Store) -> None:
        if self.damage is None:
            pytest.skip("this store defines no damage()")
        run = contract_run()
        kept(store, run)
        type(self).damage(store)  # type: ignore[misc]
        problems = store.verify()
        assert len(problems) == 1
        assert problems[0].problem == "damaged record"
        with pytest.raises(StoreCorruptError, match=f"event {problems[0].seq} of run 'run-1'"):
            list(store.read("run-1"))
        with pytest.raises(StoreCorruptError):
            list(store.pages("run-1"))
        rest = [to_record(event) for event in run if event.seq != problems[0].seq]
        assert list(store.read("run-1", damaged="skip")) == rest

    def test_a_damaged_record_is_healed_by_appending_it_again(self, store: Store) -> None:
        if self.damage is None:
            pytest.skip("this store defines no damage()")
        kept(store, contract_run())
        type(self).damage(store)  # type: ignore[misc]
        kept(store, contract_run())
        assert store.verify() == []
        assert len(list(store.read("run-1"))) == 17
        assert store.list_runs()[0].events == 17
