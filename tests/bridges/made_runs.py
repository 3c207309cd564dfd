"""Recordings for the tests of the bridges: a small one, a hostile one, a broken one."""

import json
from datetime import timedelta

import hexviz
from hexviz.events import events as ev
from tests.recording.made_events import T0, Run, small_run

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</script>", "javascript:alert(1)", "${7*7}",
    "{{7*7}}", "\"quo'ted\"", "a\u2028b", "\u202eevil", "\x1b]52;c;x\x07", "bel\x07", "cr\rlf\n", "nul\x00", "😀",
    "", ".", "..",
    "../../etc/passwd", "C:\\", "/abs", "%2e%2e", "con", "x" * 300, "'; drop table ev;--", "=HYPERLINK(1)", "+1", "-1",
    "@SUM", "\t=", "\ud800", "__class__", "1e400", "_x41_", "_", "a b",
]  # fmt: skip


def small():
    return hexviz.Recording([*small_run("run-1"), *small_run("run-2")])


def hostile():
    """A chain of nodes with hostile names, errors, reasons, workers, tools; in a run with a hostile name."""
    shape = tuple(ev.NodeInfo(name, i, tuple(HOSTILE[i - 2 : i - 1])) for i, name in enumerate(HOSTILE, 1))
    run = Run("=<b>run/../\x00", "@<i>pipe").tell(
        ev.PipelineStarted, "@<i>pipe", len(HOSTILE), len(HOSTILE), shape, ("<u>", "=1+1")
    )
    for i, name in enumerate(HOSTILE, 1):
        run.at(2 * i).tell(ev.NodeStarted, name, i, tuple(HOSTILE[i - 2 : i - 1]), 1, T0, 0.5, name)
        run.tell(ev.ToolCalled, name, name, {}, f"c{i}").at(2 * i + 1).tell(
            ev.ToolFailed, name, name, ValueError(name), 1.0
        )
        run.tell(ev.NodeFailed, name, i, ValueError(name), 1, 1.0)
        vote = ev.Vote(name, 1, "fallback", name)
        run.tell(ev.ControlDecided, "NodeFailed", 3, "fallback", name, i, 1, name, 1, name, (vote,))
        run.tell(ev.NodeFellBack, name, i, 1, name, name, 1.0, name)
    return hexviz.Recording(run.tell(ev.PipelineFailed, "@<i>pipe", 99.0, ValueError("=cmd|' /C calc'!A0")).events)


def broken():
    """No start of the run, ends without starts, starts without ends, clocks that step, numbers that are none."""
    run = Run("broken")
    run.at(50).tell(ev.NodeStarted, "a", 1).at(10).tell(ev.NodeCompleted, "a", 1, None, float("nan"))
    run.at(20).tell(ev.NodeCompleted, "b", 2, None, float("inf")).tell(ev.NodeStarted, "c", 2, ("a",), 1, T0, 1e300)
    run.at(-500).tell(ev.NodeStarted, "d", -3, ("nobody",)).tell(ev.NodeStarted, "d", -3, (), 10**30)
    run.at(5).tell(ev.LLMResponseReceived, "c", "x", -4.0, "c9", "m", -1, 10**25)
    run.tell(ev.ToolCalled, "a", "", {}, "").tell(ev.WaveCompleted, 9, float("-inf"))
    run.tell(ev.ControlDecided, "?", 0, "no such signal", "a", 1, 1, "", None, "")
    run.events.append(run.events[0])
    later = ev.NodeStarted("z", 1, run_id="other", seq=5, timestamp=T0 + timedelta(days=40_000), monotonic_ns=2**62)
    return hexviz.Recording([*run.events, later])


def exported(recording, suffix, place):
    """The document, by a parser that takes standard JSON only."""
    path = hexviz.export(recording, place / f"run.{suffix}.json")
    return json.loads(path.read_bytes(), parse_constant=lambda word: 1 / 0)


def shown(text):
    """A name as frames show it: what no encoding can hold is an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
