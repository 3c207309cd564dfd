"""From bars to rows of a frame and back."""

import pandas as pd
import pytest

from hexviz.recording.recording import Recording
from hexviz.recording.state import RunState
from hexviz.widgets.recorded import static_view
from hexviz.widgets.selection import SelectionError, rows_of, selection_frame
from tests.browser.made_runs import told


def test_the_selection_is_a_frame_with_one_row_per_attempt(runs):
    frame = selection_frame(RunState.from_events(runs.story()), [2, 1, 1, 99, -1])
    assert list(frame["node"]) == ["clean", "clean"]
    assert list(frame["attempt"]) == [1, 2]
    assert list(frame["status"]) == ["retrying", "succeeded"]
    assert list(frame["duration_ms"].round(3)) == [10.0, 10.0]
    assert frame.attrs["run_id"] == "run-1"


def test_the_selection_says_where_an_attempt_ran():
    state = RunState.from_events(told(20, workers=("process 1", "process 2")))
    assert set(selection_frame(state, range(5))["worker"]) == {"process 1", "process 2"}


def test_an_attempt_that_runs_has_no_end(runs):
    frame = selection_frame(RunState.from_events(runs.story()[:3]), [0])
    assert frame[["end_ms", "duration_ms"]].isna().all(axis=None)


def test_an_empty_selection_has_the_same_columns_and_dtypes(runs):
    state = RunState.from_events(runs.story())
    pd.testing.assert_series_equal(selection_frame(state, []).dtypes, selection_frame(state, [0]).dtypes)


def test_a_frame_lights_its_attempts_and_names_light_all_attempts_of_a_node(runs):
    state = RunState.from_events(runs.story())
    assert rows_of(state, pd.DataFrame({"node": ["clean"], "attempt": [2]})) == [2]
    assert rows_of(state, pd.DataFrame({"node": ["clean", "elsewhere"]})) == [1, 2]
    assert rows_of(state, "train") == rows_of(state, ["train"]) == [3]
    assert rows_of(state, None) == rows_of(state, []) == []


def test_what_is_selected_can_be_lit_again(runs):
    state = RunState.from_events(runs.story())
    assert rows_of(state, selection_frame(state, [0, 2])) == [0, 2]


@pytest.mark.parametrize(
    ("chosen", "said"), [(pd.DataFrame({"name": ["clean"]}), "column 'node'"), (["cleen"], "'cleen'")]
)
def test_what_names_nothing_is_refused_with_what_is_expected(runs, chosen, said):
    with pytest.raises(SelectionError, match=said):
        rows_of(RunState.from_events(runs.story()), chosen)


def test_a_dashboard_gives_its_selection_and_takes_one(runs):
    view = static_view(Recording(runs.story()))
    assert view.selection.empty
    widget = view.shown()
    widget.channel._handle_custom_msg({"k": "sel", "rows": [1]}, [])
    assert list(view.selection["node"]) == ["clean"]
    view.select(view.selection)
    assert widget.channel.lit == [1]
    assert view.select().widget.channel.lit == []
    widget.close_channel()
