"""Text made harmless for any screen, and for the inside of markup, scripts and pages."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIMIT = 300
_LATIN_1 = 0xFF
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def clean_text(text: object, limit: int = _LIMIT) -> str:
    """``text`` fit for any screen: control, bidi and lone surrogate characters as escapes, ``limit`` long."""
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[: limit - 1]}…"
    return _CONTROL.sub(_visible, shown)


def xml_text(text: object, limit: int = _LIMIT) -> str:
    """``text`` for the inside of an XML or HTML element or a quoted attribute."""
    return escape(clean_text(text, limit), quote=True)


def script_json(value: Any) -> str:
    """``value`` as JSON that may stand inside a script element: no ``<``, ``>`` or ``&``, no line separators."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def base64_buffers(buffers: Iterable[bytes]) -> list[str]:
    """The buffers as base64 text, for a page without a kernel."""
    return [base64.b64encode(buffer).decode("ascii") for buffer in buffers]


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= _LATIN_1 else f"\\u{code:04x}"
