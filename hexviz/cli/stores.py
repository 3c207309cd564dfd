"""What concerns a whole store: ``hexviz runs | verify | salvage | prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hexviz.cli.chosen import chosen_store, refuse_other_addresses
from hexviz.errors import SourceError
from hexviz.opening import kept_store
from hexviz.quantities import age, count, moment, size
from hexviz.recording.run_list import STATUSES
from hexviz.stores.errors import NoStoreError
from hexviz.stores.files import plain_file
from hexviz.stores.jsonl_check import is_jsonl, verify_jsonl
from hexviz.stores.salvage import salvage
from hexviz.stores.store import is_address
from hexviz.terminal import plain, status_text, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console, Group

    from hexviz.cli.parsing import Add
    from hexviz.stores.run_info import Problem, RunInfo

_MOST_PROBLEMS = 200


def add_commands(add: Add) -> None:
    """Say what there is."""
    runs = add("runs", _runs, "list the runs in the store, newest first")
    runs.add_argument("--limit", type=count, default=20, help="how many at most (default: %(default)s)")
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
    saving = add("salvage", _salvage, "write what something damaged still holds to a new file, and list what is lost")
    saving.add_argument(
        "where", metavar="STORE", help="a store, postgresql://..., or a file of JSON lines; it is not changed"
    )
    saving.add_argument(
        "--output", "-o", type=Path, metavar="PATH", help="default: NAME.salvaged.db (or .jsonl) beside a file"
    )
    prune = add("prune", _prune, "remove old runs; runs that are being written are kept")
    prune.add_argument("--max-age", type=age, metavar="AGE", help="remove runs that began longer ago: 30d, 12h, 90m")
    prune.add_argument("--max-bytes", type=size, metavar="SIZE", help="then remove the oldest until records take: 2GB")
    prune.add_argument("--dry-run", action="store_true", help="only list what would be removed")


def _runs(arguments: argparse.Namespace, console: Console) -> None:
    filters = {name: getattr(arguments, name) for name in ("pipeline", "status", "tag", "since", "until")}
    try:
        with chosen_store(arguments.store) as store:
            infos = store.list_runs(**filters)
    except NoStoreError:
        if arguments.store is not None:
            raise
        infos = []  # on the first day
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
        refuse_other_addresses(place)
        if not is_address(place):
            if is_jsonl(place):
                return verify_jsonl(place)[:2]
            plain_file(place)
    with kept_store(place) as store:
        return store.verify(), len(store.list_runs())


def _salvage(arguments: argparse.Namespace, console: Console) -> int:
    refuse_other_addresses(arguments.where)
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
    with chosen_store(arguments.store) as store:
        gone = store.prune(max_age=arguments.max_age, max_bytes=arguments.max_bytes, dry_run=arguments.dry_run)
        left = len(store.list_runs())
    verb = "would be removed" if arguments.dry_run else "removed"
    console.print(_runs_table(f"Runs {verb}", gone[:_MOST_PROBLEMS], f"{len(gone)} {verb}, {left} are there"))
