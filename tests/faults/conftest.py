"""Each fault happens in a process of its own, under a hard limit: it may hang, exit, fork or crash."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.stores.conftest import own_server, shared_server, url  # noqa: F401 - servers for the tests here too

LIMIT_S = 60
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def in_process(tmp_path):
    """Run a program with every warning an error; returns what it printed, once it ended with the expected code."""

    def run(program, *, code=0, quiet=True, warnings="error", dev=True):
        mode = ["-X", "dev"] if dev else []  # several times slower where a million things happen
        done = subprocess.run(
            [sys.executable, "-W", warnings, *mode, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=tmp_path,
            check=False,
            env={**os.environ, "PYTHONPATH": ROOT},  # for tests.faults.oracles
        )
        assert done.returncode == code, done.stderr
        if quiet:
            assert "Traceback" not in done.stderr, done.stderr
            assert "never" not in done.stderr, done.stderr
            assert "destroyed" not in done.stderr, done.stderr
        return done.stdout

    return run
