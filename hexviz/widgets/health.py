"""How the observers of a run are doing, as the panel of that name shows it."""

from __future__ import annotations

from typing import Any

from hexviz.widgets.text import clean_text

_MOST = 20


def health_rows(observers: Any, *, besides: str = "") -> list[list[Any]]:
    """``[name, delivered, queued, dropped, failed, timed_out, longest_lag_ms]`` of each observer, worst first.

    Left out are the one called ``besides`` and those beyond the 20th; empty for observers that keep no statistics.
    """
    statistics = getattr(observers, "statistics", None)
    if statistics is None:
        return []
    rows = [
        [
            clean_text(name, 60),
            one["delivered"],
            one["queued"],
            sum(one["dropped"].values()),
            one["failed"],
            one["timed_out"],
            round(one["loop_lag_max_s"] * 1e3, 1),
        ]
        for name, one in statistics().items()
        if name != besides
    ]
    rows.sort(key=lambda row: (-(row[3] + row[4] + row[5]), -row[6], row[0]))
    return rows[:_MOST]
