"""Which pictures belong to the end of a cell, and which are told once more in the next one."""

import threading

import pytest

from hexviz.widgets import cells


class Shell:
    """A shell that tells of its cells."""

    def __init__(self):
        self.hooks = {"pre_run_cell": [], "post_run_cell": []}
        self.events = self

    def register(self, name, hook):
        self.hooks[name].append(hook)

    def tell(self, name):
        for hook in self.hooks[name]:
            hook(None)


class Output(list):
    update = list.append


@pytest.fixture
def shell(monkeypatch):
    made = Shell()
    monkeypatch.setattr(cells, "_clock", cells._Clock())
    monkeypatch.setattr(cells, "get_ipython", lambda: made)
    cells.follow()
    cells.follow()
    return made


def test_a_cell_ends_when_the_pictures_of_ended_runs_are_there(shell):
    shown, done = Output(), threading.Event()

    def show():
        cells.put(shown, "picture")
        done.set()

    cells.ending(done)
    threading.Timer(0.05, show).start()
    shell.tell("post_run_cell")
    assert shown == ["picture"]
    shell.tell("pre_run_cell")
    assert shown == ["picture"]


def test_what_is_shown_between_two_cells_is_told_again_in_the_next(shell):
    shown = Output()
    shell.tell("post_run_cell")
    cells.put(shown, "picture")
    for _ in range(2):
        shell.tell("pre_run_cell")
    assert shown == ["picture", "picture"]


def test_the_end_of_a_cell_waits_only_so_long(shell, monkeypatch):
    monkeypatch.setattr(cells, "PATIENCE_S", 0.01)
    for _ in range(3):
        cells.ending(threading.Event())
    shell.tell("post_run_cell")
    assert cells._clock.waits == []


def test_a_cell_of_many_runs_remembers_only_those_that_still_end(shell):
    for _ in range(100):
        done = threading.Event()
        cells.ending(done)
        done.set()
    assert len(cells._clock.waits) == 1
    shell.tell("post_run_cell")
    for i in range(100):
        cells.put(Output(), i)
    assert len(cells._clock.late) == cells._MOST_LATE
