"""Tells from a Dask worker's own loop that a node begins there, so that the node's thread has nothing to wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin
from distributed.comm.tcp import TCP

from hexviz.dag.runners.names import is_ours, topic_of
from hexviz.events.stepping import Continued

if TYPE_CHECKING:
    from collections.abc import Callable


class Begins(WorkerPlugin):
    """Writes the message that a node begins when its turn has come, before the task is given to its thread.

    ``performs(function)`` knows the function of a task whose code has not begun anywhere.
    """

    name = "hexviz"

    def __init__(self, performs: Callable[[Any], bool]) -> None:
        self._performs = performs
        self._worker: Any = None
        self._told: set[str] = set()
        self._writing: set[asyncio.Task[None]] = set()

    def setup(self, worker: Any) -> None:
        """Know the worker."""
        self._worker = worker

    def take(self, token: str) -> bool:
        """Whether the begin of an attempt was told, once; otherwise its thread has to."""
        told = token in self._told
        self._told.discard(token)
        return told

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """A task is about to run, or is over."""
        if not is_ours(key):
            return
        if finish == "executing" and start in ("ready", "constrained"):
            self._begins(key)
        elif finish in ("released", "forgotten"):
            self._told.discard(key[1])

    def _begins(self, key: Any) -> None:
        worker = self._worker
        line = worker.batched_stream
        task = worker.state.tasks[key]
        if self._performs(getattr(task.run_spec, "func", None)) and isinstance(line.comm, TCP):
            worker.log_event(topic_of(key[1]), [key[1], "start", worker.address, key])
            if self._written(line):
                self._told.add(key[1])

    def _written(self, line: Any) -> bool:
        """Write what the worker has to send; whether the operating system has all of it now."""
        payload, line.buffer = line.buffer, []
        comm = line.comm
        apart, comm.allow_offload = comm.allow_offload, False  # half the price, and nothing to wait for
        writing = comm.write(payload, serializers=line.serializers, on_error="raise")
        try:
            waiting_on = writing.send(None)
        except StopIteration:
            line.next_deadline = None  # what follows is not to wait for more
            return True
        except Exception:  # noqa: BLE001 - what of it was written nobody knows
            line.abort()
            return False
        finally:
            comm.allow_offload = apart
        self._go_on(Continued(writing, waiting_on))
        return False

    def _go_on(self, writing: Continued) -> None:
        """A transport that has to wait in the middle."""

        async def rest() -> None:
            await writing

        task = asyncio.get_running_loop().create_task(rest())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
