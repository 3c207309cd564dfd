"""WfFormat both ways: real instances become runs, runs become instances, and what is not one is refused by name."""

import contextlib
import copy
import gzip
import json
import math
import random
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hexviz
from hexviz.bridges.wfformat import read_wfformat
from hexviz.errors import HexvizError, SourceError
from hexviz.stores.errors import NotAStoreError
from hexviz.testing import sample_graph
from tests.bridges.made_runs import HOSTILE, broken, exported, hostile, shown, small

WORKFLOWS = Path(__file__).parents[3] / "shared" / "data" / "workflows"
REAL = [  # file, tasks, edges, waves, critical path in seconds, makespan, begin: the table beside the files
    ("helloworld-chain-5-chameleon.json", 5, 4, 5, 501.240, 661.0, "2023-05-10 16:23:32+00:00"),
    ("blast-chameleon-large-001.json", 103, 300, 3, 1819.117, 3908.44, "2020-12-27 18:23:37+00:00"),
    ("airrflow-dirt02-001.json.gz", 212, 327, 25, 438.061, 4706.0, "2023-03-30 01:45:52+00:00"),
    ("epigenomics-chameleon-ilmn-6seq-50k-001.json.gz", 1695, 2108, 9, 1084.123, 2538.0, "2020-04-09 05:28:34+00:00"),
    ("montage-chameleon-dss-15d-001.json.gz", 2122, 6114, 8, 989.458, 6197.0, "2020-04-04 00:24:03+00:00"),
]
real = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflow files of shared/data are not beside the project")

WORD = {"type": "string", "minLength": 1}
LINKS = {"type": "array", "items": {"type": "string", "pattern": "^[0-9a-zA-Z-_.]*$"}}


def _object(required, **properties):
    return {"type": "object", "required": required, "properties": properties}


def _tasks(required, **properties):
    return {"type": "array", "minItems": 1, "items": _object(required, **properties)}


# What the documentation of WfFormat 1.5 requires of an instance that was executed, written down here.
SCHEMA = _object(
    ["name", "schemaVersion", "workflow"],
    name=WORD,
    schemaVersion={"enum": ["1.5"]},
    runtimeSystem=_object(["name", "version"], name=WORD, version=WORD),
    workflow=_object(
        ["specification", "execution"],
        specification=_object(
            ["tasks"],
            tasks=_tasks(["name", "id", "parents", "children"], name=WORD, id=WORD, parents=LINKS, children=LINKS),
        ),
        execution=_object(
            ["makespanInSeconds", "executedAt", "tasks"],
            makespanInSeconds={"type": "number"},
            executedAt=WORD,
            tasks=_tasks(["id", "runtimeInSeconds"], id=WORD, runtimeInSeconds={"type": "number"}),
        ),
    ),
)


def raw(file):
    data = (WORKFLOWS / file).read_bytes()
    return gzip.decompress(data) if file.endswith(".gz") else data


def check(document):
    jsonschema.validate(document, SCHEMA)
    tasks = document["workflow"]["specification"]["tasks"]
    ids = [task["id"] for task in tasks]
    assert len(ids) == len(set(ids))
    assert sorted(ids) == sorted(task["id"] for task in document["workflow"]["execution"]["tasks"])
    down = {(task["id"], child) for task in tasks for child in task["children"]}
    assert down == {(parent, task["id"]) for task in tasks for parent in task["parents"]}
    return document


def facts(recording):
    """Tasks with durations and starts, and the edges."""
    nodes = recording.frames.nodes
    rows = {
        node: (pytest.approx(took if math.isfinite(took) else 0.0), start)
        for node, took, start in zip(
            nodes["node"], nodes["duration_ms"], nodes["start_ms"].fillna(0.0).round(3), strict=True
        )
    }
    edges = recording.frames.edges
    return rows, set(zip(edges["source"], edges["target"], strict=True))


def instance(*tasks, **execution):
    """A document of tasks given as (id, parents, runtime)."""
    return {
        "name": "made", "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": [{"name": t, "id": t, "parents": p, "children": []} for t, p, _ in tasks]},
            "execution": {
                "makespanInSeconds": 9, "executedAt": "2026-01-01T00:00:00Z",
                "tasks": [{"id": t, "runtimeInSeconds": s} for t, _, s in tasks], **execution,
            },
        },
    }  # fmt: skip


