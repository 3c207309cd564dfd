"""The report: one file, complete, harmless."""

import base64
import hashlib
import json
import re

import html5lib
import pytest

from hexviz.recording.recording import Recording
from hexviz.recording.state import Decision, Failure, RunState
from hexviz.widgets.report import MOST_ROWS, report_html, write_report
from tests.browser.made_runs import told


def parsed(html):
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    return [element for element in tree.iter() if isinstance(element.tag, str)]


def test_the_report_of_a_recording_is_one_file(runs, tmp_path):
    path = write_report(Recording(runs.story()), tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    assert "train" in html
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_its_policy_allows_only_its_own_script(runs):
    html = report_html(RunState.from_events(runs.story()))
    (script,) = re.findall(r'<script type="module">(.*?)</script>', html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html
    assert not re.search(r"^\s*(export|import) ", script, re.MULTILINE)


def test_it_refers_to_nothing_outside(runs):
    elements = parsed(report_html(RunState.from_events(runs.story())))
    assert not [e.tag for e in elements if e.tag in {"link", "iframe", "img", "object", "embed", "base", "a"}]
    assert not [e for e in elements if {"src", "href", "onload", "onerror", "onclick"} & set(e.attrib)]


def test_nothing_from_data_becomes_markup(runs):
    def shape(names, **texts):
        return [e.tag for e in parsed(report_html(RunState.from_events(runs.story(names, **texts)), title=names[0]))]

    plain = shape(("a", "b", "c"))
    for hostile in runs.HOSTILE:
        names = tuple(f"{n}{hostile}" for n in "123")
        html = report_html(RunState.from_events(runs.story(names, error=hostile, reason=hostile)))
        html.encode("utf-8")
        assert shape(names, error=hostile, reason=hostile) == plain
        (data,) = re.findall(r'id="hexviz-data">(.*?)</script>', html, re.DOTALL)
        assert json.loads(data)["message"]["run"]["nodes"] == 3


def test_workers_stand_in_a_table_of_their_own(runs):
    page = report_html(RunState.from_events(told(30, outcome="failed", workers=("process 1", "process 2"))))
    table = page[page.index("<h2>Workers") :].partition("</section>")[0]
    assert table.count("<tr>") == 3
    assert "lost at" in table
    assert "<h2>Workers" not in report_html(RunState.from_events(runs.story()))


def test_braces_in_names_are_only_text(runs):
    assert "{0} {title}" in report_html(RunState.from_events(runs.story(("{0} {title}", "b", "c"))))


def test_ten_thousand_attempts_stay_under_three_megabytes(runs):
    html = report_html(RunState.from_events(runs.many(10_000)))
    assert len(html.encode("utf-8")) <= 3_000_000
    assert f"the first {MOST_ROWS} of 10001" in html


def test_long_tracebacks_and_reasons_do_not_make_it_larger(runs):
    state = RunState.from_events(runs.many(10_000))
    trace = "Traceback (most recent call last):\n" + "  File 'x.py', line 1, in <module>: " * 3 + "\n" * 60
    first = state.nodes.name[0]
    for at in range(10_000):
        state.failures.append(Failure(float(at), first, 1, 1, "ValueError", f"no. {at} " + "m" * 500, trace * 9))
        state.decisions.append(
            Decision(at, float(at), "retry", "NodeFailed", first, 1, 1, "Retry", f"no. {at} " + "r" * 500, shadow=False)
        )
    html = report_html(state)
    assert len(html.encode("utf-8")) <= 3_000_000
    assert "no. 9999" in html
    assert "no. 11 " not in html
    assert re.search(rf"Failures <small>the last \d+ of {len(state.failures)}", html)
    assert html.index("no. 9998 mm") < html.index("no. 9999 mm")


def test_a_long_traceback_keeps_its_beginning_and_its_end(runs):
    state = RunState.from_events(runs.story())
    state.failures[:] = [Failure(1.0, "load", 1, 1, "E", "m", "\n".join(f"line {i} of it" for i in range(500)))]
    (shown,) = re.findall(r"<pre>(.*?)</pre>", report_html(state), re.DOTALL)
    assert all(f"line {i} of it" in shown for i in (0, 19, 480, 499))
    assert not any(f"line {i} of it" in shown for i in (20, 250, 479))
    assert "460 lines left out" in shown


def test_a_run_that_saw_nothing_still_has_a_report(tmp_path, runs):
    assert write_report(runs.Told([]), tmp_path / "empty.html").exists()


def test_a_report_that_cannot_be_written_raises_and_leaves_nothing(runs, tmp_path):
    with pytest.raises(OSError, match="missing"):
        write_report(runs.Told(runs.story()), tmp_path / "missing" / "report.html")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_report(runs.Told(runs.story()), folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
