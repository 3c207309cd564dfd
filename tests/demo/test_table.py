"""A table that cannot be used is refused with what is wrong, where, and what to do next."""

import pytest

from hexviz.demo.table import Task, airrflow_csv, read_tasks
from hexviz.errors import HexvizError, SourceError


def table(tmp_path, text):
    path = tmp_path / "flow.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_become_tasks_in_file_order_and_parents_may_be_separated_by_spaces_or_semicolons(tmp_path):
    path = table(
        tmp_path, "task_id,name,parents,runtime_s,note\na,x.A,,1,\nb,x.B,a,0.5,\nc,,a; b,2,free\nd,x.D,a b a,0,\n"
    )
    assert read_tasks(path) == (
        Task("a", "x.A", (), 1.0),
        Task("b", "x.B", ("a",), 0.5),
        Task("c", "c", ("a", "b"), 2.0),
        Task("d", "x.D", ("a", "b"), 0.0),
    )
    assert read_tasks(str(path))[0].process == "A"


def test_a_missing_column_is_named_with_the_file_and_the_columns_that_are_there(tmp_path):
    path = table(tmp_path, "task_id,name,runtime\na,A,1\n")
    with pytest.raises(SourceError, match="has no column 'parents', 'runtime_s'") as caught:
        read_tasks(path)
    text = str(caught.value)
    assert str(path) in text
    assert "It has: 'task_id', 'name', 'runtime'" in text
    assert "task_id, name, parents, runtime_s" in text
    assert isinstance(caught.value, HexvizError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no column 'task_id', 'name', 'parents', 'runtime_s'. It has: nothing at all"),
        ("task_id,name,parents,runtime_s\na,A,,1\na,A,,1\n", "line 3: the task id 'a' was given before, in line 2"),
        ("task_id,name,parents,runtime_s\na,A,z,1\n", "task 'a' waits for 'z', which is no task of this table"),
        ("task_id,name,parents,runtime_s\n,A,,1\n", "line 2: the task id is empty"),
        ("task_id,name,parents,runtime_s\na,A,,soon\n", "line 2: the runtime_s of task 'a' is 'soon'"),
        ("task_id,name,parents,runtime_s\na,A,,-1\n", "the runtime_s of task 'a' is '-1'"),
        ("task_id,name,parents,runtime_s\na,A,,nan\n", "the runtime_s of task 'a' is 'nan'"),
        ("task_id,name,parents,runtime_s\na,A,,inf\n", "the runtime_s of task 'a' is 'inf'"),
        ("task_id,name,parents,runtime_s\na\n", "the runtime_s of task 'a' is ''"),
        (
            'task_id,name,parents,runtime_s\n"a\nb",A,,1\n"a\nb",A,,1\n',
            r"the task id 'a\nb' was given before, in line 3",
        ),
        ("task_id,name,parents,runtime_s\na,A,," + "1" * 140_000, "line 2: not a row of CSV (field larger than"),
    ],
)
def test_a_bad_row_is_named_by_line_and_value(tmp_path, text, expected):
    with pytest.raises(SourceError) as caught:
        read_tasks(table(tmp_path, text))
    assert expected in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(SourceError, match="cannot be read") as caught:
            read_tasks(path)
        assert str(path) in str(caught.value)
    binary = tmp_path / "flow.csv"
    binary.write_bytes(b"\xff\xfe\x00task_id")
    with pytest.raises(SourceError, match="must be a CSV file in UTF-8"):
        read_tasks(binary)


def test_the_table_of_the_demo_is_found():
    assert len(read_tasks(airrflow_csv())) == 212
