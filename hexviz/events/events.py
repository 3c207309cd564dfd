"""What can happen: immutable facts, named in the past tense.

Every event is a frozen struct. Its own fields come first, by position or keyword; the five fields of
:class:`Event` are keyword-only and fill themselves. Times are UTC, durations are milliseconds taken from
the monotonic clock, waves and attempts count from 1.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import msgspec

from hexviz.events.secrets import masked, masked_head, masked_tail

utc_now = partial(datetime.now, UTC)
_ESCAPED = {ord(c): f"%{ord(c):02X}" for c in "%.*"}
_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def topic_segment(name: str) -> str:
    """One level of a topic: the separators and wildcards in ``name`` percent-encoded, so that it stays one level."""
    return name.translate(_ESCAPED) or "%00"


def printable(text: object) -> str:
    """``text`` with control characters shown as escapes: safe for a terminal and a log line."""
    return str(text).translate(_UNPRINTABLE)


class RecordedError(Exception):
    """An exception read back from a recording: what it was, as text. Its code is never run again."""

    def __init__(self, type_name: str, message: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedError) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[str, str, str]:
        return self.type_name, self.message, self.traceback_text

    @classmethod
    def of(cls, error: BaseException, *, limit: int = 4096) -> RecordedError:
        """What can be kept of ``error``, each text at most ``limit`` characters, secrets masked. Never raises."""
        kind = type(error)  # what ``__class__`` says is the object's own code
        if kind is RecordedError:
            return error  # type: ignore[return-value]
        name: str = type.__dict__["__qualname__"].__get__(kind)
        return cls(name[:limit], masked_head(_text_of(error), limit), masked_tail(_traceback_of(error), limit))


def traceback_lines(error: BaseException) -> str:
    """The traceback of ``error`` for a log, each line on a new one.

    Logged in the place of ``exc_info``: secrets are masked, and nothing in it can steer a terminal.
    """
    return "".join(f"\n{printable(line)}" for line in RecordedError.of(error).traceback_text.splitlines())


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything
        return "<the message of this exception cannot be shown>"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - formatting calls user code
        kept = vars(BaseException)["__traceback__"].__get__(error)
        return "".join(traceback.format_tb(kept))


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every event.

    ``timestamp`` is aware and in UTC; ``monotonic_ns`` is this process's monotonic clock, which orders and
    measures where wall clocks jump. ``run_id``, ``pipeline`` and ``seq`` (gap-free within a run, from 1; 0 means not
    given) are set by whoever runs the pipeline.
    """

    timestamp: datetime = msgspec.field(default_factory=utc_now)
    run_id: str = ""
    seq: int = 0
    monotonic_ns: int = msgspec.field(default_factory=time.monotonic_ns)
    pipeline: str = ""

    _verb: ClassVar[str] = "happened"
    _symbol: ClassVar[str] = "•"

    def __hash__(self) -> int:
        return hash((type(self), self.timestamp, self.run_id, self.seq))

    @property
    def topic(self) -> str:
        """The dotted topic, such as ``pipeline.etl.wave.3.node.clean.failed`` (see :mod:`hexviz.events.topics`)."""
        return f"pipeline.{topic_segment(self.pipeline)}{self._path()}.{self._verb}"

    def log_message(self, log_level: int = logging.INFO) -> str:
        """One line for a log; at ``logging.DEBUG`` and below it also names the run and the sequence number."""
        line = f"{self._symbol} {self._sentence()}"
        if log_level <= logging.DEBUG:
            line += f" [run {printable(self.run_id) or '-'} seq {self.seq}]"
        return line

    def _path(self) -> str:
        """The levels of the topic between the pipeline and the verb."""
        return f".{type(self).__name__.lower()}"

    def _sentence(self) -> str:
        return f"{type(self).__name__} {self._verb}"


class NodeInfo(msgspec.Struct, frozen=True, gc=False):
    """One node of the graph as a run saw it: its wave (from 1) and the names of its parents."""

    name: str
    wave_index: int
    dependencies: tuple[str, ...] = ()


class Vote(msgspec.Struct, frozen=True, gc=False):
    """What one handler answered in one check; ``latency_us`` is its own time, ``error`` says why it was reported."""

    handler: str
    priority: int
    signal: str
    reason: str = ""
    latency_us: float = 0.0
    shadow: bool = False
    error: str = ""


# --- pipeline -----------------------------------------------------------------------------------------------------


