"""One run on a Dask cluster: its tasks, what the cluster tells of them, and who looks whether they are still there."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import logging
import secrets
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hexviz.closing import held_weakly
from hexviz.dag.current import CURRENT
from hexviz.dag.errors import (
    NodeTransferError,
    NoWorkersError,
    OrchestratorError,
    SchedulerLostError,
    VersionMismatchError,
    WorkerLostError,
)
from hexviz.dag.runners.dask_errors import address_of, error_of, failed_outside, refuse_unusable, scheduler_lost
from hexviz.dag.runners.dask_sending import Sender, Task, hurry, relax
from hexviz.dag.runners.names import PREFIX
from hexviz.dag.runners.packing import unpacked
from hexviz.events.registration import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from hexviz.dag.run import Run
    from hexviz.dag.runners.attempt import Attempt
    from hexviz.dag.runners.dask import DaskRunner

_log = logging.getLogger("hexviz.dag")
_LOOK_EVERY_S = 0.2
_PING_EVERY_S = 2.0
_RELEASE_S = 0.1
_MESSAGES_S = 2.0
_LONG_S = 86_400.0
_CLOSING_S = 3.0


class DaskSession:
    """One run on a cluster: its topic, its tasks, and who looks whether they are still there."""

    def __init__(self, runner: DaskRunner, run: Run) -> None:
        self._runner = runner
        self._client = runner.client
        self._address = address_of(runner.client)
        self._run = run
        self._topic = f"{PREFIX}{run.run_id}"
        self._numbers = itertools.count(1)
        self._tasks: dict[str, Task] = {}
        self._finished_at: dict[str, float] = {}
        self._kept: set[str] = set()
        self._heard: deque[list[Any]] = deque()
        self._woken = False
        self._done: list[Any] = []
        self._sender = Sender(self._client, run.loop, held_weakly(self._unsent), keep=runner.keeps_results)
        self._line: Any = None
        self._watches: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Subscribe to the run's topic; from then on the scheduler counts its tasks as ours."""
        plugin = importlib.import_module("hexviz.dag.runners.dask_plugin").HexvizTasks()
        client = self._client
        refuse_unusable(client)
        try:
            await self._on_client(lambda: client.register_plugin(plugin), self._runner.lost_after_s)
            client.subscribe_topic(self._topic, held_weakly(self._hear))
        except VersionMismatchError:
            raise
        except Exception as error:
            text = f"the Dask scheduler {self._address} does not serve this run: {type(error).__name__}: {error}"
            raise SchedulerLostError(text) from error
        self._line = getattr(client, "scheduler_comm", None)
        if self._line is not None:
            hurry(self._line)
        self._watches = [self._run.loop.create_task(watch) for watch in (self._look(), self._ping())]

    async def _on_client(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """Call something of the client on the client's own loop, wherever that runs."""
        loop = self._client.loop.asyncio_loop
        async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 can swallow a cancellation
            if loop is self._run.loop:
                return await loop.create_task(_called(call))
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_called(call), loop))

    def _soon(self, call: Callable[[], Any]) -> None:
        """As :meth:`_on_client`, and nobody waits for what comes of it."""

        async def there() -> None:
            CURRENT.set(None)
            with suppress(Exception):  # it was a favour: the run goes on without it
                await asyncio.wait_for(_called(call), _CLOSING_S)

        with suppress(RuntimeError):  # the client's loop is closed
            asyncio.run_coroutine_threadsafe(there(), self._client.loop.asyncio_loop)

    # --- an attempt

    async def execute(self, attempt: Attempt) -> Any:
        """Run the attempt's function as a task of the cluster."""
        attempt.answer = lambda ticket, payload: self._answer(attempt, ticket, payload)
        task = Task(attempt, f"{self._topic}:{next(self._numbers)}:{secrets.token_hex(4)}")
        self._tasks[task.token] = task
        try:
            self._sender.send(task)
            value = await attempt.ended()
            if value is not None:
                return unpacked(value)
            if self._runner.keeps_results:
                self._kept.add(task.token)
                return task.future
            return await self._fetched(task)
        except BaseException:
            self._stop(task)
            raise
        finally:
            self._tasks.pop(task.token, None)
            self._finished_at.pop(task.token, None)
            self._release_later(task.future)

    def _release_later(self, future: Any) -> None:
        """Let go of a result in a while, with others: what says so would go before the next node, and hold it up."""
        self._done.append(future)
        if len(self._done) == 1:
            self._run.loop.call_later(_RELEASE_S, self._done.clear)

    def _unsent(self, task: Task, error: Exception) -> None:
        """The client has not taken it."""
        if getattr(self._client, "status", "running") != "running":
            task.attempt.settle(None, self._scheduler_lost())
            return
        refused = NodeTransferError(f"node {task.attempt.node!r} cannot be sent to a worker: {error}")
        refused.__cause__ = error
        task.attempt.settle(None, refused)

    async def _fetched(self, task: Task) -> Any:
        """A result that is too large to come with the message of its end."""
        attempt, future = task.attempt, task.future
        try:
            return await self._on_client(lambda: self._client.gather(future, asynchronous=True), _LONG_S)
        except OrchestratorError:
            raise
        except Exception as error:
            if future.status == "error":
                raise failed_outside(task) from None
            text = f"the result of node {attempt.node!r} cannot be brought home: {type(error).__name__}: {error}"
            raise NodeTransferError(text) from error

    def _stop(self, task: Task) -> None:
        """Nobody waits for it any more."""
        client, attempt, token, future = self._client, task.attempt, task.token, task.future
        if self._sender.drop(task) or future is None or getattr(client, "status", "") != "running":
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
        self._heard.append(event[1])
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the run's loop is closed
                self._run.loop.call_soon_threadsafe(self._receive_all)

    def _receive_all(self) -> None:
        """What was heard until now."""
        self._woken = False
        heard = self._heard
        while heard:
            self._receive(heard.popleft())

    def _receive(self, content: Any) -> None:
        token, *message = content
        task = self._tasks.get(token)
        if task is None:
            if token in self._kept and message[0] == "start":
                self._runner.recomputed += 1
                _log.warning("Dask computes the result of a node again that was lost with its worker: %s", token)
            return
        if message[0] == "end":
            kind, count, duration_ms, good, payload = message
            error = None if good else unpacked(payload)
            message = [kind, count, duration_ms, payload if good else None, error]
        elif message[0] == "start":
            del message[2:]
        task.attempt.receive(tuple(message))

    async def _look(self) -> None:
        """Find out what no message tells: tasks that failed outside the node's code, and a cluster that is gone."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if getattr(self._client, "status", "closed") != "running":
                self._run.fail(self._scheduler_lost())
                return
            self._each(self._look_at)

    async def _ping(self) -> None:
        """A scheduler that does not answer is lost; one that has no worker lets its nodes wait for so long only."""
        loop, most_s = self._run.loop, self._runner.lost_after_s
        known = inspect.signature(importlib.import_module("distributed").Scheduler.identity).parameters
        few = {"n_workers": 1} if "n_workers" in known else {}  # older releases describe all workers
        heard = manned = loop.time()
        while True:
            await asyncio.sleep(min(_PING_EVERY_S, most_s / 4))
            try:
                found = await self._on_client(lambda: self._client.scheduler.identity(**few), most_s)
            except Exception:  # noqa: BLE001 - whatever the line raises, the scheduler was not heard
                if loop.time() - heard >= most_s:
                    self._run.fail(self._scheduler_lost(f"has not answered for {most_s:g} s"))
                    return
                continue
            heard = loop.time()
            if found.get("workers"):
                manned = heard
            elif heard - manned >= most_s:
                self._each(self._no_worker)

    def _each(self, look: Callable[[Task], None]) -> None:
        """For each task; a watch that held one would hold its result on the cluster, as long as the watch is known."""
        for task in tuple(self._tasks.values()):
            look(task)

    def _no_worker(self, task: Task) -> None:
        text = f"the cluster has had no worker for node {task.attempt.node!r} for {self._runner.lost_after_s:g} s"
        task.attempt.settle(None, NoWorkersError(text))

    def _look_at(self, task: Task) -> None:
        attempt, future = task.attempt, task.future
        if future is None or attempt.outcome.done():
            return
        status = future.status
        if status == "error":
            attempt.settle(None, failed_outside(task))
        elif status == "cancelled":
            self._cancelled(task)
        elif status == "finished":
            now = self._run.loop.time()
            if now - self._finished_at.setdefault(task.token, now) > _MESSAGES_S:  # its messages were lost
                attempt.report_lost(1)
                attempt.settle(None, None)

    def _cancelled(self, task: Task) -> None:
        reason = getattr(error_of(task), "reason", None) or "cancelled"
        if reason == "scheduler-connection-lost":
            self._run.fail(self._scheduler_lost())
        else:
            text = f"the task of node {task.attempt.node!r} was taken from the cluster: {reason}"
            task.attempt.settle(None, WorkerLostError(text, task.attempt.worker))

    def _scheduler_lost(self, how: str = "") -> SchedulerLostError:
        return scheduler_lost(self._client, self._address, how)

    async def close(self) -> None:
        """The run has ended."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.wait(self._watches, timeout=_CLOSING_S)  # a question under way closes its connection
        self._watches.clear()
        self._done.clear()
        if self._line is not None:
            relax(self._line)
        if getattr(self._client, "status", "") == "running":
            with suppress(Exception):
                self._client.unsubscribe_topic(self._topic)


async def _called(call: Callable[[], Any]) -> Any:
    """In a task of its own: connections made here keep its context, which is not to keep the run."""
    CURRENT.set(None)
    found = call()
    return await found if hasattr(found, "__await__") else found
