"""What every store can read and check, whatever it keeps its segments in."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Any

from hexviz.stores.errors import RunNotFoundError, StoreCorruptError
from hexviz.stores.run_info import Problem, RunInfo, Wanted, micros
from hexviz.stores.segments import Opened, Segment, is_whole, open_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_POLL_S = 0.05
_NAMED = 5
_SKIP = 'read(..., damaged="skip") gives the others'


class StoreReading(ABC):
    """The reading half of a :class:`~hexviz.stores.store.Store`: runs and records as they stand, and what is damaged.

    It stands on the methods of the last section and on nothing that writes.
    """

    where: str

    # --- the runs ---

    def list_runs(
        self,
        *,
        pipeline: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tag: str | None = None,
    ) -> list[RunInfo]:
        """The runs, newest first; filters combine. ``since <= started_at < until``; a naive time is UTC."""
        infos = self._list_runs(Wanted(pipeline, status, micros(since), micros(until)))
        return [info for info in infos if tag is None or tag in info.tags]

    def last_run_id(self) -> str | None:
        """The newest run; None in an empty store."""
        return next(iter(self._run_ids("", 1)), None)

    def find(self, prefix: str) -> str:
        """The one run whose id is, or begins with, ``prefix``; ``"last"`` is the newest.

        Raises :class:`RunNotFoundError` for none or several.
        """
        if self._info(prefix) is not None:
            return prefix
        if prefix == "last":
            newest = self.last_run_id()
            if newest is None:
                raise RunNotFoundError(f"there is no run in {self.where}; make one with: hexviz demo")
            return newest
        found = self._run_ids(prefix, _NAMED + 1)
        if len(found) == 1:
            return found[0]
        if found:
            raise RunNotFoundError(f"several runs begin with {prefix!r}: {', '.join(found[:_NAMED])}")
        raise self._no_run(prefix)

    # --- reading ---

    def read(
        self, run_id: str, after_seq: int | None = None, *, last: int | None = None, damaged: str = "raise"
    ) -> Iterator[bytes]:
        """The records of a run in order of their seq, a segment at a time: all, those after a seq, or the ``last`` n.

        What is committed while reading is seen too. A damaged record raises :class:`StoreCorruptError`, or is left
        out with ``damaged="skip"``; so do records that are counted and not there.
        """
        info = self._info_of(run_id)
        if last is not None:
            yield from self._read_last(run_id, last, skip=damaged == "skip")
            return
        seen = 0
        for segment in self._segments(run_id, after_seq):
            opened = self._opened(run_id, segment, skip=damaged == "skip")
            seen += len(opened.records)
            if after_seq is None or segment.first_seq > after_seq:
                yield from opened.records
            else:
                yield from (r for seq, r in zip(opened.seqs, opened.records, strict=True) if seq > after_seq)
        if after_seq is None and seen < info.events and damaged != "skip":
            raise self._damage(run_id, f"run {run_id!r} has {info.events} events, {seen} are there")

    def _read_last(self, run_id: str, last: int, *, skip: bool) -> Iterator[bytes]:
        found: list[bytes] = []
        for segment in self._segments(run_id, None, backwards=True) if last > 0 else ():
            found[:0] = self._opened(run_id, segment, skip=skip).records
            if len(found) >= last:
                break
        yield from found[-last:] if last > 0 else ()

    def pages(self, run_id: str) -> Iterator[bytes]:
        """The records of a run as JSON arrays, in order, each checked as a whole: the quick way to all of a run.

        Raises :class:`StoreCorruptError` for a page that is damaged, and where events are missing.
        """
        yield from self._pages_after(self._info_of(run_id), None, 0)

    def _pages_after(self, info: RunInfo, after_seq: int | None, seen: int) -> Iterator[bytes]:
        """The pages after a segment that ends with ``after_seq``, where ``seen`` events came before."""
        run_id = info.run_id
        for segment in self._segments(run_id, after_seq):
            if not is_whole(run_id, segment):
                self._opened(run_id, segment, skip=False)
                raise self._damage(run_id, f"a page of run {run_id!r} is damaged")
            seen += segment.length
            yield segment.page
        if seen < info.events:
            raise self._damage(run_id, f"run {run_id!r} has {info.events} events, {seen} are there")

    def tail(
        self,
        run_id: str,
        after_seq: int | None = None,
        *,
        timeout: float | None = 30.0,
        stop: Callable[[], bool] | None = None,
        poll_s: float = _POLL_S,
    ) -> Iterator[bytes]:
        """The records of a run, and those that anybody adds while this goes on, until the run has ended.

        Ends too when nothing new came for ``timeout`` seconds (None: waits for ever), and when ``stop()`` is true. A
        run that is not there yet is waited for; :class:`RunNotFoundError` where it does not come in time.
        """
        since, known = time.monotonic(), False
        while True:
            info = self._info(run_id)
            known = known or info is not None
            for segment in self._segments(run_id, after_seq) if info is not None else ():
                opened = self._opened(run_id, segment, skip=False)
                for seq, record in zip(opened.seqs, opened.records, strict=True):
                    if after_seq is None or seq > after_seq:
                        after_seq, since = seq, time.monotonic()
                        yield record
            if (info is not None and info.status != "running") or (known and info is None) or (stop and stop()):
                return
            if timeout is not None and time.monotonic() - since > timeout:
                if not known:
                    raise self._no_run(run_id)
                return
            time.sleep(poll_s)

    def opened(self, run_id: str) -> Iterator[Opened]:
        """Of each segment of a run what is whole of it, and the numbers of what is not; never an error for damage."""
        return (open_segment(run_id, segment) for segment in self._segments(run_id, None))

    def _opened(self, run_id: str, segment: Segment, *, skip: bool) -> Any:
        opened = open_segment(run_id, segment)
        if opened.damaged and not skip:
            seqs = ", ".join(map(str, islice(opened.damaged, _NAMED))) or "?"
            more = f" and {len(opened.damaged) - _NAMED} more" if len(opened.damaged) > _NAMED else ""
            raise self._damage(run_id, f"event {seqs}{more} of run {run_id!r} is damaged (its checksum does not match)")
        return opened

    def _damage(self, run_id: str, found: str) -> RunNotFoundError | StoreCorruptError:
        """The error for what is damaged; another one where the run was deleted while it was read."""
        if self._info(run_id) is None:
            return RunNotFoundError(f"{self.where}: run {run_id!r} was deleted while it was read")
        return StoreCorruptError(f"{self.where}: {found}. {_SKIP}")

    # --- checking ---

    def verify(self) -> list[Problem]:
        """Read everything: damaged records, runs without an end ("unclean end"), damage of the store itself."""
        found: list[Problem] = []
        for info in reversed(self.list_runs()):
            try:
                found += self._verify_run(info)
            except StoreCorruptError as error:
                found.append(Problem(info.run_id, 0, str(error)))
        there = {info.run_id for info in self.list_runs()} if found else set()  # others were deleted meanwhile
        return [*self._own_problems(), *(problem for problem in found if problem.run_id in there)]

    def _verify_run(self, info: RunInfo) -> Iterator[Problem]:
        seen, last = 0, None
        for segment in self._segments(info.run_id, None):
            opened = open_segment(info.run_id, segment)
            seen += len(opened.records) + len(opened.damaged)
            yield from (Problem(info.run_id, seq, "damaged record") for seq in opened.damaged)
            if not opened.damaged and not is_whole(info.run_id, segment):
                yield Problem(info.run_id, segment.first_seq, "damaged marks, its records are whole")
            if last is not None and opened.seqs and opened.seqs[0] <= last:
                yield Problem(info.run_id, opened.seqs[0], "segments overlap")
            last = opened.seqs[-1] if opened.seqs else last
        if seen < info.events:  # more: somebody added some meanwhile
            yield Problem(info.run_id, 0, f"{info.events} events were counted, {seen} are there")
        if info.status == "running":
            yield Problem(info.run_id, 0, "unclean end")

    def _no_run(self, run_id: str) -> RunNotFoundError:
        return RunNotFoundError(f"there is no run {run_id!r} in {self.where}; `hexviz runs` lists what there is")

    def _info_of(self, run_id: str) -> RunInfo:
        info = self._info(run_id)
        if info is None:
            raise self._no_run(run_id)
        return info

    # --- what a store of another kind defines ---

    @abstractmethod
    def _list_runs(self, wanted: Wanted) -> list[RunInfo]:
        """The runs that are wanted, newest first."""

    @abstractmethod
    def _info(self, run_id: str) -> RunInfo | None:
        """One run; None where there is none of exactly that id."""

    @abstractmethod
    def _run_ids(self, prefix: str, most: int) -> list[str]:
        """The newest ids that begin with ``prefix`` (character by character, no patterns), at most so many."""

    @abstractmethod
    def _segments(self, run_id: str, after_seq: int | None, *, backwards: bool = False) -> Iterator[Segment]:
        """The segments of a run that end after ``after_seq``, in order of their seqs, read one or a few at a time."""

    @abstractmethod
    def _own_problems(self) -> list[Problem]:
        """Damage of what the store keeps its segments in."""
