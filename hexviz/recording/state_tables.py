"""What a :class:`~hexviz.recording.state.RunState` is made of: its tables of nodes, attempts and waves, and its lists.

Times are milliseconds since the run began; -1 stands for "not yet".
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

STATUSES = ("pending", "running", "retrying", "succeeded", "failed", "skipped", "fell_back", "cancelled")
"""The words for nodes and attempts; their places in this tuple are the codes in the columns."""
_COUNTABLE = 2**32
PENDING, RUNNING, RETRYING, SUCCEEDED, FAILED, SKIPPED, FELL_BACK, CANCELLED = range(8)


@dataclass(slots=True)
class Decision:
    """One decision of control, as it is listed.

    Where nobody decided (``proceed``), ``decided_by`` and ``reason`` tell of the handler that failed, or of the shadow
    handler that would have interfered.
    """

    seq: int
    offset_ms: float
    signal: str
    event_type: str
    node: str
    wave: int
    attempt: int
    decided_by: str
    reason: str
    shadow: bool


@dataclass(slots=True)
class Failure:
    """One attempt that raised, or the run itself (``node`` is then empty)."""

    offset_ms: float
    node: str
    wave: int
    attempt: int
    error_type: str
    message: str
    traceback: str


@dataclass(slots=True)
class Call:
    """One call of a tool or a language model; ``end_ms`` is -1 while it runs."""

    node: str
    attempt: int
    kind: str
    name: str
    start_ms: float
    end_ms: float = -1.0
    status: str = "running"
    tokens: int = 0


def counted(number: int) -> int:
    """``number`` as the tables can hold it: a foreign recording may hold any."""
    return number if 0 <= number < _COUNTABLE else min(max(0, number), _COUNTABLE - 1)


@dataclass(slots=True)
class Wave:
    """One wave: how many nodes it has, how many lanes its attempts take beside each other, when it ran."""

    index: int
    nodes: int = 0
    lanes: int = 0
    start_ms: float = -1.0
    end_ms: float = -1.0


@dataclass(slots=True)
class Columns:
    """One row per attempt, in the order of their starts.

    ``start_ms`` is when it was started or, as soon as that is known on its own (``NodePlaced``, or the ``duration_ms``
    of an attempt that ran elsewhere), when its code began. ``status`` holds codes (see :data:`STATUSES`), ``worker``
    those of :class:`Workers`.
    """

    node: array[int] = field(default_factory=lambda: array("I"))
    attempt: array[int] = field(default_factory=lambda: array("I"))
    lane: array[int] = field(default_factory=lambda: array("I"))
    status: array[int] = field(default_factory=lambda: array("B"))
    ready_ms: array[float] = field(default_factory=lambda: array("d"))
    start_ms: array[float] = field(default_factory=lambda: array("d"))
    end_ms: array[float] = field(default_factory=lambda: array("d"))
    backoff_ms: array[float] = field(default_factory=lambda: array("d"))
    worker: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.node)

    def append(self, node: int, attempt: int, lane: int, ready_ms: float, start_ms: float) -> int:
        """Add a running attempt; return its row."""
        self.node.append(node)
        self.attempt.append(attempt if attempt == 1 else counted(attempt))
        self.lane.append(lane)
        self.status.append(RUNNING)
        self.ready_ms.append(ready_ms)
        self.start_ms.append(start_ms)
        self.end_ms.append(-1.0)
        self.backoff_ms.append(0.0)
        self.worker.append(0)
        return len(self.node) - 1


_LABELS = frozenset({"process", "dask"})
"""What the runners of hexviz say instead of a worker while they have not chosen one; words of others are learned."""


class Workers:
    """The names of workers by their code; code 0 stands for "none is known"."""

    def __init__(self) -> None:
        self.names = [""]
        self.lost_ms: dict[int, float] = {}
        """When each worker was found dead that has not been heard of since, in milliseconds after the run began."""
        self.labels: set[int] = set()
        """The codes that name no worker: an attempt that bears one waits until it is placed."""
        self._codes: dict[str, int] = {"": 0}
        self._placed: set[int] = set()
        self._turns: list[tuple[int, int, float]] = []

    def __len__(self) -> int:
        return len(self.names) - 1

    def code_of(self, name: str) -> int:
        """The code of a worker, or of the word that a runner says while it has not chosen one."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
            if name in _LABELS:
                self.labels.add(code)
        return code

    def waits(self, code: int) -> bool:
        """Whether an attempt with this code has not been placed, in a run that tells of it."""
        return code in self.labels and bool(self._placed)

    def placed(self, name: str, number: int, before: int = 0) -> int:
        """The code of a worker on which an attempt begins, as event ``number`` of the run tells: it is alive.

        ``before`` is the code that the attempt had until now.
        """
        code = self.code_of(name)
        if before and before != code and before not in self._placed:
            self.labels.add(before)
        self.labels.discard(code)
        self._placed.add(code)
        if code in self.lost_ms:
            self._turn(number, code, -1.0)
        return code

    def lose(self, code: int, at_ms: float, number: int) -> None:
        """An attempt was lost with this worker; nothing where none had begun on it, or it is known."""
        if code in self._placed and code not in self.lost_ms:
            self._turn(number, code, at_ms)

    def _turn(self, number: int, code: int, lost_ms: float) -> None:
        self._turns.append((number, code, lost_ms))
        self._apply(code, lost_ms)

    def _apply(self, code: int, lost_ms: float) -> None:
        if lost_ms >= 0.0:
            self.lost_ms[code] = lost_ms
        else:
            del self.lost_ms[code]

    def after(self, count: int) -> Workers:
        """As it was known after ``count`` events of the run which of them were dead. The names are shared."""
        then = Workers()
        then.names, then._codes, then.labels = self.names, self._codes, self.labels
        for number, code, lost_ms in self._turns:
            if number <= count:
                then._apply(code, lost_ms)
        return then


