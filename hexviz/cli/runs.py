"""What concerns one run: ``hexviz show | watch | report | export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexviz import face
from hexviz.cli.chosen import chosen_store
from hexviz.cli.run_tables import print_run
from hexviz.errors import SourceError
from hexviz.events.schema import from_record
from hexviz.exports import FORMATS
from hexviz.stores.parquet import FRAMES
from hexviz.terminal import RunView, plain
from hexviz.watching import shown

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from hexviz.cli.parsing import Add

_FORMATS = [known.name for known in FORMATS]
_SUFFIXES = [known.suffix for known in FORMATS]


def add_commands(add: Add) -> None:
    """Say what there is."""
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
    report = add("report", _report, "write one self-contained HTML file that shows a run")
    report.add_argument(
        "--output", "-o", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s"
    )
    export = add("export", _export, "write a run to a file for other tools; the suffix says in which format")
    export.add_argument("--format", choices=_FORMATS, help="the format, where the suffix does not say it")
    export.add_argument("--frame", choices=FRAMES, help="CSV: write this frame to one file, not all to a directory")
    export.add_argument("--exact", action="store_true", help="CSV: write texts as they are, even formulas")
    for command in (show, watch, report, export):
        where = ", or the address of a server" if command is watch else ""
        command.add_argument("run", metavar="RUN", help=f"the run's id, its beginning, or 'last'{where}")
    export.add_argument("output", type=Path, metavar="PATH", help=f"such as run{', run'.join(_SUFFIXES)}")


def _show(arguments: argparse.Namespace, console: Console) -> None:
    print_run(console, _recording(arguments).frames)


def _watch(arguments: argparse.Namespace, console: Console) -> None:
    if "://" in arguments.run:
        _watch_server(arguments, console)
        return
    with chosen_store(arguments.store) as store, RunView(console) as view:
        run_id = store.find(arguments.run)
        for record in store.tail(run_id, timeout=arguments.timeout):
            view(from_record(record))
        recording = store.recording(run_id)
    print_run(console, recording.frames)


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
    print_run(console, watched.frames)


def _report(arguments: argparse.Namespace, console: Console) -> None:
    written = face.report(_recording(arguments), arguments.output)
    console.print(plain(f"Written: {written}"))


def _export(arguments: argparse.Namespace, console: Console) -> None:
    recording, target = _recording(arguments), arguments.output
    written = face.export(recording, target, format=arguments.format, safe=not arguments.exact, frame=arguments.frame)
    console.print(plain(f"Written: {written}"))


def _recording(arguments: argparse.Namespace) -> Any:
    with chosen_store(arguments.store) as store:
        return store.recording(store.find(arguments.run))
