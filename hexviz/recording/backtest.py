"""Asks control handlers about a recorded run again, and says for each answer how far it can be trusted.

The events of the recording are gone through in true order. A handler that also listens (``observe``) hears them, and
where control was asked in the run it is asked again, about the same facts: the event, the context with the node's
metadata, the attempt, the clock that the event bears. What the run decided stands in ``ControlDecided``; where there is
none, it proceeded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from hexviz.events import events as ev
from hexviz.events.models import ExecutionContext
from hexviz.recording.playlist import Playlist
from hexviz.recording.rebuilt import Watch, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hexviz.events.asking import Decision
    from hexviz.events.control_manager import ControlManager
    from hexviz.recording.recording import Recording

FIDELITIES = ("exact", "modelled", "unknown")
"""exact: a function of recorded facts; modelled: of a likeness of them; unknown: of what was not recorded."""

CHECKED = (
    ev.PipelineStarted,
    ev.WaveStarted,
    ev.NodeStarted,
    ev.NodeCompleted,
    ev.NodeFailed,
    ev.ToolCalled,
    ev.LLMPromptSent,
)
"""The events about which an orchestrator asks control."""

_CALL_ENDS = (ev.ToolCompleted, ev.ToolFailed, ev.LLMResponseReceived, ev.LLMFailed)
_NEVER_OFFERED = ("KeyboardInterrupt", "SystemExit")
_Key = tuple[Any, ...]


class Recheck(NamedTuple):
    """One check of the run, asked again. ``ask`` counts the times of asking about one event (a RETRY asks again).

    ``new`` is empty where it is unknown. Delays are those of a RETRY, None where it is none or was not recorded.
    """

    run_id: str
    seq: int
    ask: int
    node: str
    wave: int
    attempt: int
    checked: str
    recorded: str
    new: str
    recorded_delay_s: float | None
    new_delay_s: float | None
    handler: str
    reason: str
    fidelity: str
    changed: bool


def recheck(recording: Recording, control: ControlManager, *, excerpt: bool = False) -> list[Recheck]:
    """Ask ``control`` about every check of ``recording``; its handlers should be fresh ones, without a past.

    ``excerpt`` says that events were left out on purpose, so that gaps are no reason for doubt. Works on an event loop
    of its own, in a thread of its own where a loop is running here (a notebook).
    """
    asking = _recheck(recording, control, excerpt=excerpt)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asking)
    with ThreadPoolExecutor(1, "hexviz-backtest") as thread:
        return thread.submit(asyncio.run, asking).result()


async def _recheck(recording: Recording, control: ControlManager, *, excerpt: bool) -> list[Recheck]:
    playlist = Playlist(recording)
    books = _books_of(playlist, excerpt=excerpt)
    listeners = tuple(_listeners(control))
    checks: list[Recheck] = []
    for event in playlist:
        book = books[event.run_id]
        if not book.is_new(event):
            continue
        checks += [await book.ask(asked, control) for asked in book.asked_again(event)]
        for observe, types in listeners:
            if isinstance(event, types):
                book.hear(observe, event)
        if isinstance(event, CHECKED) and book.was_offered(event):
            checks.append(await book.ask(_Asked(event), control))
        book.note(event)
    return checks


def _listeners(control: ControlManager) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    """The handlers that must hear events as well: their ``observe``, and what it hears."""
    seen: set[int] = set()
    for kind in CHECKED:
        for entry in control.asks(kind):
            policy = getattr(entry.handler, "__self__", None)
            observe, types = getattr(policy, "observe", None), getattr(policy, "observed_types", None)
            if observe is not None and types is not None and id(policy) not in seen:
                seen.add(id(policy))
                yield observe, tuple(types) if isinstance(types, tuple | list | set | frozenset) else types


def _books_of(playlist: Playlist, *, excerpt: bool) -> dict[str, _Book]:
    books: dict[str, _Book] = defaultdict(lambda: _Book(excerpt=excerpt))
    for event in playlist:
        book = books[event.run_id]
        book.seqs.add(event.seq)
        if isinstance(event, ev.ControlDecided):
            book.decided[event.checked_seq].append(event)
        elif isinstance(event, ev.NodeRetrying):
            book.delays_s[event.name, event.attempt] = event.delay_s
    return books


class _Asked(NamedTuple):
    """One time of asking: the event, which time it is, and whether the moment of asking is known."""

    event: Any
    ask: int = 1
    timed: bool = True


class _Book:
    """What is known of one run while it is gone through."""

    def __init__(self, *, excerpt: bool = False) -> None:
        self.seqs: set[int] = set()
        self._excerpt = excerpt
        self.decided: dict[int, list[ev.ControlDecided]] = defaultdict(list)
        self.delays_s: dict[tuple[str, int], float] = {}
        self._watch = Watch()
        self._last_seq = 0
        self._whole = True
        self._metadata: dict[str, dict[str, Any]] = defaultdict(dict)
        self._waiting: dict[_Key, _Asked] = {}
        self._children: dict[str, list[str]] = defaultdict(list)
        self._waves: dict[int, list[str]] = defaultdict(list)
        self._unsure: set[str] = set()
        self._all_unsure = False
        self._just_decided: dict[str, bool] = {}

    def is_new(self, event: ev.Event) -> bool:
        """Whether ``event`` is no duplicate; from the first gap on nothing is exact."""
        if event.seq and event.seq <= self._last_seq:
            return False
        self._whole = self._excerpt or (self._whole and event.seq in (0, self._last_seq + 1))
        self._last_seq = max(self._last_seq, event.seq)
        return True

    def was_offered(self, event: Any) -> bool:
        """Whether control is asked about ``event``: not about a failure that stands for a policy's own veto."""
        if not isinstance(event, ev.NodeFailed) or event.will_retry is None:
            return True
        stopped = getattr(event.error, "type_name", "") in _NEVER_OFFERED
        return not stopped and not self._just_decided.get(event.name, False)

    def note(self, event: Any) -> None:
        """Keep what later checks need to know of ``event``."""
        if isinstance(event, ev.PipelineStarted):
            for node in event.nodes:
                self._waves[node.wave_index].append(node.name)
                for parent in node.dependencies:
                    self._children[parent].append(node.name)
        if isinstance(event, ev.ControlDecided):
            self._just_decided[event.node_name] = bool(event.decided_by)
        elif (name := node_of(event)) is not None:
            self._just_decided[name] = False

    def hear(self, observe: Callable[[Any], Any], event: ev.Event) -> None:
        """Let a handler listen; if it looks into what was not recorded, all that follows is a likeness."""
        self._watch.tripped = False
        rebuilt = rebuild(event, self._watch)
        try:
            observe(rebuilt.event)
        except Exception:  # noqa: BLE001 - as in a run: an observer may raise anything
            self._all_unsure = True
        self._all_unsure = self._all_unsure or self._watch.tripped

    # --- when to ask

    def asked_again(self, event: Any) -> list[_Asked]:
        """The checks that were asked once more by now, after a wait."""
        if isinstance(event, ev.ControlDecided):
            due = [
                key
                for key, asked in self._waiting.items()
                if asked.event.seq == event.checked_seq and self._decision(asked) is event
            ]
            return [self._waiting.pop(key) for key in due]
        if isinstance(event, ev.NodeCancelled | ev.PipelineCancelled):
            return []
        due = [key for key in _keys_ended_by(event) if key in self._waiting and not self._decision(self._waiting[key])]
        return [self._waiting.pop(key)._replace(timed=False) for key in due]

    def _decision(self, asked: _Asked) -> ev.ControlDecided | None:
        decided = self.decided.get(asked.event.seq, ())
        return decided[asked.ask - 1] if asked.ask <= len(decided) else None

    # --- asking

    async def ask(self, asked: _Asked, control: ControlManager) -> Recheck:
        """Ask once, and compare the answer with what was recorded."""
        event, recorded = asked.event, self._decision(asked)
        self._watch.tripped = False
        rebuilt = rebuild(event, self._watch)
        context = self._context(event)
        decision = await control.decide(rebuilt.event, context, all_votes=True)
        signal, new = recorded.signal if recorded else "proceed", decision.response.signal.value
        delays = self._delay_s(asked, signal), _delay_s(decision)
        fidelity = self._fidelity(asked, decision, sure=rebuilt.sure)
        if not asked.timed and signal != new:
            fidelity = "unknown"  # the moment of asking was not recorded, and the answer may hang on it
        changed = fidelity != "unknown" and (signal != new or (None not in delays and delays[0] != delays[1]))
        if changed or fidelity == "unknown":
            self._doubt(event)
        elif new == "retry" and not isinstance(event, ev.NodeCompleted | ev.NodeFailed):
            self._waiting[_key_of(event)] = _Asked(event, asked.ask + 1)
        entry = decision.decided_by
        return Recheck(
            run_id=event.run_id,
            seq=event.seq,
            ask=asked.ask,
            node=context.node_id or "",
            wave=context.wave_index,
            attempt=context.attempt,
            checked=type(event).__name__,
            recorded=signal,
            new="" if fidelity == "unknown" else new,
            recorded_delay_s=delays[0],
            new_delay_s=None if fidelity == "unknown" else delays[1],
            handler=entry.name if entry else "",
            reason=decision.response.reason,
            fidelity=fidelity,
            changed=changed,
        )

    def _context(self, event: Any) -> ExecutionContext:
        if isinstance(event, ev.PipelineStarted):
            return ExecutionContext(event.pipeline or event.name, run_id=event.run_id, metadata=self._metadata[""])
        if isinstance(event, ev.WaveStarted):
            return ExecutionContext(event.pipeline, None, event.wave_index, 1, self._metadata[""], event.run_id)
        node = node_of(event) or ""
        metadata = {} if isinstance(event, ev.ToolCalled | ev.LLMPromptSent) else self._metadata[f"node {node}"]
        return ExecutionContext(event.pipeline, node, event.wave_index, event.attempt, metadata, event.run_id)

    def _delay_s(self, asked: _Asked, signal: str) -> float | None:
        """The recorded wait: it is told for attempts (NodeRetrying) and not for starts and calls."""
        if signal != "retry" or not isinstance(asked.event, ev.NodeCompleted | ev.NodeFailed):
            return None
        return self.delays_s.get((asked.event.name, asked.event.attempt))

    def _fidelity(self, asked: _Asked, decision: Decision, *, sure: bool) -> str:
        recorded = self._decision(asked)
        failed_then = {vote.handler for vote in recorded.votes if vote.error} if recorded else set()
        failed_now = {vote.handler for vote in decision.votes if vote.error}
        cut_off = not self._excerpt and asked.event.seq and asked.event.seq + 1 not in self.seqs
        if self._watch.tripped or failed_now - failed_then or cut_off:
            return "unknown"
        doubtful = self._all_unsure or (node_of(asked.event) or "") in self._unsure
        return "exact" if sure and self._whole and asked.timed and not doubtful else "modelled"

    def _doubt(self, event: Any) -> None:
        """The run would have gone another way here: later events of these nodes are a likeness at best."""
        if isinstance(event, ev.PipelineStarted):
            self._all_unsure = True
        ahead = list(self._waves[event.wave_index]) if isinstance(event, ev.WaveStarted) else [node_of(event) or ""]
        while ahead:
            node = ahead.pop()
            if node and node not in self._unsure:
                self._unsure.add(node)
                ahead.extend(self._children.get(node, ()))


