"""G3, G4, G5: other loops, and surroundings that lack something. Other Pythons and pandas versions are for CI."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUN = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import asyncio
from hexviz.dag import Orchestrator
from hexviz.events import ObserverManager
from hexviz.recording.recorder import Recorder
from hexviz.testing import sample_graph

async def main():
    observers, recorder, heard = ObserverManager(), Recorder(), []
    recorder.attach(observers)
    observers.register(lambda event: heard.append(event))
    async def observer(event): heard.append(event)
    observers.register(observer)
    result = await Orchestrator(observers=observers).run(sample_graph())
    assert await observers.flush(20)
    await observers.close()
    events = list(recorder.recording)
    assert len(result) == 4 and len(heard) == 2 * len(events), (len(heard), len(events))
    assert all((getattr(event, "duration_ms", 0) or 0) >= 0 for event in events)
    return [type(event).__name__ for event in events][-1]
"""
PLAIN = RUN + "print(asyncio.run(main()))\n"


def outcome(program, *flags, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed (it has no build for this system)")
def test_g3_everything_works_on_uvloop(tmp_path):
    program = RUN + "import uvloop\nwith asyncio.Runner(loop_factory=uvloop.new_event_loop) as r: print(r.run(main()))"
    assert outcome(program, cwd=tmp_path) == "PipelineCompleted"


def test_g3_a_nested_loop_works(tmp_path):
    program = RUN + (
        "import nest_asyncio2\nnest_asyncio2.apply()\n"
        "async def outer(): return asyncio.get_event_loop().run_until_complete(main())\n"
        "print(asyncio.run(outer()))"
    )
    assert outcome(program, cwd=tmp_path) == "PipelineCompleted"


def test_g3_a_loop_that_is_not_asyncio_is_refused_by_name(tmp_path):
    program = RUN + (
        "coroutine = Orchestrator().run(sample_graph())\n"
        "try: coroutine.send(None)\n"  # as trio or curio step their coroutines: no asyncio loop runs
        "except RuntimeError as error: print(type(error).__name__, error)"
    )
    said = outcome(program, cwd=tmp_path)
    assert said.startswith("OrchestratorError")
    assert "asyncio" in said


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONOPTIMIZE": "2"},
        {"HOME": "", "XDG_DATA_HOME": ""},
        {"HOME": "/nonexistent", "XDG_DATA_HOME": ""},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONASYNCIODEBUG": "1"},
        {"TZ": "Pacific/Kiritimati"},
    ],
    ids=lambda environment: next(iter(environment)) + "=" + next(iter(environment.values())),
)
def test_g5_a_run_in_bare_surroundings(tmp_path, environment):
    assert outcome(PLAIN, cwd=tmp_path, **environment) == "PipelineCompleted"


@pytest.mark.parametrize("flags", [["-I"], ["-O"], ["-OO"], ["-B", "-s"]], ids=" ".join)
def test_g5_a_run_under_an_interpreters_switches(tmp_path, flags):
    assert outcome(PLAIN, *flags, cwd=tmp_path) == "PipelineCompleted"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit on open files")
def test_g5_a_run_and_its_store_with_64_open_files(tmp_path):
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        + RUN
        + "import hexviz\nfor _ in range(30): result = hexviz.run_sync(sample_graph(), store='runs.db')\n"
        "print(len(result.recording.frames.runs), asyncio.run(main()))"
    )
    assert outcome(program, cwd=tmp_path) == "1 PipelineCompleted"


def test_g5_the_core_needs_no_place_to_write(tmp_path):
    folder = tmp_path / "readonly"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        assert outcome(PLAIN, "-B", cwd=folder) == "PipelineCompleted"
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o700)


def test_g5_a_frozen_wall_clock_leaves_order_and_durations_right(tmp_path):
    program = RUN + (
        "import time, hexviz.events.events as module\n"
        "from datetime import datetime, UTC\n"
        "frozen = datetime(2026, 1, 1, tzinfo=UTC)\n"
        "class Clock(datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None): return frozen\n"
        "module.datetime = Clock\n"
        "time.time = lambda: 0.0\n"
        "async def slow(value=None): await asyncio.sleep(0.05)\n"
        "async def timed():\n"
        "    from hexviz.dag import Graph, NodeSpec\n"
        "    observers, recorder = ObserverManager(), Recorder()\n"
        "    recorder.attach(observers)\n"
        "    graph = Graph('g', [NodeSpec('a', slow), NodeSpec('b', slow, deps=['a'])])\n"
        "    await Orchestrator(observers=observers).run(graph)\n"
        "    frames = recorder.recording.frames\n"
        "    return [round(ms / 50) >= 1 for ms in frames.nodes['duration_ms']]\n"
        "print(asyncio.run(timed()), asyncio.run(main()))"
    )
    assert outcome(program, cwd=tmp_path) == "[True, True] PipelineCompleted"


