"""What a run, or a set of runs, tells about its nodes: one row per fact, its mean and spread over the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from hexviz.analysis.source import FramesLike, chosen_run, milliseconds, numbers, run_ids, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

KINDS = ("structure", "status", "attempts", "timing", "decisions", "calls", "tokens")
GOOD = ("succeeded", "fell_back")
READ = {
    "nodes": ("node", "status", "attempts", "start_ms", "end_ms", "duration_ms", "total_ms", "queued_ms", "backoff_ms"),
    "edges": ("source", "target"),
    "decisions": ("seq", "node", "signal", "decided_by"),
    "calls": ("node", "name", "input_tokens", "output_tokens"),
}
_TELLS = {"nodes": ("status", "attempts", "timing"), "decisions": ("decisions",), "calls": ("calls", "tokens")}
_KEYS = ["kind", "node", "measure"]


class Side(NamedTuple):
    """One side of a comparison: its runs, and those of their frames that are there, each with a ``run_id``."""

    runs: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame]

    @property
    def name(self) -> str:
        """The id of the run, or how many runs there are."""
        return self.runs[0] if len(self.runs) == 1 else f"{len(self.runs)} runs"

    @property
    def kinds(self) -> set[str]:
        """What these frames can tell about, also where they are empty."""
        structure = {"structure"} if {"nodes", "edges"} <= set(self.tables) else set()
        return structure.union(*(_TELLS.get(name, ()) for name in self.tables))

    @property
    def run_ms(self) -> float:
        """From the first start to the last end, in milliseconds: the mean of the runs; 0 where nothing ended."""
        if "nodes" not in self.tables or not len(self.tables["nodes"]):
            return 0.0
        mean = _spans(self.tables["nodes"]).mean()
        return float(mean) if pd.notna(mean) else 0.0


def side_of(frames: FramesLike, chosen: str | Sequence[str] | None) -> Side:
    """The ``chosen`` runs of ``frames``; all for None. ``decisions`` and ``calls`` may be missing."""
    names = run_ids(frames) if chosen is None else [chosen] if isinstance(chosen, str) else list(chosen)
    runs = tuple(chosen_run(frames, name) for name in names)
    there = [name for name in READ if name in {"nodes", "edges"} or hasattr(frames, name)]
    tables = {name: table(frames, name, columns, every=True) for name, columns in READ.items() if name in there}
    if chosen is not None:
        tables = {name: frame[frame["run_id"].isin(runs)].reset_index(drop=True) for name, frame in tables.items()}
    return Side(runs or ("",), tables)


def measured(side: Side) -> pd.DataFrame:
    """Every fact of a side: ``kind``, ``node``, ``measure``, ``mean``, ``var`` (of the runs), ``n``, ``words``."""
    tables, runs = side.tables, len(side.runs)
    parts = []
    if "nodes" in tables:
        parts += [_status(tables["nodes"]), _numbers(tables["nodes"]), _of_the_run(tables["nodes"])]
        if "edges" in tables:
            parts.append(_structure(tables["nodes"], tables["edges"], runs))
    if "decisions" in tables:
        parts.append(_counted(_decided(tables["decisions"]), runs))
    if "calls" in tables:
        parts.append(_counted(_called(tables["calls"]), runs))
    facts = pd.concat([part for part in parts if len(part)] or [_NOTHING], ignore_index=True)
    return facts.astype({"mean": "float64", "var": "float64", "n": "float64"})


_NOTHING = pd.DataFrame({name: pd.Series(dtype=object) for name in (*_KEYS, "mean", "var", "n", "words")})


def _fact(kind: str, measure: str, node: Any, mean: Any, var: Any, n: Any, words: Any = "") -> pd.DataFrame:
    values = {"node": node, "mean": mean, "var": var, "n": n, "words": words}
    frame = pd.DataFrame(values).assign(kind=kind, measure=measure)
    return frame.astype({"node": object, "kind": object, "measure": object, "words": object})


def _plain(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame[list(columns)].astype(object)


def _status(nodes: pd.DataFrame) -> pd.DataFrame:
    plain = _plain(nodes, "node", "status")
    counts = plain.value_counts(sort=False).reset_index(name="n").sort_values(["node", "n"], ascending=[True, False])
    share = counts["n"] / counts.groupby("node")["n"].transform("sum")
    counts["text"] = [
        f"{status} {of_all:.3g} %" if of_all < 100 else str(status)  # noqa: PLR2004 - all of them
        for status, of_all in zip(counts["status"], share * 100, strict=True)
    ]
    words = _joined(counts["node"], counts["text"])
    ends = plain.assign(good=plain["status"].isin(GOOD).astype("float64")).groupby("node", sort=False)["good"]
    stats = ends.agg(["mean", "var", "count"])
    return _fact("status", "status", stats.index, stats["mean"].to_numpy(), stats["var"].to_numpy(),
                 stats["count"].to_numpy(), [words[node] for node in stats.index])  # fmt: skip


def _numbers(nodes: pd.DataFrame) -> pd.DataFrame:
    plain = _plain(nodes, "node").assign(
        attempts=milliseconds(nodes, "attempts"), duration_ms=numbers(nodes, "duration_ms")
    )
    parts = []
    for kind, column in (("attempts", "attempts"), ("timing", "duration_ms")):
        stats = plain.groupby("node", sort=False)[column].agg(["mean", "var", "count"])
        values = (stats[name].to_numpy() for name in ("mean", "var", "count"))
        parts.append(_fact(kind, column, stats.index, *values))
    return pd.concat(parts, ignore_index=True)


def _spans(nodes: pd.DataFrame) -> pd.Series[float]:
    """Per run from the first start to the last end, in milliseconds."""
    groups = nodes.groupby(nodes["run_id"].astype(object), sort=False)
    return (groups["end_ms"].max() - groups["start_ms"].min()).astype("float64")


def _of_the_run(nodes: pd.DataFrame) -> pd.DataFrame:
    sums = pd.DataFrame(
        {
            "work_ms": milliseconds(nodes, "total_ms"),
            "waited_ms": milliseconds(nodes, "queued_ms") + milliseconds(nodes, "backoff_ms"),
        }
    )
    totals = sums.groupby(nodes["run_id"].astype(object), sort=False).sum().assign(run_ms=_spans(nodes))
    parts = [
        _fact("timing", name, [""], totals[name].mean(), totals[name].var(), totals[name].count())
        for name in ("run_ms", "work_ms", "waited_ms")
    ]
    return pd.concat(parts, ignore_index=True) if len(totals) else _NOTHING


def _structure(nodes: pd.DataFrame, edges: pd.DataFrame, runs: int) -> pd.DataFrame:
    """Each node with its parents as they are in the last run that has it, and the share of runs that have it."""
    there = _plain(nodes, "run_id", "node")
    last = there.drop_duplicates("node", keep="last")
    share = there.groupby("node", sort=False).size().reindex(last["node"]) / runs
    drawn = _plain(edges, "run_id", "source", "target").sort_values("source", kind="stable")
    parents = _joined(zip(drawn["run_id"], drawn["target"], strict=True), drawn["source"])
    words = [parents.get(key, "") for key in zip(last["run_id"], last["node"], strict=True)]
    return _fact("structure", "parents", last["node"].to_numpy(), share.to_numpy(), 0.0, runs, words)


def _joined(keys: Iterable[Any], words: Iterable[str]) -> dict[Any, str]:
    """Per key its words, in their order, with commas."""
    lists: dict[Any, list[str]] = {}
    for key, word in zip(keys, words, strict=True):
        lists.setdefault(key, []).append(word)
    return {key: ", ".join(found) for key, found in lists.items()}


def _decided(votes: pd.DataFrame) -> pd.DataFrame:
    """One row per run, node and kind of decision, with how often it fell."""
    told = _plain(votes.drop_duplicates(["run_id", "seq"]), "run_id", "node", "signal", "decided_by")
    by = told["decided_by"].fillna("").replace("", "nobody")
    told = told.assign(kind="decisions", measure=told["signal"].astype(str) + " by " + by, value=1.0)
    return told.groupby(["run_id", *_KEYS], sort=False)["value"].sum().reset_index()


def _called(calls: pd.DataFrame) -> pd.DataFrame:
    """One row per run, node and tool or model, with the number of calls, and with the tokens where there are any."""
    plain = _plain(calls, "run_id", "node", "name").fillna("")
    values = {
        "calls": ("calls of ", pd.Series(1.0, index=calls.index)),
        **{name: (f"{name} of ", numbers(calls, name)) for name in ("input_tokens", "output_tokens")},
    }
    parts = []
    for name, (words, value) in values.items():
        told = value.notna()
        rows = plain.assign(measure=words + plain["name"], value=value, kind="calls" if name == "calls" else "tokens")
        parts.append(rows[told])
    return pd.concat(parts).groupby(["run_id", *_KEYS], sort=False)["value"].sum().reset_index()


def _counted(told: pd.DataFrame, runs: int) -> pd.DataFrame:
    """Means and spread over all runs, also those that told nothing: there it was 0."""
    if not len(told):
        return _NOTHING
    groups = told.groupby(_KEYS, sort=False)["value"]
    mean = groups.sum() / runs
    means = told[_KEYS].merge(mean.rename("mean").reset_index(), on=_KEYS, how="left")["mean"]
    off = (told["value"] - means.to_numpy()) ** 2
    squares = off.groupby([told[key] for key in _KEYS], sort=False).sum() + (runs - groups.size()) * mean**2
    result = mean.rename("mean").reset_index()
    result["var"] = squares.to_numpy() / (runs - 1) if runs > 1 else float("nan")
    return result.assign(n=runs, words="")
