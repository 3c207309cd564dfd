"""``hexviz demo``: a real workflow, run here."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hexviz import face
from hexviz.cli.run_tables import barrier_table, print_run, seconds
from hexviz.demo.airrflow import AIRRFLOW_PATH_S, DEFAULT_SPEED, MAX_CONCURRENT_NODES, airrflow
from hexviz.demo.policies import airrflow_policies
from hexviz.terminal import RunView, plain

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from hexviz.cli.parsing import Add

_NOTEBOOK = Path("notebooks", "01_first_run.ipynb")


def add_commands(add: Add) -> None:
    """Say what there is."""
    demo = add("demo", _demo, "run a real workflow of 212 tasks, scaled down to a few seconds, and write a report")
    demo.add_argument(
        "--speed", type=float, default=DEFAULT_SPEED, help="how many times faster than recorded (default: %(default)g)"
    )
    demo.add_argument(
        "--seed", type=int, default=0, help="what the synthetic data are made from (default: %(default)s)"
    )
    demo.add_argument("--report", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s")
    demo.add_argument("--no-progress", action="store_true", help="do not show the run while it goes on")


def _demo(arguments: argparse.Namespace, console: Console) -> None:
    graph = airrflow(speed=arguments.speed, seed=arguments.seed)
    with RunView(console, enabled=not arguments.no_progress) as view:
        result = asyncio.run(
            face.run(
                graph,
                policies=airrflow_policies(),
                observers=[view],
                store=arguments.store,
                max_concurrent_nodes=MAX_CONCURRENT_NODES,
            )
        )
    frames = result.recording.frames
    written = face.report(result.recording, arguments.report)
    print_run(console, frames)
    console.print(barrier_table(frames))
    scaled = seconds(1e3 * AIRRFLOW_PATH_S / arguments.speed)
    console.print(plain(f"In the table the critical path takes {AIRRFLOW_PATH_S} s, which is {scaled} at this speed."))
    console.print()
    stored = f" --store {shlex.quote(arguments.store)}" if arguments.store else ""
    if "://" in stored:  # it may hold a password
        stored = " (with the same --store)"
    python = Path(sys.executable)
    command = "hexviz" if shutil.which("hexviz") else _from_here(python.with_name("hexviz"))
    console.print(plain(f"The run is kept: {command} show {result.run_id}{stored}"), soft_wrap=True)
    console.print(plain(f"Written: {written} (opens in any browser, no network needed)"))
    if _NOTEBOOK.exists():  # in a clone of the project
        console.print(plain("Next, the same run live in a notebook:"))
        console.print(plain(f"  {_from_here(python)} -m pip install -q -e '.[notebooks]'"), soft_wrap=True)
        console.print(plain(f"  {_from_here(python)} -m jupyter lab {_NOTEBOOK}"), soft_wrap=True)


def _from_here(program: Path) -> str:
    """A program, as it is called from here."""
    return shlex.quote(str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program))
