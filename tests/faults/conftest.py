"""Each fault happens in a process of its own, under a hard limit: it may hang, exit, fork or crash."""

import subprocess
import sys
import textwrap

import pytest

from tests.stores.conftest import own_server, shared_server, url  # noqa: F401 - servers for the tests here too

LIMIT_S = 60


@pytest.fixture
def in_process(tmp_path):
    """Run a program with every warning an error; returns what it printed, once it ended with the expected code."""

    def run(program, *, code=0, quiet=True, warnings="error"):
        done = subprocess.run(
            [sys.executable, "-W", warnings, "-X", "dev", "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == code, done.stderr
        if quiet:
            assert "Traceback" not in done.stderr, done.stderr
            assert "never" not in done.stderr, done.stderr
            assert "destroyed" not in done.stderr, done.stderr
        return done.stdout

    return run
