"""The colours of statuses and signals: one set for the live view, the figures and the report.

The hues are those of Okabe and Ito, which colour-blind readers can tell apart; all are readable on white and on dark.
"""

from __future__ import annotations

STATUS_COLORS: dict[str, str] = {
    "pending": "#c9ced6",
    "running": "#0072b2",
    "retrying": "#e69f00",
    "succeeded": "#009e73",
    "failed": "#d55e00",
    "skipped": "#999999",
    "fell_back": "#cc79a7",
    "cancelled": "#56b4e9",
}
"""Status of a node, an attempt or a run -> colour, in the order of legends."""

SIGNAL_COLORS: dict[str, str] = {
    "proceed": STATUS_COLORS["succeeded"],
    "retry": STATUS_COLORS["retrying"],
    "skip": STATUS_COLORS["skipped"],
    "fallback": STATUS_COLORS["fell_back"],
    "fail": STATUS_COLORS["failed"],
    "error": "#882255",
}
"""Control signal -> colour, in the order of legends."""

WAIT_COLORS: dict[str, str] = {"queued": "#c9ced6", "backoff": "#f0e442", "running": STATUS_COLORS["running"]}
"""What a node spends its time on -> colour."""

CALL_COLORS: dict[str, str] = {"tool": "#4477aa", "llm": "#ccbb44"}
"""Kind of a call -> colour (of Tol's bright scheme, which colour-blind readers can tell apart as well)."""

ACCENT = "#c8408f"
"""What is to be seen first: the critical path."""

NEUTRAL = "#7f8793"
"""Text, axes and edges: readable on light and on dark."""


def status_color(status: object) -> str:
    """The colour of ``status``; :data:`NEUTRAL` for a word that is not known."""
    return STATUS_COLORS.get(str(status), NEUTRAL)


def signal_color(signal: object) -> str:
    """The colour of ``signal``; :data:`NEUTRAL` for a word that is not known."""
    return SIGNAL_COLORS.get(str(signal), NEUTRAL)
