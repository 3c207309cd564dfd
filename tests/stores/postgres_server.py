"""A PostgreSQL server for tests: on 127.0.0.1, as an unprivileged user, with its data in a directory of its own."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
OPTIONS = {
    "listen_addresses": "127.0.0.1", "shared_buffers": "16MB", "max_connections": "40", "max_wal_size": "64MB",
    "log_min_messages": "warning", "dynamic_shared_memory_type": "mmap",
}  # fmt: skip
_WITH_PARENT = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
"""Ends the server with the tests, even where those are killed."""
_STILL_THERE = "pre-existing shared memory block"
"""Said where the server was killed, and one of its processes has not noticed yet: it will in a moment."""
_END = 400
_schemas = itertools.count(1)


def programs():
    """The directory of ``initdb`` and ``postgres``; None where they are not installed."""
    found = shutil.which("initdb")
    return Path(found).parent if found else next(iter(PLACES), None)


def unprivileged():
    """How to start a process that is not root: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Server:
    """One server: started, stopped, killed and started again on the same port and data."""

    def __init__(self, **options):
        self.options = {**OPTIONS, **options}
        self.home = Path(tempfile.mkdtemp(prefix="hexviz-pg-"))
        self.data, self.log = self.home / "data", self.home / "log"
        self.process = None
        if not os.geteuid():
            os.chown(self.home, unprivileged()["user"], unprivileged()["group"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [
            programs() / "initdb",
            "-D",
            self.data,
            "-A",
            "trust",
            "-U",
            "hexviz",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=self.home, timeout=60, **unprivileged())

    @property
    def url(self):
        return f"postgresql://hexviz:s3cretpw@127.0.0.1:{self.port}/postgres"

    def fresh(self):
        """The address of an empty store."""
        name = f"store_{next(_schemas)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"

    def execute(self, sql, parameters=(), url=None):
        import psycopg

        with psycopg.connect(url or self.url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else None

    def start(self):
        self._launch()
        for _ in range(600):
            with contextlib.suppress(Exception):
                self.execute("SELECT 1")
                return self
            if self.process.poll() is not None:
                said = self.log.read_text()
                assert _STILL_THERE in said[-_END:], said
                self._launch()
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL did not start: {self.log.read_text()}")

    def _launch(self):
        settings = {**self.options, "port": self.port, "unix_socket_directories": self.home}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_WITH_PARENT, programs() / "postgres", "-D", self.data, *flags],
                stdout=log,
                stderr=log,
                cwd=self.home,
                **unprivileged(),
            )

    def processes(self):
        """The ids of all its processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def signal(self, number):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        """kill -9 of everything at once."""
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
