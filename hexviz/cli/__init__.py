"""The command line: ``hexviz demo | runs | show | watch | report | export | schema | verify | ...``."""

from hexviz.cli.parsing import main

__all__ = ["main"]
