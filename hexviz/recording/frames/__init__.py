"""The only birthplace of DataFrames from events. Every column is described in :mod:`hexviz.recording.layout`.

``python -m hexviz.recording.frames`` prints the page docs/frames.md.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hexviz.recording.arrays import from_rows
from hexviz.recording.attempts import Attempts, NodeEvents
from hexviz.recording.diagnostics import find_problems
from hexviz.recording.frames.attempts import attempts_frame
from hexviz.recording.frames.calls import calls_frame
from hexviz.recording.frames.decisions import decisions_frame
from hexviz.recording.frames.events import events_frame
from hexviz.recording.frames.nodes import NodeFacts, edges_frame, nodes_frame
from hexviz.recording.frames.observers import observers_frame
from hexviz.recording.frames.runs import runs_frame, waves_frame
from hexviz.recording.layout import COLUMNS, describe
from hexviz.recording.shape import Graphs, Shape
from hexviz.recording.snapshot import Snapshot
from hexviz.wiring import WITH_FRAMES

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.recording import Recording

__all__ = ["COLUMNS", "Frames", "describe"]


class Frames:
    """The frames of a recording as it stood when this was made, each built when first asked for.

    ``events, runs, waves, nodes, attempts, edges, decisions, calls, observers`` and ``diagnostics``. Columns and
    dtypes are the same when empty. Rows are ordered by run (in order of first event), then by ``seq``.
    """

    def __init__(self, recording: Recording) -> None:
        for bring in WITH_FRAMES:
            bring()
        self._snapshot = Snapshot(recording)
        self.length = self._snapshot.length

    def __repr__(self) -> str:
        return f"<Frames of {len(self._snapshot)} events: {', '.join(COLUMNS)}>"

    @cached_property
    def _node_events(self) -> NodeEvents:
        return NodeEvents(self._snapshot)

    @cached_property
    def _graphs(self) -> Graphs:
        return Graphs(self._snapshot)

    @cached_property
    def _shape(self) -> Shape:
        return Shape(self._node_events, self._graphs)

    @cached_property
    def _attempts(self) -> Attempts:
        return Attempts(self._node_events, self._shape)

    @cached_property
    def _nodes(self) -> NodeFacts:
        return NodeFacts(self._node_events, self._shape)

    @cached_property
    def events(self) -> pd.DataFrame:
        """Every event, one row each."""
        return events_frame(self._snapshot, self._graphs)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        return runs_frame(self._snapshot, self._shape, self._attempts, self._nodes)

    @cached_property
    def waves(self) -> pd.DataFrame:
        """One row per wave of each run."""
        return waves_frame(self._snapshot, self._shape, self._nodes)

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """One row per node of each run, also for nodes that never started."""
        return nodes_frame(self._shape, self._attempts, self._nodes)

    @cached_property
    def attempts(self) -> pd.DataFrame:
        """One row per try of a node, in order of start."""
        return attempts_frame(self._shape, self._attempts)

    @cached_property
    def edges(self) -> pd.DataFrame:
        """One row per dependency."""
        return edges_frame(self._snapshot, self._shape)

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row per vote of each decision that was told; a decision without votes has one row."""
        return decisions_frame(self._snapshot, self._graphs)

    @cached_property
    def calls(self) -> pd.DataFrame:
        """One row per tool or model call inside a node."""
        return calls_frame(self._snapshot, self._graphs)

    @cached_property
    def observers(self) -> pd.DataFrame:
        """What befell observers: failures and lost events."""
        return observers_frame(self._snapshot)

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """What is odd about the recording (see ``Recording.diagnostics``)."""
        return from_rows("diagnostics", find_problems(self._snapshot, self._attempts))
