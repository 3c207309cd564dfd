"""What a run asks of a place where node code runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from hexviz.dag.run import Run
    from hexviz.dag.runners.attempt import Attempt


class Session(Protocol):
    """One run's use of a runner, on the event loop of that run."""

    async def execute(self, attempt: Attempt) -> Any:
        """Run the attempt's function; return what it returns, raise what it raises.

        Sets ``attempt.worker`` and ``attempt.duration_ms``. Cancelled, it stops the code where it can, and does not
        wait for that.
        """

    async def close(self) -> None:
        """The run has ended: let go of what was held for it."""


@runtime_checkable
class Runner(Protocol):
    """Somewhere else to run nodes: ``Orchestrator(runner=...)``. May serve several runs, also at once."""

    label: str
    """What NodeStarted says of where the node runs, before its worker is known."""
    keeps_results: bool
    """Whether results stay where they were made; what travels between nodes then stands for them."""

    async def open(self, run: Run) -> Session:
        """Get ready for a run. Raises :class:`~hexviz.dag.errors.OrchestratorError` where that cannot be."""
        raise NotImplementedError