def loaded(document, place):
    path = place / "made.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return hexviz.load(path, format="wfformat")


@real
@pytest.mark.parametrize(("file", "tasks", "edges", "waves", "path_s", "makespan_s", "began"), REAL)
def test_a_real_instance_becomes_a_run(file, tasks, edges, waves, path_s, makespan_s, began, tmp_path):
    recording = loaded(raw(file), tmp_path)
    frames = recording.frames
    assert (len(frames.nodes), len(frames.edges), len(frames.waves)) == (tasks, edges, waves)
    assert len(recording.diagnostics()) == 0
    run = frames.runs.iloc[0]
    assert (run["status"], run["succeeded"], run["duration_ms"]) == (
        "succeeded",
        tasks,
        pytest.approx(makespan_s * 1e3),
    )
    assert (str(run["started_at"]), run["tags"]) == (began, "wfformat,starts computed")
    assert frames.attempts["end_ms"].max() / 1e3 == pytest.approx(path_s, abs=1e-3)
    assert hexviz.analysis.critical_path(frames)["duration_ms"].sum() / 1e3 == pytest.approx(path_s, abs=1e-3)


@real
@pytest.mark.parametrize("file", [row[0] for row in REAL])
def test_a_real_instance_read_written_and_read_is_the_same_run(file, tmp_path):
    before = loaded(raw(file), tmp_path)
    check(exported(before, "wfformat", tmp_path))
    after = hexviz.load(tmp_path / "run.wfformat.json")
    assert facts(after) == facts(before)
    assert after.run_ids == before.run_ids
    again = hexviz.export(after, tmp_path / "again.wfformat.json").read_bytes()
    assert again == (tmp_path / "run.wfformat.json").read_bytes()


@pytest.mark.parametrize("made", [lambda: small().run("run-1"), hostile, lambda: broken().run("broken")])
def test_a_run_becomes_a_valid_instance_and_comes_back_with_its_tasks_edges_and_durations(made, tmp_path):
    before = made()
    check(exported(before, "wfformat", tmp_path))
    after = hexviz.load(tmp_path / "run.wfformat.json")
    rows, edges = facts(after)
    expected, _ = facts(before)
    assert {name: took for name, (took, _) in rows.items()} == {name: took for name, (took, _) in expected.items()}
    known = set(expected)
    assert edges == {edge for edge in facts(before)[1] if set(edge) <= known}


def test_a_run_of_hexviz_comes_back_with_its_start_times(tmp_path):
    before = hexviz.run_sync(sample_graph(), store=False).recording
    after = hexviz.load(hexviz.export(before, tmp_path / "run.wfformat.json"))
    assert after.frames.runs["tags"][0] == "wfformat"
    started, recorded = (r.frames.nodes.set_index("node")["started_at"] for r in (after, before))
    assert dict(started) == dict(recorded)
    assert set(after.diagnostics()["problem"]) <= {"clock step"}


def test_hostile_names_are_written_in_the_characters_of_an_id_and_come_back(tmp_path):
    document = check(exported(hostile(), "wfformat", tmp_path))
    assert "_x3c_script_x3e_alert_x28_1_x29__x3c__x2f_script_x3e_" in [
        task["id"] for task in document["workflow"]["specification"]["tasks"]
    ]
    assert set(hexviz.load(tmp_path / "run.wfformat.json").frames.nodes["node"]) == {shown(name) for name in HOSTILE}


def test_an_edge_that_only_one_end_tells_is_an_edge(tmp_path):
    document = instance(("a", [], 1.0), ("b", [], 2.0))
    document["workflow"]["specification"]["tasks"][0]["children"] = ["b"]
    recording = loaded(document, tmp_path)
    assert list(recording.frames.nodes["start_ms"]) == [0.0, 1000.0]
    assert list(recording.frames.runs["duration_ms"]) == [9000.0]