@dataclass(slots=True)
class Nodes:
    """One row per node, in topological order; ``settled_ms`` is when its status last became final (-1: not yet)."""

    name: list[str] = field(default_factory=list)
    wave: array[int] = field(default_factory=lambda: array("I"))
    status: array[int] = field(default_factory=lambda: array("B"))
    settled_ms: array[float] = field(default_factory=lambda: array("d"))
    parents: list[tuple[str, ...]] = field(default_factory=list)
    code: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.name)

    def append(self, name: str, wave: int, parents: tuple[str, ...] = ()) -> int:
        """Add a pending node; return its code."""
        code = self.code[name] = len(self.name)
        self.name.append(name)
        self.wave.append(counted(wave))
        self.status.append(PENDING)
        self.settled_ms.append(-1.0)
        self.parents.append(parents)
        return code

    def extend(self, infos: Iterable[Any]) -> range:
        """Add pending nodes (name, wave_index, dependencies each), but none that is known; return the new codes."""
        first, code = len(self.name), self.code
        named = {info.name: info for info in reversed(tuple(infos))}  # of two with one name, the first
        new = [info for name, info in reversed(named.items()) if name not in code]
        names = [info.name for info in new]
        waves = array("I", [counted(info.wave_index) for info in new])
        parents = [tuple(info.dependencies) for info in new]
        added = range(first, first + len(new))
        code.update(zip(names, added, strict=True))
        self.name.extend(names)
        self.wave.extend(waves)
        self.status.frombytes(bytes((PENDING,)) * len(new))
        self.settled_ms.extend(array("d", [-1.0]) * len(new))
        self.parents.extend(parents)
        return added

    def edges(self) -> list[tuple[int, int]]:
        """(parent, child) codes; parents that are not in the run are left out."""
        code, size = self.code, len(self)
        pairs = ((code.get(p, size), child) for child, parents in enumerate(self.parents) for p in parents)
        return [(parent, child) for parent, child in pairs if parent < size]


@dataclass(slots=True)
class Delta:
    """What changed since the last delta: row and node indices, and where the new names, decisions, failures begin."""

    full: bool
    rows: list[int]
    nodes: list[int]
    waves: list[int]
    first_name: int
    first_decision: int
    first_failure: int
