"""The frame ``observers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.events.events import EventsDropped, ObserverFailed
from hexviz.recording.arrays import from_rows, shown

if TYPE_CHECKING:
    import pandas as pd

    from hexviz.recording.snapshot import Snapshot


def observers_frame(snapshot: Snapshot) -> pd.DataFrame:
    """What befell observers. The managers tell of it at most once a second, so there are few rows."""
    rows = []
    for cls, word in ((ObserverFailed, "failed"), (EventsDropped, "dropped")):
        table = snapshot.table(cls)
        for facts, place in zip(table.events(), table.place.tolist(), strict=True) if table is not None else ():
            values = [facts[name] for name in ("observer", "reason", "count", "first_seq", "last_seq")]
            texts = list(map(shown, values[:2]))
            rows.append((place, [snapshot.run_name(snapshot.run[place]), texts[0], word, texts[1], *values[2:]]))
    return from_rows("observers", [row for _, row in sorted(rows, key=lambda pair: pair[0])])
