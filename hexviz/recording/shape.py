"""The graphs of all runs as arrays: the nodes that PipelineStarted tells, then those that only events know."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hexviz.events.events import NodeInfo, PipelineStarted
from hexviz.recording.arrays import Domain, Words
from hexviz.recording.attempts import scatter
from hexviz.recording.snapshot import factorised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.recording.arrays import Array
    from hexviz.recording.attempts import NodeEvents
    from hexviz.recording.snapshot import Snapshot


class Graphs:
    """Each distinct graph once, its nodes one after the other.

    ``node`` (text code), ``wave`` and ``parent_counts`` are those of each node,
    ``parents`` the parents of all of them. ``run`` and ``info`` are the run and the number of each node that a run was
    told of.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        table = snapshot.table(PipelineStarted)
        codes, told = (np.zeros(0, dtype=np.int64), []) if table is None else table.coded("nodes")
        graphs = list(map(_sound, told))
        infos = [info for graph in graphs for info in graph]
        self.node = self._codes([info.name for info in infos])
        self.wave = np.array([_int64(info.wave_index) for info in infos], dtype=np.int64)
        self.parent_counts = np.array([len(info.dependencies) for info in infos], dtype=np.int64)
        self.parents = self._codes([parent for info in infos for parent in info.dependencies])
        size = np.array([len(graph) for graph in graphs], dtype=np.int64)
        runs = np.zeros(0, dtype=np.int64) if table is None else snapshot.run[table.place]
        self.run = np.repeat(runs, size[codes])
        self.info = ranges((np.cumsum(size) - size)[codes], size[codes])

    def _codes(self, names: Sequence[str]) -> Array:
        known = {name: self.snapshot.code(name) for name in dict.fromkeys(names)}
        return np.array([known[name] for name in names], dtype=np.int64)

    @cached_property
    def _domain(self) -> Domain:
        used = np.unique(np.concatenate([self.snapshot.named(), self.node, self.parents]))
        return Domain(self.snapshot.texts_list, used)

    def names(self, codes: Array) -> Words:
        """Text codes as a column of names of nodes, the same categories in each frame."""
        return Words(codes, self.snapshot.texts_list, self._domain)


class Shape:
    """One row per node of each run, ordered by run: ``run``, ``node`` (text code), ``wave``, ``parents`` (count).

    ``row_of_event`` is the row of each event about a node.
    """

    def __init__(self, events: NodeEvents, graphs: Graphs) -> None:
        self._graphs = graphs
        self.names = graphs.names
        run = np.concatenate([graphs.run, events.run])
        node = np.concatenate([graphs.node[graphs.info], events.node]).astype(np.int64)
        wave = np.concatenate([graphs.wave[graphs.info], events.wave])
        info = np.concatenate([graphs.info, np.full(len(events.run), -1)])
        span = len(graphs.snapshot.texts_list) + 1
        key, found = factorised(run * span + node)
        first = scatter(len(found), key, np.arange(len(key)), default=0, last=False)
        by_run = np.argsort(run[first], kind="stable")
        row = np.empty(len(first), dtype=np.int64)
        row[by_run] = np.arange(len(first))
        self.row_of_event = row[key[len(graphs.run) :]]
        first = first[by_run]
        self.run, self.node, self.wave, self._info = run[first], node[first], wave[first], info[first]

    def __len__(self) -> int:
        return len(self.run)

    @cached_property
    def parents(self) -> Array:
        """How many parents each node has."""
        counts = np.append(self._graphs.parent_counts, 0)  # the last is for nodes that only events know
        found: Array = counts[self._info]
        return found

    @cached_property
    def edges(self) -> tuple[Array, Array]:
        """(text code of the parent, row of the child) of each dependency."""
        counts = self._graphs.parent_counts
        begin = np.append(np.cumsum(counts) - counts, 0)[self._info]
        child = np.repeat(np.arange(len(self)), self.parents)
        return self._graphs.parents[ranges(begin, self.parents)], child


def ranges(begin: Array, sizes: Array) -> Array:
    """The whole numbers from each ``begin`` on, so many of each, one after the other."""
    ends = np.cumsum(sizes)
    numbers: Array = np.arange(ends[-1] if len(ends) else 0)
    numbers += np.repeat(begin - (ends - sizes), sizes)
    return numbers


def _sound(graph: Any) -> list[NodeInfo]:
    """The nodes of a graph that are nodes: a foreign event may hold anything."""
    nodes = [info for info in graph if type(info) is NodeInfo] if type(graph) is tuple else []
    return [info for info in nodes if type(info.name) is str and type(info.dependencies) is tuple
            and all(type(parent) is str for parent in info.dependencies)]  # fmt: skip


def _int64(number: int) -> int:
    return number if type(number) is int and -(2**63) <= number < 2**63 else 0
