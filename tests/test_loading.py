"""Modules are loaded without the garbage collector, which is left as it was."""

import gc
import subprocess
import sys

import pytest

from hexviz.loading import at_once

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
