"""The command line: ``hexviz demo | runs | show | watch | report | export``."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from hexviz import analysis, face
from hexviz.demo.airrflow import AIRRFLOW_PATH_S, DEFAULT_SPEED, MAX_CONCURRENT_NODES, airrflow
from hexviz.demo.policies import airrflow_policies
from hexviz.errors import HexvizError, SourceError
from hexviz.events.schema import from_record
from hexviz.exports import FORMATS
from hexviz.stores.parquet import FRAMES
from hexviz.terminal import RunView, plain, safe, signal_text, status_text, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

_BAD_INPUT = 2
_INTERRUPTED = 130
_MOST_DECISIONS = 40
_COSTLY_WAVES = 5
_FACTS = {"fact": "left", "value": "left"}
_FORMATS = [known.name for known in FORMATS]
_SUFFIXES = [known.suffix for known in FORMATS]
_STATUSES = ("succeeded", "failed", "skipped", "fell_back", "cancelled")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code is 0, or 2 with one line on the standard error for what cannot be done."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments, Console())
    except HexvizError as error:
        print(f"hexviz: {safe(' '.join(str(error).split()))}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("hexviz: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hexviz", description="See, steer, keep and replay DAG runs.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    stores = argparse.ArgumentParser(add_help=False)
    stores.add_argument(
        "--store", type=Path, metavar="PATH", help="the store (default: $HEXVIZ_STORE or the user's own)"
    )

    def add(name: str, command: Any, says: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=says, description=says, parents=[stores])
        added.set_defaults(command=command)
        return added

    demo = add("demo", _demo, "run a real workflow of 212 tasks, scaled down to a few seconds, and write a report")
    demo.add_argument(
        "--speed", type=float, default=DEFAULT_SPEED, help="how many times faster than recorded (default: %(default)g)"
    )
    demo.add_argument(
        "--seed", type=int, default=0, help="what the synthetic data are made from (default: %(default)s)"
    )
    demo.add_argument("--report", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s")
    demo.add_argument("--no-progress", action="store_true", help="do not show the run while it goes on")
    runs = add("runs", _runs, "list the runs in the store, newest first")
    runs.add_argument("--limit", type=int, default=20, help="how many at most (default: %(default)s)")
    show = add("show", _show, "print a run: its summary, decisions and critical path")
    watch = add("watch", _watch, "follow a run that another process writes to the store, until it ends")
    watch.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="give up after so long without news (default: %(default)g)",
    )
    report = add("report", _report, "write one self-contained HTML file that shows a run")
    report.add_argument(
        "--output", "-o", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s"
    )
    export = add("export", _export, "write a run to a file for other tools; the suffix says in which format")
    export.add_argument("--format", choices=_FORMATS, help="the format, where the suffix does not say it")
    export.add_argument("--frame", choices=FRAMES, help="CSV: write this frame to one file, not all to a directory")
    export.add_argument("--exact", action="store_true", help="CSV: write texts as they are, even formulas")
    for command in (show, watch, report, export):
        command.add_argument("run", metavar="RUN", help="the run's id, its beginning, or 'last'")
    export.add_argument("output", type=Path, metavar="PATH", help=f"such as run{', run'.join(_SUFFIXES)}")
    return parser


# --- commands


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
    _print_run(console, frames)
    console.print(_barrier_table(frames))
    scaled = _seconds(1e3 * AIRRFLOW_PATH_S / arguments.speed)
    console.print(plain(f"In the table the critical path takes {AIRRFLOW_PATH_S} s, which is {scaled} at this speed."))
    console.print()
    stored = f" --store {shlex.quote(str(arguments.store))}" if arguments.store else ""
    console.print(plain(f"The run is kept: hexviz show {result.run_id}{stored}"))
    console.print(plain(f"Written: {written} (opens in any browser, no network needed)"))
    console.print(plain("Next, the same run live in a notebook:"))
    python = shlex.quote(_python())
    console.print(plain(f"  {python} -m pip install -q -e '.[notebooks]'"))
    console.print(plain(f"  {python} -m jupyter lab notebooks/01_first_run.ipynb"))


def _runs(arguments: argparse.Namespace, console: Console) -> None:
    with face.open_store(arguments.store) as store:
        infos = store.list_runs()
    shown = infos[: arguments.limit]
    columns = {
        "run": "whole",
        "pipeline": "left",
        "status": "left",
        "began (UTC)": "left",
        "took": "right",
        "nodes": "right",
    }
    rows = [
        (
            info.run_id,
            info.pipeline,
            status_text(info.status),
            "" if info.started_at is None else f"{info.started_at:%m-%d %H:%M}",
            "" if info.duration_ms is None else f"{info.duration_ms / 1e3:.1f} s",
            info.nodes,
        )
        for info in shown
    ]
    more = f"{len(shown)} of {len(infos)} runs" if infos else "No run is kept here yet. Make one: hexviz demo"
    console.print(table("Runs", columns, rows, footer=more))


def _show(arguments: argparse.Namespace, console: Console) -> None:
    _print_run(console, _recording(arguments).frames)


def _watch(arguments: argparse.Namespace, console: Console) -> None:
    with face.open_store(arguments.store) as store, RunView(console) as view:
        run_id = _run_id(store, arguments.run)
        for record in store.tail(run_id, timeout=arguments.timeout):
            view(from_record(record))
        recording = store.recording(run_id)
    _print_run(console, recording.frames)


def _report(arguments: argparse.Namespace, console: Console) -> None:
    written = face.report(_recording(arguments), arguments.output)
    console.print(plain(f"Written: {written}"))


def _export(arguments: argparse.Namespace, console: Console) -> None:
    recording, target = _recording(arguments), arguments.output
    written = face.export(recording, target, format=arguments.format, safe=not arguments.exact, frame=arguments.frame)
    console.print(plain(f"Written: {written}"))


def _recording(arguments: argparse.Namespace) -> Any:
    with face.open_store(arguments.store) as store:
        return store.recording(_run_id(store, arguments.run))


def _run_id(store: Any, named: str) -> str:
    run_id = store.last_run_id() if named == "last" else store.find(named)
    if run_id is None:
        raise SourceError(f"there is no run in {store.path}; make one with: hexviz demo")
    return str(run_id)


def _python() -> str:
    """This interpreter, as it is called from here."""
    here = Path(sys.executable)
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


# --- what a run looks like as tables


def _print_run(console: Console, frames: Any) -> None:
    console.print(_summary_table(frames))
    if len(frames.decisions):
        console.print(_decisions_table(frames))
    if len(frames.nodes):
        console.print(_critical_path_table(frames))


def _summary_table(frames: Any) -> Group:
    run = frames.runs.iloc[0]
    counts = "  ".join(f"{status.replace('_', ' ')} {run[status]}" for status in _STATUSES if _known(run[status]))
    rows = [
        ("run", run["run_id"]),
        ("pipeline", run["pipeline"]),
        ("status", status_text(run["status"])),
        ("started (UTC)", _time(run["started_at"])),
        ("took", _seconds(run["duration_ms"])),
        ("nodes", f"{run['nodes']} in {run['waves']} waves: {counts}"),
        ("attempts", run["attempts"]),
        ("decisions", run["decisions"]),
    ]
    if _known(run["error_type"]):
        rows.append(("error", f"{run['error_type']}: {run['error_message']}"))
    return table("Run", _FACTS, rows)


def _decisions_table(frames: Any) -> Group:
    votes = frames.decisions
    told = votes[votes["decisive"] | (votes["shadow"] & (votes["vote"] != "proceed")) | (votes["error"] != "")]
    columns = {"at": "right", "signal": "left", "node": "whole", "try": "right", "why": "left"}
    rows = [
        (
            _seconds(vote["offset_ms"]),
            signal_text(vote["vote"]).append("*" if vote["shadow"] else ""),
            vote["node"],
            _known(vote["attempt"]),
            f"{vote['handler']}: {vote['vote_reason'] or vote['error']}",
        )
        for _, vote in told.head(_MOST_DECISIONS).iterrows()
    ]
    notes = ["* a shadow policy: asked and recorded, not obeyed"] if told["shadow"].any() else []
    if len(told) > len(rows):
        notes.append(f"and {len(told) - len(rows)} more")
    return table("Decisions", columns, rows, footer="; ".join(notes))


def _critical_path_table(frames: Any) -> Group:
    path = analysis.critical_path(frames)
    columns = {"wave": "right", "node": "left", "start": "right", "took": "right"}
    rows = [
        (step["wave"], step["node"], _seconds(step["start_ms"]), _seconds(step["duration_ms"]))
        for _, step in path.iterrows()
    ]
    total = _seconds(path["duration_ms"].sum())
    return table("Critical path: what the run had to wait for", columns, rows, footer=f"{len(rows)} nodes, {total}")


def _barrier_table(frames: Any) -> Group:
    waves = analysis.wave_barrier(frames)
    costly = waves.sort_values("longest_ms", ascending=False).head(_COSTLY_WAVES).sort_values("wave")
    columns = {"wave": "right", "nodes": "right", "all would wait for": "left", "took": "right"}
    rows = [
        (row["wave"], row["nodes"], row["longest_node"], _seconds(row["longest_ms"])) for _, row in costly.iterrows()
    ]
    facts, run = waves.attrs, frames.runs.iloc[0]
    footer = (
        f"Critical path {_seconds(facts['critical_path_ms'])}, this run {_seconds(run['duration_ms'])}, "
        f"with a barrier after each wave {_seconds(facts['barrier_ms'])}: {facts['ratio']:.2f} times the critical path"
    )
    return table(
        f"What waiting for whole waves would have cost: the {len(rows)} longest waves", columns, rows, footer=footer
    )


def _known(value: Any) -> Any:
    """The value of a cell, or nothing where it is missing."""
    return "" if pd.isna(value) or value == 0 else value


def _time(moment: Any) -> str:
    return "" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M:%S}"


def _seconds(duration_ms: float | None) -> str:
    return "" if pd.isna(duration_ms) else f"{duration_ms / 1e3:.3f} s"


if __name__ == "__main__":
    sys.exit(main())
