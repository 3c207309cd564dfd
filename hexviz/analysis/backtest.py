"""What changed policies would have decided in a recorded run, and what that would have meant for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hexviz.analysis.longest import LongestPaths
from hexviz.analysis.shape import shape_of
from hexviz.analysis.source import milliseconds, table
from hexviz.errors import SourceError
from hexviz.events.control_manager import ControlManager
from hexviz.recording.arrays import typed
from hexviz.recording.backtest import FIDELITIES, recheck
from hexviz.recording.recording import Recording

if TYPE_CHECKING:
    from hexviz.analysis.source import FramesLike

SIGNALS = ("proceed", "retry", "skip", "fallback", "fail", "error")
_KINDS: dict[str, Any] = {
    "run_id": "text",
    "seq": "Int64",
    "ask": "Int64",
    "node": "text",
    "wave": "Int64",
    "attempt": "Int64",
    "checked": "text",
    "recorded": SIGNALS,
    "new": SIGNALS,
    "recorded_delay_s": "float64",
    "new_delay_s": "float64",
    "handler": "text",
    "reason": "text",
    "fidelity": FIDELITIES,
    "changed": "bool",
}
_GOES_ON = frozenset({"proceed", "retry"})


def backtest(recording: Recording, control: ControlManager, *, every: bool = False) -> pd.DataFrame:
    """Ask the handlers of ``control`` about every check of ``recording``, and compare with what was decided then.

    One row per check that differs or cannot be known, with ``every`` one per check: ``run_id``, ``seq`` (of the event),
    ``ask`` (times of asking about it), ``node``, ``wave``, ``attempt``, ``checked`` (the event's class), ``recorded``
    and ``new`` (signals; missing where unknown), ``recorded_delay_s`` and ``new_delay_s``, ``handler`` and ``reason``
    (of the new decision), ``fidelity``, ``changed`` (bool), ``attempts_effect`` (Int64) and ``makespan_effect_ms``.

    ``fidelity`` is ``exact`` for an answer to recorded facts; ``modelled`` where an error's class is known by its name
    only, where the recording has a gap before, and for a node (and what comes after it) from the first change on;
    ``unknown`` where a handler looked into a value that was not recorded, or the recording ends.

    The effects are estimates, given at the first change of each node: attempts more or less, and milliseconds more or
    less of the whole run when each node starts as its parents end (no limit of workers) and all others take their
    recorded time. They are missing where they hang on something that never ran. :func:`backtest_summary` counts the
    frame.

    Give fresh policies: one with a past answers out of that. No node runs. Raises
    :class:`~hexviz.errors.SourceError` where the two are something else: :func:`hexviz.backtest` takes results and
    policies.
    """
    if not isinstance(recording, Recording) or not isinstance(control, ControlManager):
        given = f"{type(recording).__name__} and {type(control).__name__}"
        raise SourceError(
            f"expected a Recording and a ControlManager, not {given}: hexviz.backtest(result, [policy]) takes both"
        )
    rows = recheck(recording, control)
    frame = pd.DataFrame({name: typed(kind, [getattr(row, name) for row in rows]) for name, kind in _KINDS.items()})
    attrs: dict[Any, Any] = {"hexviz_frame": "backtest", "checks": len(frame)}
    attrs |= {f"{name}_checks": int((frame["fidelity"] == name).sum()) for name in FIDELITIES}
    if not every:
        frame = frame[frame["changed"] | (frame["fidelity"] == "unknown")].reset_index(drop=True)
    frame, together = _with_effects(frame, recording.frames)
    frame.attrs = attrs | {f"{name}_makespan_effect_ms": ms for name, ms in together.items()}
    return frame


def backtest_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Count a :func:`backtest`, one row per fidelity, so that nothing modelled is taken for measured.

    Columns: ``checks``, ``changed``, ``attempts_effect`` (a sum), ``makespan_effect_ms`` (of the changes together,
    summed over runs; NaN where one of them hangs on something that never ran). Index: ``fidelity`` (exact, modelled,
    unknown).
    """
    if getattr(frame, "attrs", {}).get("hexviz_frame") != "backtest":
        raise SourceError("backtest_summary takes the frame of hexviz.backtest, as it was returned")
    groups = frame.groupby("fidelity", observed=False)
    result = pd.DataFrame(
        {
            "checks": pd.Series({name: frame.attrs[f"{name}_checks"] for name in FIDELITIES}, dtype="int64"),
            "changed": groups["changed"].sum().astype("int64"),
            "attempts_effect": groups["attempts_effect"].sum().astype("int64"),
            "makespan_effect_ms": pd.Series(
                {name: frame.attrs[f"{name}_makespan_effect_ms"] for name in FIDELITIES}, dtype="float64"
            ),
        }
    ).reindex(pd.CategoricalIndex(FIDELITIES, FIDELITIES, ordered=True, name="fidelity"))
    result.attrs = {"hexviz_frame": "backtest_summary"}
    return result


# --- effects


class _Effect(NamedTuple):
    """Attempts more or less, and how long nodes then take; None: it hangs on something that never ran."""

    attempts: int | None
    busy_ms: dict[str, float] | None


_NOT_KNOWN = _Effect(None, None)
_NO_TRIES = pd.DataFrame({"attempt": [], "duration_ms": [], "backoff_ms": []}, dtype="float64")


def _with_effects(frame: pd.DataFrame, frames: FramesLike) -> tuple[pd.DataFrame, dict[str, float]]:
    """The frame with its two columns of effects, and the milliseconds of all changes together by fidelity."""
    first = frame[frame["changed"]].drop_duplicates(["run_id", "node", "wave"])
    attempts: dict[Any, int | None] = {}
    makespans: dict[Any, float] = {}
    together = dict.fromkeys(FIDELITIES, 0.0)
    for run_id, rows in first.groupby("run_id", sort=False):
        run = _Run(frames, str(run_id), rows["node"])
        effects = {row.Index: run.effect_of(row) for row in rows.itertuples()}
        attempts |= {place: effect.attempts for place, effect in effects.items()}
        makespans |= {place: run.later_ms([effect]) for place, effect in effects.items()}
        for fidelity, same in rows.groupby("fidelity", observed=True):
            together[str(fidelity)] += run.later_ms([effects[place] for place in same.index])
    known = [attempts.get(place) for place in frame.index]
    frame["attempts_effect"] = pd.array([pd.NA if value is None else value for value in known], dtype="Int64")
    frame["makespan_effect_ms"] = np.array([makespans.get(place, math.nan) for place in frame.index], dtype="float64")
    return frame, together


class _Run:
    """One recorded run, as the estimates for some of its nodes need it."""

    def __init__(self, frames: FramesLike, run_id: str, changed: Any) -> None:
        attempts = table(frames, "attempts", ("node", "attempt", "duration_ms", "backoff_ms"), run_id)
        self._tries = dict(tuple(attempts[attempts["node"].isin(changed)].groupby("node", sort=False, observed=True)))
        self._shape = shape_of(frames, ("wave", "total_ms", "backoff_ms", "attempts"), run_id)
        nodes = self._shape.nodes
        self._busy_ms = (milliseconds(nodes, "total_ms") + milliseconds(nodes, "backoff_ms")).tolist()
        self._place = {name: place for place, name in enumerate(nodes["node"])}
        self._paths = LongestPaths(self._shape, self._busy_ms)

    def later_ms(self, effects: list[_Effect]) -> float:
        """How much later the run would have ended, all ``effects`` taken together; NaN where one is not known."""
        busy_ms: dict[int, float] = {}
        for effect in effects:
            if effect.busy_ms is None:
                return math.nan
            busy_ms |= {self._place[node]: ms for node, ms in effect.busy_ms.items()}
        return self._paths.later_ms(busy_ms)

    def effect_of(self, row: Any) -> _Effect:
        """What one changed decision would have meant."""
        if row.checked in {"ToolCalled", "LLMPromptSent"}:
            return _NOT_KNOWN
        if row.checked in {"PipelineStarted", "WaveStarted"}:
            return self._of_many(row)
        if row.checked == "NodeStarted":
            if (row.recorded in _GOES_ON) == (row.new in _GOES_ON):
                return self._delayed(row)
            return self._without(row.node, row.attempt) if row.recorded in _GOES_ON else _Effect(1, None)
        if (row.recorded == "retry") == (row.new == "retry"):
            return self._delayed(row)
        return self._without(row.node, row.attempt + 1) if row.recorded == "retry" else self._one_more(row)

    def _of_many(self, row: Any) -> _Effect:
        """A changed start of a wave, or of the run."""
        nodes = self._shape.nodes
        nodes = nodes if row.checked == "PipelineStarted" else nodes[nodes["wave"] == row.wave]
        if (row.recorded in _GOES_ON) == (row.new in _GOES_ON):
            return _Effect(0, None)
        if row.recorded in _GOES_ON:
            return _Effect(-int(nodes["attempts"].fillna(0).sum()), dict.fromkeys(nodes["node"], 0.0))
        return _Effect(len(nodes), None)

    def _without(self, node: str, attempt: int) -> _Effect:
        """The attempts from ``attempt`` on do not happen, nor the wait before them."""
        tries = self._tries.get(node, _NO_TRIES)
        kept = tries[tries["attempt"] < attempt]
        busy_ms = float(kept["duration_ms"].sum() + kept["backoff_ms"].sum())
        return _Effect(len(kept) - len(tries), {node: busy_ms})

    def _one_more(self, row: Any) -> _Effect:
        """One more attempt, as long as the last one; after a failure for good, nobody saw what would have followed."""
        place = self._place[row.node]
        if row.recorded == "proceed" and row.checked == "NodeFailed" and self._shape.children[place]:
            return _Effect(1, None)
        tries = self._tries.get(row.node, _NO_TRIES)["duration_ms"].fillna(0.0)
        wait_ms = 0.0 if math.isnan(row.new_delay_s) else row.new_delay_s * 1e3
        last_ms = float(tries.iloc[-1]) if len(tries) else 0.0
        return _Effect(1, {row.node: self._busy_ms[place] + wait_ms + last_ms})

    def _delayed(self, row: Any) -> _Effect:
        """The same course with another wait, where both waits are known."""
        if math.isnan(row.new_delay_s) or math.isnan(row.recorded_delay_s):
            return _Effect(0, None)
        later_ms = (row.new_delay_s - row.recorded_delay_s) * 1e3
        return _Effect(0, {row.node: max(0.0, self._busy_ms[self._place[row.node]] + later_ms)})
