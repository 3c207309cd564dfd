"""Frames made by hand, with the columns of a recording, for the tests of analysis and figures."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd

WORKFLOWS = Path(__file__).parents[2].parent / "shared" / "data" / "workflows"
STATUSES = ["pending", "running", "retrying", "succeeded", "failed", "skipped", "fell_back", "cancelled"]
SIGNALS = ["proceed", "retry", "skip", "fallback", "fail", "error"]
EPOCH = pd.Timestamp("2026-01-01", tz="UTC")


def made_frames(graph, durations, *, run_id="run-1", failing=()):
    """``graph``: node -> parents. Each node starts when its parents have ended; each of ``failing`` tries twice."""
    shape = nx.DiGraph()
    shape.add_nodes_from(graph)
    shape.add_edges_from((parent, node) for node, parents in graph.items() for parent in parents)
    waves = {n: i for i, wave in enumerate(nx.topological_generations(shape), 1) for n in wave}
    end, rows, tries = {}, [], []
    for name in nx.topological_sort(shape):
        ready = max((end[p] for p in graph[name]), default=0.0)
        start, took = ready + 1.0, float(durations[name])
        for attempt in (1, 2) if name in failing else (1,):
            bad = name in failing and attempt == 1
            tries.append(
                {
                    "node": name,
                    "wave": waves[name],
                    "attempt": attempt,
                    "status": "failed" if bad else "succeeded",
                    "ready_ms": ready,
                    "start_ms": start,
                    "end_ms": start + took,
                    "queued_ms": start - ready,
                    "duration_ms": took,
                    "parents_ms": ready if attempt == 1 else 0.0,
                    "backoff_ms": 0.0 if attempt == 1 else 5.0,
                    "error_type": "ConnectionError" if bad else "",
                    "error_message": "it <b>broke</b>" if bad else "",
                    "reason": "",
                }
            )
            end[name] = start + took
            ready, start = end[name] + 5.0, end[name] + 5.0
        own = [t for t in tries if t["node"] == name]
        rows.append(
            own[-1]
            | {
                "attempts": len(own),
                "start_ms": own[0]["start_ms"],
                "total_ms": took * len(own),
                "parents_ms": own[0]["parents_ms"],
                "queued_ms": 1.0,
                "backoff_ms": 5.0 * (len(own) - 1),
                "parents": len(graph[name]),
                "result_summary": "",
                "reason": "",
                "decided_by": "Retry" if len(own) > 1 else "",
            }
        )
    return frames_of(rows, tries, graph, run_id)


def frames_of(rows, tries, graph, run_id):
    nodes = _typed(pd.DataFrame(rows), run_id)
    attempts = _typed(pd.DataFrame(tries), run_id)
    edges = [(parent, node) for node, parents in graph.items() for parent in parents]
    last = float(nodes["end_ms"].max()) if len(nodes) else 0.0
    runs = {
        "run_id": [run_id],
        "pipeline": ["made"],
        "status": ["succeeded"],
        "started_at": [EPOCH],
        "duration_ms": [last],
        "schedule": ["ready"],
    }
    return SimpleNamespace(
        nodes=nodes,
        attempts=attempts,
        edges=pd.DataFrame(edges, columns=["source", "target"], dtype="str").assign(run_id=run_id),
        runs=pd.DataFrame(runs),
        decisions=_decisions(attempts, run_id),
        calls=_calls(run_id),
    )


def _typed(frame, run_id):
    frame.insert(0, "run_id", run_id)
    frame["status"] = pd.Categorical(frame["status"], STATUSES)
    for column in ("wave", "attempt", "attempts", "parents"):
        if column in frame:
            frame[column] = frame[column].astype("Int64")
    for column in ("node", "error_type", "error_message"):
        frame[column] = frame[column].astype("str")
    return frame


def _decisions(attempts, run_id):
    failed = attempts[attempts["status"] == "failed"].reset_index(drop=True)
    votes = []
    for i, row in failed.iterrows():
        fact = {
            "run_id": run_id,
            "seq": 10 + i,
            "offset_ms": row["end_ms"],
            "checked_seq": 9 + i,
            "event_type": "NodeFailed",
            "node": row["node"],
            "wave": row["wave"],
            "attempt": row["attempt"],
            "signal": "retry",
            "decided_by": "Retry",
            "reason": "attempt 2 of 3",
        }
        breaker = {"handler": "CircuitBreaker", "priority": 60, "vote": "proceed", "latency_us": 2.0, "decisive": False}
        retry = {"handler": "Retry", "priority": 100, "vote": "retry", "latency_us": 3.0, "decisive": True}
        votes += [fact | vote | {"vote_reason": "", "error": "", "shadow": False} for vote in (breaker, retry)]
    decided = [
        "run_id",
        "seq",
        "offset_ms",
        "checked_seq",
        "event_type",
        "node",
        "wave",
        "attempt",
        "signal",
        "decided_by",
    ]
    voted = ["reason", "handler", "priority", "vote", "vote_reason", "latency_us", "error", "shadow", "decisive"]
    frame = pd.DataFrame(votes, columns=decided + voted)
    frame["signal"] = pd.Categorical(frame["signal"], SIGNALS)
    frame["vote"] = pd.Categorical(frame["vote"], SIGNALS)
    return frame.astype({"shadow": bool, "decisive": bool, "offset_ms": "float64", "latency_us": "float64"})


def _calls(run_id):
    frame = pd.DataFrame(
        {
            "run_id": run_id,
            "node": ["a", "a", "b"],
            "kind": pd.Categorical(["tool", "tool", "llm"]),
            "name": ["search", "search", "m-1"],
            "status": pd.Categorical(["succeeded", "failed", "succeeded"], STATUSES),
            "start_ms": [1.0, 2.0, 3.0],
            "end_ms": [2.0, 5.0, 13.0],
            "duration_ms": [1.0, 3.0, 10.0],
        }
    )
    return frame.assign(
        input_tokens=pd.array([None, None, 7], "Int64"), output_tokens=pd.array([None, None, 5], "Int64")
    )


def diamond(**settings):
    """a -> b, c -> d, and e alone; the critical path is a, c, d."""
    graph = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []}
    return made_frames(graph, {"a": 10, "b": 20, "c": 50, "d": 5, "e": 30}, **settings)


def random_frames(rng, size, *, share=0.05):
    """A random graph of ``size`` nodes, and the same as a networkx graph with the duration on each node."""
    graph = {f"n{i}": [f"n{j}" for j in range(i) if rng.random() < share] for i in range(size)}
    durations = {name: float(rng.integers(0, 1000)) for name in graph}
    return made_frames(graph, durations), graph, durations


def workflow(path):
    """A recorded execution of WfInstances: its graph (id -> parents) and its runtimes in milliseconds."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    data = json.loads(text)["workflow"]
    graph = {task["id"]: list(dict.fromkeys(task["parents"])) for task in data["specification"]["tasks"]}
    runtimes = {task["id"]: task["runtimeInSeconds"] * 1000.0 for task in data["execution"]["tasks"]}
    return graph, runtimes


