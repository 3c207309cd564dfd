"""A store against a list: whatever is done in whatever order, what flush acknowledged is there (fuzz target 11)."""

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hexviz.events import events as ev
from hexviz.events.schema import from_record, to_record
from hexviz.stores.errors import RunTakenError, StoreCorruptError
from hexviz.stores.salvage import salvage
from hexviz.stores.sqlite import SQLiteStore
from tests.recording.made_events import T0

RUNS = ("a", "b", "\ud800")
DATA = Path(__file__).parent / "data"


def event_of(run_id, seq, *, ended=False):
    facts = {"run_id": run_id, "seq": seq, "timestamp": T0, "monotonic_ns": seq}
    return ev.PipelineCompleted("p", 1.0, **facts) if ended else ev.NodeStarted(f"n{seq}", 1, **facts)


class StoreAgainstAList(RuleBasedStateMachine):
    """``acked`` is what flush acknowledged, by run and seq; ``queued`` what was put since."""

    @initialize(layout=st.sampled_from([1, 2, None]))
    def open_new(self, layout):
        self.place = Path(tempfile.mkdtemp())
        self.path = self.place / "runs.db"
        self.acked = {}
        if layout is not None:
            shutil.copyfile(DATA / f"layout-{layout}.db", self.path)
            with SQLiteStore(self.path) as store:
                for info in store.list_runs():
                    records = {from_record(record).seq: record for record in store.read(info.run_id)}
                    self.acked[info.run_id] = records
        self.queued = []
        self.generation = 0
        self.store = SQLiteStore(self.path)

    # --- what a user does ---

    @rule(run=st.sampled_from(RUNS), seqs=st.lists(st.integers(-3, 40), min_size=1, max_size=12))
    def emit(self, run, seqs):
        for seq in seqs:
            event = event_of(run, seq)
            self.store.put(event)
            self.queued.append(event)

    @rule(run=st.sampled_from(RUNS), first=st.integers(1, 60), count=st.integers(1, 40))
    def emit_in_order(self, run, first, count):
        self.emit(run, list(range(first, first + count)))

    @rule(durability=st.sampled_from(["os", "disk"]))
    def flush(self, durability):
        self.store.flush(durability)
        for event in self.queued:
            self.acked.setdefault(event.run_id, {}).setdefault(event.seq, to_record(event))
        self.queued = []

    @rule(run=st.sampled_from(RUNS))
    def append_again(self, run):
        self.flush("os")
        self.store.append(list(self.acked.get(run, {}).values()))

    @precondition(lambda self: self.acked)
    @rule(data=st.data())
    def another_event_under_a_known_seq_is_refused(self, data):
        self.flush("os")
        run = data.draw(st.sampled_from(sorted(self.acked, key=repr)))
        seq = data.draw(st.sampled_from(sorted(self.acked[run])))
        with SQLiteStore(self.path) as other:
            other.append([msgspec.structs.replace(event_of(run, seq), monotonic_ns=10**6)])
            with contextlib.suppress(RunTakenError):
                other.flush()
                raise AssertionError("it was taken")

    @precondition(lambda self: self.acked)
    @rule(data=st.data())
    def delete(self, data):
        self.flush("os")
        run = data.draw(st.sampled_from(sorted(self.acked, key=repr)))
        self.store.delete(run)
        del self.acked[run]

    @rule()
    def prune(self):
        self.flush("os")
        gone = self.store.prune(max_bytes=0)
        assert {info.run_id for info in gone} <= set(self.acked)
        for info in gone:
            del self.acked[info.run_id]

    @rule()
    def close_and_open(self):
        self.store.close()
        self.flush_model()
        self.store = SQLiteStore(self.path)

    # --- what happens to it ---

    @rule()
    def die_and_open_a_copy(self):
        """What another process would find if this one were killed now: the file and its log as they are."""
        self.generation += 1
        copy = self.place / f"{self.generation}.db"
        self.flush("os")
        with sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True) as raw, sqlite3.connect(copy) as to:
            raw.backup(to)
        raw.close()
        to.close()
        self.store.close()
        self.path = copy
        self.store = SQLiteStore(copy)

    @precondition(lambda self: any(self.acked.values()))
    @rule(data=st.data())
    def damage_a_record_and_salvage(self, data):
        self.flush("os")
        run = data.draw(st.sampled_from(sorted((run for run, kept in self.acked.items() if kept), key=repr)))
        seq = data.draw(st.sampled_from(sorted(self.acked[run])))
        self.store.append([event_of(run, 1_000)])  # a run of layout 1 moves when something is added
        self.store.flush()
        self.acked[run][1_000] = to_record(event_of(run, 1_000))
        self.store.close()
        record = self.acked[run][seq]
        with sqlite3.connect(self.path) as raw:
            for key, page in raw.execute("SELECT id, page FROM segments").fetchall():
                if record in page:
                    changed = page.replace(record, record.replace(b'"seq":', b'"sEq":', 1))
                    raw.execute("UPDATE segments SET page = ? WHERE id = ?", (changed, key))
        raw.close()
        with SQLiteStore(self.path) as damaged:
            try:
                list(damaged.read(run))
                raise AssertionError("the damage was not seen")
            except StoreCorruptError:
                pass
            left = [kept for number, kept in sorted(self.acked[run].items()) if number != seq]
            assert list(damaged.read(run, damaged="skip")) == left
        self.generation += 1
        done = salvage(self.path, self.place / f"{self.generation}.db")
        assert [lost.seq for lost in done.lost if lost.run_id == run][:1] == [seq]
        del self.acked[run][seq]
        if not self.acked[run]:  # nothing tells of the run any more
            del self.acked[run]
        self.path = done.path
        self.store = SQLiteStore(done.path)

    # --- the oracle ---

    def flush_model(self):
        for event in self.queued:
            self.acked.setdefault(event.run_id, {}).setdefault(event.seq, to_record(event))
        self.queued = []

    @invariant()
    def acknowledged_records_are_there_once_and_in_order(self):
        for run, records in self.acked.items():
            there = {from_record(record).seq: record for record in self.store.read(run)}
            assert {seq: there[seq] for seq in records} == records
            assert list(there) == sorted(there)

    def teardown(self):
        if hasattr(self, "store"):
            self.flush("os")
            assert {info.run_id: info.events for info in self.store.list_runs()} == {
                run: len(records) for run, records in self.acked.items() if records
            }
            assert {found.problem for found in self.store.verify()} <= {"unclean end"}
            self.store.close()
            shutil.rmtree(self.place)


TestStoreAgainstAList = StoreAgainstAList.TestCase
TestStoreAgainstAList.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