class _PipelineEvent(Event, frozen=True):
    name: str

    @property
    def topic(self) -> str:
        return f"pipeline.{topic_segment(self.name)}.{self._verb}"

    def _sentence(self) -> str:
        return f"Pipeline '{printable(self.name)}' {self._verb}{self._detail()}"

    def _detail(self) -> str:
        return ""


class PipelineStarted(_PipelineEvent, frozen=True):
    """A run began. ``nodes`` carries the whole shape of the graph, in topological order."""

    total_waves: int
    total_nodes: int
    nodes: tuple[NodeInfo, ...] = ()
    tags: tuple[str, ...] = ()
    schedule: str = "ready"
    max_concurrent_nodes: int = 0

    _verb: ClassVar[str] = "started"
    _symbol: ClassVar[str] = "🎬"

    def _detail(self) -> str:
        return f": {self.total_nodes} nodes in {self.total_waves} waves"


class PipelineCompleted(_PipelineEvent, frozen=True):
    """A run ended well. ``node_results`` is a copy that the run itself does not use."""

    duration_ms: float
    node_results: Mapping[str, Any] = msgspec.field(default_factory=dict)

    _verb: ClassVar[str] = "completed"
    _symbol: ClassVar[str] = "🎉"

    def _detail(self) -> str:
        return f" in {self.duration_ms:.1f} ms"


class PipelineFailed(_PipelineEvent, frozen=True):
    """A run ended with a failure; ``error`` is the exception that ``run`` raises."""

    duration_ms: float
    error: BaseException | None = None

    _verb: ClassVar[str] = "failed"
    _symbol: ClassVar[str] = "💥"

    def _detail(self) -> str:
        return f" after {self.duration_ms:.1f} ms{_because(self.error)}"


class PipelineCancelled(_PipelineEvent, frozen=True):
    """A run was cancelled, from outside or by its user."""

    duration_ms: float
    reason: str = ""

    _verb: ClassVar[str] = "cancelled"
    _symbol: ClassVar[str] = "🛑"

    def _detail(self) -> str:
        return f" after {self.duration_ms:.1f} ms{_because(self.reason)}"


class PipelineSkipped(_PipelineEvent, frozen=True):
    """Control skipped the whole run: no node ran."""

    duration_ms: float
    reason: str = ""

    _verb: ClassVar[str] = "skipped"
    _symbol: ClassVar[str] = "⏭️"

    def _detail(self) -> str:
        return _because(self.reason)


# --- waves --------------------------------------------------------------------------------------------------------


class _WaveEvent(Event, frozen=True):
    wave_index: int

    def _path(self) -> str:
        return f".wave.{self.wave_index}"


class WaveStarted(_WaveEvent, frozen=True):
    """The first node of a wave may start. ``nodes`` are the names of all nodes of the wave."""

    nodes: tuple[str, ...] | Sequence[str]

    _verb: ClassVar[str] = "started"
    _symbol: ClassVar[str] = "🌊"

    def __post_init__(self) -> None:
        if type(self.nodes) is not tuple:
            msgspec.structs.force_setattr(self, "nodes", tuple(self.nodes))

    def _sentence(self) -> str:
        return f"Wave {self.wave_index} started: {len(self.nodes)} nodes"


class WaveCompleted(_WaveEvent, frozen=True):
    """The last node of a wave ended, well or not; the counts are by final status."""

    duration_ms: float
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    fell_back: int = 0
    cancelled: int = 0

    _verb: ClassVar[str] = "completed"
    _symbol: ClassVar[str] = "🏁"

    def _sentence(self) -> str:
        return f"Wave {self.wave_index} completed in {self.duration_ms:.1f} ms"


# --- nodes --------------------------------------------------------------------------------------------------------


class _NodeEvent(Event, frozen=True):
    name: str
    wave_index: int

    def _path(self) -> str:
        return f".wave.{self.wave_index}.node.{topic_segment(self.name)}"

    def _sentence(self) -> str:
        attempt = getattr(self, "attempt", 1)
        tried = f" (attempt {attempt})" if attempt > 1 else ""
        return f"Node '{printable(self.name)}' {self._verb.replace('_', ' ')}{tried}{self._detail()}"

    def _detail(self) -> str:
        return ""


class NodeStarted(_NodeEvent, frozen=True):
    """An attempt begins. ``ready_at`` is when its last parent had ended, ``queued_ms`` how long it then waited."""

    dependencies: tuple[str, ...] | Sequence[str] = ()
    attempt: int = 1
    ready_at: datetime | None = None
    queued_ms: float = 0.0
    worker: str = ""

    _verb: ClassVar[str] = "started"
    _symbol: ClassVar[str] = "🚀"

    def _detail(self) -> str:
        return f" in wave {self.wave_index}"


