"""What the demo answers when something goes wrong, or is not allowed: one policy for each signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hexviz.demo.airrflow import InstrumentError
from hexviz.events.events import Event, NodeFailed
from hexviz.events.models import ControlResponse, ControlSignal
from hexviz.policies import Fallback, Gate, Policy, Retry

if TYPE_CHECKING:
    from hexviz.events.models import ExecutionContext


class StopAtAnyFailure(Policy):
    """What if the run stopped at the first failure? Asked and recorded, never obeyed: a shadow policy."""

    priority: ClassVar[int] = 10
    shadow: ClassVar[bool] = True
    event_types = (NodeFailed,)

    def handle(self, _event: Event, _context: ExecutionContext) -> ControlResponse:
        """ERROR for every failure."""
        return ControlResponse(ControlSignal.ERROR, reason="would stop the run here")


_EMPTY_REPORT = {"reads": 0, "different": 0, "mean_length": 0.0, "gc_share": 0.0}


def airrflow_policies(*, seed: int = 0) -> list[Policy]:
    """Make the policies for :func:`hexviz.demo.airrflow.airrflow`; ``seed`` fixes the jitter of the waits.

    Together they give every signal: SKIP by a flag that is off, FAIL by a permission that is missing (for a call of a
    tool; the node deals with it), RETRY for what may pass, FALLBACK for what does not, and ERROR from a shadow policy,
    which is recorded and not obeyed.
    """
    return [
        StopAtAnyFailure(),
        Gate(
            allow=False,
            reason="the flag 'report_file_sizes' is off",
            value=_EMPTY_REPORT,
            nodes="REPORT_FILE_SIZE_*",
        ),
        Gate(
            lambda context: not (context.node_id or "").startswith("AIRRFLOW_REPORT"),
            at="tool",
            otherwise="fail",
            reason="clonal reports may not leave this house",
        ),
        Retry(max_attempts=3, initial_interval_s=0.05, retry_on=InstrumentError, seed=seed),
        Fallback(_EMPTY_REPORT, on=InstrumentError, nodes="FASTQC_*"),
    ]
