"""What a run gives back."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from hexviz.dag.errors import OfRun
from hexviz.errors import HexvizError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hexviz.recording.recording import Recording


_NAMED = 20


class NoResultError(HexvizError, KeyError):
    """A run has no result of that name; the message lists those that it has."""

    def __str__(self) -> str:
        return str(self.args[0])


class RunResult(OfRun, dict[str, Any]):
    """A dict of node -> result that knows its run.

    ``run_id`` names the run, ``status`` is ``"succeeded"`` or ``"skipped"``. Nodes that were skipped without data are
    not in the dict: asking for one raises :class:`NoResultError`, a KeyError.
    """

    def __init__(
        self, results: Mapping[str, Any], *, run_id: str, status: str, recording: Recording | None = None
    ) -> None:
        super().__init__(results)
        self.run_id = run_id
        self.status = status
        self._recording = recording

    if not TYPE_CHECKING:  # a type checker knows that there are none

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"a RunResult has no {name!r}; the frames of its run are result.recording.frames")

    def __missing__(self, node: object) -> Any:
        known = ", ".join(map(repr, islice(self, _NAMED))) or "none"
        more = f" and {len(self) - _NAMED} more" if len(self) > _NAMED else ""
        raise NoResultError(
            f"run {self.run_id} has no result of a node {node!r}: it was skipped, or there is none of that name. "
            f"There are: {known}{more}"
        )

    def __repr__(self) -> str:
        return f"<RunResult {self.run_id} {self.status}: {len(self)} results>"
