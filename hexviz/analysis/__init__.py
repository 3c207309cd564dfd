"""What a run means: frame in, frame out, nothing drawn and nothing changed.

Each function takes the ``frames`` of a recording (and ``run_id`` where they hold several runs) and returns a new frame,
its columns documented in the function, its totals in ``attrs``. docs/analysis.md shows each of them. Importing this
room also registers ``df.hexviz`` with pandas.
"""

from hexviz.analysis.accessor import HexvizAccessor
from hexviz.analysis.backtest import backtest, backtest_summary
from hexviz.analysis.calls import calls
from hexviz.analysis.compare import compare
from hexviz.analysis.concurrency import concurrency
from hexviz.analysis.critical_path import critical_path, path_by_clock, slack, wave_barrier
from hexviz.analysis.decisions import decision_counts, decisions, handler_votes
from hexviz.analysis.failures import failure_counts, failures, retries
from hexviz.analysis.timeline import timeline
from hexviz.analysis.waits import wait_causes, waits
from hexviz.analysis.what_if import scaling, what_if
from hexviz.palette import SIGNAL_COLORS, STATUS_COLORS

__all__ = [
    "SIGNAL_COLORS",
    "STATUS_COLORS",
    "HexvizAccessor",
    "backtest",
    "backtest_summary",
    "calls",
    "compare",
    "concurrency",
    "critical_path",
    "decision_counts",
    "decisions",
    "failure_counts",
    "failures",
    "handler_votes",
    "path_by_clock",
    "retries",
    "scaling",
    "slack",
    "timeline",
    "wait_causes",
    "waits",
    "wave_barrier",
    "what_if",
]
