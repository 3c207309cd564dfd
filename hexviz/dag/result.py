"""What a run gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunResult(dict[str, Any]):
    """A dict of node -> result that knows its run.

    ``run_id`` names the run, ``status`` is ``"succeeded"`` or ``"skipped"``, ``recording`` is what was recorded of it
    (None where nothing was). Nodes that were skipped without data are not in the dict.
    """

    def __init__(self, results: Mapping[str, Any], *, run_id: str, status: str, recording: Any = None) -> None:
        super().__init__(results)
        self.run_id = run_id
        self.status = status
        self.recording = recording

    def __repr__(self) -> str:
        return f"<RunResult {self.run_id} {self.status}: {len(self)} results>"
