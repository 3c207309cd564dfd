"""How groups of records join a store of segments; the SQL, or whatever else, is the backend's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from hexviz.stores.errors import RunTakenError, StoreCorruptError, StoreError, StoreWriteError
from hexviz.stores.run_info import facts_of
from hexviz.stores.segments import MAX_SEQ, Segment, merge, pack_all
from hexviz.stores.writer import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from hexviz.stores.parts import Part


class SegmentLog(ABC):
    """Writes parts as segments: :class:`~hexviz.stores.writer.Log` with the rules that all stores share.

    - Records of a run are there once for each seq. One that comes again with equal bytes changes nothing.
    - One that comes with other bytes under a known seq is refused, with :class:`RunTakenError`.
    - If that happens to the first records of a run that this log writes, the run is somebody else's: none of its
      records is taken from this log any more. A second writer of a run id therefore stops at its first event.
    """

    passing: tuple[type[Exception], ...] = ()
    """Errors after which the same group is tried again."""

    def __init__(self) -> None:
        self._mine: set[str] = set()
        self._taken: set[str] = set()

    # --- the backend's part, always inside a transaction ---

    @abstractmethod
    def _transaction(self, *, to_disk: bool) -> AbstractContextManager[Any]:
        """One transaction that no other writer can be in; with ``to_disk`` its commit puts all so far on the disk."""

    @abstractmethod
    def _key_of(self, part: Part) -> Any:
        """What stands for the run in the backend; the run is made where it is not there."""

    @abstractmethod
    def _last_seq(self, key: Any) -> int | None:
        """The greatest seq of the run; None where it has no record."""

    @abstractmethod
    def _bounds(self, key: Any, low: int, high: int) -> list[tuple[int, int]]:
        """First and last seq, ascending, of the segments that have seqs between ``low`` and ``high``."""

    @abstractmethod
    def _load(self, key: Any, first_seq: int) -> Segment:
        """The segment that begins with ``first_seq``."""

    @abstractmethod
    def _remove(self, key: Any, first_seq: int) -> None:
        """Remove the segment that begins with ``first_seq``."""

    @abstractmethod
    def _add(self, key: Any, segments: Sequence[Segment]) -> None:
        """Add segments."""

    @abstractmethod
    def _tell(self, key: Any, added: int, facts: dict[str, Any]) -> None:
        """Add to the run's number of events, and set what ``facts`` say (see :func:`~.run_info.facts_of`)."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    # --- the rules ---

    def commit(self, parts: Sequence[Part], *, to_disk: bool) -> list[Refusal]:
        """Write all parts in one transaction. After an error the connection is not used again."""
        refusals: list[Refusal] = []
        begun, taken = set(self._mine), set(self._taken)
        try:
            with self._transaction(to_disk=to_disk):
                for part in parts:
                    self._write(part, refusals)
        except BaseException:
            self._mine, self._taken = begun, taken
            self.close()
            raise
        return refusals

    def catch_up(self) -> float | None:
        """Nothing is ever put off."""
        return None

    def _write(self, part: Part, refusals: list[Refusal]) -> None:
        run_id = part.run_id
        if run_id in self._taken:
            refusals.append(Refusal(len(part.seqs), _taken(run_id)))
            return
        key = self._key_of(part)
        seqs, records, refused = _in_order(part)
        if refused:
            refusals.append(Refusal(len(refused), _refused(run_id, refused)))
        if not seqs:
            return
        last = self._last_seq(key)
        if last is None or seqs[0] > last:
            self._add(key, pack_all(run_id, seqs, records))
            added: set[int] | None = set(seqs)
        else:
            try:
                added = self._merge(key, run_id, dict(zip(seqs, records, strict=True)), refusals)
            except StoreCorruptError as error:
                refusals.append(Refusal(len(seqs), error))
                return
            if added is None:
                return
        self._mine.add(run_id)
        if added:
            self._tell(key, len(added), facts_of(event for event in part.facts if event.seq in added))

    def _merge(self, key: Any, run_id: str, given: dict[int, bytes], refusals: list[Refusal]) -> set[int] | None:
        """The seqs that were added; None where the run is somebody else's."""
        bounds = self._bounds(key, min(given), max(given))
        merged = merge(run_id, given, bounds, lambda first: self._load(key, first))
        if merged.refused and run_id not in self._mine:
            self._taken.add(run_id)
            refusals.append(Refusal(len(given), _taken(run_id, min(merged.refused))))
            return None
        if merged.refused:
            refusals.append(Refusal(len(merged.refused), _refused(run_id, merged.refused)))
        for first in merged.replaced:
            self._remove(key, first)
        self._add(key, merged.fresh)
        return set(merged.added)


def _in_order(part: Part) -> tuple[list[int], list[bytes], list[int]]:
    """The records by ascending seq, each once; and the seqs of those that cannot be kept."""
    seqs, records = part.seqs, part.records
    if all(map(int.__lt__, seqs, seqs[1:])) and (not seqs or (seqs[0] >= -MAX_SEQ and seqs[-1] <= MAX_SEQ)):
        return seqs, records, []
    known: dict[int, bytes] = {}
    refused = []
    for seq, record in zip(seqs, records, strict=True):
        if abs(seq) > MAX_SEQ or known.setdefault(seq, record) != record:
            refused.append(seq)
    ordered = sorted(known)
    return ordered, [known[seq] for seq in ordered], refused


def _taken(run_id: str, seq: int | None = None) -> StoreError:
    which = "" if seq is None else f" (event {seq} is another one)"
    return RunTakenError(
        f"the store has a run {run_id!r} with other events{which}: nothing more of this one is kept. "
        "Give it a run id of its own, or leave out run_id= to get one."
    )


def _refused(run_id: str, seqs: Sequence[int]) -> StoreError:
    first = min(seqs)
    if abs(first) > MAX_SEQ or abs(max(seqs)) > MAX_SEQ:
        return StoreWriteError(f"run {run_id!r}: a seq of more than 64 bits cannot be kept")
    return RunTakenError(
        f"run {run_id!r} has another event {first} already, or a damaged one beside it: this one is not kept"
    )
