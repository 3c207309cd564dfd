"""The command line: ``hexviz demo | runs | show | watch | report | export | schema | verify | ...``."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import threading
from contextlib import suppress
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
from hexviz.quantities import age, moment, size
from hexviz.recording.run_list import STATUSES
from hexviz.schemas import write_schemas
from hexviz.stores.files import plain_file
from hexviz.stores.jsonl_check import is_jsonl, verify_jsonl
from hexviz.stores.parquet import FRAMES
from hexviz.stores.salvage import salvage
from hexviz.stores.store import is_address
from hexviz.terminal import RunView, plain, safe, signal_text, status_text, table
from hexviz.watching import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from hexviz.stores.run_info import Problem, RunInfo

_BAD_INPUT = 2
_INTERRUPTED = 130
_MOST_DECISIONS = 40
_MOST_PROBLEMS = 200
_COSTLY_WAVES = 5
_FACTS = {"fact": "left", "value": "left"}
_FORMATS = [known.name for known in FORMATS]
_SUFFIXES = [known.suffix for known in FORMATS]
_STATUSES = ("succeeded", "failed", "skipped", "fell_back", "cancelled")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    The exit code is 0; 1 where damage was found; 2, with one line on the standard error, for what cannot be done.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int | None = arguments.command(arguments, Console())
    except HexvizError as error:
        print(f"hexviz: {safe(' '.join(str(error).split()))}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("hexviz: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hexviz", description="See, steer, keep and replay DAG runs.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    stores = argparse.ArgumentParser(add_help=False)
    stores.add_argument(
        "--store", metavar="PATH", help="a file or postgresql://... (default: $HEXVIZ_STORE or the user's own)"
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
    runs.add_argument("--pipeline", metavar="NAME", help="only runs of this pipeline")
    runs.add_argument("--status", choices=STATUSES, help="only runs that ended so, or have not ended")
    runs.add_argument("--tag", metavar="TAG", help="only runs with this tag")
    runs.add_argument("--since", type=moment, metavar="TIME", help="only runs begun at or after: 7d, 12h, 2026-01-31")
    runs.add_argument("--until", type=moment, metavar="TIME", help="only runs begun before")
    verify = add("verify", _verify, "read all of a store or file and list what is damaged; the exit code is then 1")
    verify.add_argument(
        "where",
        nargs="?",
        metavar="STORE",
        help="a store, postgresql://..., or a file of JSON lines (default: --store)",
    )
    salvage = add("salvage", _salvage, "write what something damaged still holds to a new file, and list what is lost")
    salvage.add_argument(
        "where", metavar="STORE", help="a store, postgresql://..., or a file of JSON lines; it is not changed"
    )
    salvage.add_argument(
        "--output", "-o", type=Path, metavar="PATH", help="default: NAME.salvaged.db (or .jsonl) beside a file"
    )
    prune = add("prune", _prune, "remove old runs; runs that are being written are kept")
    prune.add_argument("--max-age", type=age, metavar="AGE", help="remove runs that began longer ago: 30d, 12h, 90m")
    prune.add_argument("--max-bytes", type=size, metavar="SIZE", help="then remove the oldest until records take: 2GB")
    prune.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    show = add("show", _show, "print a run: its summary, decisions and critical path")
    watch = add("watch", _watch, "follow a run that goes on elsewhere, in the store or at ws://..., until it ends")
    watch.add_argument(
        "--run", dest="remote", default="last", metavar="ID", help="of a server: which run (default: the last)"
    )
    watch.add_argument("--token", help="of a server (default: $HEXVIZ_TOKEN)")
    watch.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="give up after so long without news (default: %(default)g)",
    )
    _add_serve(add)
    report = add("report", _report, "write one self-contained HTML file that shows a run")
    report.add_argument(
        "--output", "-o", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s"
    )
    export = add("export", _export, "write a run to a file for other tools; the suffix says in which format")
    export.add_argument("--format", choices=_FORMATS, help="the format, where the suffix does not say it")
    export.add_argument("--frame", choices=FRAMES, help="CSV: write this frame to one file, not all to a directory")
    export.add_argument("--exact", action="store_true", help="CSV: write texts as they are, even formulas")
    schema = add("schema", _schema, "describe what hexviz sends: JSON Schema, AsyncAPI and OpenAPI documents")
    schema.add_argument(
        "output", type=Path, nargs="?", default=Path("schema"), metavar="DIRECTORY", help="default: %(default)s"
    )
    schema.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="also its own event classes; may be repeated",
    )
    for command in (show, watch, report, export):
        where = ", or the address of a server" if command is watch else ""
        command.add_argument("run", metavar="RUN", help=f"the run's id, its beginning, or 'last'{where}")
    export.add_argument("output", type=Path, metavar="PATH", help=f"such as run{', run'.join(_SUFFIXES)}")
    return parser


def _add_serve(add: Any) -> None:
    serve = add("serve", _serve, "let others watch runs of the store: in a browser, or with hexviz.watch")
    which = serve.add_mutually_exclusive_group()
    which.add_argument("--run", metavar="ID", help="this run (default: the last one)")
    which.add_argument("--follow", action="store_true", help="the last run, and each that begins from now on")
    serve.add_argument("--host", default="127.0.0.1", help="default: %(default)s, which only this machine reaches")
    serve.add_argument("--port", type=int, default=8765, help="0 takes any (default: %(default)s)")
    serve.add_argument("--allow-remote", action="store_true", help="another host may be reached by others")
    serve.add_argument("--token", help="what lets others in (default: $HEXVIZ_TOKEN, or a new one)")
    serve.add_argument("--no-token", action="store_true", help="let in everybody on this machine")
    for flag, says in (("--origin", "an origin"), ("--server-name", "a host, with its port,")):
        serve.add_argument(flag, action="append", default=[], help=f"{says} of a proxy; may be repeated")


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
    stored = f" --store {shlex.quote(arguments.store)}" if arguments.store else ""
    if "://" in stored:  # it may hold a password
        stored = " (with the same --store)"
    console.print(plain(f"The run is kept: hexviz show {result.run_id}{stored}"))
    console.print(plain(f"Written: {written} (opens in any browser, no network needed)"))
    console.print(plain("Next, the same run live in a notebook:"))
    python = shlex.quote(_python())
    console.print(plain(f"  {python} -m pip install -q -e '.[notebooks]'"))
    console.print(plain(f"  {python} -m jupyter lab notebooks/01_first_run.ipynb"))


def _runs(arguments: argparse.Namespace, console: Console) -> None:
    filters = {name: getattr(arguments, name) for name in ("pipeline", "status", "tag", "since", "until")}
    with _kept(arguments.store) as store:
        infos = store.list_runs(**filters)
    shown = infos[: arguments.limit]
    more = f"{len(shown)} of {len(infos)} runs"
    if not infos:
        chosen = any(value is not None for value in filters.values())
        more = "No run is like that" if chosen else "No run is kept here yet. Make one: hexviz demo"
    console.print(_runs_table("Runs", shown, more))


def _runs_table(title: str, infos: Sequence[RunInfo], footer: str) -> Group:
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
        for info in infos
    ]
    return table(title, columns, rows, footer=footer)


def _verify(arguments: argparse.Namespace, console: Console) -> int:
    problems, runs = _checked(arguments.where, arguments.store)
    damage = [problem for problem in problems if problem.problem != "unclean end"]
    if problems:
        console.print(_problems_table("Problems", problems))
    unclean = f", {len(problems) - len(damage)} without an end" if len(problems) > len(damage) else ""
    console.print(plain(f"{runs} runs{unclean}: {f'{len(damage)} findings of damage' if damage else 'no damage'}"))
    return 1 if damage else 0


def _checked(where: str | None, chosen: str | None) -> tuple[list[Problem], int]:
    """The problems of a store or file, and how many runs it has."""
    if where is not None and chosen is not None:
        raise SourceError("name one store: as an argument, or with --store")
    place = where or chosen
    if place is not None:
        _refuse_other_addresses(place)
        if not is_address(place):
            if is_jsonl(place):
                return verify_jsonl(place)[:2]
            plain_file(place)  # opening a store would make one where there is none
    with face.open_store(place) as store:
        return store.verify(), len(store.list_runs())


def _kept(chosen: str | None) -> Any:
    """The store that is chosen; a path that was named must be there: opening one would make it."""
    if chosen is not None and not is_address(chosen):
        _refuse_other_addresses(chosen)
        if not Path(chosen).exists():
            raise SourceError(
                f"there is no store {chosen}: correct the path, or fill one with hexviz demo --store PATH"
            )
    return face.open_store(chosen)


def _refuse_other_addresses(place: str) -> None:
    if "://" in place and not is_address(place):
        raise SourceError(f"{shown(place)} is no store: name a file, or postgresql://USER@HOST/DATABASE")


def _salvage(arguments: argparse.Namespace, console: Console) -> int:
    _refuse_other_addresses(arguments.where)
    done = salvage(arguments.where, arguments.output)
    if done.lost:
        console.print(_problems_table("Lost", done.lost))
    console.print(plain(f"Written: {done.path}, {done.records} events of {done.runs} runs"))
    return 1 if done.lost else 0


def _problems_table(title: str, problems: Sequence[Problem]) -> Group:
    rows = [(problem.run_id, problem.seq or "", problem.problem) for problem in problems[:_MOST_PROBLEMS]]
    more = f"and {len(problems) - len(rows)} more" if len(problems) > len(rows) else ""
    return table(title, {"run": "whole", "event": "right", "problem": "left"}, rows, footer=more)


def _prune(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.max_age is None and arguments.max_bytes is None:
        raise SourceError("say what to remove: --max-age 30d, --max-bytes 2GB, or both")
    with _kept(arguments.store) as store:
        gone = store.prune(max_age=arguments.max_age, max_bytes=arguments.max_bytes, dry_run=arguments.dry_run)
        left = len(store.list_runs())
    verb = "would be removed" if arguments.dry_run else "removed"
    console.print(_runs_table(f"Runs {verb}", gone[:_MOST_PROBLEMS], f"{len(gone)} {verb}, {left} are there"))


def _show(arguments: argparse.Namespace, console: Console) -> None:
    _print_run(console, _recording(arguments).frames)


def _watch(arguments: argparse.Namespace, console: Console) -> None:
    if "://" in arguments.run:
        _watch_server(arguments, console)
        return
    with _kept(arguments.store) as store, RunView(console) as view:
        run_id = _run_id(store, arguments.run)
        for record in store.tail(run_id, timeout=arguments.timeout):
            view(from_record(record))
        recording = store.recording(run_id)
    _print_run(console, recording.frames)


def _watch_server(arguments: argparse.Namespace, console: Console) -> None:
    url, run, token = arguments.run, arguments.remote, arguments.token
    with RunView(console) as view, face.watch(url, run=run, token=token, observers=[view]) as watched:
        count = -1
        while not watched.wait(arguments.timeout):
            if len(watched.recorder) == count:
                break
            count = len(watched.recorder)
    if not len(watched.recorder):
        raise SourceError(f"nothing came from {shown(url)} in {arguments.timeout:g} s")
    _print_run(console, watched.frames)


def _serve(arguments: argparse.Namespace, console: Console) -> None:
    token = False if arguments.no_token else arguments.token or os.environ.get("HEXVIZ_TOKEN")
    options = {"host": arguments.host, "port": arguments.port, "token": token, "allow_remote": arguments.allow_remote}
    lists = {"origins": arguments.origin, "hosts": arguments.server_name}
    with face.serve(arguments.store, run=arguments.run, follow=arguments.follow, **options, **lists) as server:
        console.print(plain("Open in a browser, or give to hexviz.watch and `hexviz watch`:"))
        console.print(plain(server.page_url), soft_wrap=True)
        console.print(plain("Ctrl-C ends it."))
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def _report(arguments: argparse.Namespace, console: Console) -> None:
    written = face.report(_recording(arguments), arguments.output)
    console.print(plain(f"Written: {written}"))


def _export(arguments: argparse.Namespace, console: Console) -> None:
    recording, target = _recording(arguments), arguments.output
    written = face.export(recording, target, format=arguments.format, safe=not arguments.exact, frame=arguments.frame)
    console.print(plain(f"Written: {written}"))


def _schema(arguments: argparse.Namespace, console: Console) -> None:
    for path in write_schemas(arguments.output, arguments.modules):
        console.print(plain(f"Written: {path}"))


def _recording(arguments: argparse.Namespace) -> Any:
    with _kept(arguments.store) as store:
        return store.recording(_run_id(store, arguments.run))


def _run_id(store: Any, named: str) -> str:
    run_id = store.last_run_id() if named == "last" else store.find(named)
    if run_id is None:
        raise SourceError(f"there is no run in {store.where}; make one with: hexviz demo")
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
