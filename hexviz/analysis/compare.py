"""Two runs, or two sets of runs, set side by side: what is different, and whether it is more than noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hexviz.analysis.measures import GOOD, KINDS, measured, side_of
from hexviz.analysis.noise import CONFIDENCE, noise_band
from hexviz.analysis.source import FramesLike, finished
from hexviz.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hexviz.analysis.measures import Side
    from hexviz.analysis.source import Kind

VERDICTS = (
    *("same", "noise", "added", "removed", "rewired", "better", "worse", "changed"),
    *("slower", "faster", "more", "fewer", "unknown"),
)
_COLUMNS: dict[str, Kind] = {
    "kind": KINDS,
    "node": "text",
    "measure": "text",
    **dict.fromkeys(("before", "after", "delta", "ratio", "noise"), "float"),
    "verdict": VERDICTS,
    "before_words": "text",
    "after_words": "text",
}
_RISES_AND_FALLS = {"status": ("better", "worse"), "timing": ("slower", "faster")}
_KEYS = ["kind", "node", "measure"]


def compare(
    before: FramesLike,
    after: FramesLike,
    *,
    run_before: str | Sequence[str] | None = None,
    run_after: str | Sequence[str] | None = None,
    noise_ms: float = 2.0,
    noise_share: float = 0.1,
) -> pd.DataFrame:
    """Set two runs, or two sets of runs, side by side: one row per fact about a node or, with an empty node, the run.

    ``run_before`` and ``run_after`` choose one run or several of each side; None takes all that are there. So both
    sides may be the same frames. Columns:

    - ``kind`` (category): ``structure``, ``status``, ``attempts``, ``timing``, ``decisions``, ``calls``, ``tokens``
    - ``node``, ``measure``: what is compared. Of ``structure`` the parents, of ``timing`` ``duration_ms`` per node, and
      for the run ``run_ms`` (first start to last end), ``work_ms`` (own time of all attempts), ``waited_ms`` (queue and
      back-off); of ``decisions`` such as ``retry by Retry``, of ``calls`` and ``tokens`` by tool or model
    - ``before``, ``after`` (float64): means over the runs of each side; of ``structure`` and ``status`` the share of
      runs that have the node, and in which it ended well (succeeded, fell back)
    - ``delta`` (after - before), ``ratio`` (after / before)
    - ``noise``: up to this much a difference says nothing. Where a side has several runs it comes from their own
      spread, so that 99 of 100 rows without a change lie within (Welch's t); between two single runs it is
      ``noise_share`` of ``before``, and 0 for what is counted. For ``timing`` it is at least ``noise_ms``.
    - ``verdict`` (category): ``same``, ``noise`` (different, within the band); ``added``, ``removed``, ``rewired``
      (other parents); ``better``, ``worse``, ``changed`` (status); ``slower``, ``faster``; ``more``, ``fewer``;
      ``unknown`` (one side never got that far)
    - ``before_words``, ``after_words``: parents, or statuses (with their shares of the runs); empty for numbers

    A node that one side lacks has its row of ``structure`` and of what happened in it, none of status and timing.
    Within a kind the largest differences stand first. ``attrs``: ``run_before``, ``run_after`` (ids, or how many runs),
    ``runs_before``, ``runs_after`` (counts), ``run_ms_before``, ``run_ms_after``, ``noise_ms``, ``noise_share``.

    Raises :class:`~hexviz.errors.SourceError` for a missing frame, column or run,
    :class:`~hexviz.errors.SettingError` for a bad floor.
    """
    for name, value in (("noise_ms", noise_ms), ("noise_share", noise_share)):
        if not 0 <= value < float("inf"):
            raise SettingError(f"{name} must be a number, 0 or more, not {value!r}")
    sides = side_of(before, run_before), side_of(after, run_after)
    return compare_sides(*sides, noise_ms=noise_ms, noise_share=noise_share)


def compare_sides(before: Side, after: Side, *, noise_ms: float = 2.0, noise_share: float = 0.1) -> pd.DataFrame:
    """The frame of :func:`compare`, of what the two sides hold: a kind that one of them cannot tell is left out."""
    left, right = measured(before), measured(after)
    both = left.merge(right, on=_KEYS, how="outer", suffixes=("_before", "_after"), sort=False)
    both = both[both["kind"].isin(before.kinds & after.kinds)].reset_index(drop=True)
    both = _filled(both, before, after)
    both["delta"] = both["mean_after"] - both["mean_before"]
    both["ratio"] = both["mean_after"] / both["mean_before"].where(both["mean_before"] > 0)
    both["noise"] = _noise(both, noise_ms, noise_share)
    both["verdict"] = _verdicts(both)
    both = both.rename(columns={f"{a}_{s}": f"{s}{b}" for s in ("before", "after") for a, b in _NAMES})
    rank = pd.DataFrame({"kind": both["kind"].map(KINDS.index), "by": -both["delta"].abs().fillna(-1.0)})
    rank["same"] = both["verdict"] == "same"
    both = both.loc[rank.sort_values(["kind", "same", "by"], kind="stable").index]
    facts = {
        f"{name}_{word}": value
        for word, side in (("before", before), ("after", after))
        for name, value in (("run", side.name), ("runs", len(side.runs)), ("run_ms", side.run_ms))
    }
    return finished("compare", both, _COLUMNS, {**facts, "noise_ms": noise_ms, "noise_share": noise_share})


_NAMES = (("mean", ""), ("words", "_words"))


def _filled(both: pd.DataFrame, before: Side, after: Side) -> pd.DataFrame:
    """What one side never told: 0 of what is counted; and no row of status or timing for a node of one side only."""
    counted = both["kind"].isin(["structure", "decisions", "calls", "tokens"])
    for word, side in (("before", before), ("after", after)):
        gone = both[f"mean_{word}"].isna() & counted
        both.loc[gone, [f"mean_{word}", f"var_{word}"]] = 0.0
        both.loc[gone, f"n_{word}"] = len(side.runs)
        both[f"words_{word}"] = both[f"words_{word}"].fillna("")
    shared = both["n_before"].notna() & both["n_after"].notna()
    return both[shared].reset_index(drop=True)


def _noise(both: pd.DataFrame, noise_ms: float, noise_share: float) -> Any:
    sides = [both[[f"var_{s}", f"n_{s}"]].set_axis(["var", "n"], axis=1) for s in ("before", "after")]
    spread = noise_band(*sides)
    timing = (both["kind"] == "timing").to_numpy()
    alone = np.where(timing, noise_share * both["mean_before"].abs().to_numpy(), 0.0)
    band = np.where(np.isnan(spread), alone, spread)
    band = np.where(timing, np.maximum(np.nan_to_num(band), noise_ms), band)
    return np.where(both["kind"] == "structure", 0.0, band)


def _verdicts(both: pd.DataFrame) -> Any:
    kind, delta = both["kind"], both["delta"]
    words_differ = both["words_before"] != both["words_after"]
    rises, falls = (kind.map(lambda k, i=i: _RISES_AND_FALLS.get(k, ("more", "fewer"))[i]) for i in (0, 1))
    structure, status = kind == "structure", kind == "status"
    cases = [
        (structure & (both["mean_before"] == 0), "added"),
        (structure & (both["mean_after"] == 0), "removed"),
        (structure, np.where(words_differ, "rewired", "same")),
        (delta.isna(), np.where(both["mean_before"].isna() & both["mean_after"].isna(), "same", "unknown")),
        (status & (delta == 0) & words_differ, "changed"),
        (delta == 0, "same"),
        (delta.abs() <= both["noise"], "noise"),
        (delta > 0, rises),
    ]
    words = [np.broadcast_to(np.asarray(word, dtype=object), len(both)) for _, word in cases]
    return np.select([case.to_numpy() for case, _ in cases], words, default=falls.to_numpy(dtype=object))


__all__ = ["CONFIDENCE", "GOOD", "VERDICTS", "compare", "compare_sides"]