@pytest.mark.skipif(find_spec("_testcapi") is None, reason="this Python has no _testcapi")
def test_g4_memory_that_runs_out_while_telling_loses_nothing_that_was_acknowledged(tmp_path):
    program = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import _testcapi
import hexviz
from hexviz.events import NodeStarted, ObserverManager
from hexviz.recording.recorder import Recorder

class Silent:
    def handle_error(self, error, context): pass

store = hexviz.open_store("runs.db")
recorder, observers = Recorder(store=store), ObserverManager(error_handler=Silent())
recorder.attach(observers)
acknowledged = []
for n in range(1, 200):
    event = NodeStarted("n", 1, run_id="r", seq=n)
    _testcapi.set_nomemory(n % 40, n % 40 + 1 + n % 3)
    try:
        observers.notify_nowait(event)
        told = True
    except MemoryError:
        told = False
    finally:
        _testcapi.remove_mem_hooks()
    if n % 10 == 0:
        before = NodeStarted("n", 1, run_id="r", seq=1_000 + n)
        observers.notify_nowait(before)
        store.flush()
        acknowledged.append(1_000 + n)
recorder.close() if hasattr(recorder, "close") else None
store.flush()
kept = {{event.seq for event in store.recording("r")}}
assert kept.issuperset(acknowledged), set(acknowledged) - kept
assert {{problem.problem for problem in store.verify()}} == {{'unclean end'}}  # nothing else is wrong
store.close()
print("kept", len(kept) >= len(acknowledged))
"""
    assert outcome(program, cwd=tmp_path) == "kept True"


TWO_VERSIONS = """
import asyncio, shutil, sys
from pathlib import Path
import hexviz, hexviz.dag, hexviz.events
old, old_dag, old_events = hexviz, hexviz.dag, hexviz.events

tree = Path.cwd() / "upgraded" / "hexviz"
shutil.copytree(Path(hexviz.__file__).parent, tree, ignore=shutil.ignore_patterns("__pycache__"))
start = tree / "__init__.py"
start.write_text(start.read_text().replace(f'"{old.__version__}"', '"99.0.0"'))
for name in [name for name in sys.modules if name.split(".")[0] == "hexviz"]:
    del sys.modules[name]
sys.path.insert(0, str(tree.parent))
import hexviz, hexviz.dag, hexviz.events
from hexviz.errors import HexvizError
from hexviz.recording.recorder import Recorder
assert (hexviz.__version__, hexviz.events.NodeStarted is old_events.NodeStarted) == ("99.0.0", False)


async def main():
    events = hexviz.events
    observers, control = events.ObserverManager(), events.ControlManager()
    recorder = Recorder().attach(observers)

    async def tell():
        await observers.notify(old_events.NodeStarted("a", 1))

    async def register():
        observers.register(print, event_types=[old_events.NodeStarted])

    async def run_with_old_manager():
        graph = hexviz.dag.Graph("g", [hexviz.dag.NodeSpec("a", lambda: 1)])
        await hexviz.dag.Orchestrator(observers=old_events.ObserverManager()).run(graph)

    for attempt in (tell, tell, register, run_with_old_manager):
        try:
            await attempt()
        except HexvizError as error:
            print(attempt.__name__, "Restart the kernel" in str(error))

    async def old_answer(event, context):
        return old_events.PROCEED

    control.register(old_answer)
    graph = old_dag.Graph("g", [old_dag.NodeSpec("a", lambda: 1)])
    result = await hexviz.dag.Orchestrator(observers=observers, control=control).run(graph)
    print("old graph", dict(result), list(recorder.recording)[-1].__class__ is events.PipelineCompleted)
    await observers.close()


asyncio.run(main())
"""


def test_g5_two_versions_in_one_process_after_an_upgrade_are_told_apart_by_name(in_process):
    """What was made by the version from before is refused with the way out; graphs are only read, so they still run."""
    told = in_process(TWO_VERSIONS, quiet=False).splitlines()
    assert told == [
        "tell True",
        "tell True",
        "register True",
        "run_with_old_manager True",
        "old graph {'a': 1} True",
    ]
