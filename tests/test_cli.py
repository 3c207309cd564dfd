"""The command line does what it says, in a process of its own, and words what it cannot do in one line."""

import os
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import hexviz
from hexviz.cli import main
from hexviz.testing.store_contract import contract_run

SPEED = "2000"


def command(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "hexviz", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160", **environment},
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demo, run fast, with its store and its report, where a clone of the project has its notebooks."""
    place = tmp_path_factory.mktemp("demo")
    (place / "notebooks").mkdir()
    (place / "notebooks" / "01_first_run.ipynb").touch()
    done = command("demo", "--speed", SPEED, "--store", place / "runs.db", "--report", place / "run.html", cwd=place)
    return place, done


@pytest.mark.timeout(180)
def test_the_demo_prints_the_summary_the_critical_path_and_the_cost_of_the_barrier(demo):
    place, done = demo
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "airrflow",
        "succeeded",
        "212 in 25 waves",
        "Critical path",
        "Decisions",
        "with a barrier after each wave",
    ):
        assert words in done.stdout
    for signal in ("retry", "skip", "fallback", "fail", "error*"):
        assert re.search(rf"s +{re.escape(signal)} +[A-Z]", done.stdout), signal
    assert "notebooks/01_first_run.ipynb" in done.stdout
    assert re.search(rf"hexviz show \S+ --store {place / 'runs.db'}$", done.stdout, re.MULTILINE)  # to be copied
    assert "\x1b" not in done.stdout


def test_the_demo_writes_one_report_that_needs_no_network(demo):
    place, _ = demo
    page = (place / "run.html").read_text(encoding="utf-8")
    assert "airrflow" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert not re.search(r"@import|\bimport\s*\(?\s*[\"']https?:", page)


def test_runs_lists_what_the_demo_kept_and_show_prints_it(demo):
    place, _ = demo
    listed = command("runs", "--store", place / "runs.db", cwd=place)
    assert (listed.returncode, listed.stderr) == (0, "")
    (run_id,) = re.findall(r"\d{8}T\d+-[0-9a-f]{8}", listed.stdout)
    assert "airrflow" in listed.stdout
    assert "212" in listed.stdout
    for name in (run_id, run_id[:20], "last"):
        shown = command("show", name, "--store", place / "runs.db", cwd=place)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert run_id in shown.stdout
        assert "Critical path" in shown.stdout


def test_the_default_store_is_the_one_that_the_environment_names(demo):
    place, _ = demo
    listed = command("runs", cwd=place, HEXVIZ_STORE=str(place / "runs.db"))
    assert "airrflow" in listed.stdout


def test_report_writes_a_kept_run(demo, tmp_path):
    place, _ = demo
    done = command("report", "last", "--store", place / "runs.db", "-o", tmp_path / "again.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "airrflow" in (tmp_path / "again.html").read_text(encoding="utf-8")


def test_an_empty_store_says_how_to_fill_it(tmp_path):
    done = command("runs", cwd=tmp_path, HEXVIZ_STORE=str(tmp_path / "new.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "hexviz demo" in done.stdout


@pytest.mark.parametrize("where", ["typo.db", "mysql://ana@db/runs"])
@pytest.mark.parametrize("command_line", [("runs",), ("show", "last"), ("prune", "--max-age", "1d")])
def test_a_store_that_is_named_and_not_there_is_refused_and_not_made(tmp_path, command_line, where):
    done = command(*command_line, "--store", where, cwd=tmp_path)
    assert done.returncode == 2
    assert where.partition("://")[0] in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_one_line_on_stderr(demo, tmp_path):
    place, _ = demo
    lost = tmp_path / "no" / "report.html"
    done = command("report", "last", "--store", place / "runs.db", "-o", lost, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"hexviz: '{lost}' cannot be written: No such file or directory. Nothing was changed.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "20990101T000000"), "20990101T000000"),
        (("report", "20990101T000000"), "20990101T000000"),
        (("show", "last"), "no run"),
        (("demo", "--speed", "0"), "speed must be a positive number"),
        (("demo", "--speed", "nan"), "speed must be a positive number"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_exit_code_2(tmp_path, arguments, expected):
    hexviz.open_store(tmp_path / "runs.db").close()
    done = command(*arguments, cwd=tmp_path, HEXVIZ_STORE=str(tmp_path / "runs.db"))
    assert done.returncode == 2
    assert done.stderr.startswith("hexviz: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


def test_a_store_that_is_none_is_one_line_on_stderr(tmp_path):
    (tmp_path / "runs.db").write_text("not a database, " * 100)
    done = command("runs", "--store", tmp_path / "runs.db", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("hexviz: ")
    assert done.stderr.count("\n") == 1


def test_no_command_prints_the_usage_and_exits_2(tmp_path):
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert "usage: hexviz" in done.stderr


def test_hostile_names_and_messages_reach_the_terminal_as_plain_text(tmp_path):
    hostile = "\x1b]8;;http://evil\x07click\x1b[31m [red]x[/red] [link=http://evil]y[/link] \x9b2J\r\n\u202eend"
    graph = hexviz.Graph(hostile)

    @graph.node(name=hostile)
    def failing():
        raise ValueError(hostile)

    fallback = hexviz.policies.Fallback(1)
    hexviz.run_sync(graph, policies=[fallback], store=tmp_path / "runs.db", tags=[hostile])
    with pytest.raises(hexviz.PipelineError):
        hexviz.run_sync(graph, store=tmp_path / "runs.db")
    listed = command("runs", "--store", tmp_path / "runs.db", cwd=tmp_path, FORCE_COLOR="1")
    ids = re.findall(r"\d{8}T\d+-[0-9a-f]{8}", listed.stdout)
    assert len(ids) == 2
    for done in (listed, *(command("show", i, "--store", tmp_path / "runs.db", cwd=tmp_path) for i in ids)):
        assert (done.returncode, done.stderr) == (0, "")
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        assert not set(text) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(127, 160)), "\u202e"}
        assert "[red]x[/red]" in text.replace("\n", "")


def test_the_installed_script_and_the_module_are_the_same(tmp_path):
    script = Path(sys.executable).with_name("hexviz")
    if not script.exists():
        pytest.skip("hexviz is on the path but not installed")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "demo" in done.stdout


@pytest.fixture
def kept(tmp_path):
    """A store of three runs, the oldest without an end."""
    now = datetime.now(UTC)
    with hexviz.open_store(tmp_path / "runs.db") as store:
        for name, days in (("old", 40), ("middle", 8), ("new", 0)):
            run = contract_run(f"{name}-1", pipeline=name, at=now - timedelta(days=days))
            store.append(run if days else run[:-1])
    return tmp_path / "runs.db"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["new-1", "middle-1", "old-1"]),
        (["--pipeline", "old"], ["old-1"]),
        (["--status", "running"], ["new-1"]),
        (["--tag", "eu", "--limit", "1"], ["new-1"]),
        (["--since", "10d"], ["new-1", "middle-1"]),
        (["--until", "10d"], ["old-1"]),
        (["--tag", "nowhere"], []),
    ],
)
def test_runs_are_listed_by_pipeline_status_tag_and_time(kept, filters, expected):
    done = command("runs", "--store", kept, *filters, cwd=kept.parent)
    assert re.findall(r"\w+-1\b", done.stdout) == expected
    assert (done.returncode, done.stderr) == (0, "")


def test_verify_lists_damage_by_run_and_event_and_salvage_keeps_the_rest(kept):
    done = command("verify", "--store", kept, cwd=kept.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 runs, 1 without an end: no damage" in done.stdout
    with sqlite3.connect(kept) as raw:
        raw.execute("UPDATE segments SET page = CAST(replace(page, '\"seq\":7,', '\"seq\":8,') AS BLOB) WHERE run = 1")
    raw.close()
    done = command("verify", "--store", kept, cwd=kept.parent)
    assert done.returncode == 1
    assert re.search(r"old-1 +7 +damaged record", done.stdout)
    done = command("salvage", kept, "-o", "new.db", cwd=kept.parent)
    assert done.returncode == 1
    assert re.search(r"old-1 +7 +event 7 is lost", done.stdout)
    assert "new.db, 49 events of 3 runs" in done.stdout
    assert command("verify", "--store", kept.parent / "new.db", cwd=kept.parent).returncode == 0


def test_verify_and_salvage_take_a_file_of_json_lines(kept):
    command("export", "--store", kept, "old-1", "old.jsonl", cwd=kept.parent)
    done = command("verify", "old.jsonl", cwd=kept.parent)
    assert (done.returncode, done.stdout.strip()) == (0, "1 runs: no damage")
    lines = (kept.parent / "old.jsonl").read_bytes()
    (kept.parent / "old.jsonl").write_bytes(lines.replace(b'"seq":7,', b'"seq":8,'))
    done = command("verify", "--store", "old.jsonl", cwd=kept.parent)
    assert done.returncode == 1
    assert re.search(r"8 +line 8: its checksum does not match", done.stdout)
    done = command("salvage", "old.jsonl", cwd=kept.parent)
    assert done.returncode == 1
    assert "old.salvaged.jsonl, 16 events of 1 runs" in " ".join(done.stdout.split())
    assert command("verify", "old.salvaged.jsonl", cwd=kept.parent).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify", "none.db"], "there is no file none.db"),
        (["verify", "ws://me:s3cret@127.0.0.1:1"], "ws://127.0.0.1:1 is no store"),
        (["salvage", "ws://me:s3cret@127.0.0.1:1"], "ws://127.0.0.1:1 is no store"),
        (["verify", "one.db", "--store", "two.db"], "name one store"),
        (["verify", "."], "not a plain file"),
        (["salvage", "postgresql://me:s3cret@127.0.0.1:1/runs"], "-o saved.db"),
    ],
)
def test_what_cannot_be_verified_or_salvaged_is_named_and_nothing_is_made(tmp_path, arguments, told):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "s3cret" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_prune_removes_what_is_too_old_and_tells_before(kept):
    done = command("prune", "--store", kept, "--max-age", "30d", "--dry-run", cwd=kept.parent)
    assert "1 would be removed, 3 are there" in done.stdout
    done = command("prune", "--store", kept, "--max-age", "30d", cwd=kept.parent)
    assert re.findall(r"\w+-1\b", done.stdout) == ["old-1"]
    done = command("prune", "--store", kept, "--max-bytes", "0kB", cwd=kept.parent)
    assert "1 removed, 1 are there" in done.stdout
    done = command("prune", "--store", kept, cwd=kept.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--max-age" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--max-age", "soon"],
        ["runs", "--limit", "-1"],
        ["runs", "--limit", "0"],
        ["prune", "--max-age", "999999999w"],
        ["prune", "--max-bytes", "-1"],
        ["runs", "--since", "yesterday"],
        ["runs", "--status", "fine"],
    ],
)
def test_what_is_no_age_size_or_time_is_refused_with_examples(words, tmp_path):
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert words[1] in done.stderr


SLOW_RUN = """
import sys, time, hexviz
graph = hexviz.Graph("slow")
for i in range(12):
    graph.node(lambda *_: time.sleep(0.25), name=f"step {i}", after=[f"step {i - 1}"] if i else [])
hexviz.run_sync(graph, store=sys.argv[1])
"""


def test_watch_follows_a_run_of_another_process_until_it_ends(tmp_path):
    store = tmp_path / "runs.db"
    with subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(store)], cwd=tmp_path) as writer:
        for _ in range(200):
            if store.exists() and "slow" in command("runs", "--store", store, cwd=tmp_path).stdout:
                break
        watched = command("watch", "last", "--store", store, cwd=tmp_path)
        assert (watched.returncode, watched.stderr) == (0, "")
        assert re.search(r"status +succeeded", watched.stdout)
        assert "step 11" in watched.stdout
        assert "\x1b" not in watched.stdout
        assert writer.wait(60) == 0


def test_watch_gives_up_a_run_of_which_nothing_comes(tmp_path):
    with hexviz.open_store(tmp_path / "runs.db") as store:
        store.append([hexviz.events.PipelineStarted("dead", 1, 1, run_id="r", seq=1)])
        store.flush()
    watched = command("watch", "r", "--timeout", "0.2", "--store", tmp_path / "runs.db", cwd=tmp_path)
    assert watched.returncode == 0
    assert re.search(r"status +running", watched.stdout)


def test_watch_names_what_it_cannot_find(tmp_path):
    hexviz.open_store(tmp_path / "runs.db").close()
    missing = command("watch", "moon", cwd=tmp_path, HEXVIZ_STORE=str(tmp_path / "runs.db"))
    assert missing.returncode == 2
    assert missing.stderr.startswith("hexviz: there is no run 'moon'")


def test_without_a_command_the_help_is_shown_and_the_version_on_request(capsys):
    assert main([]) == 2
    assert re.search(r"demo +run a real workflow", capsys.readouterr().err)
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"hexviz {hexviz.__version__}\n"