def big_frames(size):
    """``size`` nodes in layers of 100, three parents each, without the cost of simulating them."""
    index = np.arange(size)
    names = pd.Series(index).map("n{}".format).astype("str")
    rng = np.random.default_rng(1)
    child = np.repeat(index[100:], 3)
    parent = (child // 100 - 1) * 100 + rng.integers(0, 100, len(child))
    unique = pd.DataFrame({"p": parent, "c": child}).drop_duplicates()
    took = rng.random(size) * 10
    start = (index // 100) * 10.0
    nodes = pd.DataFrame(
        {
            "run_id": "big",
            "node": names,
            "wave": pd.array(index // 100 + 1, "Int64"),
            "status": pd.Categorical(["succeeded"] * size, STATUSES),
            "attempts": pd.array([1] * size, "Int64"),
            "start_ms": start,
            "end_ms": start + took,
            "duration_ms": took,
            "total_ms": took,
            "queued_ms": 0.0,
            "backoff_ms": 0.0,
            "error_type": "",
            "error_message": "",
            "reason": "",
        }
    )
    attempts = nodes.assign(attempt=pd.array([1] * size, "Int64"), ready_ms=start)
    names_of = names.to_numpy()
    edges = pd.DataFrame({"run_id": "big", "source": names_of[unique["p"]], "target": names_of[unique["c"]]})
    runs = pd.DataFrame({"run_id": ["big"], "pipeline": ["big"], "status": ["succeeded"], "duration_ms": [1.0]})
    return SimpleNamespace(nodes=nodes, attempts=attempts, edges=edges, runs=runs)
