r"""Frames as CSV (RFC 4180, UTF-8, one line ends in ``\n``), safe to open in a spreadsheet unless asked for exactness.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return as a formula. In the
safe form such a text gets an apostrophe in front, also where the place comes after a separator or a quote inside the
text, since another separator may be in force when the file is read (OWASP, "CSV Injection"; CWE-1236). Spaces of any
kind and characters that nobody sees may stand before the sign: some programs drop them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hexviz.bridges.source import iso, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_UNSEEN = r"(?:[^\S\t\r\n]|[\x00-\x08\x0e-\x1b\x7f\u200b-\u200f\ufeff])*"
_FORMULA = re.compile(rf"(?:^|(?<=[,;|\t\r\n\"']))(?={_UNSEEN}[=+\-@\t\r＝＋－＠])")  # noqa: RUF001 - those too begin formulas


def csv_lines(frame: pd.DataFrame, *, safe: bool = True) -> Iterator[bytes]:
    """The frame, line by line: texts in quotes, times in ISO 8601, nothing where a value is missing.

    ``safe=False`` writes texts as they are: reading the file gives them back, character by character.
    """
    columns = [str(name) for name in frame.columns]
    yield (",".join(columns) + "\n").encode()
    for values in rows(frame, *columns):
        yield (",".join(_cell(value, safe=safe) for value in values) + "\n").encode("utf-8", "backslashreplace")


def _cell(value: Any, *, safe: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = without_formulas(value) if safe else value
        return '"' + text.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return iso(value)


def without_formulas(text: str) -> str:
    """``text`` with an apostrophe wherever a spreadsheet might see the beginning of a formula."""
    return _FORMULA.sub("'", text)