class NodePlaced(_NodeEvent, frozen=True):
    """The code of an attempt begins on ``worker``, one of several processes; told where a runner chooses it late."""

    worker: str
    attempt: int = 1

    _verb: ClassVar[str] = "placed"
    _symbol: ClassVar[str] = "📍"

    def _detail(self) -> str:
        return f" on {printable(self.worker)}"


class NodeCompleted(_NodeEvent, frozen=True):
    """An attempt returned ``result``; ``duration_ms`` is the node's own time, without queue, policies or observers."""

    result: Any
    duration_ms: float
    attempt: int = 1

    _verb: ClassVar[str] = "completed"
    _symbol: ClassVar[str] = "✅"

    def _detail(self) -> str:
        return f" in {self.duration_ms:.1f} ms"


class NodeFailed(_NodeEvent, frozen=True):
    """An attempt raised ``error``. ``will_retry`` is False where nobody is asked, None where control decides next."""

    error: BaseException
    attempt: int = 1
    duration_ms: float = 0.0
    will_retry: bool | None = None

    _verb: ClassVar[str] = "failed"
    _symbol: ClassVar[str] = "❌"

    def _detail(self) -> str:
        return _because(self.error)


class NodeRetrying(_NodeEvent, frozen=True):
    """The node runs again after ``delay_s`` seconds; ``attempt`` is the one that just ended."""

    attempt: int = 1
    delay_s: float = 0.0
    decided_by: str = ""
    reason: str = ""

    _verb: ClassVar[str] = "retrying"
    _symbol: ClassVar[str] = "🔁"

    def _detail(self) -> str:
        return f" after {self.delay_s:g} s{_by(self.decided_by)}{_because(self.reason)}"


class _NodeSettled(_NodeEvent, frozen=True):
    attempt: int = 1
    reason: str = ""
    decided_by: str = ""
    duration_ms: float = 0.0

    def _detail(self) -> str:
        return f"{_by(self.decided_by)}{_because(self.reason)}"


class NodeSkipped(_NodeSettled, frozen=True):
    """The node counts as skipped; ``result`` is what it hands on, if anything."""

    result: Any = None

    _verb: ClassVar[str] = "skipped"
    _symbol: ClassVar[str] = "⏭️"


class NodeFellBack(_NodeSettled, frozen=True):
    """``result`` stands in for what the node would have returned."""

    result: Any = None

    _verb: ClassVar[str] = "fell_back"
    _symbol: ClassVar[str] = "🪂"


class NodeCancelled(_NodeSettled, frozen=True):
    """The attempt was stopped before it ended by itself."""

    _verb: ClassVar[str] = "cancelled"
    _symbol: ClassVar[str] = "🛑"


# --- control ------------------------------------------------------------------------------------------------------


class ControlDecided(Event, frozen=True):
    """The outcome of one check. ``shadow``: only shadow handlers would have interfered, so the signal is proceed."""

    event_type: str
    checked_seq: int
    signal: str
    node_name: str = ""
    wave_index: int = 0
    attempt: int = 1
    decided_by: str = ""
    priority: int | None = None
    reason: str = ""
    votes: tuple[Vote, ...] = ()
    shadow: bool = False

    _verb: ClassVar[str] = "decided"
    _symbol: ClassVar[str] = "🚦"

    def _path(self) -> str:
        wave = f".wave.{self.wave_index}" if self.wave_index else ""
        return f"{wave}.node.{topic_segment(self.node_name)}" if self.node_name else wave

    def _sentence(self) -> str:
        about = f" for node '{printable(self.node_name)}'" if self.node_name else ""
        what, on = printable(self.signal), printable(self.event_type)
        return f"Control decided {what}{about} on {on}{_by(self.decided_by)}{_because(self.reason)}"


# --- calls inside a node ------------------------------------------------------------------------------------------


class _CallEvent(Event, frozen=True):
    node_name: str

    _kind: ClassVar[str] = "call"

    def _path(self) -> str:
        wave = getattr(self, "wave_index", 0)
        return f"{f'.wave.{wave}' if wave else ''}.node.{topic_segment(self.node_name)}.{self._call()}"

    def _call(self) -> str:
        return self._kind

    def _sentence(self) -> str:
        return f"{self._what()} {self._verb.replace('_', ' ')} in node '{printable(self.node_name)}'{self._detail()}"

    def _what(self) -> str:
        return "LLM"

    def _detail(self) -> str:
        return ""


