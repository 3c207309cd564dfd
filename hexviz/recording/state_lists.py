"""What is listed of a run: its decisions, failures and calls, each made of the events that tell of it."""

from __future__ import annotations

from typing import Any

from hexviz.events import events as ev
from hexviz.events.secrets import masked_head
from hexviz.recording.state_tables import Call, Decision, Failure

TEXT_LIMIT = 500
"""Reasons and messages are cut to so many characters."""


def decision_of(event: ev.ControlDecided, at_ms: float) -> Decision:
    """The entry for a decision."""
    decided_by, reason = event.decided_by, event.reason
    telling = next((v for v in event.votes if v.error or (v.shadow and v.signal != event.signal)), None)
    if not decided_by and telling is not None:
        would = f"would {telling.signal}" if telling.shadow and not telling.error else telling.error
        decided_by, reason = telling.handler, f"{would}: {telling.reason}" if telling.reason else would
    return Decision(
        seq=event.seq,
        offset_ms=at_ms,
        signal=event.signal,
        event_type=event.event_type,
        node=event.node_name,
        wave=event.wave_index,
        attempt=event.attempt,
        decided_by=decided_by,
        reason=masked_head(reason, TEXT_LIMIT),
        shadow=event.shadow,
    )


def failure_of(error: ev.RecordedError, at_ms: float, node: str = "", wave: int = 0, attempt: int = 0) -> Failure:
    """The entry for an error of an attempt, or of the run itself."""
    return Failure(at_ms, node, wave, attempt, error.type_name, error.message[:TEXT_LIMIT], error.traceback_text)


class Calls:
    """The calls of tools and language models, in the order of their starts."""

    def __init__(self) -> None:
        self.listed: list[Call] = []
        self.ended: list[int] = []
        """Which of them have ended since somebody last looked."""
        self._open: dict[tuple[str, str], int] = {}

    def began(self, event: Any, at_ms: float) -> None:
        """Take in the start of a call."""
        kind = "tool" if isinstance(event, ev.ToolCalled) else "llm"
        name = event.tool_name if kind == "tool" else event.model
        self._open[event.node_name, event.call_id] = len(self.listed)
        self.listed.append(Call(event.node_name, event.attempt, kind, name, at_ms))

    def finished(self, event: Any, at_ms: float) -> None:
        """Take in the end of a call; of one whose start is not known, nothing."""
        index = self._open.pop((event.node_name, event.call_id), None)
        if index is not None:
            self.ended.append(index)
            call = self.listed[index]
            call.end_ms = at_ms
            call.status = "failed" if hasattr(event, "error") else "succeeded"
            call.tokens = (getattr(event, "input_tokens", 0) or 0) + (getattr(event, "output_tokens", 0) or 0)
