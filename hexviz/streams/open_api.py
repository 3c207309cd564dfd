"""The OpenAPI 3.1 document of the small HTTP face of a server (:mod:`hexviz.streams.web_server`)."""

from __future__ import annotations

from typing import Any

__all__ = ["open_api"]

_REFUSALS = {
    "401": {"description": "No token was given, or more than one."},
    "403": {"description": "The token, the host or the origin is not one that this server knows."},
}
_RUN = {
    "name": "run",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Only this run; all of them without.",
}
_TOPICS = {
    "name": "topics",
    "in": "query",
    "description": "A pattern such as `pipeline.etl.**.failed`; `*` is one level, `**` any number. May be repeated.",
    "schema": {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": 20},
}
_CURSOR = {
    "name": "cursor",
    "in": "query",
    "schema": {"type": "string"},
    "description": "The cursor of the last frame that came: go on behind it.",
}
_RUNS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "run_id": {"type": "string"},
            "pipeline": {"type": "string"},
            "status": {"enum": ["running", "succeeded", "failed", "cancelled", "skipped"]},
            "events": {"type": "integer"},
        },
        "required": ["run_id", "pipeline", "status", "events"],
    },
}
_HEALTH = {
    "type": "object",
    "properties": {"ok": {"const": True}, "clients": {"type": "integer"}},
    "required": ["ok", "clients"],
}
FRAME = {
    "type": "object",
    "description": "What a client of /events receives, as a text message.",
    "properties": {
        "cursor": {"type": "string", "description": "The place behind these events."},
        "dropped": {"type": "integer", "description": "Events before these that the server no longer had."},
        "events": {"type": "array", "items": {"type": "object"}, "description": "CloudEvents, see events.schema.json."},
    },
    "required": ["cursor", "dropped", "events"],
}


def open_api(*, version: str) -> dict[str, Any]:
    """The document, as a dict for JSON."""
    documents = ("events.schema.json", "asyncapi.json", "openapi.json")
    paths: dict[str, Any] = {
        "/": _get("The page that shows runs live.", "text/html", token=True),
        "/healthz": _get("Whether the server is there.", "application/json", _HEALTH),
        "/runs": _get("The runs that it has heard of, newest first.", "application/json", _RUNS),
        "/events": _socket("Events, as text messages of CloudEvents in frames.", [_RUN, _TOPICS, _CURSOR]),
        "/view": _socket("The binary messages of the page.", [_RUN]),
    }
    paths |= {f"/schemas/{name}": _get(f"The document {name}.", "application/json", {}) for name in documents}
    return {
        "openapi": "3.1.0",
        "info": {"title": "A server of runs of hexviz", "version": version, "license": {"name": "BSD-3-Clause"}},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Frame": FRAME},
        },
        "security": [{"token": []}, {}],
    }


def _get(says: str, kind: str, schema: dict[str, Any] | None = None, *, token: bool = False) -> dict[str, Any]:
    content = {kind: {"schema": schema}} if schema is not None else {kind: {}}
    answers: dict[str, Any] = {"200": {"description": says, "content": content}, **_REFUSALS}
    operation: dict[str, Any] = {"summary": says, "responses": answers}
    if token:
        operation["parameters"] = [
            {"name": "token", "in": "query", "schema": {"type": "string"}, "description": "Taken once, for a cookie."}
        ]
        answers["303"] = {"description": "The token was right: the same page without it in the address, and a cookie."}
    return {"get": operation}


def _socket(says: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answers = {
        "101": {"description": says},
        "400": {"description": "The query cannot be understood."},
        "426": {"description": "This is for WebSocket clients."},
        "503": {"description": "There are as many clients as the server takes."},
        **_REFUSALS,
    }
    return {"get": {"summary": says, "parameters": parameters, "responses": answers}}
