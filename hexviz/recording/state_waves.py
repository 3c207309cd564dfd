"""The waves of a run, and the lanes in which their attempts lie beside each other."""

from __future__ import annotations

from hexviz.recording.lanes import Lanes
from hexviz.recording.state_tables import Wave, counted


class Waves(dict[int, Wave]):
    """Waves by their index, in the order in which they were heard of; ``changed`` collects which of them changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: set[int] = set()
        self._lanes: dict[int, Lanes] = {}

    def touched(self, index: int) -> Wave:
        """The wave that is about to change; a new one where it is not known."""
        index = counted(index)
        wave = self.get(index)
        if wave is None:
            wave = self[index] = Wave(index)
            self._lanes[index] = Lanes()
        self.changed.add(index)
        return wave

    def lane(self, index: int, node: int, ready_ms: float) -> int:
        """A lane for an attempt that was ready then."""
        lane = self._lanes[index].take(node, ready_ms)
        wave = self[index]
        if lane >= wave.lanes:
            wave.lanes = lane + 1
            self.changed.add(index)
        return lane

    def keep_lane(self, index: int, lane: int, node: int) -> bool:
        """Whether the next attempt of ``node`` can lie where the last one lay."""
        return self._lanes[index].retake(lane, node)

    def free_lane(self, index: int, lane: int, end_ms: float) -> None:
        """Let others have a lane from then on."""
        self._lanes[index].free(lane, end_ms)
