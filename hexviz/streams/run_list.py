"""Which runs were heard of: what ``/runs`` tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.events import events as ev

if TYPE_CHECKING:
    from hexviz.events.events import Event

_MOST_RUNS = 1_000
_ENDS: dict[type[Event], str] = {
    ev.PipelineCompleted: "succeeded",
    ev.PipelineFailed: "failed",
    ev.PipelineCancelled: "cancelled",
    ev.PipelineSkipped: "skipped",
}


class RunList:
    """The last thousand runs, in order of their first event."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        """Take note of an event."""
        run = self._runs.get(event.run_id)
        if run is None:
            run = {"run_id": event.run_id, "pipeline": event.pipeline, "status": "running", "events": 0}
            self._runs[event.run_id] = run
            if len(self._runs) > _MOST_RUNS:
                del self._runs[next(iter(self._runs))]
        run["events"] += 1
        if type(event) is ev.PipelineStarted:
            run["pipeline"] = event.name
        elif type(event) in _ENDS:
            run["status"] = _ENDS[type(event)]

    def last(self) -> str | None:
        """The run that was heard of last; None where there is none."""
        return next(reversed(self._runs), None)

    def first(self) -> str | None:
        """The run that was heard of first, of those that are known; None where there is none."""
        return next(iter(self._runs), None)

    def newest_first(self) -> list[dict[str, Any]]:
        """``run_id``, ``pipeline``, ``status``, ``events`` of each run, texts that JSON can hold."""
        return [
            {name: _writable(fact) if isinstance(fact, str) else fact for name, fact in run.items()}
            for run in reversed(self._runs.values())
        ]


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
