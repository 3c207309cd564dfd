"""The signature table of the contract: names, their order by position, and their defaults."""

from __future__ import annotations

import inspect
import logging

import msgspec
import pytest

from hexviz import dag, events
from hexviz.dag import DirectedGraph, NodeExecutionError, NodeSpec, Orchestrator, OrchestratorError
from hexviz.events import config, control_manager, models

NEEDED = inspect.Parameter.empty

STRUCTS = [
    (events.NodeStarted, {"name": NEEDED, "wave_index": NEEDED, "dependencies": ()}),
    (events.NodeCompleted, dict.fromkeys(["name", "wave_index", "result", "duration_ms"], NEEDED)),
    (events.NodeFailed, dict.fromkeys(["name", "wave_index", "error"], NEEDED)),
    (events.WaveStarted, dict.fromkeys(["wave_index", "nodes"], NEEDED)),
    (events.WaveCompleted, dict.fromkeys(["wave_index", "duration_ms"], NEEDED)),
    (events.PipelineStarted, dict.fromkeys(["name", "total_waves", "total_nodes"], NEEDED)),
    (events.PipelineCompleted, {"name": NEEDED, "duration_ms": NEEDED, "node_results": {}}),
    (events.ToolCalled, dict.fromkeys(["node_name", "tool_name", "params"], NEEDED)),
    (events.ToolCompleted, dict.fromkeys(["node_name", "tool_name", "result", "duration_ms"], NEEDED)),
    (events.LLMPromptSent, dict.fromkeys(["node_name", "messages"], NEEDED)),
    (events.LLMResponseReceived, dict.fromkeys(["node_name", "response", "duration_ms"], NEEDED)),
    (events.ExecutionContext, {"dag_id": NEEDED, "node_id": None, "wave_index": 0, "attempt": 1, "metadata": {}}),
    (events.ControlResponse, {"signal": events.ControlSignal.PROCEED, "data": None}),
    (events.HandlerMetadata, {"priority": 100, "name": "", "description": ""}),
    (
        NodeSpec,
        {"name": NEEDED, "fn": NEEDED, "in_model": None, "out_model": None, "deps": (), "params": {}},
    ),
]


def default_of(field):
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return NEEDED if field.default_factory is msgspec.NODEFAULT else field.default_factory()


@pytest.mark.parametrize(("struct", "expected"), STRUCTS, ids=[struct.__name__ for struct, _ in STRUCTS])
def test_the_first_fields_are_those_of_the_contract_and_further_ones_have_defaults(struct, expected):
    facts = {field.name: default_of(field) for field in msgspec.structs.fields(struct)}
    own = [name for name in facts if not issubclass(struct, events.Event) or name not in events.Event.__struct_fields__]
    assert {name: facts[name] for name in own[: len(expected)]} == expected
    assert own[: len(expected)] == list(expected)
    assert all(facts[name] is not NEEDED for name in facts if name not in expected)


CALLS = [
    (
        events.ObserverManager,
        {
            "max_concurrent_observers": 10,
            "observer_timeout": 5.0,
            "max_sync_workers": 4,
            "error_handler": None,
            "use_weak_refs": False,  # the contract's True is row 7 of where we differ
        },
    ),
    (events.ControlManager, {"error_handler": None, "use_weak_refs": False}),
    (events.ControlManager().check, {"event": NEEDED, "context": NEEDED}),
    (events.ObserverManager().notify, {"event": NEEDED}),
    (events.get_observer_manager, {"ports": NEEDED}),
    (events.get_control_manager, {"ports": NEEDED}),
    (config.LoggingErrorHandler, {"logger": None}),
    (models.ErrorHandler.handle_error, {"self": NEEDED, "error": NEEDED, "context": NEEDED}),
    (events.ExecutionContext("g").with_node, {"node_id": NEEDED, "wave_index": NEEDED}),
    (events.ExecutionContext("g").with_attempt, {"attempt": NEEDED}),
    (Orchestrator, {"max_concurrent_nodes": 10, "ports": None, "strict_validation": False}),
    (
        Orchestrator().run,
        {"graph": NEEDED, "initial_input": None, "additional_ports": None, "validate": True},
    ),
    (DirectedGraph().validate, {"check_type_compatibility": True}),
    (NodeExecutionError, {"node_name": NEEDED, "original_error": NEEDED}),
]


