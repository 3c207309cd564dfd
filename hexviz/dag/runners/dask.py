"""Runs nodes on the workers of a Dask cluster (``hexviz[dask]``)."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import (
    NodeTransferError,
    NoWorkersError,
    OrchestratorError,
    RunnerSettingError,
    SchedulerLostError,
    WorkerLostError,
)
from hexviz.dag.runners.names import KEPT, PREFIX
from hexviz.dag.runners.packing import culprit, unpacked
from hexviz.errors import MissingExtraError
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hexviz.dag.run import Run
    from hexviz.dag.runners.attempt import Attempt

_log = logging.getLogger("hexviz.dag")
_LOOK_EVERY_S = 0.2
_PING_EVERY_S = 2.0
_FLUSH_S = 0.002
_MESSAGES_S = 2.0
_LONG_S = 86_400.0
_CLOSING_S = 3.0


class DaskRunner:
    """``Orchestrator(runner=DaskRunner(client))``: each attempt of a node is a task of the cluster of ``client``.

    Waves, policies, attempts, timeouts and events are those of any run; Dask chooses the worker, whose address stands
    with the attempt. hexviz must be installed on scheduler and workers, in the same version. Dask's own silent retries
    are off for these tasks: a worker that dies is a failed attempt
    (:class:`~hexviz.dag.errors.WorkerLostError`) that control is asked about. A scheduler that is lost fails the run
    (:class:`~hexviz.dag.errors.SchedulerLostError`), also one that has not answered for ``lost_after_s`` seconds; a
    node that finds no worker at all for that long fails (:class:`~hexviz.dag.errors.NoWorkersError`). Tasks that had
    only been queued on a worker that died are sent once more.

    ``keep_remote=True`` leaves every result on the cluster: futures travel between nodes, and the run's results are
    futures (``client.gather(dict(result))``). Control is then shown futures as well. A result that dies with its worker
    is computed again by Dask when a child needs it; that is logged, and counted in :attr:`recomputed`.

    A cancelled or timed out async node is cancelled on its worker; a sync one cannot be ended from outside: its thread
    there goes on, and what it returns is dropped. One that has a ``timeout_s`` gets a thread of its own, so that its
    place on the worker is free again when its time is up (``distributed.worker_client`` does not work in such a node).
    The clock of a worker is never used for more than a duration.
    """

    label = "dask"

    def __init__(self, client: Any, keep_remote: bool = False, *, lost_after_s: float = 25.0) -> None:  # noqa: FBT001, FBT002 - a switch
        _distributed()
        if not hasattr(client, "subscribe_topic"):
            raise RunnerSettingError(f"DaskRunner takes a distributed.Client, not {type(client).__name__}")
        self.client = client
        self.keeps_results = keep_remote
        self.lost_after_s = lost_after_s
        self.recomputed = 0

    async def open(self, run: Run) -> DaskSession:
        """Get the scheduler ready for a run; :class:`SchedulerLostError` where it does not answer."""
        session = DaskSession(self, run)
        await session.open()
        return session


class DaskSession:
    """One run on a cluster: its topic, its tasks, and who looks whether they are still there."""

    def __init__(self, runner: DaskRunner, run: Run) -> None:
        self._runner = runner
        self._client = runner.client
        self._run = run
        self._topic = f"{PREFIX}{run.run_id}"
        self._numbers = itertools.count(1)
        self._attempts: dict[str, tuple[Attempt, Any]] = {}
        self._finished_at: dict[str, float] = {}
        self._kept: set[str] = set()
        self._ends: dict[str, list[Any]] = {}
        self._flush_s = _FLUSH_S
        self._watches: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Subscribe to the run's topic; from then on the scheduler counts its tasks as ours."""
        plugin = importlib.import_module("hexviz.dag.runners.dask_plugin").HexvizTasks()
        client = self._client
        try:
            await self._on_client(lambda: client.register_plugin(plugin), self._runner.lost_after_s)
            client.subscribe_topic(self._topic, self._hear)
        except Exception as error:
            text = f"the Dask scheduler {_address(client)} does not serve this run: {type(error).__name__}: {error}"
            raise SchedulerLostError(text) from error
        self._hurry(_FLUSH_S)
        self._watches = [self._run.loop.create_task(watch) for watch in (self._look(), self._ping())]

    def _hurry(self, interval_s: float) -> None:
        """Let the client send what it has every so often: a chain of nodes waits for that at each of its links."""
        line = getattr(self._client, "scheduler_comm", None)
        if line is not None and line.interval != interval_s:
            line.interval, self._flush_s = interval_s, line.interval

    async def _on_client(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """Call something of the client on the client's own loop, wherever that runs."""

        async def there() -> Any:
            found = call()
            return await found if hasattr(found, "__await__") else found

        loop = self._client.loop.asyncio_loop
        if loop is self._run.loop:
            return await asyncio.wait_for(there(), timeout_s)
        future = asyncio.run_coroutine_threadsafe(there(), loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)

    def _soon(self, call: Callable[[], Any]) -> None:
        """As :meth:`_on_client`, and nobody waits for what comes of it."""

        async def there() -> None:
            with suppress(Exception):  # it was a favour: the run goes on without it
                await asyncio.wait_for(_awaited(call()), _CLOSING_S)

        with suppress(RuntimeError):  # the client's loop is closed
            asyncio.run_coroutine_threadsafe(there(), self._client.loop.asyncio_loop)

    # --- an attempt

    async def execute(self, attempt: Attempt) -> Any:
        """Run the attempt's function as a task of the cluster."""
        attempt.answer = lambda ticket, payload: self._answer(attempt, ticket, payload)
        try:
            return await self._once(attempt)
        except _NeverBegunError as error:
            _log.info("%s before its code began: it is sent once more", error)
            attempt.renew()
            return await self._once(attempt)

    async def _once(self, attempt: Attempt) -> Any:
        token = f"{self._topic}:{next(self._numbers)}:{secrets.token_hex(4)}"
        future = self._submit(attempt, token)
        self._attempts[token] = attempt, future
        try:
            value = await attempt.ended()
            if value is not None:
                return unpacked(value)
            if self._runner.keeps_results:
                self._kept.add(token)
                return future
            return await self._fetched(attempt, future)
        except BaseException:
            self._stop(attempt, token, future)
            raise
        finally:
            self._attempts.pop(token, None)
            self._finished_at.pop(token, None)
            self._ends.pop(token, None)

    def _submit(self, attempt: Attempt, token: str) -> Any:
        errand = attempt.errand(attempt.out_model if self._runner.keeps_results else None)
        key = (attempt.node, token, KEPT) if self._runner.keeps_results else (attempt.node, token)
        perform = importlib.import_module("hexviz.dag.runners.dask_worker").perform_task
        place = (self._topic, token, self._runner.keeps_results, attempt.timeout_s is not None)
        try:
            return self._client.submit(
                perform, place, tuple(errand), attempt.fn, attempt.args, attempt.kwargs,
                key=key, retries=0, pure=False,
            )  # fmt: skip
        except Exception as error:
            if getattr(self._client, "status", "running") != "running":
                raise self._scheduler_lost() from error
            named = culprit(attempt.node, attempt.fn, attempt.args, attempt.kwargs)
            raise named or NodeTransferError(f"node {attempt.node!r} cannot be sent to a worker: {error}") from error

    async def _fetched(self, attempt: Attempt, future: Any) -> Any:
        """A result that is too large to come with the message of its end."""
        gather = self._run.loop.create_task(
            self._on_client(lambda: self._client.gather(future, asynchronous=True), _LONG_S)
        )
        lost = self._run.loop.create_task(attempt.again.wait())
        try:
            await asyncio.wait({gather, lost}, return_when=asyncio.FIRST_COMPLETED)
            if gather.done():
                return gather.result()
        except OrchestratorError:
            raise
        except Exception as error:
            if future.status == "error":
                raise self._named(attempt, future) from None
            text = f"the result of node {attempt.node!r} cannot be brought home: {type(error).__name__}: {error}"
            raise NodeTransferError(text) from error
        finally:
            gather.cancel()
            lost.cancel()
        text = f"worker {attempt.worker} was lost with the result of node {attempt.node!r} before it came home"
        raise WorkerLostError(text, attempt.worker)

    def _stop(self, attempt: Attempt, token: str, future: Any) -> None:
        """Nobody waits for it any more."""
        client = self._client
        if getattr(client, "status", "") != "running":
            return
        reachable = attempt.worker and not (attempt.finished or attempt.gone)
        if reachable and (attempt.timeout_s is not None or is_async(attempt.fn)):
            cancel = importlib.import_module("hexviz.dag.runners.dask_worker").cancel_task
            self._soon(lambda: client.run(cancel, token, workers=[attempt.worker], on_error="ignore"))
        self._soon(lambda: client.cancel([future], asynchronous=True, force=True))

    def _answer(self, attempt: Attempt, ticket: str, payload: bytes) -> None:
        deliver = importlib.import_module("hexviz.dag.runners.dask_worker").deliver
        self._soon(lambda: self._client.run(deliver, ticket, payload, workers=[attempt.worker], on_error="ignore"))

    # --- what the cluster tells

    def _hear(self, event: tuple[float, Any]) -> None:
        """A message of the topic; called on the loop of the client, in the order of each worker."""
        with suppress(RuntimeError):  # the run's loop is closed
            self._run.loop.call_soon_threadsafe(self._receive, event[1])

    def _receive(self, content: Any) -> None:
        token, *message = content
        found = self._attempts.get(token)
        if found is None:
            if token in self._kept and message[0] == "start":
                self._runner.recomputed += 1
                _log.warning("Dask computes the result of a node again that was lost with its worker: %s", token)
            return
        attempt, _ = found
        if message[0] == "end" and message[3] and self._runner.keeps_results:
            self._ends[token] = message  # its worker may yet die with it: the scheduler says when it has it
            return
        if message[0] == "memory":
            message = self._ends.pop(token, [])
        if not message:
            return
        if message[0] == "end":
            kind, count, duration_ms, good, payload = message
            error = None if good else unpacked(payload)
            message = [kind, count, duration_ms, payload if good else None, error]
        attempt.receive(tuple(message))

    async def _look(self) -> None:
        """Find out what no message tells: tasks that failed outside the node's code, and a cluster that is gone."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if getattr(self._client, "status", "closed") != "running":
                self._run.fail(self._scheduler_lost())
                return
            for token, (attempt, future) in tuple(self._attempts.items()):
                self._look_at(token, attempt, future)

    async def _ping(self) -> None:
        """A scheduler that does not answer is lost; one that has no worker lets its nodes wait for so long only."""
        loop, most_s = self._run.loop, self._runner.lost_after_s
        heard = manned = loop.time()
        while True:
            await asyncio.sleep(min(_PING_EVERY_S, most_s / 4))
            try:
                found = await self._on_client(lambda: self._client.scheduler.identity(n_workers=1), most_s)
            except Exception:  # noqa: BLE001 - whatever the line raises, the scheduler was not heard
                if loop.time() - heard >= most_s:
                    self._run.fail(self._scheduler_lost(f"has not answered for {most_s:g} s"))
                    return
                continue
            heard = loop.time()
            if found.get("workers"):
                manned = heard
            elif heard - manned >= most_s:
                for attempt, _ in tuple(self._attempts.values()):
                    text = f"the cluster has had no worker for node {attempt.node!r} for {most_s:g} s"
                    attempt.settle(None, NoWorkersError(text))

    def _look_at(self, token: str, attempt: Attempt, future: Any) -> None:
        if attempt.outcome.done():
            return
        status = future.status
        if status == "error":
            attempt.settle(None, self._named(attempt, future))
        elif status == "cancelled":
            self._cancelled(attempt, future)
        elif status == "finished":
            now = self._run.loop.time()
            if now - self._finished_at.setdefault(token, now) > _MESSAGES_S:  # its messages were lost
                if token in self._ends:
                    self._receive([token, "memory"])
                    return
                attempt.report_lost(1)
                attempt.settle(None, None)

    def _cancelled(self, attempt: Attempt, future: Any) -> None:
        error = getattr(getattr(future, "_state", None), "exception", None)
        reason = getattr(error, "reason", None) or "cancelled"
        if reason == "scheduler-connection-lost":
            self._run.fail(self._scheduler_lost())
        else:
            text = f"the task of node {attempt.node!r} was taken from the cluster: {reason}"
            attempt.settle(None, WorkerLostError(text, attempt.worker))

    def _named(self, attempt: Attempt, future: Any) -> BaseException:
        """The error of a task that failed outside the node's own code."""
        state = getattr(future, "_state", None)
        error = getattr(state, "exception", None)
        if type(error).__name__ == "KilledWorker":
            worker = getattr(getattr(error, "last_worker", None), "address", "") or attempt.worker
            attempt.gone = True
            if attempt.worker or attempt.renewed:
                attempt.place(worker)
                return WorkerLostError(f"worker {worker} died while it ran node {attempt.node!r}", worker)
            return _NeverBegunError(f"worker {worker} died with node {attempt.node!r}", worker)
        text = f"the task of node {attempt.node!r} failed on the cluster: {type(error).__name__}: {error}"
        found = NodeTransferError(text)
        found.__cause__ = error if isinstance(error, BaseException) else None
        return found

    def _scheduler_lost(self, how: str = "is lost: there is no connection to it") -> SchedulerLostError:
        return SchedulerLostError(f"the Dask scheduler {_address(self._client)} {how}")

    async def close(self) -> None:
        """The run has ended."""
        for watch in self._watches:
            watch.cancel()
        if getattr(self._client, "status", "") == "running":
            with suppress(Exception):
                self._client.unsubscribe_topic(self._topic)
                self._hurry(self._flush_s)


class _NeverBegunError(WorkerLostError):
    """The worker died before anything was heard of the attempt."""


async def _awaited(found: Awaitable[Any] | Any) -> Any:
    return await found if hasattr(found, "__await__") else found


def _address(client: Any) -> str:
    scheduler = getattr(client, "scheduler", None)
    return getattr(scheduler, "address", "") or ""


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("distributed", "dask", purpose="hexviz.dag.DaskRunner") from error
