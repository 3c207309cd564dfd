"""The parts of a dashboard, by name."""

from __future__ import annotations

from collections.abc import Iterable

from hexviz.errors import HexvizError

PANELS: dict[str, str] = {
    "progress": "nodes by status, and an estimate of the rest",
    "timeline": "one bar per attempt",
    "concurrency": "attempts under way at once, over time",
    "workers": "what each worker did, where nodes run in other processes",
    "decisions": "what control decided, by signal and handler",
    "calls": "calls of tools and models, with their tokens",
    "failures": "what failed, with its traceback",
    "health": "observers: delivered, queued, dropped, failed, lag",
    "overhead": "what watching costs",
    "graph": "the graph, in the colours of the statuses",
}
"""Every panel and what it shows, in the order in which they stand."""

DEFAULT_PANELS = ("progress", "timeline", "concurrency", "workers", "decisions", "failures")


class PanelError(HexvizError, ValueError):
    """There is no panel of that name; the message lists those that there are."""


def chosen_panels(panels: Iterable[str] | None) -> tuple[str, ...]:
    """The panels asked for, each once, in their order on the page; the default ones for None, all for ``"all"``.

    Raises :class:`PanelError` for a name that is not known, and where none is asked for.
    """
    if panels is None:
        return DEFAULT_PANELS
    if not isinstance(panels, Iterable):
        raise PanelError(f"panels are named, such as ['progress', 'graph'], or 'all', not {panels!r}")
    asked = tuple(PANELS) if panels == "all" else (panels,) if isinstance(panels, str) else tuple(panels)
    unknown = [name for name in asked if name not in PANELS]
    listed = ", ".join(f"{name} ({what})" for name, what in PANELS.items())
    if unknown:
        raise PanelError(f"there is no panel {unknown[0]!r}. There are: {listed}")
    if not asked:
        raise PanelError(f"a dashboard needs at least one panel. There are: {listed}")
    return tuple(name for name in PANELS if name in asked)
