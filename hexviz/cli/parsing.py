"""The command line: what it takes, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console

import hexviz
from hexviz.cli import demo, runs, serving, stores
from hexviz.errors import HexvizError
from hexviz.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

Add = Callable[[str, Callable[[argparse.Namespace, Console], int | None], str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, and what the help says of it."""

_BAD_INPUT = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    The exit code is 0; 1 where damage was found; 2, with one line on the standard error, for what cannot be done.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return _BAD_INPUT
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
    parser.add_argument("--version", action="version", version=f"hexviz {hexviz.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--store", metavar="PATH", help="a file or postgresql://... (default: $HEXVIZ_STORE or the user's own)"
    )

    def add(name: str, command: Any, says: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=says, description=says, parents=[where])
        added.set_defaults(command=command)
        return added

    for group in (demo, stores, runs, serving):
        group.add_commands(add)
    return parser