class _ToolEvent(_CallEvent, frozen=True):
    tool_name: str

    def _call(self) -> str:
        return f"tool.{topic_segment(self.tool_name)}"

    def _what(self) -> str:
        return f"Tool '{printable(self.tool_name)}'"


class ToolCalled(_ToolEvent, frozen=True):
    """A node calls a tool; ``call_id`` pairs this event with the one that ends the call."""

    params: Mapping[str, Any]
    call_id: str = ""
    wave_index: int = 0
    attempt: int = 1

    _verb: ClassVar[str] = "called"
    _symbol: ClassVar[str] = "🔧"


class ToolCompleted(_ToolEvent, frozen=True):
    """A tool answered."""

    result: Any
    duration_ms: float
    call_id: str = ""
    wave_index: int = 0
    attempt: int = 1

    _verb: ClassVar[str] = "completed"
    _symbol: ClassVar[str] = "🧰"

    def _detail(self) -> str:
        return f" in {self.duration_ms:.1f} ms"


class ToolFailed(_ToolEvent, frozen=True):
    """A tool raised."""

    error: BaseException
    duration_ms: float = 0.0
    call_id: str = ""
    wave_index: int = 0
    attempt: int = 1

    _verb: ClassVar[str] = "failed"
    _symbol: ClassVar[str] = "❌"

    def _detail(self) -> str:
        return _because(self.error)


class LLMPromptSent(_CallEvent, frozen=True):
    """A node asks a language model."""

    messages: Sequence[Any]
    call_id: str = ""
    model: str = ""
    wave_index: int = 0
    attempt: int = 1

    _kind: ClassVar[str] = "llm"
    _verb: ClassVar[str] = "prompt_sent"
    _symbol: ClassVar[str] = "💬"


class LLMResponseReceived(_CallEvent, frozen=True):
    """The model answered; token counts are None where the provider gave none."""

    response: Any
    duration_ms: float
    call_id: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    wave_index: int = 0
    attempt: int = 1

    _kind: ClassVar[str] = "llm"
    _verb: ClassVar[str] = "response_received"
    _symbol: ClassVar[str] = "🤖"

    def _detail(self) -> str:
        return f" in {self.duration_ms:.1f} ms"


class LLMFailed(_CallEvent, frozen=True):
    """The call to the model raised."""

    error: BaseException
    duration_ms: float = 0.0
    call_id: str = ""
    model: str = ""
    wave_index: int = 0
    attempt: int = 1

    _kind: ClassVar[str] = "llm"
    _verb: ClassVar[str] = "failed"
    _symbol: ClassVar[str] = "❌"

    def _detail(self) -> str:
        return _because(self.error)


# --- the layer watching itself ------------------------------------------------------------------------------------


class _ObserverEvent(Event, frozen=True):
    observer: str
    reason: str
    count: int = 1
    first_seq: int = 0
    last_seq: int = 0

    @property
    def topic(self) -> str:
        return f"observer.{topic_segment(self.observer)}.{self._verb}"


class ObserverFailed(_ObserverEvent, frozen=True):
    """An observer raised, hung or blocked the loop ``count`` times for events ``first_seq`` to ``last_seq``."""

    _verb: ClassVar[str] = "failed"
    _symbol: ClassVar[str] = "🙈"

    def _sentence(self) -> str:
        return f"Observer '{printable(self.observer)}' failed {self.count} times{_because(self.reason)}"


class EventsDropped(_ObserverEvent, frozen=True):
    """An observer lost ``count`` events between ``first_seq`` and ``last_seq``; the recording has them all."""

    _verb: ClassVar[str] = "dropped"
    _symbol: ClassVar[str] = "🕳️"

    def _sentence(self) -> str:
        return f"Observer '{printable(self.observer)}' lost {self.count} events{_because(self.reason)}"


def _by(handler: str) -> str:
    return f" by {printable(handler)}" if handler else ""


def _because(reason: str | BaseException | None) -> str:
    text = str(RecordedError.of(reason)) if isinstance(reason, BaseException) else masked(reason or "")
    return f": {printable(text)}" if text else ""


EVENT_CLASSES: tuple[type[Event], ...] = (
    PipelineStarted,
    PipelineCompleted,
    PipelineFailed,
    PipelineCancelled,
    PipelineSkipped,
    WaveStarted,
    WaveCompleted,
    NodeStarted,
    NodePlaced,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeFellBack,
    NodeCancelled,
    ControlDecided,
    ToolCalled,
    ToolCompleted,
    ToolFailed,
    LLMPromptSent,
    LLMResponseReceived,
    LLMFailed,
    ObserverFailed,
    EventsDropped,
)
"""Every concrete event class of hexviz."""
