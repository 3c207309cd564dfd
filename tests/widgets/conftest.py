"""Made-up runs, told with times of our own, and the strings that must never become markup."""

import random
import struct
import time
from itertools import pairwise

import pytest

from hexviz.events import events as ev
from hexviz.widgets.tables import COLUMNS, TABLES

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script>",
    "]]></title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "'\"><b>bold</b>&amp;${x}{{y}}",
    "right\u202eleft",
    "line\u2028paragraph\u2029",
    "nul\x00bel\x07esc\x1b[31m",
    "lone\ud800surrogate",
    "🪂" * 400,
    "",
]


class Told:
    """What a report or a static view is made from: events in order."""

    def __init__(self, events):
        self._events = list(events)

    def events(self):
        return iter(self._events)


def tell(entries, *, run_id="run-1"):
    """``(at_ms, class, args, kwargs)`` as numbered events of one run."""
    origin = time.monotonic_ns()
    return [
        kind(*args, **kwargs, run_id=run_id, seq=seq, monotonic_ns=origin + int(at_ms * 1e6))
        for seq, (at_ms, kind, args, kwargs) in enumerate(entries, 1)
    ]


SIZES = {"u4": "I", "u2": "H", "u1": "B", "f4": "f"}


def unpacked(message, buffers):
    """The tables of a message as the browser reads them: little-endian columns, one value standing for all."""
    tables = {}
    for described, buffer in zip(COLUMNS, buffers, strict=False):
        table, column, kind = described.replace(":", ".").split(".")
        length = message["sizes"][list(TABLES).index(table)]
        count = len(buffer) // struct.calcsize(SIZES[kind])  # a widget sends an empty buffer as one byte
        values = struct.unpack_from(f"<{count}{SIZES[kind]}", buffer) if length else ()
        tables.setdefault(table, {})[column] = list(values) * length if len(values) == 1 < length else list(values)
    return tables


class Browser:
    """What a browser knows after the messages it was given, by the rules of static/store.mjs."""

    def __init__(self):
        self.rows, self.names, self.nodes, self.last, self.waves = {}, [], {}, {}, {}
        self.wave_of, self.workers, self.places, self.lost = {}, [], {}, {}

    def take(self, message, buffers):
        if message["full"]:
            self.__init__()
        tables = unpacked(message, buffers)
        at = 0
        for _ in range(message["sizes"][list(TABLES).index("names")]):
            shared, length = buffers[-1][at], buffers[-1][at + 1] | buffers[-1][at + 2] << 8
            before = self.names[-1][:shared] if self.names else b""
            self.names.append(before + buffers[-1][at + 3 : at + 3 + length])
            at += 3 + length
        fresh = tables["fresh"]
        for k, node in enumerate(fresh["node"]):
            row = message["firstRow"] + k if message["firstRow"] >= 0 else fresh["row"][k]
            self.rows[row] = [node, fresh["attempt"][k], fresh["lane"][k], fresh["status"][k], fresh["end"][k]]
            self.last[node] = max(row, self.last.get(node, -1))
            self.nodes[node] = fresh["status"][k] if self.last[node] == row else self.nodes[node]
        for row, status, end in zip(*tables["changed"].values(), strict=True):
            self.rows[row][3:] = status, end
            if self.last[self.rows[row][0]] == row:
                self.nodes[self.rows[row][0]] = status
        if "workers" in message:
            self.workers[message["firstWorker"] :] = message["workers"]
        self.lost = dict(message.get("lost", self.lost.items()))
        for row, worker, start in zip(*tables["placed"].values(), strict=True):
            self.places[row] = self.workers[worker], start
        self.nodes.update(zip(tables["nodes"]["node"], tables["nodes"]["status"], strict=True))
        self.waves.update(zip(tables["waves"]["index"], tables["waves"]["lanes"], strict=True))
        for first, count, wave in zip(*tables["spans"].values(), strict=True):
            self.wave_of.update(dict.fromkeys(range(first, first + count), wave))
        return self


def story(names=("load", "clean", "train"), *, error="no such table", reason="attempt 2 of 3", run_id="run-1"):
    """A chain in which the second node fails once and is retried, and the last one falls back."""
    nodes = tuple(ev.NodeInfo(name, i + 1, names[:i][-1:]) for i, name in enumerate(names))
    a, b, c = names
    failure = ValueError(error)
    entries = [
        (0, ev.PipelineStarted, ("etl", 3, 3, nodes), {}),
        (1, ev.WaveStarted, (1, (a,)), {}),
        (2, ev.NodeStarted, (a, 1), {"queued_ms": 1.0}),
        (12, ev.NodeCompleted, (a, 1, None, 10.0), {}),
        (13, ev.WaveCompleted, (1, 12.0), {}),
        (13, ev.WaveStarted, (2, (b,)), {}),
        (14, ev.NodeStarted, (b, 2, (a,)), {}),
        (24, ev.NodeFailed, (b, 2, failure), {"duration_ms": 10.0}),
        (24, ev.ControlDecided, ("NodeFailed", 8, "retry", b, 2, 1, "Retry", 100, reason), {}),
        (24, ev.NodeRetrying, (b, 2), {"attempt": 1, "delay_s": 0.02, "decided_by": "Retry"}),
        (46, ev.NodeStarted, (b, 2, (a,)), {"attempt": 2}),
        (56, ev.NodeCompleted, (b, 2, None, 10.0), {"attempt": 2}),
        (56, ev.NodeStarted, (c, 3, (b,)), {}),
        (60, ev.NodeFailed, (c, 3, failure), {}),
        (60, ev.ControlDecided, ("NodeFailed", 14, "fallback", c, 3, 1, "Fallback", 50, reason), {}),
        (60, ev.NodeFellBack, (c, 3), {"reason": reason}),
        (70, ev.PipelineCompleted, ("etl", 70.0), {}),
    ]
    return tell(entries, run_id=run_id)


def many(nodes, waves=10, seed=0):
    """A run of ``nodes`` nodes of which some fail, each wave after the other."""
    rnd = random.Random(seed)
    names = [[f"w{w}_{i}" for i in range(nodes // waves)] for w in range(1, waves + 1)]
    infos = [ev.NodeInfo(n, w, ()) for w, wave in enumerate(names, 1) for n in wave]
    infos += [ev.NodeInfo("last", waves + 1, tuple(names[-1]))]
    entries = [(0, ev.PipelineStarted, ("many", waves + 1, len(infos), tuple(infos)), {})]
    for w, wave in enumerate(names, 1):
        for name in wave:
            start = w * 100 + rnd.random() * 50
            end = start + rnd.random() * 80
            entries.append((start, ev.NodeStarted, (name, w), {}))
            if rnd.random() < 0.05:
                entries.append((end, ev.NodeFailed, (name, w, ValueError("bad")), {}))
            else:
                entries.append((end, ev.NodeCompleted, (name, w, 1, end - start), {}))
    entries.sort(key=lambda entry: entry[0])
    assert all(a[0] <= b[0] for a, b in pairwise(entries))
    return tell([*entries, (entries[-1][0] + 1, ev.PipelineCompleted, ("many", entries[-1][0]), {})])


@pytest.fixture
def runs():
    """The makers of runs above, for tests in files beside this one."""
    return type(
        "Runs",
        (),
        {name: staticmethod(globals()[name]) for name in ("tell", "story", "many", "Told", "Browser", "unpacked")}
        | {"HOSTILE": HOSTILE},
    )