def test_tasks_that_take_no_time_keep_the_order_of_cause_and_effect(tmp_path):
    recording = loaded(instance(("c", ["b"], 0), ("b", ["a"], 0), ("a", [], 0), makespanInSeconds=0), tmp_path)
    told = [(type(event).__name__, getattr(event, "name", "")) for event in recording][1:-1]
    kinds = ("WaveStarted", "NodeStarted", "NodeCompleted", "WaveCompleted")
    assert told == [(kind, node if "Node" in kind else "") for node in "abc" for kind in kinds]
    assert len(recording.diagnostics()) == 0


@pytest.mark.parametrize(
    "form", ["20200404T002403+0000", "04-04-20T00:24:03Z", "2020-04-04T02:24:03+02:00", "2020-04-04T00:24:03Z"]
)
def test_every_form_of_executed_at_is_understood(form, tmp_path):
    recording = loaded(instance(("a", [], 1.0), executedAt=form), tmp_path)
    assert str(recording.frames.runs["started_at"][0]) == "2020-04-04 00:24:03+00:00"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "not an instance"),
        (b"[]", "not an instance"),
        (b"\xff\xfe", "not an instance"),
        (b'{"a":' * 100_000, "not an instance"),
        (instance(("a", [], 1.0), executedAt=""), "executedAt is ''"),
        (instance(executedAt="2026-01-01T00:00:00Z"), "no tasks"),
        (instance(("a", [], 1.0), ("a", [], 1.0)), "'a' is given twice"),
        (instance(("a", ["b"], 1.0)), "'a' names 'b', which is no task"),
        (instance(("a", ["b"], 1.0), ("b", ["a"], 1.0)), "cycle"),
        (instance(("a", ["a"], 1.0)), "cycle"),
        (instance(("a", [], -1.0)), r"runtime of task 'a' is -1\.0"),
        (instance(("a", [], 1e300)), "runtime of task 'a'"),
        (instance(("a", [], "1")), "not an instance"),
        (instance(("a", [], 1.0), tasks=[]), "no entry in the execution"),
        (instance(("a", [], 1.0), executedAt="yesterday"), "executedAt is 'yesterday'"),
        (instance(("a", [], 1e10), executedAt="9990-01-01T00:00:00Z"), "made.json"),
        ({"name": "x", "workflow": {"specification": {"tasks": []}}}, "never executed"),
    ],
)
def test_what_is_not_an_executed_instance_is_refused_with_the_reason(document, says, tmp_path):
    with pytest.raises(SourceError, match=says):
        loaded(document, tmp_path)


def test_archives_and_files_too_large_are_not_opened(tmp_path, monkeypatch):
    with pytest.raises(NotAStoreError, match="unpack it first"):
        loaded(gzip.compress(json.dumps(instance(("a", [], 1.0))).encode()), tmp_path)
    monkeypatch.setattr("hexviz.exports.MAX_BYTES", 10)
    with pytest.raises(NotAStoreError, match="more than the 10"):
        loaded(instance(("a", [], 1.0)), tmp_path)


def test_several_runs_and_runs_without_nodes_have_no_instance(tmp_path):
    for recording, says in ((small(), r"recording\.run\(run_id\)"), (hexviz.Recording(), "there are 0")):
        with pytest.raises(SourceError, match=says):
            hexviz.export(recording, tmp_path / "run.wfformat.json")
    assert list(tmp_path.iterdir()) == []


def test_a_chain_of_many_tasks_needs_no_recursion():
    tasks = [(f"t{i}", [f"t{i - 1}"] if i else [], 1.0) for i in range(20_000)]
    assert read_wfformat(json.dumps(instance(*tasks)).encode()).tasks[-1].wave == 20_000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_mutated_instance_gives_a_run_or_a_named_error(seed, tmp_path):
    rng = random.Random(seed)
    document = instance(("a", [], 1.0), ("b", ["a"], 2.0), ("c", ["a", "b"], 0.0))
    strange = [None, True, -1, 1e308, "a", "\ud800", [], {}, ["a"], {"id": "a"}, "2026", 10**400]
    for _ in range(rng.randint(1, 4)):
        place = document
        while isinstance(place, (dict, list)) and place:
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if rng.random() < 0.3 or not isinstance(place[key], (dict, list)):
                place[key] = copy.deepcopy(rng.choice(strange))
                break
            place = place[key]
    data = bytearray(json.dumps(document).encode())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with contextlib.suppress(HexvizError):
        assert len(loaded(bytes(data), tmp_path)) > 0
