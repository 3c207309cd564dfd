"""What is written on the line of a magic: its options, and the policies that it names."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError

from hexviz import policies
from hexviz.widgets.text import clean_text

if TYPE_CHECKING:
    from types import CodeType

_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""
USAGE = "%%hexviz [--policy NAME_OR_EXPRESSION ...] [--name NAME] [--store PATH]"
LINE_USAGE = "%hexviz last | runs [--store PATH] [--limit N] | on | off"


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{clean_text(message, 200)}. Usage: {self.usage}")


def _options(usage: str) -> _Options:
    return _Options(prog="hexviz", usage=usage, add_help=False, allow_abbrev=False)


CELL_OPTIONS = _options(USAGE)
CELL_OPTIONS.add_argument("--policy", nargs="+", action="extend", default=[])
CELL_OPTIONS.add_argument("--name", default="")
CELL_OPTIONS.add_argument("--store")
RUNS_OPTIONS = _options(LINE_USAGE)
RUNS_OPTIONS.add_argument("--store")
RUNS_OPTIONS.add_argument("--limit", type=int, default=20)


def parsed(options: _Options, line: str) -> argparse.Namespace:
    """The options on ``line``; raises ``UsageError`` for what is none."""
    given, left = options.parse_known_args(words_of(line))
    if left:
        options.error(f"unknown: {' '.join(left)}")
    return given


def words_of(line: str) -> list[str]:
    """The words of ``line``; what stands in brackets or quotes holds together, quotes around a whole word are dropped.

    ``--policy Retry(max_attempts=3, on="x") --name 'two words'`` are four words.
    """
    words, word, depth, quote = [], "", 0, ""
    for letter in line:
        if letter.isspace() and not depth and not quote:
            words.append(word)
            word = ""
            continue
        word += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        elif letter in _OPENING or letter in _CLOSING:
            depth = max(0, depth + (1 if letter in _OPENING else -1))
    if depth or quote:
        raise UsageError(f"a bracket or a quote is not closed in: {clean_text(line, 120)}")
    words.append(word)
    return [_unquoted(word) for word in words if word]


def _unquoted(word: str) -> str:
    whole = len(word) > 1 and word[0] in _QUOTES and word.find(word[0], 1) == len(word) - 1
    return word[1:-1] if whole else word


class NamedPolicy:
    """What ``--policy`` names: a class of ``hexviz.policies``, or an expression in the names of the notebook."""

    def __init__(self, text: str, names: dict[str, Any]) -> None:
        self._text = text
        self._names = names
        try:
            self._code: CodeType = compile(text, "<--policy>", "eval")
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"--policy {clean_text(text, 80)} is not an expression: {clean_text(error)}") from None

    def made(self) -> list[Any]:
        """The policies, made anew: the user's own code, as in the rest of the cell."""
        known = {name: getattr(policies, name) for name in policies.__all__}
        try:
            value = eval(self._code, {**known, **self._names})  # noqa: S307 - what the user wrote in the cell
            several = list(value) if isinstance(value, (list, tuple)) else [value]
            made = [policy() if isinstance(policy, type) else policy for policy in several]
        except Exception as error:
            hint = f" There are: {', '.join(policies.__all__)}." if isinstance(error, NameError) else ""
            raise UsageError(
                f"--policy {clean_text(self._text, 80)}: {type(error).__name__}: {clean_text(error)}.{hint}"
            ) from error
        for policy in made:
            if not (callable(policy) or hasattr(policy, "handle")):
                raise UsageError(f"--policy {clean_text(self._text, 80)} gives {type(policy).__name__}, not a policy")
        return made