@pytest.mark.parametrize(("call", "expected"), CALLS, ids=[getattr(c, "__name__", "?") for c, _ in CALLS])
def test_the_arguments_by_position_are_those_of_the_contract_and_further_ones_have_defaults(call, expected):
    parameters = inspect.signature(call).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert {p.name: p.default for p in positional[: len(expected)]} == expected
    assert [p.name for p in positional[: len(expected)]] == list(expected)
    assert all(p.default is not NEEDED or p.kind is p.VAR_KEYWORD for p in parameters if p.name not in expected)


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        (events.ObserverManager(), {"observer_id": None, "event_types": None, "keep_alive": False}),
        (
            events.ControlManager(),
            {"priority": 100, "name": None, "description": "", "event_types": None, "keep_alive": False},
        ),
    ],
)
def test_register_takes_the_keywords_of_the_contract(manager, expected):
    parameters = inspect.signature(manager.register).parameters
    assert next(iter(parameters)) == "handler"
    assert {name: parameters[name].default for name in expected} == expected


def test_ids_and_names_are_made_where_none_are_given():
    def guard(event, context=None):
        return events.PROCEED

    assert len(events.ObserverManager().register(guard)) == 36  # a uuid4
    control = events.ControlManager()
    assert control.register(guard) == "guard"
    assert control.register(lambda event, context: events.PROCEED).startswith("handler_")


@pytest.mark.parametrize("manager", [events.ObserverManager(), events.ControlManager()])
def test_what_cannot_be_called_is_a_type_error(manager):
    with pytest.raises(TypeError, match="handle"):
        manager.register(3)


def test_an_error_handler_of_control_gets_the_keys_of_the_contract():
    told = []

    class Noting:
        def handle_error(self, error, context):
            told.append(context)

    control = events.ControlManager(Noting())
    control.register(lambda event, context: 1 / 0, name="broken", priority=7, critical=False)
    control.begin(events.NodeStarted("a", 1), events.ExecutionContext("g"))
    assert told == [{"handler_name": "broken", "event_type": "NodeStarted", "is_critical": False, "priority": 7}]


def test_the_null_managers_answer_with_the_names_of_the_contract():
    assert events.NULL_CONTROL_MANAGER.register(print) == "null-control-handler"
    assert events.NULL_OBSERVER_MANAGER.register(print) == "null-observer-id"
    assert isinstance(events.NULL_OBSERVER_MANAGER, events.NullObserverManager)
    assert isinstance(events.NULL_CONTROL_MANAGER, events.NullControlManager)
    for find, null in (
        (events.get_observer_manager, events.NULL_OBSERVER_MANAGER),
        (events.get_control_manager, events.NULL_CONTROL_MANAGER),
    ):
        assert find(None) is find({}) is null
    mine = events.ObserverManager()
    assert events.get_observer_manager({"observer_manager": mine}) is mine


def test_the_defaults_are_those_of_the_contract():
    assert config.DEFAULT_MAX_CONCURRENT_OBSERVERS == 10
    assert config.DEFAULT_OBSERVER_TIMEOUT == 5.0
    assert config.DEFAULT_HANDLER_PRIORITY == 100
    assert config.CRITICAL_HANDLER_PRIORITY_THRESHOLD == 50


def test_an_entry_knows_priority_handler_event_types_and_metadata():
    assert {"priority", "handler", "event_types", "metadata"} <= set(control_manager.HandlerEntry.__struct_fields__)


def test_the_values_of_the_signals():
    assert {signal.name: signal.value for signal in events.ControlSignal} == {
        name: name.lower() for name in ("PROCEED", "RETRY", "SKIP", "FALLBACK", "FAIL", "ERROR")
    }


def test_copies_of_a_context_have_metadata_of_their_own():
    context = events.ExecutionContext("g", metadata={"k": 1})
    context.with_node("a", 2).metadata["k"] = 2
    context.with_attempt(2).metadata["k"] = 3
    assert context.metadata == {"k": 1}


def test_every_event_words_itself_at_a_level():
    assert events.NodeStarted("a", 1).log_message(log_level=logging.INFO) == events.NodeStarted("a", 1).log_message()


def test_the_errors_and_graphs_of_the_contract_are_there():
    for name in ("CycleDetectedError", "MissingDependencyError", "DuplicateNodeError", "SchemaCompatibilityError"):
        assert issubclass(getattr(dag, name), Exception)
    assert issubclass(NodeExecutionError, OrchestratorError)
    graph = DirectedGraph([NodeSpec("b", print)])
    graph.add_many([NodeSpec("a", print), NodeSpec("c", print).after("a", "b")])
    assert graph.waves() == [["a", "b"], ["c"]]
    assert graph.get_dependencies("c") == ("a", "b")
    assert graph.get_dependents("a") == ("c",)
    assert set(graph.nodes) == {"a", "b", "c"}
