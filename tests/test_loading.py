"""Modules are loaded without the garbage collector, and those that will be needed when nothing else computes."""

import gc
import os
import subprocess
import sys

import pytest

from hexviz import loading
from hexviz.loading import at_once, when_idle

GENERATIONS = """
import gc, json, IPython
gc.collect()
whole = []
gc.callbacks.append(lambda phase, info: whole.append(info["generation"]) if phase == "start" else None)
import hexviz
hexviz.Graph, hexviz.run, hexviz.Orchestrator
print(json.dumps(whole))
"""


def test_loading_hexviz_makes_the_collector_look_at_nothing():
    found = subprocess.run([sys.executable, "-c", GENERATIONS], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.count(",") <= 3  # what `import hexviz` by itself and the end of each loading may cost


def load_nothing():
    with at_once():
        assert not gc.isenabled()
        import hexviz.no_such_module  # noqa: F401


@pytest.mark.parametrize("collects", [True, False])
def test_a_process_goes_on_as_it_was_also_where_loading_fails(collects):
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(ImportError):
            load_nothing()
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


@pytest.fixture
def unloaded(tmp_path, monkeypatch):
    """The name of a module that nobody has loaded."""
    name = "hexviz_test_loaded_when_idle"
    (tmp_path / f"{name}.py").write_text("loaded = True")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


class Clock:
    """A clock by which a process has computed for ``share`` of the time that it was let sleep."""

    def __init__(self, share):
        self.share, self.slept_s, self.windows = share, 0.0, 0

    def sleep(self, seconds):
        self.slept_s += seconds
        self.windows += 1

    def process_time(self):
        return self.share * self.slept_s


@pytest.mark.parametrize(("share", "loads"), [(0.01, True), (0.5, False)])
def test_modules_are_loaded_ahead_only_where_nothing_else_computes(monkeypatch, unloaded, share, loads):
    clock = Clock(share)
    monkeypatch.setattr(loading, "time", clock)
    when_idle(unloaded).join(timeout=10)
    assert (unloaded in sys.modules) is loads
    assert clock.windows == 1 + (1 if loads else 300)


def test_a_module_that_cannot_be_loaded_ahead_is_left_to_whoever_needs_it(monkeypatch, unloaded):
    monkeypatch.setattr(loading, "time", Clock(0.0))
    when_idle("hexviz.no_such_module", unloaded).join(timeout=10)
    assert unloaded in sys.modules


def test_nothing_is_begun_for_modules_that_are_there():
    assert when_idle("sys", "hexviz.loading") is None


SLOW = "import time; time.sleep(0.5); loaded = True"
FORKS = """
import os, sys, time
from hexviz import loading
sys.path.insert(0, sys.argv[1])
thread = loading.when_idle("slow_to_load")
while "slow_to_load" not in sys.modules:
    time.sleep(0.01)
child = os.fork()
if child == 0:
    import slow_to_load
    os._exit(0 if slow_to_load.loaded else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_is_made_while_a_module_is_loaded_ahead_can_load_it_too(tmp_path):
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "0"