def _delay_s(decision: Decision) -> float | None:
    if decision.response.signal.value != "retry":
        return None
    data = decision.response.data
    delay = data.get("delay", 0.0) if isinstance(data, Mapping) else 0.0 if data is None else data
    return float(delay) if isinstance(delay, int | float) else None


def node_of(event: Any) -> str | None:
    """The node that an event is about; None for events of a run or a wave."""
    if isinstance(event, ev.PipelineStarted):
        return None
    name = getattr(event, "node_name", None)
    return name if name is not None else getattr(event, "name", None) if hasattr(event, "wave_index") else None


def _key_of(event: Any) -> _Key:
    if isinstance(event, ev.PipelineStarted):
        return ("run",)
    if isinstance(event, ev.WaveStarted):
        return ("wave", event.wave_index)
    return ("node", event.name) if isinstance(event, ev.NodeStarted) else ("call", event.node_name, event.call_id)


def _keys_ended_by(event: Any) -> Iterator[_Key]:
    """The waits that must be over when ``event`` happens."""
    if isinstance(event, ev.WaveStarted | ev.PipelineCompleted):
        yield ("run",)
    if isinstance(event, ev.NodeStarted):
        yield ("wave", event.wave_index)
    elif isinstance(event, _CALL_ENDS):
        yield ("call", event.node_name, event.call_id)
    elif isinstance(event, CHECKED) and (node := node_of(event)) is not None:
        yield ("node", node)
