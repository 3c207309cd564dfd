"""What a call of ``hexviz.run`` or ``start`` gives back: a run to await, or one that goes on in the background."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from hexviz.dag.errors import PipelineError
from hexviz.errors import WrongCallError
from hexviz.loading import at_once

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from hexviz.dag.orchestrator import Orchestrator
    from hexviz.dag.result import RunResult
    from hexviz.launch import Launch
    from hexviz.recording.recording import Recording
    from hexviz.widgets.dashboard import LiveView


_NOT_AWAITED = "this run was not awaited"


class PendingRun(Coroutine[Any, Any, "RunResult"]):
    """A run that has not begun: await it, or give it to ``asyncio.run`` or ``asyncio.create_task``."""

    def __init__(self, begin: Any) -> None:
        self._begin = begin
        self._coroutine: Coroutine[Any, Any, RunResult] | None = None

    def _begun(self) -> Coroutine[Any, Any, RunResult]:
        if self._coroutine is None:
            begin, self._begin = self._begin, None
            if begin is None:
                raise WrongCallError("this run was closed before it began: call hexviz.run(...) again")
            self._coroutine = begin()
        return self._coroutine

    def __await__(self) -> Generator[Any, Any, RunResult]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        """Step the run, as an event loop does."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception where the run waits, as an event loop does."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """Give up a run that has not ended."""
        if self._coroutine is None:
            self._begin = None
        else:
            self._coroutine.close()

    def __del__(self) -> None:
        if self._begin is not None:
            warnings.warn(
                "hexviz.run(...) was never awaited, so nothing ran. Write: await hexviz.run(...), "
                "or in a script without async code: hexviz.run_sync(...)",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    if not TYPE_CHECKING:  # a type checker knows that there are none

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{_NOT_AWAITED}, so it has no {name!r} yet. Write: result = await hexviz.run(...)")

        def __getitem__(self, name: object) -> NoReturn:
            raise WrongCallError(f"{_NOT_AWAITED}, so it has no results yet. Write: result = await hexviz.run(...)")

    def __repr__(self) -> str:
        return "<hexviz run that was not awaited yet: write await hexviz.run(...)>"


class RunControls:
    """Steers a run under way, from any thread: what the buttons of the dashboard do."""

    def __init__(self, orchestrator: Orchestrator, run_id: str) -> None:
        self._orchestrator = orchestrator
        self._run_id = run_id
        self.paused = False

    def cancel(self) -> bool:
        """Cancel the run; False where it is over."""
        return self._orchestrator.cancel(self._run_id)

    def pause(self) -> bool:
        """Start no new node; what runs goes on. False where the run is over."""
        self.paused = self._orchestrator.hold(self._run_id, held=True)
        return self.paused

    def resume(self) -> bool:
        """Start nodes again; False where the run is over."""
        self.paused = False
        return self._orchestrator.hold(self._run_id, held=False)


class RunHandle:
    """A run in the background: ``await`` it, or ask for its :meth:`result`."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._future: concurrent.futures.Future[RunResult] = concurrent.futures.Future()
        self._begun = threading.Event()
        here = contextvars.copy_context()  # what the cell knows, its nodes know, as with hexviz.run
        threading.Thread(target=here.run, args=(self._work,), name=f"hexviz-run-{launch.run_id}", daemon=True).start()
        self._begun.wait()

    def _work(self) -> None:
        async def main() -> RunResult:
            asyncio.get_running_loop().call_soon(self._begun.set)
            return await self._launch.execute()

        try:
            result = asyncio.run(main())
        except asyncio.CancelledError:
            self._future.set_exception(concurrent.futures.CancelledError(f"run {self.run_id} was cancelled"))
        except PipelineError as error:
            self._future.set_exception(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            self._begun.set()

    def __await__(self) -> Generator[Any, Any, RunResult]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout: float | None = None) -> RunResult:
        """Wait for the result, at most ``timeout`` seconds; raises what the run raised, or TimeoutError."""
        try:
            return self._future.result(timeout)
        except PipelineError as error:
            raise error.with_traceback(None)  # noqa: B904 - the same error, without the way through thread and loop

    def done(self) -> bool:
        """Whether the run is over."""
        return self._future.done()

    def cancel(self) -> bool:
        """Cancel the run; False where it is over."""
        return self._launch.controls.cancel()

    def pause(self) -> bool:
        """Start no new node; what runs goes on. False where the run is over."""
        return self._launch.controls.pause()

    def resume(self) -> bool:
        """Start nodes again; False where the run is over."""
        return self._launch.controls.resume()

    @property
    def paused(self) -> bool:
        """Whether new nodes are held back."""
        return self._launch.controls.paused

    def live_view(self, panels: Iterable[str] | None = None) -> LiveView:
        """One more live view of this run, as :func:`dashboard` gives it."""
        with at_once():
            from hexviz.widgets.dashboard import LiveView  # noqa: PLC0415 - loads ipywidgets, so only on request

        launch, so_far = self._launch, self.recording.events()
        return LiveView(
            launch.observers, title=launch.graph.name, controls=launch.controls, history=so_far, panels=panels
        )

    @property
    def run_id(self) -> str:
        """The id of the run, also in the store."""
        return self._launch.run_id

    @property
    def status(self) -> str:
        """pending, running, succeeded, skipped, failed or cancelled."""
        return self._launch.status

    @property
    def recording(self) -> Recording:
        """What was recorded so far."""
        return self._launch.recorder.recording

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} {self.status}>"
