"""What others get: ``hexviz serve | schema``."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hexviz import face
from hexviz.schemas import write_schemas
from hexviz.terminal import plain

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from hexviz.cli.parsing import Add


def add_commands(add: Add) -> None:
    """Say what there is."""
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


def _schema(arguments: argparse.Namespace, console: Console) -> None:
    for path in write_schemas(arguments.output, arguments.modules):
        console.print(plain(f"Written: {path}"))
