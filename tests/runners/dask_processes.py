"""A Dask cluster of real processes that a test may kill: ``dask scheduler`` and ``dask worker``."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hexviz import ControlManager, ObserverManager, Orchestrator
from hexviz.events import NodePlaced
from hexviz.recording.recorder import Recorder
from hexviz.testing import capture_events

MOST_S = 30.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """One scheduler and its workers, on 127.0.0.1; workers without nannies, so that a dead one stays dead."""

    def __init__(self, *, workers=2, env=None):
        self.folder = tempfile.TemporaryDirectory()
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._env = {**os.environ, **(env or {})}
        self._log = (Path(self.folder.name) / "log").open("w")
        self.scheduler = self._start("scheduler", "--host", self.address, "--dashboard-address", "127.0.0.1:0")
        self.workers = [self.add_worker() for _ in range(workers)]

    def add_worker(self, **env):
        return self._start(
            "worker", self.address, "--host", "127.0.0.1", "--no-nanny", "--nthreads", "2",
            "--dashboard-address", "127.0.0.1:0",
            "--local-directory", self.folder.name, env=env,
        )  # fmt: skip

    def _start(self, *words, env=None):
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words], env={**self._env, **(env or {})},
            stdout=self._log, stderr=self._log, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def stop(self):
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(30)
        self._log.close()
        self.folder.cleanup()


class Watched:
    """A run in this process that is heard while it goes on."""

    def __init__(self, client, *, on_placed=None, keep_remote=False, lost_after_s=25.0):
        from hexviz.dag import DaskRunner

        self.runner = DaskRunner(client, keep_remote, lost_after_s=lost_after_s)
        self.on_placed = on_placed
        self.recorder = Recorder()

    def run(self, graph, value=None, control=None, **options):
        observers = ObserverManager()
        self.recorder.attach(observers)

        def hear(event):
            if self.on_placed is not None and isinstance(event, NodePlaced):
                self.on_placed(event)

        observers.register(hear, lossless=True)

        async def main():
            with capture_events(observers) as self.heard:
                async with asyncio.timeout(MOST_S):
                    made = Orchestrator(
                        observers=observers, control=control or ControlManager(), runner=self.runner, **options
                    )
                    return await made.run(graph, value)

        began = time.monotonic()
        try:
            return asyncio.run(main())
        finally:
            self.took_s = time.monotonic() - began
