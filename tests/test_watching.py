"""``hexviz.watch`` and ``hexviz.serve``: a run elsewhere gives the recording, the frames and the dashboard here."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

import hexviz
from hexviz.cli import main
from hexviz.errors import HexvizError, SourceError
from hexviz.events.cloud_events import to_cloud_event
from hexviz.stores.errors import RunNotFoundError
from hexviz.streams import StreamError
from hexviz.testing.store_contract import contract_run
from hexviz.testing.stream_contracts import summarised
from tests.streams.test_websocket import PATIENCE_S, put, wait_until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def made(path):
    """A store without runs."""
    hexviz.open_store(path).close()
    return path


def keep(path, events):
    with hexviz.open_store(path) as store:
        store.append(summarised(events))
        store.flush()


def records(recording):
    return list(recording.records())


def test_a_run_that_another_process_writes_is_served_and_watched_while_it_goes_on(path):
    run = contract_run(nodes=40)
    keep(path, run[:60])
    with hexviz.serve(path, follow=True) as server, hexviz.watch(server.url, token=server.token) as watched:
        wait_until(lambda: len(watched.recorder) == 60)
        assert not watched.wait(0.0)
        keep(path, run[60:])
        assert watched.wait(PATIENCE_S)
    with hexviz.open_store(path) as store:
        stored = store.recording("run-1")
    assert records(watched.recording) == records(stored)
    for name in ("runs", "nodes", "attempts", "decisions"):
        pd.testing.assert_frame_equal(getattr(watched.frames, name), getattr(stored.frames, name))


def test_a_store_is_watched_without_a_server(path):
    run = contract_run(nodes=10)
    keep(path, run[:5])
    with hexviz.watch(path) as watched:
        wait_until(lambda: len(watched.recorder) == 5)
        keep(path, run[5:])
        assert watched.wait(PATIENCE_S)
    assert [event.seq for event in watched.recording.events()] == list(range(1, 33))


def test_any_source_is_watched_and_observers_hear_it():
    class Memory(list):
        def commit(self):
            """Nothing is kept."""

        close = commit

    heard = []
    bodies = Memory([to_cloud_event(event) for event in (*contract_run("one"), *contract_run("two"))])
    with hexviz.watch(bodies, run="two", topics="**.completed", observers=heard.append) as watched:
        assert watched.wait(PATIENCE_S)
    assert {(type(event).__name__, event.run_id) for event in heard} == {
        ("NodeCompleted", "two"),
        ("PipelineCompleted", "two"),
    }
    assert watched.statistics()["given"] == len(heard) == len(watched.recorder)


def test_a_following_server_serves_each_run_that_begins_and_not_the_old_ones(path):
    keep(path, contract_run("old"))
    keep(path, contract_run("last", at=contract_run()[0].timestamp.replace(year=2027)))
    with hexviz.serve(path, follow=True) as server, hexviz.watch(server.url, token=server.token) as watched:
        assert watched.wait(PATIENCE_S)
        keep(path, contract_run("next", at=contract_run()[0].timestamp.replace(year=2028)))
        wait_until(lambda: len(watched.recorder) == 34)
        assert watched.recording.run_ids == ("last", "next")


def test_one_run_is_served_to_its_end(path):
    keep(path, contract_run("one"))
    keep(path, contract_run("two"))
    with hexviz.serve(path, run="one") as server:
        assert server.ended.wait(PATIENCE_S)
        with hexviz.watch(server.url, token=server.token) as watched:
            assert watched.wait(PATIENCE_S)
    assert watched.recording.run_ids == ("one",)


def test_a_run_that_cannot_be_read_holds_up_no_other(path, caplog):
    keep(path, contract_run("one"))
    with hexviz.open_store(path) as store:
        tail = store.tail

        def damaged(run_id, *place, **options):
            if run_id == "one":
                raise ZeroDivisionError
            return tail(run_id, *place, **options)

        store.tail = damaged
        with hexviz.serve(store, follow=True) as server, hexviz.watch(server.url, token=server.token) as watched:
            keep(path, contract_run("two", at=contract_run()[0].timestamp.replace(year=2028)))
            wait_until(lambda: watched.recording.run_ids == ("two",) and len(watched.recorder) == 17)
            assert not server.ended.is_set()
    assert [record.getMessage() for record in caplog.records] == [
        "run 'one' cannot be read: ; the rest is served on",
    ]


def test_an_event_of_a_newer_version_costs_only_itself(path, caplog):
    keep(path, contract_run("one"))
    with hexviz.open_store(path) as store:
        tail = store.tail
        store.tail = lambda *args, **options: (
            record.replace(b'"v":1', b'"v":9') if b'"seq":7,' in record else record for record in tail(*args, **options)
        )
        with hexviz.serve(store) as server, hexviz.watch(server.url, token=server.token) as watched:
            assert watched.wait(PATIENCE_S)
        assert watched.reader.gaps("one") == [(7, 7)]
    assert "newer" in caplog.text


def test_what_a_long_run_told_before_the_history_begins_is_read_from_the_store_that_is_served(path):
    run = contract_run("long", nodes=500)
    keep(path, run)
    with hexviz.serve(path, history_bytes=20_000) as server:
        assert server.ended.wait(PATIENCE_S)
        with hexviz.watch(server.url, token=server.token) as watched:
            assert watched.wait(PATIENCE_S)
    assert (watched.statistics()["given"], watched.statistics()["missing"]) == (1_502, 0)


def test_the_next_runs_of_a_recorder_are_shown():
    observers = hexviz.ObserverManager()
    recorder = hexviz.Recorder().attach(observers)
    with hexviz.serve(recorder) as server, hexviz.watch(server.url, token=server.token) as watched:
        for event in contract_run():
            observers.notify_nowait(event)
        assert watched.wait(PATIENCE_S)
    assert records(watched.recording) == records(recorder.recording)


def test_the_dashboard_is_that_of_a_run_here():
    with hexviz.serve(False) as server, hexviz.watch(server.url, token=server.token) as watched:
        early = watched.dashboard
        put(server, contract_run("one"))
        wait_until(lambda: early.state.done)
        put(server, contract_run("two"))
        wait_until(lambda: len(watched.recorder) == 34)
        late = watched.dashboard
        wait_until(lambda: late.state.done)
        assert (early.state.run_id, late.state.run_id) == ("one", "two")
        assert watched.dashboard is not early


def test_closing_leaves_no_thread_and_what_was_recorded_stays():
    before = threading.active_count()
    with hexviz.serve(False) as server:
        watched = hexviz.watch(server.url, token=server.token)
        put(server, contract_run())
        wait_until(lambda: len(watched.recorder) == 17)
        watched.close()
        watched.close()
    wait_until(lambda: threading.active_count() <= before)
    assert len(watched.frames.nodes) == 5
    assert "17 events of 1 runs" in repr(watched)


def test_a_watch_that_nobody_holds_closes_itself():
    """As in a cell that is run again."""
    with hexviz.serve(False) as server:
        put(server, contract_run())
        for _ in range(3):
            watched = hexviz.watch(server.url, token=server.token)
            wait_until(lambda watched=watched: len(watched.recorder) == 17)
        del watched
        gc.collect()
        wait_until(lambda: server.statistics()["clients"] == 0)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "hexviz-watch"])


@pytest.mark.parametrize("held", ["an observer", "a view"])
def test_a_watch_that_tells_an_observer_or_has_a_view_goes_on(held):
    heard = []
    with hexviz.serve(False) as server:
        watched = hexviz.watch(
            server.url, token=server.token, observers=[heard.append] if held == "an observer" else ()
        )
        view = None if held == "an observer" else watched.dashboard
        reader = watched.reader
        del watched
        gc.collect()
        put(server, contract_run())
        wait_until(lambda: len(heard) == 17 if view is None else view.state.done)
        reader.close()


@pytest.mark.parametrize("error", [StreamError("the broker is gone"), RuntimeError("the broker is gone")])
def test_what_ends_the_reading_is_raised_to_who_waits(error):
    class Broken:
        def __iter__(self):
            raise error
            yield b""

        def commit(self):
            """Nothing is kept."""

        close = commit

    with hexviz.watch(Broken()) as watched, pytest.raises(type(error), match="the broker is gone"):
        watched.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda path: hexviz.watch("gopher://x"), SourceError, "not gopher://"),
        (lambda path: hexviz.watch("ws://127.0.0.1:1"), StreamError, "cannot be reached"),
        (lambda path: hexviz.watch(made(path), run="no-such"), RunNotFoundError, "no-such"),
        (lambda path: hexviz.serve(made(path)), SourceError, "there is no run in"),
        (lambda path: hexviz.serve(made(path), run="no-such"), RunNotFoundError, "no-such"),
        (lambda path: hexviz.serve(False, host="0.0.0.0"), StreamError, "allow_remote=True"),
    ],
)
def test_what_cannot_be_done_is_a_named_error(path, make, error, says):
    with pytest.raises(error, match=says):
        make(path)
    assert issubclass(error, HexvizError)


@pytest.mark.parametrize("make", [hexviz.watch, hexviz.serve, lambda path: hexviz.watch(path, run="run-1")])
def test_a_path_where_no_store_is_makes_none_and_waits_for_nothing(path, make):
    with pytest.raises(SourceError, match=r"there is no store .*runs\.db.*open_store"):
        make(path)
    assert not path.exists()


def test_a_store_that_has_no_run_yet_is_watched_until_its_first_has_ended(path):
    with hexviz.open_store(path) as store, hexviz.watch(store) as watched:
        assert not watched.wait(0.05)
        keep(path, contract_run())
        assert watched.wait(PATIENCE_S)
        assert len(watched.recording) == len(contract_run()) == len(list(store.read("run-1")))


# --- the command line


def test_the_commands_serve_and_watch_meet(path, capsys, monkeypatch):
    keep(path, contract_run())
    command = [sys.executable, "-m", "hexviz", "serve", "--follow", "--port", "0", "--store", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as server:
        try:
            server.stdout.readline()
            address, token = re.search(r"(http://127.0.0.1:\d+/)\?token=(\S+)", server.stdout.readline()).groups()
            monkeypatch.setenv("HEXVIZ_TOKEN", token)
            assert main(["watch", address.replace("http", "ws")]) == 0
            assert "run-1" in capsys.readouterr().out
            monkeypatch.setenv("HEXVIZ_TOKEN", "x" * 20)
            assert main(["watch", address]) == 2
            told = " ".join(capsys.readouterr().err.split())
            assert "answers 403" in told
            assert token not in told
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


def test_watching_a_server_where_nothing_happens_gives_up(capsys):
    with hexviz.serve(False, token=False) as server:
        began = time.monotonic()
        assert main(["watch", server.url, "--timeout", "0.2"]) == 2
        assert time.monotonic() - began < PATIENCE_S
    assert "nothing came from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--host", "0.0.0.0"], ["--host", "0.0.0.0", "--allow-remote", "--no-token"], ["--token", "short"]]
)
def test_a_server_that_would_let_in_anybody_is_refused(path, options, capsys):
    keep(path, contract_run())
    assert main(["serve", "--store", str(path), "--port", "0", *options]) == 2
    assert "token" in capsys.readouterr().err.replace("allow_remote=True", "token")
