"""Tests made of recorded failures."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hexviz.errors import SourceError
from hexviz.events.events import Event, NodeCompleted, NodeFailed, PipelineStarted, RecordedError
from hexviz.events.schema import to_record
from hexviz.handlers import control_of
from hexviz.recording.backtest import Recheck, node_of, recheck
from hexviz.recording.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def policy_test_from(
    recording: Recording,
    node: str,
    path: str | Path | None = None,
    *,
    run_id: str | None = None,
    policies: str = "",
    whole_run: bool = False,
) -> str:
    """Write a pytest file that pins what was decided about ``node`` in a recorded run; returns its text.

    ``policies`` names a function that makes fresh policies, as ``"package.module:function"``; without it the test takes
    them from a fixture ``policies`` of yours. The file holds the events of the node (with ``whole_run`` of all nodes,
    for policies that count over nodes), without tracebacks, as records that the test reads back: they are quoted, and
    nothing in them is run. Pinned are the first answer to each start, failure and call, and to each result that was
    objected to.

    Raises :class:`~hexviz.errors.SourceError` where the run or the node is not there, or ``policies`` is no such name.
    """
    source = _one_run(recording, run_id)
    kept = [
        event for event in source.events() if whole_run or isinstance(event, PipelineStarted) or node_of(event) == node
    ]
    checks = _checks_of(Recording(kept), ())
    pinned = [c for c in checks if c.node == node and (c.checked != NodeCompleted.__name__ or c.recorded != "proceed")]
    if not pinned:
        raise SourceError(f"control was never asked about a node {node!r} in this recording")
    text = _TEST_FILE.format(
        imports=_import_of(policies),
        argument="" if policies else "policies",
        made="make_policies()" if policies else "policies",
        node=ascii(node),
        records="".join(f"    {to_record(_short(event)).decode()!a},\n" for event in kept),
        expected="".join(f"    {_pin(check)!a},\n" for check in pinned),
    )
    if path is not None:
        target = Path(path)
        target.touch(mode=0o600)
        target.write_text(text, encoding="ascii")
    return text


def assert_decides(policies: Any, records: Iterable[str], expected: Sequence[tuple[Any, ...]]) -> None:
    """Ask fresh ``policies`` about ``records``; an AssertionError lists each answer that is not the expected one.

    ``expected`` has tuples of seq, class of the event, attempt, signal and delay in seconds (None: any), as
    :func:`policy_test_from` writes them.
    """
    recording = Recording.from_records(record.encode() for record in records)
    answers = {check.seq: check for check in _checks_of(recording, policies) if check.ask == 1}
    wrong = []
    for seq, checked, attempt, signal, delay_s in expected:
        answer = answers[seq]
        if answer.new != signal or (delay_s is not None and answer.new_delay_s != delay_s):
            who = f" by {answer.handler!r}: {answer.reason}" if answer.handler else ""
            wrong.append(
                f"{checked} of attempt {attempt} (seq {seq}): expected {_worded(signal, delay_s)}, "
                f"got {_worded(answer.new, answer.new_delay_s)}{who}"
            )
    if wrong:
        raise AssertionError("\n".join(wrong))


def _checks_of(recording: Recording, policies: Any) -> list[Recheck]:
    """Ask ``policies`` about an excerpt of a recording."""
    return recheck(recording, control_of(policies), excerpt=True)


def _one_run(recording: Recording, run_id: str | None) -> Recording:
    if run_id is not None:
        return recording.run(run_id)
    if len(recording.run_ids) != 1:
        raise SourceError(f"this recording holds {len(recording.run_ids)} runs; choose one with run_id=")
    return recording


def _short(event: Event) -> Event:
    """``event`` without what makes a test long and tells of a machine: tracebacks, and the graph of the run."""
    if isinstance(event, PipelineStarted):
        return msgspec.structs.replace(event, nodes=())
    error = getattr(event, "error", None)
    if isinstance(error, RecordedError):
        return msgspec.structs.replace(event, error=RecordedError(error.type_name, error.message))
    return event


def _pin(check: Recheck) -> tuple[Any, ...]:
    told = check.checked in {NodeFailed.__name__, NodeCompleted.__name__}
    return check.seq, check.checked, check.attempt, check.recorded, check.recorded_delay_s if told else None


def _worded(signal: str, delay_s: float | None) -> str:
    return f"{signal or 'an answer that cannot be known'}{'' if delay_s is None else f' in {delay_s:g} s'}"


def _import_of(policies: str) -> str:
    if not policies:
        return ""
    module, _, name = policies.partition(":")
    words = (*module.split("."), name)
    if not all(word.isascii() and word.isidentifier() and not keyword.iskeyword(word) for word in words):
        raise SourceError(f"policies= names a function, such as 'package.module:make_policies', not {policies!r}")
    return f"from {module} import {name} as make_policies\n"


_TEST_FILE = '''"""What the policies decide about a recorded node. Written by hexviz.testing.policy_test_from."""

from hexviz.testing import assert_decides
{imports}
NODE = {node}

# One event each: what happened to the node.
RECORDS = [
{records}]

# seq, event, attempt, signal, delay in seconds (None: any)
EXPECTED = [
{expected}]


def test_the_policies_decide_as_they_did_when_this_was_recorded({argument}):
    assert_decides({made}, RECORDS, EXPECTED)
'''
